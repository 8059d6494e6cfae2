"""Which kernel trains a cell: a function of the cell and of the chip's memory alone, so that neighbours do not enter."""

from __future__ import annotations

from typing import NamedTuple

from bench.cells import Cell

WARP = 32

# Samples that a block of threads keeps on chip, of the forward pass and the backward one: the most that fit.
BLOCKS = (64, 32, 16)

# From this width on a thread has enough outputs to keep eight rows of four in registers.
WIDE = 64

# Samples of a row that a thread owns.
COLUMNS = 4


class Kernel(NamedTuple):
    """One way to compile fused/kernels.cu: samples in a block, rows of a thread's tile, limits that decide on registers."""

    dtype: str
    block: int
    rows: int

    @property
    def threads(self) -> int:
        """The most threads in a block."""
        return 128 if self.dtype == "float32" and self.rows == 4 else 256

    @property
    def resident(self) -> int:
        """Blocks with so many threads that a multiprocessor's registers hold, at 255 a thread: with fewer some spill."""
        return 256 // self.threads

    @property
    def macros(self) -> dict[str, str]:
        """What kernels.cu is compiled with, but for the size of a task."""
        return {
            "MEMCAP_REAL": "float" if self.dtype == "float32" else "double",
            "MEMCAP_BLOCK": str(self.block),
            "MEMCAP_TM": str(self.rows),
            "MEMCAP_THREADS": str(self.threads),
            "MEMCAP_RESIDENT": str(self.resident),
        }


TILES = (("float32", 4), ("float32", 8), ("float64", 4))
KERNELS = tuple(Kernel(dtype, block, rows) for dtype, rows in TILES for block in BLOCKS)


class Sizes(NamedTuple):
    """What a cell takes under a kernel.

    Bytes of memory of its own, bytes of scratch on chip for each block that trains it, and how many blocks could share its
    samples.
    """

    memory: int
    scratch: int
    shares: int


def kernels_for(cell: Cell) -> list[Kernel]:
    """The kernels that could train the cell, in the order of preference: the first whose scratch fits on chip does."""
    rows = 8 if cell.width >= WIDE and cell.depth and cell.dtype == "float32" else 4
    blocks = [block for block in BLOCKS if block < 2 * cell.n_samples] or [BLOCKS[-1]]
    return [Kernel(cell.dtype, block, rows) for block in blocks]


def threads_for(cell: Cell, kernel: Kernel) -> int:
    """A thread for each tile of a layer's outputs, in whole warps, as many as the kernel allows.

    >>> threads_for(Cell(width=16), Kernel("float32", 64, 4))
    64
    """
    tiles = -(-cell.width // kernel.rows) * (kernel.block // COLUMNS)
    return min(kernel.threads, -(-tiles // WARP) * WARP)
