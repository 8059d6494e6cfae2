"""Counts that say whether a program does more than it did, whatever the machine: python -m tests.perf.counted

Prints a line of JSON for each: name, unit and value, or why it cannot be counted. Less is better.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import sys
import tempfile
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import bench

# Cells of a small run and of a larger one: what the larger one has more is that of its cells.
FEW, MANY = 200, 800

# Of so many tries of each the least: what else a process does only adds.
TRIES = 3

# What the program does by the clock, and so more or less often where the machine is busy: in which module, under which name.
BY_THE_CLOCK = {
    "bench.engines.torch_engine": ["CHUNK_S"],
    "bench.engines.native_engine": ["REPORT_S"],
    "bench.engines.cuda.lane": ["ADMIT_S"],
    "bench.engines.api": ["CHECKPOINT_S"],
    "bench.runs.training": ["FLUSH_EVERY_S", "KEEP_EVERY_S"],
}
LONG_S = 3600.0


def stop_the_clock() -> None:
    """Nothing that is counted comes due by the time that has passed. An older program may lack some of it."""
    for name, constants in BY_THE_CLOCK.items():
        with contextlib.suppress(ImportError):
            module = importlib.import_module(name)
            for constant in constants:
                setattr(module, constant, LONG_S)


def cells(count: int) -> list[bench.Cell]:
    return bench.expand(depth=1, width=8, n_samples=16, seed=range(count), max_epochs=20, tau=0.1)


def for_each(measure: Callable[[int], int]) -> float:
    """What a cell adds to a measure of a run of so many cells."""
    measure(FEW)  # What is made once is made before.
    few, many = (min(measure(count) for _ in range(TRIES)) for count in (FEW, MANY))
    return (many - few) / (MANY - FEW)


def python_calls(engine: str) -> float:
    """Calls of functions, Python's and C's, of a run into a folder."""

    def calls(count: int) -> int:
        made = 0

        def note(frame, event, argument):
            nonlocal made
            made += event in ("call", "c_call")

        with tempfile.TemporaryDirectory() as folder:
            threading.setprofile(note)
            sys.setprofile(note)
            try:
                bench.run(cells(count), run_dir=Path(folder) / "run", threads=1, engine=engine)
            finally:
                sys.setprofile(None)
                threading.setprofile(None)
        return made

    return for_each(calls)


def bytes_held() -> float:
    """Of Python's memory, at most at any time, its results included."""

    def held(count: int) -> int:
        gc.collect()
        tracemalloc.start()
        try:
            # On one thread of Python, so that what waits beside a cell is the same each time.
            bench.run(cells(count), threads=1, engine="torch")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    return for_each(held)


def default_packs() -> Iterator[tuple[str, str, float]]:
    """The default grid as the torch engine deals it."""
    from bench.commands.line import compose
    from bench.engines.packs import plan
    from bench.engines.torch_engine import TorchEngine

    engine = TorchEngine("cpu")
    (settings,) = compose("config", ["grid=default"])
    packs = plan(settings.cells, kind=engine.kind, slots=engine.slots, workers=2)
    numbers = [(engine.kind(cell), cell) for pack in packs for cell in pack.cells]
    padded = sum(kind.width * kind.room for kind, _ in numbers) / sum(cell.width * cell.n_samples for _, cell in numbers)
    yield "packs of the default grid", "packs", len(packs)
    yield "activations with padding over those without, default grid", "1", padded


def slices() -> Iterator[tuple[str, str, float]]:
    """The CUDA engine's host on a device that trains nothing."""
    from bench.engines.cuda.engine import CudaEngine
    from bench.engines.packs import plan
    from tests.engines.idle_device import IdleDevice

    class Counting(IdleDevice):
        waits = kernels = 0

        def wait(self):
            self.waits += 1
            super().wait()

        def start(self, tasks, launches, length_s):
            self.kernels += len(launches)
            super().start(tasks, launches, length_s)

    device = Counting(epochs=40, halved=3)
    engine = CudaEngine([device])
    own = bench.expand(depth=[1, 2], width=[8, 16], n_samples=[16, 64], seed=range(100), max_epochs=400, tau=0.01)
    for pack in plan(own, kind=engine.kind, slots=engine.slots, workers=1):
        for _ in engine.train(pack):
            pass
    yield "kernels launched for each slice", "kernels", device.kernels / device.slices
    yield "waits of the host for each slice", "waits", device.waits / device.slices


def main() -> None:
    def one(name: str, unit: str, count: Callable[[], float]) -> Callable[[], Iterator[tuple[str, str, float]]]:
        return lambda: iter([(name, unit, count())])

    every = {
        "calls": one("Python calls for each cell, native engine", "calls", lambda: python_calls("native")),
        "torch calls": one("Python calls for each cell, torch engine", "calls", lambda: python_calls("torch")),
        "bytes": one("bytes held for each cell", "bytes", bytes_held),
        "packs": default_packs,
        "slices": slices,
    }
    stop_the_clock()
    for name, count in every.items():
        try:
            for found, unit, value in count():
                print(json.dumps({"name": found, "unit": unit, "value": value}), flush=True)
        except Exception as error:  # An older program may lack what is asked; the others are still worth having.
            print(json.dumps({"name": name, "error": f"{type(error).__name__}: {error}"}), flush=True)


if __name__ == "__main__":
    main()
