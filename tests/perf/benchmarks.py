"""Benchmarks (`make perf`): the engines, planning, the store and the tables. Each also asserts what it computed.

`extra_info` of an engine: useful GFLOP/s (6 * n_samples * multiply-accumulates of a forward pass, per epoch and model), the same as a
fraction of the float32 peak of as many threads, measured in the same process just before (`bench.engines.peak`), and how many cells. In the end
the geometric mean and the least fraction of the native engine over the shapes of conf/shapes/speed.yaml are printed.
"""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
import yaml

import bench
from bench.commands.config import config_dir
from bench.engines import packs
from bench.engines.cost import torch_is_faster
from bench.engines.peak import peak_gflops, peak_name
from bench.engines.torch_engine import TorchEngine
from bench.machine.cores import available_cores
from bench.protocol.cells import NO_TAU
from bench.report.build import build
from tests.engines.idle_device import NOT_THE_HOSTS, IdleDevice, host_part
from tests.engines.training import engine_named, native_builds
from tests.perf.default_grid import default_cells, measured
from tests.report.synthetic import ten_thousand, write_run

SPEED = yaml.safe_load((config_dir() / "shapes" / "speed.yaml").read_text())
SPEED_SHAPES = list(product(SPEED["width"], SPEED["depth"], SPEED["n_samples"]))
# What else a cell may ask for, at one shape.
BASE = {"d_in": 8, "width": 64, "depth": 4, "n_samples": 1024}
VARIANTS = {
    "relu": {},
    **{name: {"activation": name} for name in ("leaky_relu", "tanh", "gelu", "silu", "sigmoid")},
    "batch 100": {"batch_size": 100, "n_samples": 1000},
    "batch 100 shuffled": {"batch_size": 100, "n_samples": 1000, "shuffle": True},
    "dropout 0.1": {"dropout": 0.1},
    "input noise 0.1": {"input_noise": 0.1},
    "validation": {"n_val": 1024},
    "sgd": {"optimizer": "sgd"},
    "float64": {"dtype": "float64"},
    "tf32": {"dtype": "tf32"},
}
# Both engines on one thread: small, middling, as wide as batched products like; and what else costs time.
SIZES = [
    (1, 16, 64),
    (2, 16, 256),
    (8, 32, 256),
    (4, 64, 256),
    (4, 128, 1024),
    (3, 512, 64),
    (3, 512, 512),
    (3, 768, 256),
    (1, 1024, 512),
    (3, 1024, 128),
    (3, 1024, 256),
    (3, 1024, 512),
    (8, 1024, 512),
    (3, 2048, 64),
    (3, 2048, 256),
    (3, 2048, 1024),
]
ENGINE_CELLS = {
    **{f"depth {depth} width {width} n {n}": {"depth": depth, "width": width, "n_samples": n} for depth, width, n in SIZES},
    "dropout 0.1": {"depth": 2, "width": 64, "n_samples": 256, "dropout": 0.1},
    "input noise, 64 inputs": {"d_in": 64, "depth": 2, "width": 16, "n_samples": 256, "input_noise": 0.1},
    "batch 32 shuffled": {"depth": 2, "width": 64, "n_samples": 256, "batch_size": 32, "shuffle": True},
    "tanh": {"depth": 2, "width": 64, "n_samples": 256, "activation": "tanh"},
    "dropout 0.1, wide": {"depth": 3, "width": 1024, "n_samples": 512, "dropout": 0.1},
    "input noise, wide": {"depth": 3, "width": 1024, "n_samples": 512, "input_noise": 0.1},
    "gelu, wide": {"depth": 3, "width": 1024, "n_samples": 512, "activation": "gelu"},
    "float64, wide": {"depth": 3, "width": 1024, "n_samples": 512, "dtype": "float64"},
}

NATIVE = native_builds()[0]

# Long enough that setting up the cells (data, weights, scratch) does not show.
FLOPS, LEAST_EPOCHS, MOST_EPOCHS = 3e10, 20, 5000
MOST_CELLS = 64
LEAST_CELLS_PER_THREAD = 4
ROUNDS = 3


