"""Groups of seeds -> what a map says in each of its cells, and where its lines run, however it is drawn."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.statistics.capacity import Known
from bench.statistics.dimensions import samples_at_ceiling

# A cell of a map by row and column, and a point of it: column j reaches from j to j + 1, row i from i to i + 1, upwards.
Slot = tuple[int, int]
Point = tuple[float, float]
Segment = tuple[Point, Point]


class Marks(NamedTuple):
    """Sample counts to mark over a column: N50 with its interval, and what is known to exist.

    `known` is what to draw of N50: its value with the interval, the interval from a lower bound up or an upper one down, or
    nothing.
    """

    n50: float
    low: float
    high: float
    exists: float
    known: Known


def epoch_ends(groups: pd.DataFrame) -> tuple[float, float]:
    """One colour scale for all maps of a run: from its fastest median epoch to its largest budget."""
    finite = groups["median_epoch_to_tau"].replace(math.inf, np.nan).dropna()
    top = max(float(groups["max_epochs"].max()), 2.0)
    return max(1.0, min(float(finite.min()) if len(finite) else 1.0, top / 2)), top


def note(group: Mapping[Any, Any], *, counted: bool = False) -> str:
    """What a map's cell says: the median epoch, or how it ended where that is not the budget, which the key tells; and the
    seeds that memorized, where they disagree, or always (`counted`).
    """
    if group["n_seeds"] == 0:
        return "failed" if group["n_failed"] else "pending"
    lines = []
    if math.isfinite(group["median_epoch_to_tau"]):
        lines.append(f"{group['median_epoch_to_tau']:.0f}")
    elif group["n_diverged"] == group["n_seeds"]:
        lines.append("diverged")
    elif group["n_early_stopped"] > group["n_censored"]:
        lines.append("stopped")
    if counted or 0 < group["n_memorized"] < group["n_seeds"]:
        lines.append(f"{group['n_memorized']}/{group['n_seeds']}")
    return "\n".join(lines)


def row_position(value: float, rows: Sequence[float]) -> float:
    """Where a value stands among the rows of a map: on a log scale between two, and never off the map.

    >>> row_position(64, [32, 64, 128]), row_position(2, [1, 4, 16]), row_position(1000, [32, 64, 128])
    (1.5, 1.0, 3.0)
    """
    above = min(max(bisect.bisect_right(rows, value), 1), len(rows) - 1)
    step = math.log(value / rows[above - 1]) / math.log(rows[above] / rows[above - 1])
    return min(max(above - 0.5 + step, 0.0), float(len(rows)))


def between(value: float, rows: Sequence[float]) -> int:
    """The border between the rows up to a value and those above.

    >>> between(73, [32, 64, 128]), between(64, [32, 64, 128]), between(10, [32, 64, 128])
    (2, 2, 0)
    """
    return bisect.bisect_right(rows, value)


def ceiling(shown: Mapping[Slot, Mapping[Any, Any]], shape: tuple[int, int]) -> list[Segment]:
    """The border between neighbours of which one has dimensions for its n_samples, and one has not."""
    within = np.full(shape, np.nan)
    for slot, group in shown.items():
        within[slot] = group["n_samples"] <= samples_at_ceiling(group)
    # The difference to a missing neighbour is NaN, and no border.
    up, right = (np.argwhere(np.abs(np.diff(within, axis=axis)) == 1).tolist() for axis in (0, 1))
    segments: list[Segment] = [((j, i + 1), (j + 1, i + 1)) for i, j in up]
    return segments + [((j + 1, i), (j + 1, i + 1)) for i, j in right]


def spell_tick(value: float | np.integer | str) -> str:
    """A value of an axis; strengths are off at 0, and constraints where they are infinitely loose."""
    if isinstance(value, str):
        return value
    return "off" if value in (0.0, math.inf) and isinstance(value, float) else f"{value:g}"


def axis_name(field: str) -> str:
    """What an axis of this field is called; nothing where its values say it."""
    return {"n_samples": "samples N", "load": "load N / P", "trained": ""}.get(field, field.replace("_", " "))
