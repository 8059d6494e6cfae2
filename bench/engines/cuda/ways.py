"""Ways to make a cell's products on a chip, and which one a cell takes there."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from bench.protocol.cells import Cell

# By multiply-adds (float32, float64), or on tensor cores (tf32, and 3xtf32: cells of float32, three products for one).
Way = Literal["float32", "3xtf32", "float64", "tf32"]
WAYS: tuple[Way, ...] = get_args(Way)

# How products of float32 are made: as the rule below says, or all in one way.
Products = Literal["auto", "fma", "3xtf32"]
PRODUCTS: tuple[Products, ...] = get_args(Products)


class Large(NamedTuple):
    """Networks of at least this depth and width, both."""

    depth: int
    width: int


# From these networks on three products on tensor cores take less time than one by multiply-adds, by architecture: sm_90 as
# measured on an H100, sm_80 as the model has it (`make occupancy`). Chips that are not here have too few tensor cores for it,
# or the model does not know them.
THREE_FOR_ONE = {"sm_80": Large(depth=2, width=16), "sm_90": Large(depth=2, width=16)}


def ways_for(cell: Cell, arch: str, products: Products = "auto") -> tuple[Way, ...]:
    """The ways that a cell can take on a chip, in the order of preference: a function of the cell and the chip alone.

    >>> ways_for(Cell(width=64, depth=4), "sm_90")
    ('3xtf32', 'float32')
    >>> ways_for(Cell(width=64, depth=4), "sm_90", "fma")
    ('float32',)
    """
    if cell.dtype != "float32":
        return (cell.dtype,)
    if products != "auto":
        return ("float32" if products == "fma" else "3xtf32",)
    least = THREE_FOR_ONE.get(arch)
    gains = least is not None and cell.depth >= least.depth and cell.width >= least.width
    return ("3xtf32", "float32") if gains else ("float32",)
