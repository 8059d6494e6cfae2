"""Numbers of a table's row as small inline drawings: a share with its interval, a number on a log scale."""

from __future__ import annotations

import math

import pandas as pd

# CSS pixels; the ends of a scale stand EDGE from those of the drawing, so that no dot is cut.
WIDE, HIGH, EDGE = 120, 16, 6


def share(hits: int, seeds: int, low: float, high: float, beside: int | None = None) -> str:
    """A share from 0 to 1 as a dot, its interval as a bar, and as a ring the share of another row on the same seeds.

    >>> "1 of 4, 5 to 70 %" in share(1, 4, 0.05, 0.70)
    True
    """
    if not seeds:
        return ""
    other = "" if beside is None else f"; as asked {beside} of {seeds}"
    label = f"{hits} of {seeds}, {100 * low:.0f} to {100 * high:.0f} %{other}"
    middle = HIGH / 2
    ring = "" if beside is None else f'<circle class="ring" cx="{_at(beside / seeds)}" cy="{middle:g}" r="4.5"/>'
    return (
        f'<svg class="share" width="{WIDE}" height="{HIGH}" viewBox="0 0 {WIDE} {HIGH}" role="img" aria-label="{label}">'
        f'<path class="scale" d="M{_at(0)} {middle:g}H{_at(1)}M{_at(0.5)} 2V{HIGH - 2}"/>'
        f'<path class="interval" d="M{_at(low)} {middle:g}H{_at(high)}"/>{ring}'
        f'<circle class="dot" cx="{_at(hits / seeds)}" cy="{middle:g}" r="3.5"/></svg>'
    )


def _at(place: float) -> str:
    return f"{EDGE + place * (WIDE - 2 * EDGE):.1f}"


def ends(values: pd.Series) -> tuple[float, float]:
    """The ends of a log scale that holds all positive numbers of a column, at least a decade wide.

    >>> ends(pd.Series([0.0, 0.2, 30.0, math.nan]))
    (0.1, 100.0)
    """
    known = [math.log10(value) for value in values if value > 0 and math.isfinite(value)]
    low, high = math.floor(min(known, default=0.0)), math.ceil(max(known, default=1.0))
    return 10.0**low, 10.0 ** max(high, low + 1)


def level(value: float, low: float, high: float) -> str:
    """A positive number as a bar on a log scale with these ends; nothing for any other. The number itself stands beside it."""
    if not value > 0 or not math.isfinite(value):
        return ""
    place = (math.log10(value) - math.log10(low)) / (math.log10(high) - math.log10(low))
    middle = HIGH / 2
    return (
        f'<svg class="level" width="{WIDE}" height="{HIGH}" viewBox="0 0 {WIDE} {HIGH}" aria-hidden="true">'
        f'<path class="scale" d="M{_at(0)} {middle:g}H{_at(1)}"/><path class="interval" d="M{_at(0)} {middle:g}H{_at(place)}"/>'
        f'<circle class="dot" cx="{_at(place)}" cy="{middle:g}" r="3.5"/></svg>'
    )
