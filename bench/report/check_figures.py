"""The tables of a check -> its figures, base and head beside each other. Nothing is computed here."""

from __future__ import annotations

import math
from typing import TypedDict

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.style import QUIET_COLOUR, SMALLEST_FONT, lines_inches, log_axis, text_inches, wrapped

# Red stands out; what is not known is pale.
SLOWER_COLOUR, KNOWN_COLOUR, UNKNOWN_COLOUR = "#c1121f", "#1f4e9c", "#8a8f98"
BASE_COLOUR, HEAD_COLOUR = "#8a8f98", "#1f4e9c"

# Inches.
MARGIN, ROW, FOOT, NAME, BETWEEN = 0.1, 0.28, 0.5, 2.7, 0.04
RATIOS, DIFFERENCES, SHARES, GAP = 4.4, 2.4, 2.4, 0.3
# How far above and below its row the base and the head of a setting stand, in rows.
APART = 0.17
MOST_TICKS = 6
# Around the smallest and the largest value, as a factor.
ROOM = 1.5
# A difference of nothing has no place on a logarithmic axis.
LEAST_DIFFERENCE = 1e-12


class Line(TypedDict):
    """How a bar and its mark are drawn."""

    color: str
    solid_capstyle: str


def ratios(groups: pd.DataFrame, *, margin: float) -> Figure:
    """A row for each group of benchmarks: the head's time over the base's, with its interval and the allowed margin."""
    names, texts = list(groups["group"]), [spell_ratio(row) for _, row in groups.iterrows()]
    left = 2 * MARGIN + max(text_inches(name, SMALLEST_FONT) for name in names)
    right = 2 * MARGIN + max(text_inches(text, SMALLEST_FONT) for text in texts)
    figure, (ax,) = _rows(names, left=left, widths=(RATIOS,), right=right)
    ends = groups[["ratio", "ratio_low", "ratio_high"]].to_numpy(dtype=float)
    beyond = ROOM ** (1 / 4)
    low = min(float(np.nanmin(ends)), 1 / (1 + margin)) / beyond
    high = max(float(np.nanmax(ends)), 1 + margin) * beyond
    ax.set(xscale="log", xlim=(low, high), xlabel="time of the head / time of the base (right is slower)")
    log_axis(ax, "x", MOST_TICKS)
    ax.axvspan(1, 1 + margin, color="#f1e7c9", lw=0)
    ax.axvline(1, color=QUIET_COLOUR, lw=0.8)
    for y, ((_, row), text) in enumerate(zip(groups.iterrows(), texts, strict=True)):
        # Within the margin even at its slow end, or narrow.
        passed = row["known"] or row["ratio_high"] <= 1 + margin
        colour = SLOWER_COLOUR if row["slower"] else KNOWN_COLOUR if passed else UNKNOWN_COLOUR
        if math.isfinite(row["ratio_low"]):
            ax.plot([row["ratio_low"], row["ratio_high"]], [y, y], lw=2, color=colour, solid_capstyle="butt")
        ax.plot(row["ratio"], y, "o", ms=5.5, color=colour)
        ax.annotate(
            text,
            (1, y),
            xytext=(6, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            fontsize=SMALLEST_FONT,
            color=colour if row["slower"] else QUIET_COLOUR,
        )
    return figure


def spell_ratio(row: pd.Series) -> str:
    """A ratio with its interval, if it has one."""
    if math.isnan(row["ratio_low"]):
        return f"{row['ratio']:.3f}"
    return f"{row['ratio']:.3f} ({row['ratio_low']:.3f} to {row['ratio_high']:.3f})"


def settings(table: pd.DataFrame) -> Figure:
    """A row for each setting: how far the losses part in the first epochs, and the shares that memorize on both sides."""
    names = [wrapped(name, NAME, SMALLEST_FONT) for name in table["setting"]]
    left = 2 * MARGIN + max(text_inches(name, SMALLEST_FONT) for name in names)
    figure, (apart, share) = _rows(names, left=left, widths=(DIFFERENCES, SHARES), right=2 * MARGIN)
    finite = [value for value in table["largest_difference"] if 0 < value < math.inf]
    low = min([*finite, float(table["tolerance"].min())]) / ROOM
    high = max([*finite, float(table["tolerance"].max())]) * ROOM
    low = max(low, LEAST_DIFFERENCE)
    apart.set(xscale="log", xlim=(low, high), xlabel="largest difference of losses")
    log_axis(apart, "x", MOST_TICKS - 2)
    share.set(xlim=(-0.04, 1.04), xlabel="share that memorizes")
    share.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    for y, (_, row) in enumerate(table.iterrows()):
        colour = SLOWER_COLOUR if row["moved"] else KNOWN_COLOUR
        apart.plot([row["tolerance"]] * 2, [y - 0.36, y + 0.36], color=QUIET_COLOUR, lw=1.2)
        value = row["largest_difference"]
        marker = "<" if value < low else ">" if value > high else "o"
        apart.plot(min(max(value, low), high), y, marker, ms=4.5, color=colour, clip_on=False)
        sides = (("base", -APART, BASE_COLOUR, "s"), ("head", APART, SLOWER_COLOUR if row["moved"] else HEAD_COLOUR, "o"))
        for side, shift, own, marker in sides:
            place, style = y + shift, Line(color=own, solid_capstyle="butt")
            share.plot([row[f"fraction_low_{side}"], row[f"fraction_high_{side}"]], [place, place], lw=1.2, **style)
            share.plot(row[f"fraction_{side}"], place, marker, ms=3.6, **style)
    return figure


def _rows(names: list[str], *, left: float, widths: tuple[float, ...], right: float) -> tuple[Figure, list[Axes]]:
    """A figure with panels beside each other that share rows of these names, laid out in inches."""
    high = len(names) * max(ROW, *(lines_inches(name, SMALLEST_FONT) + BETWEEN for name in names))
    width = left + sum(widths) + GAP * (len(widths) - 1) + right
    height = MARGIN + high + FOOT
    figure, axes, x = Figure(figsize=(width, height)), [], left
    for wide in widths:
        box = (x / width, FOOT / height, wide / width, high / height)
        ax = figure.add_axes(box, sharey=axes[0] if axes else None)
        ax.tick_params(axis="y", length=0, labelleft=not axes, labelsize=SMALLEST_FONT)
        ax.grid(axis="y", color="#eeeeee", lw=0.6)
        ax.set_axisbelow(True)
        axes.append(ax)
        x += wide + GAP
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    sns.despine(figure, left=True)
    return figure, axes
