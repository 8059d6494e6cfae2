"""A model of what bounds a cell on a chip: places, cycles and bytes per epoch, from shapes and compiled kernels alone.

`python -m bench.engines.cuda.occupancy sm_90` prints it for widths 16 to 128, depths 1 to 8, 256 to 4096 samples; with `3xtf32`
or `tf32` after the chip for products on its tensor cores. No measurement has checked it yet: it is there to compare shapes and
ways to write the kernels, and to be compared with the first profile.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bench.engines.cuda.compiler import Resources, compile_kernel, resources
from bench.engines.cuda.tiles import PASSES, SPAN, WARP, Kernel, Sizes, kernels_for, threads_for
from bench.engines.packs import epoch_flops
from bench.engines.task import DTYPES, spec_of
from bench.protocol.cells import Cell, Dtype
from bench.protocol.networks import layer_sizes, n_params


class Chip(NamedTuple):
    """A multiprocessor's limits, of the CUDA C++ Programming Guide, "Technical Specifications per Compute Capability"."""

    arch: str
    multiprocessors: int
    shared_bytes: int  # of a multiprocessor
    block_bytes: int  # of one block at most
    l1_bytes: int  # of the nearest cache where as much as can be is shared memory
    registers: int
    threads: int
    blocks: int
    fmas: int  # multiply-adds of float32 that a multiprocessor starts in a cycle
    tensor_fmas: float  # of TF32, on its tensor cores, by mma.sync
    l2_bytes: int
    hbm_bytes: float  # that a multiprocessor's part of the memory's bandwidth moves in a cycle


# Hopper's mma.sync reaches 62 % of what its data sheet says, which its larger instructions do (Luo et al. 2024,
# arXiv:2402.13499). A B200's is taken to do as many as that in a cycle: of it nothing is known here.
MMA_SYNC = 0.62

# An A100 (SXM, 40 GB), an H100 (SXM), a B200: as their vendor's data sheets and white papers say; a B200's L2 cache and
# bandwidth as its driver does (github.com/pytorch/ao/pull/4002). Bandwidths in GB/s by clocks in GHz and multiprocessors.
CHIPS = (
    Chip("sm_80", 108, 164 << 10, 163 << 10, 28 << 10, 1 << 16, 2048, 32, 64, 512, 40 << 20, 1555 / 1.41 / 108),
    Chip("sm_90", 132, 228 << 10, 227 << 10, 28 << 10, 1 << 16, 2048, 32, 128, MMA_SYNC * 1024, 50 << 20, 3350 / 1.98 / 132),
    Chip("sm_100", 148, 228 << 10, 227 << 10, 28 << 10, 1 << 16, 2048, 32, 128, MMA_SYNC * 1024, 126 << 20, 7672 / 1.965 / 148),
)

# Shared memory that the system keeps of each block's.
SYSTEM_BYTES = 1 << 10

# Registers are given out to a warp in units of so many.
REGISTER_UNIT = 256

# Parts of a multiprocessor that start an instruction of a warp each in a cycle.
SCHEDULERS = 4

# Cycles until a number is there: from shared memory, from the nearest cache, from the next (Luo et al. 2024,
# arXiv:2402.13499); until a sum can be added to again, and one on tensor cores; and, about, until all threads of a block are
# past a barrier.
SHARED, L1, L2, ADD, MMA, SHUFFLE, BARRIER = 29, 41, 263, 4, 33, 30, 30

# The path to shared memory and the nearest cache takes so many cycles for a warp's load of 16 bytes a thread, of 8 and of 4;
# where neighbouring threads read the same place, half as many for 16 (developer forum of NVIDIA, threads 77228 and 373160).
WAVES_16, WAVES_16_SAME, WAVES_8, WAVES_4 = 4, 2, 2, 1

# Bytes that the nearest cache takes in at once: whoever reads on finds them there.
SECTOR_BYTES = 32

# Numbers that the tiles read at once, and terms that a tensor core adds.
FOUR, EIGHT = 4, 8

# Instructions of a step that count and address, about.
LOOP = 6

# Instructions that make of a factor what tensor cores take of it, by how many products stand for one, as found in machine
# code: an instruction that rounds to TF32 is three, and tails take a cut and a difference.
SPLITTING = {1: 3, 3: 3}

