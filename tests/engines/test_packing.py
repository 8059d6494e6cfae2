"""Neighbours do not matter: a cell trained in any company is, byte for byte, the cell trained alone."""

from __future__ import annotations

import dataclasses
import random

import pytest

from bench.engines import torch_engine
from bench.engines.packs import Pack, budget_flops, padded, plan
from bench.engines.torch_engine import TorchEngine
from bench.protocol.cells import Cell
from tests.engines.training import train, untimed


def mixed_cells(count: int, seed: int) -> list[Cell]:
    """Cells of many kinds: several share a kind with different sizes, strengths, rates and budgets."""
    pick = random.Random(seed).choice
    return [
        Cell(
            n_samples=pick([1, 3, 17, 30, 100, 110]),
            d_in=pick([1, 8]),
            depth=pick([0, 1, 3]),
            width=pick([1, 3, 5, 12, 14, 20]),
            data_seed=i,
            init_seed=i,
            dropout=pick([0.0, 0.1]),
            weight_decay=pick([0.0, 1e-3]),
            learning_rate=pick([1e-3, 1e-2, 1e3]),
            max_epochs=pick([15, 40]),
            n_val=pick([0, 1, 50]),
            max_norm=pick([None, 1.0]),
            activation=pick(["relu", "sigmoid", "silu", "gelu"]),
            batch_size=pick([None, None, 7, 50]),
            shuffle=pick([False, True]),
            input_noise=pick([0.0, 0.0, 0.1]),
            tau=pick([0.5, 0.01]),
            dtype=pick(["float32", "float32", "float64", "tf32"]),
        )
        for i in range(count)
    ]


def relatives(kinds: int, of_each: int, seed: int) -> list[Cell]:
    """Cells of so many kinds, which therefore train together: of one kind all sizes, strengths, rates and budgets that it allows.

    Not of one input: MKL rounds products of a single column one way for one network, and another for several.
    """
    pick = random.Random(seed).choice
    cells = []
    for number, cell in enumerate(mixed_cells(kinds, seed)):
        for i in range(of_each):
            sizes = {} if cell.batch_size else {"n_samples": max(1, cell.n_samples - pick([0, 0, 1, 2]))}
            cells.append(
                dataclasses.replace(
                    cell,
                    **sizes,
                    d_in=max(2, cell.d_in),
                    width=max(1, cell.width - pick([0, 0, 1])),
                    data_seed=1000 * number + i,
                    init_seed=1000 * number + i,
                    dropout=cell.dropout and pick([0.1, 0.3]),
                    weight_decay=pick([0.0, 1e-3]),
                    learning_rate=pick([1e-3, 1e-2, 1e3]),
                    max_epochs=pick([3, 8, 12]),
                    max_norm=pick([None, 1.0]),
                    tau=pick([0.5, 0.01]),
                )
            )
    return cells


SOME = pytest.param((10, 4), id="40 cells")
MANY = pytest.param((40, 5), id="200 cells", marks=pytest.mark.exhaustive)


@pytest.fixture(scope="module", params=[SOME, MANY])
def cells(request) -> list[Cell]:
    return relatives(*request.param, seed=1)


@pytest.fixture(scope="module")
def alone(cells) -> dict[Cell, str]:
    return {cell: untimed(train([cell])[cell]) for cell in cells}


@pytest.mark.parametrize(("slots", "workers"), [(None, 1), (3, 2), (64, 1)])
def test_trained_together_equals_trained_alone(slots, workers, cells, alone):
    kinds = {TorchEngine("cpu").kind(cell) for cell in cells}
    assert 2 * len(kinds) <= len(cells)
    shuffled = random.Random(workers).sample(cells, len(cells))
    together = train(shuffled, slots=slots, workers=workers)
    assert {cell: untimed(outcome) for cell, outcome in together.items()} == alone


