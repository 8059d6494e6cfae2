"""What `make perf-check` runs on both sides in turn: benchmarks in groups that are judged, and nothing that older programs lack.

`make perf` runs them too. Each also asserts what it computed.
"""

from __future__ import annotations

import shutil

import pytest
import torch

import bench
from bench.engines import packs
from bench.engines.torch_engine import TorchEngine
from bench.report.build import build
from bench.statistics.survival import groups
from bench.store.parts import Store
from tests.engines.training import engine_named, native_builds, train
from tests.perf.grid_part import NO_TAU, PART

NATIVE = native_builds()[0]

LEAST_EPOCHS = 20

# Useful FLOPs of a call, so few that another process's call comes soon after it: some hundredths of a second on one thread.
FLOPS, TORCH_FLOPS = 4e9, 2e8

# Calls that are timed: many short ones, since most of them find the machine at rest, and a long one seldom does.
CALLS = 21
GATED = {
    "kernel, narrow": [{"width": 8, "n_samples": 128}, {"width": 16, "n_samples": 256}],
    "kernel, middling": [{"width": 32, "n_samples": 256}, {"width": 64, "depth": 4, "n_samples": 256}],
    "kernel, wide": [{"width": 128, "n_samples": 256}, {"width": 256, "n_samples": 256}],
    "draws": [{"dropout": 0.1}, {"input_noise": 0.1}, {"batch_size": 32, "shuffle": True}],
    "torch engine": [{"width": 16, "n_samples": 64}, {"width": 64, "n_samples": 256}],
}


@pytest.mark.parametrize(
    ("group", "fields"),
    [pytest.param(group, one, id=f"{group} {i}") for group, many in GATED.items() for i, one in enumerate(many)],
)
def test_gated_training(benchmark, timed, group, fields):
    """So many cells that setting them up does not show; all their epochs are trained."""
    torch.set_num_threads(1)
    benchmark.group = group
    engine = engine_named("torch" if group == "torch engine" else NATIVE, threads=1)
    cell = bench.Cell(**fields)
    count = 8 if group == "torch engine" else 2
    flops = TORCH_FLOPS if group == "torch engine" else FLOPS
    epochs = max(LEAST_EPOCHS, round(flops / count / packs.epoch_flops(cell)))
    cells = bench.expand(**fields, seed=range(count), tau=NO_TAU, max_epochs=epochs)
    (pack,) = packs.plan(cells, kind=engine.kind, slots=engine.slots, workers=1)
    done = timed(lambda: sum(report.flops for report in engine.train(pack)), CALLS)
    assert done == sum(packs.epoch_flops(cell) * epochs for cell in pack.cells)


AXES = dict(depth=[1, 2, 4, 8], width=[8, 16, 32, 64, 128], n_samples=[2**k for k in range(5, 10)], seed=range(10))


# A part of the grid takes a second: of so few calls most find the machine at rest, too.
GRID_CALLS = 7


@pytest.mark.benchmark(group="default grid")
def test_gated_default_grid(timed):
    """A part of the default grid, with its mix of widths and regularizations, on one thread."""
    engine = engine_named(NATIVE, threads=1)
    cells = [pick.cell(seed) for seed, pick in enumerate(PART)]
    (pack,) = packs.plan(cells, kind=engine.kind, slots=engine.slots, workers=1)
    done = timed(lambda: sum(report.flops for report in engine.train(pack)), GRID_CALLS)
    assert done == sum(packs.budget_flops(cell) for cell in cells)


# Planning of a run is in the counts, too (tests/perf/counted.py).
@pytest.mark.benchmark(group="planning and store")
def test_planning(timed):
    """Expanding, hashing and packing 1,000 cells."""

    def plan():
        engine = TorchEngine("cpu")
        cells = bench.expand(**AXES)
        return len({cell.cell_id for cell in cells}), packs.plan(cells, kind=engine.kind, slots=engine.slots, workers=2)

    ids, planned = timed(plan, CALLS)
    assert ids == sum(len(pack.cells) for pack in planned) == 1000


@pytest.fixture(scope="module")
def outcomes():
    return list(train(bench.expand(depth=1, width=8, n_samples=16, seed=range(1000), max_epochs=50, tau=0.1)).values())


@pytest.mark.benchmark(group="planning and store")
def test_store_writes(timed, outcomes, tmp_path):
    """One part of 1,000 outcomes with their curves."""
    store = Store(tmp_path)
    timed(lambda: store.write(outcomes), CALLS)
    assert len(store.finished_ids()) == 1000


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small") / "run"
    bench.run(
        bench.expand(depth=1, width=4, n_samples=[8, 32], seed=range(2), max_epochs=60, tau=0.1), run_dir=folder, threads=1
    )
    return folder


@pytest.mark.benchmark(group="tables and report")
def test_gated_tables(timed, small_run):
    """Capacities of a network, as Python asks for them."""
    cells = Store(small_run).read_cells()
    assert len(timed(lambda: bench.capacities(cells), CALLS)) == 1


@pytest.mark.benchmark(group="tables and report")
def test_gated_report(timed, small_run):
    """Tables, figures and page of a run as small as can be: half a second."""

    def report():
        # What is there would not be drawn again.
        shutil.rmtree(small_run / "figures", ignore_errors=True)
        return build(small_run)

    assert timed(report, CALLS).exists()


@pytest.mark.benchmark(group="planning and store")
def test_store_reads_and_groups(timed, outcomes, tmp_path):
    """A folder of 250 cells in 5 parts, and its statistics."""
    store = Store(tmp_path)
    store.write_plan([outcome.cell for outcome in outcomes[:250]])
    for first in range(0, 250, 50):
        store.write(outcomes[first : first + 50])
    grouped = timed(lambda: groups(Store(tmp_path).read_cells()), CALLS)
    assert grouped["n_seeds"].sum() == 250