def cells_for(fields: dict, threads: int) -> int:
    """Cells enough that all of MOST_EPOCHS make up FLOPS, of the same number for every thread."""
    per_thread = FLOPS / threads / MOST_EPOCHS / packs.epoch_flops(bench.Cell(**fields))
    return threads * max(LEAST_CELLS_PER_THREAD, min(MOST_CELLS, round(per_thread)))


def measure(benchmark, engine, fields: dict, count: int, threads: int) -> float:
    """Benchmark `count` cells; the median GFLOP/s over the peak of `threads` threads."""
    cell = bench.Cell(**fields)
    epochs = min(MOST_EPOCHS, max(LEAST_EPOCHS, round(FLOPS / count / packs.epoch_flops(cell))))
    cells = bench.expand(**fields, seed=range(count), tau=NO_TAU, max_epochs=epochs)
    (pack,) = packs.plan(cells, kind=engine.kind, slots=engine.slots, workers=1)
    peak = peak_gflops("cpu", threads)
    flops = benchmark.pedantic(lambda: sum(report.flops for report in engine.train(pack)), rounds=ROUNDS, warmup_rounds=1)
    assert flops == sum(packs.epoch_flops(cell) * epochs for cell in pack.cells)
    gflops = flops / benchmark.stats.stats.median / 1e9
    benchmark.extra_info |= {"cells": count, "threads": threads, "gflops": round(gflops, 2), "of_peak": round(gflops / peak, 3)}
    benchmark.extra_info |= {"peak": peak_name("cpu"), "peak_gflops": round(peak, 1)}
    print(
        f"\n{benchmark.name}: {gflops:.1f} useful GFLOP/s, {gflops / peak:.0%} of the {peak_name('cpu')} peak of {threads} threads"
    )
    return gflops / peak


def test_default_grid(benchmark):
    """What everybody trains, once, on every core. What it says first is the README's first line of speed."""
    cells = default_cells()
    done = benchmark.pedantic(lambda: measured(cells), rounds=1)
    benchmark.extra_info |= done._asdict()
    print(f"\nthe default grid: {done.spelled()}, {done.of_peak:.0%} of the {done.peak} peak of {done.threads} threads")


@pytest.fixture(scope="module")
def fractions():
    """Fractions of the peak by shape; their summary is printed when all are measured."""
    collected: dict[tuple[int, int, int], float] = {}
    yield collected
    if collected:
        mean = math.exp(sum(map(math.log, collected.values())) / len(collected))
        least = min(collected, key=collected.__getitem__)
        where = "width {}, depth {}, n_samples {}".format(*least)
        print(f"\n{len(collected)} shapes: geometric mean {mean:.1%} of the peak, least {collected[least]:.1%} ({where})")


@pytest.mark.parametrize(("width", "depth", "n_samples"), SPEED_SHAPES)
def test_native_shapes(benchmark, fractions, width, depth, n_samples):
    """Full-batch Adam, relu, float32, a cell on every core."""
    threads = available_cores()
    engine = engine_named(NATIVE, threads)
    fields = {"d_in": SPEED["d_in"], "width": width, "depth": depth, "n_samples": n_samples}
    fractions[width, depth, n_samples] = measure(benchmark, engine, fields, cells_for(fields, threads), threads)


@pytest.mark.parametrize("variant", VARIANTS)
def test_native_variants(benchmark, variant):
    threads = available_cores()
    engine = engine_named(NATIVE, threads)
    fields = BASE | VARIANTS[variant]
    measure(benchmark, engine, fields, cells_for(fields, threads), threads)


