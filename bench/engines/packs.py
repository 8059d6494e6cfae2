"""Cells -> packs: what may train together, how many at a time, longest first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from operator import itemgetter
from typing import NamedTuple

from bench.protocol.cells import ORTHOGONAL, SECOND_ORDER, Cell
from bench.protocol.networks import forward_macs, layer_sizes, n_out, n_trained

# A training step does the multiply-accumulates of a forward pass three times (forward, to the weights, to the inputs), two
# FLOPs each.
FLOPS_PER_MAC = 6

# Of matrices that optimizer=muon makes about orthogonal: three in each of five iterations (`bench.engines.orthogonal`).
ORTHOGONAL_PRODUCTS = 15

# A pack holds up to this many times the cells that train at once: as one finishes, the next takes its place. More would leave
# the last workers idle while one of them works off a long pack.
CELLS_PER_SLOT = 4


class Pack(NamedTuple):
    """Cells that one engine call trains, at most `slots` of them at a time."""

    cells: tuple[Cell, ...]
    slots: int


def epoch_flops(cell: Cell) -> int:
    """Useful FLOPs of one epoch: 6 * n_samples * multiply-accumulates of one forward pass; of optimizer=lm its system too.

    Of optimizer=muon the products that orthogonalise its steps.
    """
    passes = FLOPS_PER_MAC * cell.n_samples * forward_macs(cell)
    if cell.optimizer == ORTHOGONAL:
        return passes + orthogonal_flops(cell)
    return passes + system_flops(cell) if cell.optimizer == SECOND_ORDER else passes


def orthogonal_flops(cell: Cell) -> int:
    """FLOPs of an epoch's iterations of Newton and Schulz, for each matrix between hidden layers."""
    return cell.steps_per_epoch * (cell.depth - 1) * ORTHOGONAL_PRODUCTS * 2 * cell.width**3


def system_flops(cell: Cell) -> int:
    """FLOPs of the linear system of an iteration of optimizer=lm: to form the smaller of J J' and J' J, and to factor it.

    J J' is formed layer by layer, J' J from J, which has a row for each output of each sample.
    """
    size, rows = n_trained(cell), cell.n_samples * n_out(cell)
    side = min(size, rows)
    units = sum(out + fan_in for out, fan_in in layer_sizes(cell))
    return (2 * rows**2 * units if rows <= size else 2 * rows * size**2) + side**3 // 3


def budget_flops(cell: Cell) -> int:
    """Useful FLOPs of a cell that spends its whole budget."""
    return epoch_flops(cell) * cell.max_epochs


def plan(cells: Iterable[Cell], *, kind: Callable[[Cell], Hashable], slots: Callable[[Cell], int], workers: int) -> list[Pack]:
    """Packs of cells of one kind, the longest first, at least one for each worker where there are cells enough.

    Args:
        kind: what cells of one pack have in common; an engine's choice.
        slots: how many cells like this one train best at a time; an engine's choice.
        workers: how many packs train at once.
    """
    # Beside their budgets, since a cell takes long to look up.
    groups: dict[Hashable, list[tuple[int, Cell]]] = defaultdict(list)
    for cell in cells:
        groups[kind(cell)].append((budget_flops(cell), cell))
    works = {own: sum(budget for budget, _ in group) for own, group in groups.items()}
    packs = []
    for own, group in groups.items():
        group.sort(key=itemgetter(0), reverse=True)
        own_slots = max(1, slots(group[0][1]))
        # A group that is more than a worker's share of all the work is dealt to several workers.
        share = -(-workers * works[own] // sum(works.values()))
        size = max(1, min(CELLS_PER_SLOT * own_slots, -(-len(group) // share)))
        parts = [group[i : i + size] for i in range(0, len(group), size)]
        packs += [(sum(budget for budget, _ in part), Pack(tuple(cell for _, cell in part), own_slots)) for part in parts]
    return [pack for _, pack in sorted(packs, key=itemgetter(0), reverse=True)]


def padded(size: int, granule: int, steps: int) -> int:
    """The size that arrays for `size` items get, a function of the size alone: neighbours never enter into a cell's arithmetic.

    Multiples of `granule`, in at most `steps` sizes for each doubling.

    >>> [padded(size, granule=4, steps=4) for size in (1, 3, 8, 9, 25, 100)]
    [4, 4, 8, 12, 28, 112]
    """
    octave = 1 << (size - 1).bit_length() >> 1
    step = max(granule, octave // steps)
    return -(-size // step) * step
