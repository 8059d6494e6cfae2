"""The CUDA engine on a GPU: what tests/engines/test_cuda.py shows of its kernels on the host, on the chip itself."""

from __future__ import annotations

import dataclasses
import random

import pytest

from bench.protocol.cells import Cell
from tests.engines.protocols import CASES, FEW
from tests.engines.test_packing import mixed_cells
from tests.engines.training import train, untimed
from tests.engines.witness import assert_same_curve, median_difference

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def engine():
    from bench.engines.cuda.on_gpus import engine_on

    return engine_on("cuda:0", products="fma")


def test_the_engine_is_trusted_here(tmp_path, monkeypatch):
    from bench.engines.cuda.verdicts import verdicts

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert verdicts("cuda:0") == {}


# The plain loop is slow, and a visit to a GPU may be short.
EVERY_PAIR = pytest.param(FEW, id="every pair")
EVERY_PROTOCOL = pytest.param(CASES, id="every protocol", marks=pytest.mark.exhaustive)


@pytest.mark.parametrize("cases", [EVERY_PAIR, EVERY_PROTOCOL])
def test_losses_are_those_of_the_plain_loop(engine, cases):
    """Every optimizer, regularizer and activation, in float64."""
    outcomes = train(list(cases.values()), engine=engine)
    for cell in cases.values():
        assert_same_curve(cell, outcomes[cell], tolerance=1e-8)


def on_tensor_cores():
    from bench.engines.cuda.on_gpus import engine_on

    return engine_on("cuda:0", products="3xtf32")


@pytest.mark.parametrize("cases", [EVERY_PAIR, EVERY_PROTOCOL])
def test_float32_losses_are_those_of_the_plain_loop_by_multiply_adds_and_on_tensor_cores(engine, cases):
    for each in (engine, on_tensor_cores()):
        outcomes = train([dataclasses.replace(cell, dtype="float32") for cell in cases.values()], engine=each)
        for cell, outcome in outcomes.items():
            assert_same_curve(cell, outcome, tolerance=1e-3, epochs=21)
        assert median_difference(outcomes, 21) < (4e-6 if cases is FEW else 3e-6)


@pytest.mark.parametrize("cases", [EVERY_PAIR, EVERY_PROTOCOL])
def test_tf32_losses_are_those_of_the_plain_loop_until_a_factor_rounds_to_the_other_side(engine, cases):
    outcomes = train([dataclasses.replace(cell, dtype="tf32", max_epochs=20) for cell in cases.values()], engine=engine)
    assert median_difference(outcomes, 4) < 5e-6


def test_a_cell_is_the_same_to_the_byte_on_tensor_cores_alone_and_in_any_company():
    cells = [dataclasses.replace(cell, dtype=pick) for cell in mixed_cells(150, seed=4) for pick in ("float32", "tf32")]
    together = {cell: untimed(outcome) for cell, outcome in train(cells, engine=on_tensor_cores()).items()}
    for cell in cells[::15]:
        assert untimed(train([cell], engine=on_tensor_cores())[cell]) == together[cell]


def test_a_cell_is_the_same_to_the_byte_alone_and_in_any_company(engine):
    cells = mixed_cells(300, seed=8)
    together = {cell: untimed(outcome) for cell, outcome in train(cells, engine=engine, n_predictions=4).items()}
    shuffled = random.Random(1).sample(cells, len(cells))
    assert {cell: untimed(outcome) for cell, outcome in train(shuffled, engine=engine, n_predictions=4).items()} == together
    for cell in cells[::15]:
        assert untimed(train([cell], engine=engine, n_predictions=4)[cell]) == together[cell]


def test_a_cell_is_the_same_to_the_byte_by_one_block_and_by_a_cluster(engine):
    """Alone a cell is trained by as many blocks as share its samples; among thousands by one."""
    cells = [Cell(n_samples=2048, width=32, depth=2, init_seed=i, max_epochs=40, tau=1e-9) for i in range(2500)]
    together = train(cells, engine=engine)
    for cell in cells[:3]:
        assert untimed(train([cell], engine=engine)[cell]) == untimed(together[cell])


def test_many_short_slices_come_to_the_same(engine, monkeypatch):
    from bench.engines.cuda import engine as cuda_engine

    cells = mixed_cells(60, seed=9)
    usual = {cell: untimed(outcome) for cell, outcome in train(cells, engine=engine).items()}
    monkeypatch.setattr(cuda_engine, "SLICE_S", 1e-4)
    assert {cell: untimed(outcome) for cell, outcome in train(cells, engine=engine).items()} == usual