@pytest.fixture(scope="module")
def speeds():
    """GFLOP/s by cell and engine; at the end, what the choice of `engine=auto` costs beside the better of the two."""
    collected: dict[str, dict[str, float]] = {name: {} for name in ENGINE_CELLS}
    yield collected
    lost = {}
    for name, by_engine in collected.items():
        if len(by_engine) == 2:
            chosen = by_engine["torch" if torch_is_faster(bench.Cell(**ENGINE_CELLS[name]), NATIVE.split()[-1]) else NATIVE]
            lost[name] = max(by_engine.values()) / chosen - 1
    if lost:
        worst = max(lost, key=lost.__getitem__)
        mean = math.exp(sum(math.log1p(loss) for loss in lost.values()) / len(lost)) - 1
        print(
            f"\nengine=auto takes {mean:.1%} longer than the better engine in the mean of {len(lost)}, most {lost[worst]:.0%} ({worst})"
        )


@pytest.mark.parametrize("name", ["torch", NATIVE])
@pytest.mark.parametrize("cell", ENGINE_CELLS)
def test_engines(benchmark, speeds, name, cell):
    """As many cells as the torch engine would train at a time, on one thread, turn by turn: what `engine=auto` chooses by."""
    torch.set_num_threads(1)
    fields = ENGINE_CELLS[cell]
    count = min(TorchEngine("cpu").slots(bench.Cell(**fields)), MOST_CELLS)
    measure(benchmark, engine_named(name, threads=1), fields, count, threads=1)
    speeds[cell][name] = benchmark.extra_info["gflops"]


# What the CUDA engine's host does for cells of these fields, whose tau falls so that they memorize at epoch 297 or train for all
# of their 5000 epochs, by how many epochs in a slice.
SMALL = {"width": 16, "depth": 2, "n_samples": 128}
HOST = {
    "300 epochs in 1 slice": (SMALL, 2000, 3.0),
    "5000 epochs in 1 slice": (SMALL, 5001, 100.0),
    "5000 epochs in 4 slices": (SMALL, 1251, 100.0),
    "5000 epochs in 4 slices, validation": (SMALL | {"n_val": 128}, 1251, 100.0),
    "5000 epochs in 10 slices, wide": ({"width": 64, "depth": 4, "n_samples": 1024}, 501, 100.0),
}
# A slice of time, in which workers prepare what comes next.
SLICE_S = 0.25
# As many seeds as cells, or few seeds whose draws are kept.
SEEDS = {"own draws": 12_000, "kept draws": 5}


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("case", HOST)
def test_cuda_host(benchmark, case, seeds):
    """Microseconds of the thread that feeds a device, for a cell, by part; nothing trains."""
    fields, epochs, halved = HOST[case]
    count = SEEDS["own draws"] // (4 if fields["width"] > 16 else 1)
    rates = [0.001 + i / 1e6 for i in range(max(1, count // SEEDS[seeds]))]
    cells = bench.expand(**fields, learning_rate=rates, seed=range(min(count, SEEDS[seeds])))
    parts: dict[str, float] = {}

    def run() -> None:
        own, n_outcomes = host_part(cells, IdleDevice(epochs=epochs, halved=halved, slice_s=SLICE_S))
        assert n_outcomes == len(cells)
        if not parts or sum(own.values()) < sum(parts.values()):
            parts.update(own)

    benchmark.pedantic(run, rounds=ROUNDS)
    host = sum(time_us for part, time_us in parts.items() if part not in NOT_THE_HOSTS)
    benchmark.extra_info |= {
        "cells": len(cells),
        "us_a_cell": round(host, 1),
        **{name: round(us, 1) for name, us in parts.items()},
    }
    shown = ", ".join(f"{part} {time_us:.1f}" for part, time_us in parts.items())
    print(f"\n{case}, {seeds}: {host:.1f} us of the host for each of {len(cells)} cells ({shown})")


@pytest.mark.parametrize("drawn", [False, True], ids=["first", "again"])
def test_report(drawn, benchmark, tmp_path):
    """Tables, figures and page of a folder of 10,560 cells in 50 parts, in the process as it is; again, when figures are there."""
    folder = write_run(tmp_path / "many", ten_thousand())
    if drawn:
        build(folder)
        page = benchmark.pedantic(lambda: build(folder), rounds=ROUNDS)
    else:
        page = benchmark.pedantic(lambda: build(folder, redraw=True), rounds=ROUNDS)
    assert page.stat().st_size < 10e6