def test_the_length_of_chunks_does_not_enter_into_results(monkeypatch, cells, alone):
    monkeypatch.setattr(torch_engine, "FIRST_EPOCHS", 1)
    monkeypatch.setattr(torch_engine, "MOST_EPOCHS", 3)
    assert {cell: untimed(outcome) for cell, outcome in train(cells).items()} == alone


@pytest.mark.parametrize("batch_size", [1, 10, 25, 50, 64])
def test_minibatches_of_any_size_do_not_bring_neighbours_in(batch_size):
    """Batches begin at places of their own in memory; where a batch lies must not enter into the rounding of its products."""
    # Rounding shows in the first bits that differ: in updates enough for the second epoch to begin elsewhere.
    epochs = 12 if batch_size > 1 else 2
    cells = [Cell(n_samples=250, batch_size=batch_size, init_seed=i, data_seed=i, max_epochs=epochs) for i in range(8)]
    together = train(cells, slots=8, n_predictions=9)
    for cell in cells[::3]:
        assert untimed(together[cell]) == untimed(train([cell], n_predictions=9)[cell])


def test_a_full_pack_of_one_kind_equals_its_cells_alone():
    cells = [
        Cell(n_samples=n, width=w, depth=2, init_seed=i, data_seed=i, max_epochs=60)
        for i, (n, w) in enumerate([(100, 30), (112, 32), (97, 29), (110, 31)] * 12)
    ]
    assert len({TorchEngine("cpu").kind(cell) for cell in cells}) == 1
    together = train(cells, slots=48)
    for cell in cells[::7]:
        assert untimed(together[cell]) == untimed(train([cell])[cell])


def test_a_diverging_cell_leaves_its_neighbours_alone():
    good = Cell(n_samples=32, optimizer="sgd", learning_rate=0.01, max_epochs=100)
    bad = dataclasses.replace(good, learning_rate=1e4)
    together = train([good, bad], slots=2)
    assert together[bad].status == "diverged"
    assert untimed(together[good]) == untimed(train([good])[good])


def test_a_pack_of_two_kinds_is_refused():
    cells = (Cell(depth=1), Cell(depth=2))
    with pytest.raises(
        ValueError,
        match=r"^a pack of the torch engine holds cells of one kind, not of 2; make packs with bench\.engines\.packs\.plan$",
    ):
        next(TorchEngine("cpu").train(Pack(cells, 2)))


def test_planning_keeps_every_cell_once_and_puts_the_longest_first():
    cells = mixed_cells(300, seed=6)
    engine = TorchEngine("cpu")
    packs = plan(cells, kind=engine.kind, slots=engine.slots, workers=2)
    assert sorted(cell.cell_id for pack in packs for cell in pack.cells) == sorted(cell.cell_id for cell in cells)
    budgets = [sum(map(budget_flops, pack.cells)) for pack in packs]
    assert budgets == sorted(budgets, reverse=True)
    assert all(len({engine.kind(cell) for cell in pack.cells}) == 1 for pack in packs)


def test_one_kind_is_dealt_to_all_workers():
    cells = [Cell(init_seed=i) for i in range(40)]
    engine = TorchEngine("cpu")
    assert len(plan(cells, kind=engine.kind, slots=lambda cell: 100, workers=4)) == 4


@pytest.mark.parametrize("size", range(1, 1200, 7))
def test_padding_adds_less_than_a_granule_or_a_quarter(size):
    assert 0 <= padded(size, granule=16, steps=4) - size < max(16, size / 4)


@pytest.mark.gpu_torch
def test_on_cuda_neighbours_change_rounding_only():
    cells = [Cell(n_samples=100, init_seed=i, data_seed=i, max_epochs=50, dtype="float64") for i in range(20)]
    together = train(cells, device="cuda")
    for cell in cells[::5]:
        assert together[cell].final_tau == pytest.approx(train([cell], device="cuda")[cell].final_tau, rel=1e-8)
