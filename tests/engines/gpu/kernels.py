"""Speeds of the kernels alone: slices on a full chip, no work of the host inside: python -m tests.engines.gpu.kernels [width,depth,samples ...].

Each shape by each way, with the kernel that the engine would choose for it.
"""

from __future__ import annotations

import argparse
import dataclasses
import time

from bench.engines.cuda.fits import Fits
from bench.engines.cuda.lane import Lane
from bench.engines.cuda.tiles import threads_for
from bench.engines.cuda.ways import WAYS, Way
from bench.engines.packs import epoch_flops
from bench.protocol.cells import Cell
from tests.engines.gpu.ways import dtype_of, fits_of

# What matters most comes first: time may run out.
SHAPES = [(width, depth, 1024) for width in (128, 64, 32, 16) for depth in (4, 8, 2, 1)]
SHAPES += [(width, 2, n_samples) for width in (128, 32) for n_samples in (256, 4096)]

# Of each kernel, in seconds; the fastest counts. The clock rises in the first.
SLICES_S = (0.03, 0.1, 0.1)


def main(shapes: list[tuple[int, int, int]], ways: list[Way], slices_s: list[float]) -> None:
    """Print a line for each shape and way as it is measured."""
    from bench.engines.cuda.gpu import gpus

    gpu = gpus("cuda:0")[0]
    peak = gpu.multiply_adds("float32")
    print(f"{gpu.name}: {peak:.0f} GFLOP/s of float32 multiply-adds", flush=True)
    print(
        "width depth samples  way      kernel                 threads  blocks    GFLOP/s  of peak  host us a cell", flush=True
    )
    for width, depth, n_samples in shapes:
        for way in ways:
            # Never memorized, never spent.
            cell = Cell(d_in=8, width=width, depth=depth, n_samples=n_samples, dtype=dtype_of(way), max_epochs=10**6, tau=1e-30)
            fits = fits_of(way, gpu)
            fit = fits.fit(cell)
            if fit is None:
                print(f"{width:5} {depth:5} {n_samples:7}  {way:8} does not fit on the chip", flush=True)
                continue
            threads = threads_for(cell, fit.kernel)
            places = gpu.teams(fit.kernel, threads, fit.sizes.scratch, 1)
            speed, host_s = measured(fits, cell, places, slices_s)
            print(
                f"{width:5} {depth:5} {n_samples:7}  {way:8} {fit.kernel.name:22} {threads:7} {places:7} {speed:10.0f} {speed / peak:8.2f} "
                f"{1e6 * host_s / places:15.0f}",
                flush=True,
            )


def measured(fits: Fits, cell: Cell, places: int, slices_s: list[float]) -> tuple[float, float]:
    """GFLOP/s of the fastest slice with a cell at every place, and the seconds in which the host prepared the cells."""
    began = time.perf_counter()
    cells = [dataclasses.replace(cell, init_seed=seed) for seed in range(places)]
    lane = Lane(fits, cells, "cuda", n_predictions=0, jacobian_rank=False, cores=0)
    while lane._ahead.batches:
        lane.admit()
    host_s = time.perf_counter() - began
    speeds = []
    for length_s in slices_s:
        lane.start(length_s)
        noted = lane.fetch()
        epochs = int(noted.counts.sum() - noted.ended.sum())
        speeds.append(epochs * epoch_flops(cell) / noted.time_s / 1e9)
    return max(speeds), host_s


def shape(text: str) -> tuple[int, int, int]:
    width, depth, n_samples = map(int, text.split(","))
    return width, depth, n_samples


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("shapes", nargs="*", type=shape, default=SHAPES)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["float32", "3xtf32", "tf32"])
    parser.add_argument("--slices", nargs="+", type=float, default=SLICES_S)
    asked = parser.parse_args()
    main(asked.shapes, asked.ways, asked.slices)
