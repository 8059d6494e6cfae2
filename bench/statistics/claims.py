"""A line of the table of published claims: their number and this run's, each with its ends, and words for numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from bench.statistics.agreement import p_outside
from bench.statistics.capacity import Known


def line_of(
    interval: tuple[float, float, float],
    theirs: tuple[float, float],
    within: tuple[float, float],
    margin: str,
    n_seeds: int,
    *,
    ratio: bool = True,
    **texts: Any,
) -> dict[str, Any]:
    """A line. `within`: where a number agrees, by the `margin` that is given with its reason; `ratio`: errors are factors."""
    value, low, high = interval
    numbers = {"value": value, "low": low, "high": high, "theirs_low": theirs[0], "theirs_high": theirs[1]}
    numbers |= {"margin_low": within[0], "margin_high": within[1], "margin": margin}
    return {"p_value": p_outside(interval, within, n_seeds, ratio=ratio), "agree": None, **numbers, **texts}


def times(factor: float) -> tuple[float, float]:
    """Within a factor of 1."""
    return 1 / factor, factor


def n50_of(row: Mapping[Any, Any], over: float = 1.0) -> tuple[float, float, float]:
    """(N50, low end, high end) of a row of capacities, over something."""
    return row["n50"] / over, row["n50_low"] / over, row["n50_high"] / over


def spelled(interval: tuple[float, float, float], says: Known = "value") -> str:
    """A number with its interval, or what else is known of it.

    >>> spelled((0.8123, 0.75, 0.861)), spelled((math.nan, 2.0, math.inf), "more"), spelled((1.5, math.nan, math.nan))
    ('0.812 (0.75 to 0.861)', '> 2', '1.5 (no interval)')
    """
    value, low, high = (f"{number:.3g}" for number in interval)
    number = f"{value} ({'no interval' if math.isnan(interval[1]) else f'{low} to {high}'})"
    return {"value": number, "more": f"> {low}", "less": f"< {high}", "nothing": "unknown"}[says]


def span(values: pd.Series) -> str:
    """The least and the largest value."""
    return f"{values.min()}" if values.min() == values.max() else f"{values.min()} to {values.max()}"


def counted(number: int, noun: str) -> str:
    """So many of them."""
    return f"{number} {noun}{'s' * (number != 1)}"