# What fused/block_tiles.h, tensor_tiles.h and core.h do, as machine code has it: outputs that a step of `back` takes, numbers
# of the gradient that a thread fetches at once, quads of numbers that `single` and sums of biases do, numbers that an update
# does.
BACK_TERMS, GRADIENT_NUMBERS, QUADS, UPDATE_NUMBERS = 4, 8, 4, 4

# What the command line calls products on tensor cores: the dtype of cells, and whether float32 goes there.
WAYS: dict[str, tuple[Dtype, bool]] = {"fma": ("float32", False), "3xtf32": ("float32", True), "tf32": ("tf32", True)}

# Adam reads parameters, gradient and two moments and writes three of them; the gradient is cleared. For a number it takes so
# many instructions, with a division and a root among them.
UPDATE_ACCESSES, UPDATE_INSTRUCTIONS = 8, 60


class Step(NamedTuple):
    """A step of a tile's innermost loop, for a warp: its instructions that multiply and add, the others, and what it reads.

    `waves` are cycles of the path to shared memory and L1, `latency` those until its numbers are there, `least` those that sums
    wait for one another.
    """

    adds: float
    others: float
    waves: float
    latency: float
    least: float = 0.0


class Phase(NamedTuple):
    """What a block does from one barrier to the next: tiles of `count` steps, in rounds where they are more than places.

    A place is a thread, `per_warp` of them in a warp, or, on tensor cores, a warp. `start` cycles of a tile go before its first
    step or after its last. `ahead` says that numbers from beyond shared memory are fetched while the step before is at work.
    """

    name: str
    tiles: int
    places: int
    per_warp: int
    count: int
    step: Step
    add_cycles: float  # that the multiprocessor takes for a warp's instruction of `adds`
    start: float = 0.0
    ahead: bool = False

    def bounds(self, blocks: int) -> dict[str, float]:
        """Cycles of the multiprocessor for one cell at least, by what they are for, with so many cells at the same phase."""
        steps = -(-self.tiles // self.per_warp) * self.count
        warps = -(-min(self.tiles, self.places) // self.per_warp)
        adds, issue = self.step.adds * self.add_cycles, (self.step.adds + self.step.others) / SCHEDULERS
        # Warps of one scheduler wait for one another, whether or not the others' have work.
        own = max(max(adds, issue) * SCHEDULERS * -(-warps // SCHEDULERS), self.step.waves * warps, self.step.least)
        in_turn = max(self.step.latency, SHARED + own) if self.ahead else self.step.latency + own
        chain = -(-self.tiles // self.places) * (self.start + self.ahead * self.step.latency + self.count * in_turn) + BARRIER
        return {
            "products": steps * adds,
            "instructions": steps * issue,
            "shared memory": steps * self.step.waves,
            "latency": chain / blocks,
        }


def phases(cell: Cell, kernel: Kernel, samples: int, chip: Chip, weights_at: float, gradients_at: float) -> Iterator[Phase]:
    """Of one block of `samples` samples; `weights_at` and `gradients_at` are how long the first of a sector's numbers take."""
    threads, doubled = threads_for(cell, kernel), np.dtype(cell.storage).itemsize // 4
    a_quad = L1 + (weights_at - L1) * min(1, FOUR * 4 * doubled / SECTOR_BYTES)
    by_thread = functools.partial(Phase, places=threads, per_warp=WARP, add_cycles=doubled * WARP / chip.fmas)
    by_warp = functools.partial(Phase, places=threads // WARP, per_warp=1, add_cycles=16 * 8 * 8 / chip.tensor_fmas)
    rows = FOUR if kernel.tensor_cores else kernel.rows
    quads, apart, same = -(-samples // FOUR), WAVES_16 * doubled, WAVES_16_SAME * doubled
    passes = PASSES.get(kernel.dtype, 1)
    tall, wide = kernel.rows // 16, min(SPAN, kernel.block) // EIGHT
    fetching = {"ahead": kernel.ahead == 2}

    def tensor_step(products: int, reads: float, waves: float, selects: int, latency: float) -> Step:
        split = products * (4 * tall + 2 * wide) * SPLITTING[passes]
        adds = products * tall * wide * passes
        return Step(adds, split + reads + selects + LOOP, waves, latency, products * passes * MMA)

    # Inputs and targets are brought on chip; residuals are made, squared and scaled.
    yield by_thread("rest", tiles=threads, count=1, step=Step(0, 0, 0, 2 * L2 + 5 * (SHARED + BARRIER)))
    for layer, (outputs, inputs) in enumerate(layer_sizes(cell)):
        fan_in = -(-inputs // FOUR)
        # Tiles of a layer's outputs and of its inputs; those of neighbouring threads go by two.
        down, up = (2 * -(-units // (2 * rows)) for units in (outputs, inputs))
        unit_parts = max(1, kernel.block // (FOUR * rows))
        if outputs == 1:
            parts = power_below(inputs // (FOUR * rows), WARP)
            step = Step(QUADS * FOUR, 2 * QUADS * FOUR + LOOP, 2 * QUADS * FOUR * WAVES_4 * doubled, a_quad, QUADS * ADD)
            count = -(-fan_in // (parts * QUADS))
            yield by_thread("readout", tiles=samples * parts, count=count, step=step, start=L2 + tree(parts))
            step = Step(FOUR, 2 + LOOP, 2 * apart, SHARED, FOUR * ADD)
            start = gradients_at + tree(unit_parts)
            yield by_thread("readout", tiles=inputs * unit_parts, count=-(-quads // unit_parts), step=step, start=start)
            bias_parts = kernel.block // FOUR
        elif kernel.tensor_cores:
            tiles = -(-outputs // kernel.rows) * -(-samples // SPAN)
            step = tensor_step(1, 2 * tall + 2, 2 * tall * WAVES_8 + 2 * WAVES_16, 0, weights_at)
            yield by_warp("affine", tiles=tiles, count=-(-inputs // EIGHT), step=step, start=L2, **fetching)
            reads = 2 * tall + wide
            step = tensor_step(2, reads, reads * WAVES_16, 4 * reads, SHARED)
            tiles = -(-outputs // kernel.rows) * -(-inputs // (EIGHT * wide))
            start = gradients_at * 16 * tall / GRADIENT_NUMBERS
            yield by_warp("outer", tiles=tiles, count=-(-samples // 16), step=step, start=start)
            bias_parts = unit_parts
        else:
            step = Step(16 * rows, rows + FOUR + LOOP, (rows + FOUR) * same, a_quad)
            yield by_thread("affine", tiles=down * quads, count=fan_in, step=step, start=L2, **fetching)
            parts = power_below(kernel.block // FOUR // fan_in, kernel.block // FOUR)
            step = Step(16 * rows, rows + FOUR + LOOP, (rows + FOUR) * same, SHARED)
            start = gradients_at * -(-FOUR * rows // (parts * GRADIENT_NUMBERS)) + tree(parts)
            yield by_thread("outer", tiles=down * fan_in * parts, count=-(-quads // parts), step=step, start=start)
            bias_parts = unit_parts
        own = -(-quads // bias_parts)
        step = Step(0, own * (1 + FOUR) + LOOP, own * apart, SHARED, own * ADD)
        yield by_thread("bias", tiles=outputs * bias_parts, count=1, step=step, start=gradients_at + tree(bias_parts))
        if not layer:
            continue
        if kernel.tensor_cores and outputs > 1:
            step = tensor_step(1, 2 * tall + 2, 2 * tall * WAVES_8 + 2 * WAVES_16, 4 * tall, weights_at)
            tiles = -(-inputs // kernel.rows) * -(-samples // SPAN)
            yield by_warp("back", tiles=tiles, count=-(-outputs // EIGHT), step=step, start=SHARED, **fetching)
        else:
            terms = min(outputs, BACK_TERMS)
            reads = terms * (1 + rows // FOUR)
            step = Step(4 * rows * terms, reads + LOOP, reads * same, weights_at)
            yield by_thread("back", tiles=up * quads, count=-(-outputs // terms), step=step, start=SHARED, **fetching)


def power_below(x: int, most: int) -> int:
    """The largest power of two that is not above x, at least 1 and at most `most`."""
    return min(most, 1 << max(0, x.bit_length() - 1))


def tree(parts: int) -> int:
    """Cycles to add the parts of a sum that lanes of a warp have."""
    return (parts.bit_length() - 1) * SHUFFLE


class Bound(NamedTuple):
    """What limits a cell: blocks on a multiprocessor and by which resource, warps, and where its time goes.

    `cycles` are those that a multiprocessor spends on an epoch of one cell, by phase and what bounds it, were all cells
    there at the same phase; `hbm_cycles` those that its memory takes beside them, where parameters and gradients of all
    resident cells are more than the L2 cache holds. `memory_bytes` go to and from the caches beyond: weights twice, the
    gradient to and fro for each block of samples, an update's arrays once.
    """

    blocks: int
    limited_by: str
    warps: int
    cycles: dict[tuple[str, str], float]
    hbm_cycles: float
    memory_bytes: int

    @property
    def total_cycles(self) -> float:
        return max(sum(self.cycles.values()), self.hbm_cycles)

    @property
    def bound_by(self) -> str:
        """The phase that takes longest, and what bounds it there; or the memory."""
        if self.hbm_cycles >= sum(self.cycles.values()):
            return "HBM"
        return ": ".join(max(self.cycles, key=self.cycles.__getitem__))


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
    numbers, samples = n_params(cell), cell.n_samples
    n_bytes = np.dtype(cell.storage).itemsize * numbers
    weights_at, gradients_at = (L1 if arrays * blocks * n_bytes <= chip.l1_bytes else L2 for arrays in (1, 2))
    cycles: dict[tuple[str, str], float] = {}

    def spend(phase: Phase, times: int) -> None:
        by = phase.bounds(blocks)
        bound = max(by, key=by.__getitem__)
        key = phase.name, bound
        cycles[key] = cycles.get(key, 0.0) + times * by[bound]

    whole, left = divmod(samples, kernel.block)
    for count, times in ((kernel.block, whole), (left, 1)):
        for phase in phases(cell, kernel, count, chip, weights_at, gradients_at) if count else ():
            spend(phase, times)
    # Squares of each share are summed by halves, those of all shares by every thread; words and barriers of a team.
    halves = kernel.block.bit_length() * (SHARED + BARRIER)
    spend(Phase("rest", threads, threads, WARP, 1, Step(0, 0, 0, sizes.shares * (halves + L2) + 4 * L2), 0), 1)
    step = Step(0, UPDATE_INSTRUCTIONS * UPDATE_NUMBERS, UPDATE_ACCESSES * WAVES_16, L2)
    spend(Phase("update", -(-numbers // UPDATE_NUMBERS), threads, WARP, 1, step, 0), 1)
    traffic, update = 4 * (whole + (left > 0)) * n_bytes, UPDATE_ACCESSES * n_bytes
    resident = blocks * chip.multiprocessors * n_bytes
    # Of what is more than the cache, the part that it lacks comes from beyond.
    missing = {arrays: max(0.0, 1 - chip.l2_bytes / (arrays * resident)) for arrays in (2, 4)}
    hbm_cycles = (missing[2] * traffic + missing[4] * update) / chip.hbm_bytes
    return Bound(blocks, limited_by, warps * blocks, cycles, hbm_cycles, traffic + update)


def peak_cycles(cell: Cell, chip: Chip) -> float:
    """Of a multiprocessor for the useful multiply-adds of an epoch, at the rate of float32 without tensor cores."""
    return epoch_flops(cell) / 2 / chip.fmas


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
    print(
        "width depth samples  block rows threads  blocks  limited by     warps  of the FMA peak  "
        "bound by                 bytes/FLOP"
    )
    for width, depth, n_samples in itertools.product((16, 32, 64, 128), (1, 2, 4, 8), (256, 1024, 4096)):
        cell = Cell(width=width, depth=depth, n_samples=n_samples, dtype=dtype)
        for kernel in kernels_for(cell, tensor_cores=tensor_cores):
            which = (DTYPES.index(kernel.dtype), kernel.block, kernel.rows, kernel.tensor_cores)
            sizes = Sizes(*_native.block_measure(*which, bytes(spec_of(cell, variance=1.0))))
            if sizes.scratch + compiled(kernel).static_shared_bytes <= chip.block_bytes:
                break
        bound = bound_of(cell, kernel, sizes, compiled(kernel), chip)
        print(
            f"{width:5} {depth:5} {n_samples:7}  {kernel.block:5} {kernel.rows:4} {threads_for(cell, kernel):7}  "
            f"{bound.blocks:6}  {bound.limited_by:13} {bound.warps:6}  {peak_cycles(cell, chip) / bound.total_cycles:15.2f}  "
            f"{bound.bound_by:24} {bound.memory_bytes / epoch_flops(cell):10.4f}"
        )


if __name__ == "__main__":
    main(*(sys.argv[1:] + ["sm_90", "fma"][len(sys.argv) - 1 :]))
