"""The native kernel alone, for callgrind to count its instructions: a process for each of SHAPES, which are forked from one.

python -m tests.perf.one_kernel prints a line for each: the shape, its useful FLOPs, and the process that trained it.
"""

from __future__ import annotations

import dataclasses
import os

from bench.engines.native_engine import NativeEngine
from bench.engines.packs import epoch_flops, plan
from bench.protocol.cells import Cell
from tests.perf.counted import stop_the_clock

# Width, depth, samples: small and large networks, few and many samples.
SHAPES = ((16, 1, 64), (16, 4, 256), (32, 2, 256), (64, 4, 256), (128, 1, 1024), (128, 4, 256))

# Useful FLOPs of each, about: some seconds under valgrind.
FLOPS = 2e8

# The build for AVX2: valgrind knows no AVX-512.
BUILD = "avx2"


def cell_of(shape: tuple[int, int, int]) -> Cell:
    """One that is never memorized, with as many epochs as FLOPS are."""
    width, depth, n_samples = shape
    cell = Cell(d_in=8, width=width, depth=depth, n_samples=n_samples, tau=1e-30)
    return dataclasses.replace(cell, max_epochs=max(1, round(FLOPS / epoch_flops(cell))))


def main() -> None:
    # To look at how far a cell is would count.
    stop_the_clock()
    for shape in SHAPES:
        cell = cell_of(shape)
        process = trained_apart(cell)
        named = f"width {cell.width}, depth {cell.depth}, {cell.n_samples} samples"
        print(named, cell.max_epochs * epoch_flops(cell), process, flush=True)


def trained_apart(cell: Cell) -> int:
    """Train a cell in a process of its own; the number of that."""
    process = os.fork()
    if not process:
        train(cell)
        os._exit(0)
    _, status = os.waitpid(process, 0)
    if status:
        raise SystemExit(f"{cell} ended with status {status}")
    return process


def train(cell: Cell) -> None:
    """By the engine, whose calls of the kernel are not the same in every version."""
    engine = NativeEngine(1, BUILD)
    for pack in plan([cell], kind=engine.kind, slots=engine.slots, workers=1):
        for _ in engine.train(pack):
            pass


if __name__ == "__main__":
    main()
