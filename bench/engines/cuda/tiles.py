"""Which kernel trains a cell: a function of the cell and of the chip's memory alone, so that neighbours do not enter."""

from __future__ import annotations

from typing import NamedTuple

from bench.engines.cuda.ways import Way
from bench.protocol.cells import Cell, Dtype

WARP = 32

# Samples that a block of threads keeps on chip, of the forward pass and the backward one: the most that fit.
BLOCKS = (64, 32, 16)

# From this width on there are outputs enough that tiles of twice the rows keep all threads at work.
WIDE = 64

# Samples of a row that a thread owns, and that a warp's tensor cores have beside one another at most.
COLUMNS, SPAN = 4, 32

# Rows of narrow and wide tiles, of a thread and of a warp's tensor cores.
FMA_ROWS, TENSOR_ROWS = (4, 8), (16, 32)

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
        return 128 if self.dtype != "float64" and self.rows in (FMA_ROWS[0], TENSOR_ROWS[0]) else 256

    @property
    def resident(self) -> int:
        """Blocks with so many threads that a multiprocessor's registers shall hold: with one more some spill."""
        return 3 if self.threads == 128 else 1

    @property
    def tiles(self) -> str:
        """The type of fused/*_tiles.h that makes its products."""
        if self.tensor_cores:
            return f"TensorTiles<{self.block}, {self.rows}, {PASSES[self.dtype]}>"
        return f"BlockTiles<{REALS[self.dtype]}, {self.block}, {self.rows}>"

    @property
    def macros(self) -> dict[str, str]:
        """What kernels.cu is compiled with, but for the size of a task."""
        return {"MEMCAP_TILES": self.tiles, "MEMCAP_THREADS": str(self.threads), "MEMCAP_RESIDENT": str(self.resident)}


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
    rows = wide if cell.width >= WIDE and cell.depth and cell.dtype != "float64" else narrow
    blocks = [block for block in BLOCKS if block < 2 * cell.n_samples] or [BLOCKS[-1]]
    return [Kernel(cell.dtype, block, rows, on_tensor_cores) for block in blocks]


def threads_for(cell: Cell, kernel: Kernel) -> int:
    """Threads for the tiles of a layer's outputs, in whole warps, as many as the kernel allows.

    >>> threads_for(Cell(width=16), Kernel("float32", 64, 4))
    64
    >>> threads_for(Cell(width=16), Kernel("tf32", 64, 16, tensor_cores=True))
    64
    """
    down = -(-cell.width // kernel.rows)
    if kernel.tensor_cores:
        return min(kernel.threads, WARP * down * max(1, kernel.block // SPAN))
    tiles = down * (kernel.block // COLUMNS)
    return min(kernel.threads, -(-tiles // WARP) * WARP)
