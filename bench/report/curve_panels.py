"""Learning curves of a network and of changes to it -> a panel for each change, inline SVG on one pair of log scales."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

# CSS pixels of a panel, and the room beside its axes for their numbers.
WIDE, HIGH = 340, 190
LEFT, RIGHT, TOP, BELOW = 44, 20, 8, 34

# Taus beyond these are drawn at the edge.
LEAST, MOST = 1e-12, 1e3

# Numbers on the axis of tau, at most.
MOST_TICKS = 6


def panels(curves: pd.DataFrame, tau: float) -> dict[str, str]:
    """For each change, the first of which is as asked, its panel: a line for each seed, and those of the first in grey.

    Args:
        curves: columns `change`, `seed`, `epoch`, `tau`.
        tau: the threshold, a dashed line.
    """
    if curves.empty:
        return {}
    scale = _Scale(curves, tau)
    asked = str(curves["change"].iloc[0])
    drawn = {str(change): _lines(own, scale) for change, own in curves.groupby("change", sort=False)}
    behind = "".join(f'<path class="asked" d="{line}"/>' for line in drawn[asked])
    made = {}
    for change, lines in drawn.items():
        own = "" if change == asked else "".join(f'<path class="own" d="{line}"/>' for line in lines)
        made[change] = (
            f'<svg class="curves" width="{WIDE}" height="{HIGH}" viewBox="0 0 {WIDE} {HIGH}" role="img"'
            f' aria-label="{len(lines)} learning curves, tau by epoch">{scale.frame(tau)}{behind}{own}</svg>'
        )
    return made


class _Scale:
    """Where an epoch and a tau stand: the logarithms of the epoch plus one, and of tau."""

    def __init__(self, curves: pd.DataFrame, tau: float):
        known = curves["tau"].to_numpy(float)
        known = np.clip(known[np.isfinite(known) & (known > 0)], LEAST, MOST)
        low, high = min(known.min(initial=1.0), tau), max(known.max(initial=1.0), tau)
        self.low, self.high = math.floor(math.log10(low * 0.7)), math.log10(high) + 0.1
        self.last = math.log10(1 + max(1, int(curves["epoch"].max())))

    def x(self, epoch: np.ndarray | float) -> np.ndarray:
        return LEFT + np.log10(1 + np.asarray(epoch, float)) / self.last * (WIDE - LEFT - RIGHT)

    def y(self, tau: np.ndarray | float) -> np.ndarray:
        share = (np.log10(np.clip(tau, 10.0**self.low, 10.0**self.high)) - self.low) / (self.high - self.low)
        return HIGH - BELOW - share * (HIGH - TOP - BELOW)

    def frame(self, tau: float) -> str:
        """Axes, their numbers and names, and the threshold."""
        floor, right = HIGH - BELOW, WIDE - RIGHT
        decades = range(self.low, math.floor(self.high) + 1)
        step = math.ceil(len(decades) / MOST_TICKS)
        parts = [f'<path class="axis" d="M{LEFT} {TOP}V{floor}H{right}"/>']
        for decade in decades[::-step]:
            at = self.y(10.0**decade)
            parts.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{right}"/>')
            parts.append(f'<text class="number" x="{LEFT - 5}" y="{at + 4:.1f}">{10.0**decade:g}</text>')
        for epoch in (0, *(10**k for k in range(math.floor(self.last) + 1))):
            # Epochs 0 and 1 are near each other on a long scale.
            if epoch != 1 or self.last < 2:
                parts.append(f'<text class="tick" x="{self.x(epoch):.1f}" y="{floor + 14}">{epoch}</text>')
        at = self.y(tau)
        parts.append(f'<path class="goal" d="M{LEFT} {at:.1f}H{right}"/>')
        parts.append(f'<text class="tick" x="{(LEFT + right) / 2:g}" y="{HIGH - 4}">epoch</text>')
        return "".join([*parts, f'<text class="name" x="{-(TOP + floor) / 2:g}" y="10" transform="rotate(-90)">tau</text>'])


def _lines(curves: pd.DataFrame, scale: _Scale) -> list[str]:
    """The path of each seed, up to where its tau is no finite number; one that is 0 or less is drawn at the lower edge."""
    paths = []
    for _, own in curves.groupby("seed", sort=False):
        taus = own["tau"].to_numpy(float)
        taus = taus[: int(np.argmin(np.isfinite(taus)))] if not np.isfinite(taus).all() else taus
        points = zip(scale.x(own["epoch"].to_numpy()[: len(taus)]), scale.y(np.maximum(taus, LEAST)), strict=True)
        places = list(dict.fromkeys(f"{x:.1f} {y:.1f}" for x, y in points))
        paths.append("M" + "L".join(places) if places else "")
    return [path for path in paths if path]
