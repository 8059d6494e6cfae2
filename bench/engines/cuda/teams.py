"""How the places of a chip are dealt out to the kernels of a slice, so that together they do not exceed it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

# Shares of a chip are sums of fractions, which round.
ROUNDING = 1e-9


class Group(NamedTuple):
    """Cells that one kernel trains: how many, the work that is left of them, and into how many shares that of one can go.

    `at_once` says how many teams of so many blocks an empty chip runs.
    """

    cells: int
    work: float
    shares: int
    at_once: Callable[[int], int]


class Teams(NamedTuple):
    """Teams that take cells, and the blocks in each."""

    teams: int
    blocks: int


def dealt(groups: Sequence[Group], most_blocks: int) -> list[Teams]:
    """Teams for each group: shares of the chip by work, no more than it has cells, one at least.

    Each place belongs to the whole chip, so a group that could fill it alone leaves to the others what is theirs. What is left
    over goes to the first groups, which have the longest cells: for more teams, then, where every cell has one, for larger.
    """
    at_once = [max(1, group.at_once(1)) for group in groups]
    most = [min(group.cells, count) for group, count in zip(groups, at_once, strict=True)]
    teams = [1] * len(groups)
    left = 1.0
    waiting = list(range(len(groups)))
    while waiting:
        work = sum(groups[i].work for i in waiting)
        parts = {i: left * groups[i].work / work * at_once[i] for i in waiting}
        # Whoever gets a team though its part is less, or no more than it has cells, leaves less or more to the others.
        settled = [i for i in waiting if parts[i] < 1] or [i for i in waiting if parts[i] >= most[i]]
        for i in settled or waiting:
            teams[i] = min(most[i], max(1, math.floor(parts[i] + ROUNDING)))
            left = max(0.0, left - teams[i] / at_once[i])
        waiting = [i for i in waiting if i not in settled] if settled else []
    for i, count in enumerate(at_once):
        more = min(most[i] - teams[i], math.floor(left * count + ROUNDING))
        teams[i] += more
        left -= more / count
    result = []
    for i, group in enumerate(groups):
        blocks, taken = 1, teams[i] / at_once[i]
        while teams[i] == group.cells and 2 * blocks <= min(most_blocks, group.shares):
            larger = group.at_once(2 * blocks)
            if larger < group.cells or group.cells / larger - taken > left + ROUNDING:
                break
            blocks, left, taken = 2 * blocks, left - (group.cells / larger - taken), group.cells / larger
        result.append(Teams(teams[i], blocks))
    return result
