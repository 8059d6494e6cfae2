"""A model of what bounds a cell on a chip: places, bytes and FLOPs per epoch, from shapes and compiled kernels alone.

`python -m bench.engines.cuda.occupancy sm_90` prints it for widths 16 to 128, depths 1 to 8, 256 to 4096 samples; with `3xtf32`
or `tf32` after the chip for products on its tensor cores.
"""

from __future__ import annotations

import functools
import itertools
import sys
from typing import NamedTuple

import numpy as np

from bench.engines.cuda.compiler import Resources, compile_kernel, resources
from bench.engines.cuda.tiles import COLUMNS, PASSES, SPAN, WARP, Kernel, Sizes, kernels_for, threads_for
from bench.engines.packs import epoch_flops
from bench.engines.task import DTYPES, spec_of
from bench.protocol.cells import Cell, Dtype
from bench.protocol.networks import forward_macs, n_params


class Chip(NamedTuple):
    """A multiprocessor's limits, of the CUDA C++ Programming Guide, "Technical Specifications per Compute Capability"."""

    arch: str
    multiprocessors: int
    shared_bytes: int  # of a multiprocessor
    block_bytes: int  # of one block at most
    registers: int
    threads: int
    blocks: int
    fmas: int  # multiply-adds of float32 that a multiprocessor starts in a cycle
    tensor_fmas: int  # of TF32, on its tensor cores, as the dense rate and the clock of the same sheets say


# An A100 (SXM), an H100 (SXM), a B200: multiprocessors as their vendor's data sheets and white papers say.
CHIPS = (
    Chip("sm_80", 108, 164 << 10, 163 << 10, 1 << 16, 2048, 32, 64, 512),
    Chip("sm_90", 132, 228 << 10, 227 << 10, 1 << 16, 2048, 32, 128, 1024),
    Chip("sm_100", 148, 228 << 10, 227 << 10, 1 << 16, 2048, 32, 128, 2048),
)

# Shared memory that the system keeps of each block's.
SYSTEM_BYTES = 1 << 10

# Registers are given out to a warp in units of so many.
REGISTER_UNIT = 256

# A multiprocessor reads so many bytes of its shared memory in a cycle.
SHARED_BYTES_PER_CYCLE = 128

# Instructions that make of a factor what tensor cores take of it, by how many products stand for one: two to round it to its
# head, one more for the tail, and one to cut that.
SPLITTING = {1: 2, 3: 4}

# What the command line calls products on tensor cores: the dtype of cells, and whether float32 goes there.
WAYS: dict[str, tuple[Dtype, bool]] = {"fma": ("float32", False), "3xtf32": ("float32", True), "tf32": ("tf32", True)}

# Adam reads parameters, gradient and two moments and writes three of them; the gradient is cleared.
UPDATE_ACCESSES = 8


class Bound(NamedTuple):
    """What limits a cell: blocks on a multiprocessor and by which resource, warps, cycles of each unit for its products.

    Cycles are of one multiprocessor per epoch of one cell, were it alone and all its tiles full: arithmetic of the products,
    instructions that split their factors for tensor cores, and traffic of the factors through shared memory at the tile's size.
    The largest bounds it from below. On tensor cores the bound cannot be reached: data sheets give rates of larger
    instructions than mma.sync, and conversions may be slower than multiply-adds, as whose they are counted. `memory_bytes` go
    to and from the caches beyond: weights twice, the gradient to and fro for each block of samples, an update's arrays once.
    """

    blocks: int
    limited_by: str
    warps: int
    product_cycles: float
    splitting_cycles: float
    shared_cycles: float
    memory_bytes: int

    @property
    def bound_by(self) -> str:
        cycles = {"products": self.product_cycles, "splitting": self.splitting_cycles, "shared memory": self.shared_cycles}
        return max(cycles, key=cycles.__getitem__)


