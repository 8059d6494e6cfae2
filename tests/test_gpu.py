"""The CUDA engine on a GPU: what tests/test_cuda.py shows of its kernels on the host, on the chip itself."""

from __future__ import annotations

import random

import pytest

from bench.cells import Cell
from tests.test_conformance import CASES, assert_same_curve
from tests.test_packing import mixed_cells
from tests.training import train, untimed

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def engine():
    from bench.engines import EngineSpec, make_engine

    return make_engine(EngineSpec("cuda", "cuda:0"))


def test_the_engine_is_trusted_here(tmp_path, monkeypatch):
    from bench.engines.cuda.gpu import why_not

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert why_not("cuda:0") is None


def test_losses_are_those_of_the_plain_loop(engine):
    """Every optimizer, regularizer and activation, in float64."""
    outcomes = train(list(CASES.values()), engine=engine)
    for cell in CASES.values():
        assert_same_curve(cell, outcomes[cell], tolerance=1e-8)


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
    from bench.engines import cuda_engine

    cells = mixed_cells(60, seed=9)
    usual = {cell: untimed(outcome) for cell, outcome in train(cells, engine=engine).items()}
    monkeypatch.setattr(cuda_engine, "SLICE_S", 1e-4)
    assert {cell: untimed(outcome) for cell, outcome in train(cells, engine=engine).items()} == usual
