"""Cells -> shards of about the same expected cost, the same for the same cells."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from bench.engines.packs import budget_flops
from bench.protocol.cells import Cell

# What a cell takes beside its training, in useful FLOPs: about a tenth of a millisecond of a core.
CELL_FLOPS = 1e6


def deal(cells: Sequence[Cell], number: int) -> list[list[Cell]]:
    """Deal cells out to at most `number` shards, none of them empty.

    The longest first, each to the shard that has the least so far: the longest shard takes less than 4/3 of what the best deal
    would (Graham 1969, Bounds on multiprocessing timing anomalies).

    >>> [[cell.max_epochs for cell in shard] for shard in deal([Cell(max_epochs=n) for n in (20000, 30000, 10000, 40000)], 2)]
    [[40000, 10000], [30000, 20000]]
    """
    cost = [budget_flops(cell) + CELL_FLOPS for cell in cells]
    shards: list[list[Cell]] = [[] for _ in range(min(number, len(cells)))]
    least = [(0.0, shard) for shard in range(len(shards))]
    for index in sorted(range(len(cells)), key=lambda index: -cost[index]):
        total, shard = heapq.heappop(least)
        shards[shard].append(cells[index])
        heapq.heappush(least, (total + cost[index], shard))
    return shards