def bound_of(cell: Cell, kernel: Kernel, sizes: Sizes, used: Resources, chip: Chip) -> Bound:
    """The model's answer; `used` is what the compiled kernel takes."""
    threads = threads_for(cell, kernel)
    warps = threads // WARP
    limits = {
        "shared memory": chip.shared_bytes // (sizes.scratch + used.static_shared_bytes + SYSTEM_BYTES),
        "registers": chip.registers // (-(-used.registers * WARP // REGISTER_UNIT) * REGISTER_UNIT * warps),
        "threads": chip.threads // threads,
        "blocks": chip.blocks,
    }
    limited_by = min(limits, key=limits.__getitem__)
    blocks = limits[limited_by]
    itemsize = np.dtype(cell.storage).itemsize
    products = 3 * cell.n_samples * forward_macs(cell)
    # A warp reads so many factors for so many products.
    if kernel.tensor_cores:
        span = min(SPAN, kernel.block)
        read, made = kernel.rows + span, kernel.rows * span
        product_cycles = products * PASSES[kernel.dtype] / chip.tensor_fmas
        splitting_cycles = products / made * read * SPLITTING[PASSES[kernel.dtype]] / chip.fmas
    else:
        # A thread reads `rows` and COLUMNS; lanes of a warp share what they read in rows of block / COLUMNS threads.
        across = min(WARP, kernel.block // COLUMNS)
        read, made = COLUMNS * across + kernel.rows * (WARP // across), kernel.rows * COLUMNS * WARP
        product_cycles, splitting_cycles = products / chip.fmas * (itemsize // 4), 0.0
    shared_cycles = products / made * itemsize * read / SHARED_BYTES_PER_CYCLE
    memory_bytes = itemsize * n_params(cell) * (4 * -(-cell.n_samples // kernel.block) + UPDATE_ACCESSES)
    return Bound(blocks, limited_by, blocks * warps, product_cycles, splitting_cycles, shared_cycles, memory_bytes)


def main(arch: str, way: str) -> None:
    """Print the model's answers for an architecture of CHIPS and one of WAYS."""
    from bench.engines import _native

    chips = {chip.arch: chip for chip in CHIPS}
    if arch not in chips:
        sys.exit(f"occupancy: {arch} is not a chip of the model; choose from: {', '.join(chips)}")
    chip = chips[arch]
    compiled = functools.cache(lambda kernel: resources(compile_kernel(kernel, arch).log))
    if way not in WAYS:
        sys.exit(f"occupancy: {way} is not a way to make products; choose from: {', '.join(WAYS)}")
    dtype, tensor_cores = WAYS[way]
    print("width depth samples  block rows threads  blocks  limited by     warps  bound by       of the FMA peak  bytes/FLOP")
    for width, depth, n_samples in itertools.product((16, 32, 64, 128), (1, 2, 4, 8), (256, 1024, 4096)):
        cell = Cell(width=width, depth=depth, n_samples=n_samples, dtype=dtype)
        for kernel in kernels_for(cell, tensor_cores=tensor_cores):
            which = (DTYPES.index(kernel.dtype), kernel.block, kernel.rows, kernel.tensor_cores)
            sizes = Sizes(*_native.block_measure(*which, bytes(spec_of(cell, variance=1.0))))
            if sizes.scratch + compiled(kernel).static_shared_bytes <= chip.block_bytes:
                break
        bound = bound_of(cell, kernel, sizes, compiled(kernel), chip)
        slowest = max(bound.product_cycles, bound.splitting_cycles, bound.shared_cycles)
        print(
            f"{width:5} {depth:5} {n_samples:7}  {kernel.block:5} {kernel.rows:4} {threads_for(cell, kernel):7}  "
            f"{bound.blocks:6}  {bound.limited_by:13} {bound.warps:6}  {bound.bound_by:13} "
            f"{epoch_flops(cell) / 2 / chip.fmas / slowest:16.2f} {bound.memory_bytes / epoch_flops(cell):11.4f}"
        )


if __name__ == "__main__":
    main(*(sys.argv[1:] + ["sm_90", "fma"][len(sys.argv) - 1 :]))
