"""Which kernel trains a cell: a function of the cell and of the chip's memory alone, so that neighbours do not enter."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bench.engines.cuda.ways import Way
from bench.protocol.cells import Cell, Dtype

WARP = 32

# Samples that a block of threads keeps on chip, of the forward pass and the backward one: the most that fit.
BLOCKS = (64, 32, 16)

# From this width on there are outputs enough that tiles of twice the rows keep all threads at work. But where a multiprocessor
# has room for so many blocks of threads it is faster with them, for whose registers tiles have to be narrow.
WIDE, MANY = 64, 4

# Samples of a row that a thread owns, and that a warp's tensor cores have beside one another at most.
COLUMNS, SPAN = 4, 32

# Rows of narrow and wide tiles, of a thread and of a warp's tensor cores.
FMA_ROWS, TENSOR_ROWS = (4, 8), (16, 32)

# The most threads in a block, and in one of several that share a multiprocessor's registers, which narrow tiles leave for so
# many: with a third more threads than spill nothing an H200 was faster, though some registers are spilled beside the products.
THREADS, SHARING_THREADS, SHARED_REGISTERS_THREADS = 256, 128, 512

# Shared memory of a multiprocessor that most chips have; one with less has room for fewer blocks than is taken here.
SHARED_BYTES = 228 << 10

# What kernels do before numbers are needed that lie far away (fused/block_threads.h): nothing (0), asking for them (1),
# fetching the weights of the next step as well (2), for which narrow tiles and float64 lack the registers. Results are the
# same. On an H100 2 is the fastest for wide tiles (on tensor cores 1.3 times as fast as 0), and 1 makes 5 % at most for others.
AHEAD = 2

# What C++ calls the numbers that multiply-adds take.
REALS = {"float32": "float", "float64": "double"}

# Products of heads and tails that make up one on tensor cores, by dtype (fused/tensor_tiles.h).
PASSES: dict[Dtype, int] = {"tf32": 1, "float32": 3}


class Kernel(NamedTuple):
    """One way to compile fused/kernels.cu.

    Samples in a block, rows of a tile (which is a thread's, on tensor cores a warp's), and where products are made.
    """

    dtype: Dtype
    block: int
    rows: int
    tensor_cores: bool = False

    @property
    def name(self) -> str:
        """Of files and tests."""
        return f"{self.dtype}-{self.block}-{self.rows}{'-tensor' * self.tensor_cores}"

    @property
    def way(self) -> Way:
        """How it makes products (`ways`)."""
        return "3xtf32" if self.tensor_cores and self.dtype == "float32" else self.dtype

    @property
    def threads(self) -> int:
        """The most threads in a block."""
        return THREADS

    @property
    def shares_registers(self) -> bool:
        """Whether a multiprocessor's registers are for several blocks."""
        return self.dtype != "float64" and self.rows in (FMA_ROWS[0], TENSOR_ROWS[0])

    @property
    def resident_threads(self) -> int:
        """Threads that a multiprocessor's registers shall hold, in one block or several: with more some registers spill."""
        return SHARED_REGISTERS_THREADS if self.shares_registers else THREADS

    @property
    def ahead(self) -> int:
        """See AHEAD."""
        return min(AHEAD, 1) if self.shares_registers or self.dtype == "float64" else AHEAD

    @property
    def tiles(self) -> str:
        """The type of fused/*_tiles.h that makes its products."""
        if self.tensor_cores:
            return f"TensorTiles<{self.block}, {self.rows}, {PASSES[self.dtype]}>"
        return f"BlockTiles<{REALS[self.dtype]}, {self.block}, {self.rows}>"

    @property
    def macros(self) -> dict[str, str]:
        """What kernels.cu is compiled with, but for the size of a task."""
        return {
            "MEMCAP_TILES": self.tiles,
            "MEMCAP_THREADS": str(self.resident_threads),
            "MEMCAP_AHEAD": str(self.ahead),
        }


TILES: tuple[tuple[Dtype, int, bool], ...] = (
    *(("float32", rows, False) for rows in FMA_ROWS),
    ("float64", FMA_ROWS[0], False),
    *((dtype, rows, True) for dtype in PASSES for rows in TENSOR_ROWS),
)
KERNELS = tuple(Kernel(dtype, block, rows, tensor_cores) for dtype, rows, tensor_cores in TILES for block in BLOCKS)


class Sizes(NamedTuple):
    """What a cell takes under a kernel.

    Bytes of memory of its own, bytes of scratch on chip for each block that trains it, and how many blocks could share its
    samples.
    """

    memory: int
    scratch: int
    shares: int


def kernels_for(cell: Cell, *, tensor_cores: bool = False) -> list[Kernel]:
    """The kernels that could train the cell, in the order of preference: the first whose scratch fits on chip does.

    `tensor_cores` makes float32 products there too, three for one (3xTF32); tf32 is made nowhere else, float64 never.
    """
    on_tensor_cores = cell.dtype == "tf32" or (tensor_cores and cell.dtype == "float32")
    narrow, wide = TENSOR_ROWS if on_tensor_cores else FMA_ROWS
    kernels = []
    for block in [block for block in BLOCKS if block < 2 * cell.n_samples] or [BLOCKS[-1]]:
        kernel = Kernel(cell.dtype, block, wide, on_tensor_cores)
        places = blocks_beside(cell, block)
        lacks_warps = places == 1 and threads_for(cell, kernel) < THREADS
        if cell.width < WIDE or not cell.depth or cell.dtype == "float64" or places >= MANY or lacks_warps:
            kernel = kernel._replace(rows=narrow)
        kernels.append(kernel)
    return kernels


def blocks_beside(cell: Cell, block: int) -> int:
    """Blocks of threads whose activations a multiprocessor's shared memory holds beside one another; at least one.

    >>> [blocks_beside(Cell(width=64, depth=depth), 64) for depth in (2, 4, 8)]
    [6, 3, 1]
    """
    kept = 1 + (cell.activation in ("gelu", "silu")) + (cell.dropout > 0)
    layers = cell.depth * kept + (0 if cell.activation == "relu" else 2)
    itemsize = np.dtype(cell.storage).itemsize
    return max(1, SHARED_BYTES // max(1, layers * cell.width * (block + COLUMNS) * itemsize))


def threads_for(cell: Cell, kernel: Kernel) -> int:
    """Threads for the tiles of a layer's outputs, in whole warps, as many as blocks beside it leave.

    >>> threads_for(Cell(width=16), Kernel("float32", 64, 4))
    64
    >>> threads_for(Cell(width=16), Kernel("tf32", 64, 16, tensor_cores=True))
    64
    >>> [threads_for(Cell(width=64, depth=depth), Kernel("float32", 64, 4)) for depth in (4, 8)]
    [128, 256]
    """
    most = SHARING_THREADS if kernel.shares_registers and blocks_beside(cell, kernel.block) > 1 else THREADS
    down = -(-cell.width // kernel.rows)
    if kernel.tensor_cores:
        return min(most, WARP * down * max(1, kernel.block // SPAN))
    tiles = down * (kernel.block // COLUMNS)
    return min(most, -(-tiles // WARP) * WARP)
