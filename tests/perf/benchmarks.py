"""Benchmarks (`make perf`): the engines' step, planning, the store and the tables. Each also asserts what it computed.

`extra_info` of a step: useful GFLOP/s (6 * n_samples * multiply-accumulates of a forward pass, per epoch and model), the same as a
fraction of the machine's float32 matrix-product peak measured in the same process on as many threads (one), and the pack's size.
"""

from __future__ import annotations

import time

import pytest
import torch

import bench
from bench import packs
from bench.engines.torch_engine import TorchEngine
from bench.store import Store
from bench.survival import groups
from tests.training import engine_named, native_builds, train

# depth, width, n_samples, further fields of the cell
SHAPES = [
    (1, 16, 64, {}),
    (2, 16, 256, {}),
    (4, 16, 256, {}),
    (1, 32, 256, {}),
    (2, 32, 1024, {}),
    (8, 32, 256, {}),
    (4, 64, 256, {}),
    (11, 25, 1000, {}),
    (4, 128, 1024, {}),
    (4, 32, 256, {"dropout": 0.1}),
    (4, 32, 256, {"input_noise": 0.1}),
    (4, 32, 256, {"activation": "tanh"}),
    (4, 32, 256, {"dtype": "float64"}),
    (4, 32, 1000, {"batch_size": 100}),
]
# Long enough that setting up the pack (data, weights, scratch) does not show: about this many useful FLOPs, within these epochs.
FLOPS, LEAST_EPOCHS, MOST_EPOCHS = 4e9, 20, 2000
MOST_CELLS = 64


@pytest.fixture(scope="module")
def gemm_peak_gflops() -> float:
    """The best of several 1024 x 1024 float32 matrix products on one thread."""
    torch.set_num_threads(1)
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    times = []
    for _ in range(12):
        started = time.perf_counter()
        torch.mm(a, b)
        times.append(time.perf_counter() - started)
    return 2 * 1024**3 / min(times) / 1e9


@pytest.mark.parametrize(
    "shape", SHAPES, ids=[f"depth{d}-width{w}-n{n}{''.join('-' + k for k in more)}" for d, w, n, more in SHAPES]
)
@pytest.mark.parametrize("name", ["torch", native_builds()[0]])
def test_step(benchmark, name, shape, gemm_peak_gflops):
    """A pack as large as the engine would make it, on one thread."""
    depth, width, n_samples, more = shape
    engine = TorchEngine("cpu") if name == "torch" else engine_named(name, threads=1)
    cell = bench.Cell(depth=depth, width=width, n_samples=n_samples, **more)
    count = min(engine.slots(cell), MOST_CELLS)
    epochs = min(MOST_EPOCHS, max(LEAST_EPOCHS, round(FLOPS / count / packs.epoch_flops(cell))))
    fields = dict(depth=depth, width=width, n_samples=n_samples, tau=1e-12, max_epochs=epochs, **more)
    (pack,) = packs.plan(bench.expand(seed=range(count), **fields), kind=engine.kind, slots=engine.slots, workers=1)
    flops = benchmark.pedantic(lambda: sum(report.flops for report in engine.train(pack)), rounds=5, warmup_rounds=1)
    assert flops == sum(packs.epoch_flops(cell) * epochs for cell in pack.cells)
    gflops = flops / benchmark.stats.stats.median / 1e9
    benchmark.extra_info |= {
        "cells": count,
        "gflops": round(gflops, 2),
        "of_gemm_peak": round(gflops / gemm_peak_gflops, 3),
        "gemm_peak_gflops": round(gemm_peak_gflops, 1),
    }
    print(
        f"\n{benchmark.name}: {gflops:.1f} useful GFLOP/s, {gflops / gemm_peak_gflops:.0%} of the GEMM peak of one thread ({gemm_peak_gflops:.0f}), {count} cells"
    )


AXES = dict(depth=[1, 2, 4, 8], width=[8, 16, 32, 64, 128], n_samples=[2**k for k in range(5, 10)], seed=range(100))


def test_planning(benchmark):
    """Expanding, hashing and packing 10,000 cells."""

    def plan():
        engine = TorchEngine("cpu")
        cells = bench.expand(**AXES)
        return len({cell.cell_id for cell in cells}), packs.plan(cells, kind=engine.kind, slots=engine.slots, workers=2)

    ids, planned = benchmark.pedantic(plan, rounds=5, warmup_rounds=1)
    assert ids == sum(len(pack.cells) for pack in planned) == 10_000


@pytest.fixture(scope="module")
def outcomes():
    return list(train(bench.expand(depth=1, width=8, n_samples=16, seed=range(1000), max_epochs=50, tau=0.1)).values())


def test_store_writes(benchmark, outcomes, tmp_path):
    """One part of 1,000 outcomes with their curves."""
    store = Store(tmp_path)
    benchmark.pedantic(lambda: store.write(outcomes), rounds=5, warmup_rounds=1)
    assert len(store.finished_ids()) == 1000


def test_store_reads_and_groups(benchmark, outcomes, tmp_path):
    """A folder of 1,000 cells in 20 parts, and its statistics."""
    store = Store(tmp_path)
    store.write_plan([outcome.cell for outcome in outcomes])
    for first in range(0, 1000, 50):
        store.write(outcomes[first : first + 50])
    grouped = benchmark.pedantic(lambda: groups(Store(tmp_path).read_cells()), rounds=5, warmup_rounds=1)
    assert grouped["n_seeds"].sum() == 1000
