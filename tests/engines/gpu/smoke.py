"""A cell of every kernel on the GPU against engine=torch on the CPU: python -m tests.engines.gpu.smoke [--device cuda:0] [way ...].

Without names all ways, each in a process of its own: after an illegal access a process can launch nothing more.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable

import torch

from bench.engines.cuda.device import Device
from bench.engines.cuda.tiles import Kernel
from bench.engines.cuda.trust import EPOCHS, MEDIAN_EPOCH, TOLERANCES
from bench.engines.cuda.ways import WAYS, Way
from bench.engines.torch_engine import TorchEngine
from bench.protocol.cells import Cell, Dtype
from tests.engines.gpu.ways import OneKernel, dtype_of, engine_of, kernels_of
from tests.engines.training import train

STARTED = time.perf_counter()

# Samples beyond a block of them, so that there is a second one; widths on both sides of the wide tiles.
BEYOND, WIDTHS = 6, (13, 70)


def main(names: list[Way], device: str) -> int:
    """Exit status 1 where a kernel is wrong or fails."""
    if not names:
        children = {name: subprocess.Popen([sys.executable, "-m", __spec__.name, "--device", device, name]) for name in WAYS}
        failed = [name for name, child in children.items() if child.wait()]
        print("wrong or failed:", ", ".join(failed) or "none")
        return int(bool(failed))
    from bench.engines.cuda.gpu import gpus

    torch.set_num_threads(1)
    return int(sum(wrong(name, gpus(device)[0]) for name in names) > 0)


def wrong(name: Way, device: Device) -> int:
    """Train the cells of a way, each alone, and print a line for each; how many are wrong."""
    failures, kernels, dtype = 0, kernels_of(name), dtype_of(name)
    # The last alone is shared by a cluster of blocks, where the chip has them.
    cells = [(kernel, cell) for kernel in kernels for cell in cells_of(kernel, dtype)] + [(kernels[0], shared(dtype))]
    for kernel, cell in cells:
        try:
            said, right = held_against_torch(kernel, cell, device)
        except Exception:  # Whatever a driver raises: the other kernels are still worth having.
            said, right = f"failed\n{traceback.format_exc()}", False
        failures += not right
        shape = f"n={cell.n_samples:<5} w={cell.width:<3}"
        print(
            f"{time.perf_counter() - STARTED:6.1f} s  {'right' if right else 'WRONG'}  {name:8} {kernel.name:22} {shape} {said}",
            flush=True,
        )
    print(f"{name}: {len(cells) - failures} of {len(cells)} right", flush=True)
    return failures


def cells_of(kernel: Kernel, dtype: Dtype) -> Iterable[Cell]:
    """Cells that need all of a kernel's tiles, and part of some."""
    return (small(dtype, n_samples=kernel.block + BEYOND, width=width) for width in WIDTHS)


def shared(dtype: Dtype) -> Cell:
    """A cell that is worth several blocks."""
    return small(dtype, n_samples=1100, width=32)


def small(dtype: Dtype, *, n_samples: int, width: int) -> Cell:
    return Cell(n_samples=n_samples, width=width, depth=2, d_in=5, dtype=dtype, max_epochs=EPOCHS, tau=1e-9)


def held_against_torch(kernel: Kernel, cell: Cell, device: Device) -> tuple[str, bool]:
    """What a cell came to, and whether that is what PyTorch comes to on the CPU, but for rounding."""
    teams: list[int] = []
    start = device.start

    def noting(tasks, launches, length_s):
        teams.extend(launch.team for launch in launches)
        start(tasks, launches, length_s)

    device.start = noting
    try:
        (ours,) = train([cell], engine=engine_of(OneKernel(device, kernel))).values()
    finally:
        device.start = start
    (theirs,) = train([cell], engine=TorchEngine("cpu")).values()
    said = f"blocks {max(teams)} {ours.status} {ours.reason or ''}"
    if ours.status is not theirs.status or ours.epochs_run != theirs.epochs_run:
        return f"{said}, where torch ends as {theirs.status}", False
    apart = {a.epoch: abs(a.tau / b.tau - 1) for a, b in zip(ours.curve, theirs.curve, strict=True)}
    early, late = max(d for epoch, d in apart.items() if epoch <= MEDIAN_EPOCH), max(apart.values())
    # Losses that are not numbers are never right.
    return f"{said} {MEDIAN_EPOCH} epochs {early:.1e} all {late:.1e}", late <= TOLERANCES[kernel.way]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("ways", nargs="*", choices=[[], *WAYS])
    asked = parser.parse_args()
    sys.exit(main(asked.ways, asked.device))
