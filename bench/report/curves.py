"""Capacities and curves of who had memorized -> figures, a panel for each setting. Nothing is computed here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator, StrMethodFormatter

from bench.protocol.theory import dimension_name
from bench.report.panels import columns_for, panels
from bench.report.style import BELOW_COLOUR, LINE_COLOUR, QUIET_COLOUR, SMALLEST_FONT, log_axis
from bench.statistics.by_lm import as_capacity, of_curve
from bench.statistics.capacity import what_is_known
from bench.statistics.dimensions import samples_at_ceiling
from bench.statistics.settings import varying

# Inches.
CAPACITY_PANEL, INCIDENCE_PANEL, BUDGET_PANEL = (2.9, 2.6), (2.35, 1.7), (2.35, 2.0)

ENDS = {"memorized": (BELOW_COLOUR, "-"), "early_stopped": ("#b35900", "--"), "diverged": (LINE_COLOUR, ":")}

MOST_TICKS = 7

# Inches that a number of epochs takes on an axis; how many numbers there are at most, and where they have no room.
TICK_INCHES, MOST_BUDGET_TICKS, FEW_TICKS = 0.45, 5, 2

# Panels of budgets beside each other.
MOST_ACROSS = 4

# Inches between signs of one place; the length of an arrow, as a share of the axis.
DODGE, BUDGET_DODGE, ARROW = 0.09, 0.055, 0.08


class Sign(NamedTuple):
    """How a kind of network is drawn: a marker of matplotlib, the same as a character, and a colour that text may have."""

    marker: str
    glyph: str
    colour: str


# Told apart by shape alone; no colour is like the red of the ceiling, and all can be read on white (4.5:1).
SIGNS = (
    Sign("o", "\u25cf", "#1f4e9c"),
    Sign("s", "\u25a0", "#8a5a00"),
    Sign("^", "\u25b2", "#1a7f37"),
    Sign("D", "\u25c6", "#7a3e9d"),
    Sign("v", "\u25bc", "#00697a"),
    Sign("P", "\u271a", "#555555"),
    Sign("X", "\u2716", "#a1336b"),
    Sign("*", "\u2605", "#3f3f9f"),
)


# Two numbers at an axis stand at least so far apart, in inches.
LABEL = 0.24

# N50 by optimizer=lm stands beside that of a network, in its colour.
LM_MARKER, LM_GLYPH = "x", "\u00d7"


def capacities(table: pd.DataFrame, by_lm: pd.DataFrame | None = None) -> Figure:
    """N50 over the functional dimension with its interval, against the width, or the depth where that alone varies; a panel for
    each setting and choice of rates, a shape and a colour for each value of the other.

    A bound is a hollow sign with an arrow. `table` is that of `bench.statistics.capacity`; `by_lm` that of
    `bench.statistics.by_lm`: N50 by optimizer=lm of the same networks, a cross.
    """
    titles = [f"{s}" if r == "as asked" else f"{s}, rate: {r}" for s, r in zip(table["setting"], table["rates"], strict=True)]
    across, other = ("width", "depth") if varying(table, among=("width",)) else ("depth", "width")
    kinds = sorted(table[other].unique())
    signs = {kind: SIGNS[k % len(SIGNS)] for k, kind in enumerate(kinds)}
    exact = "" if (table["loss"] != "mse").any() else ", which bounds exact fits"
    key = [(f"{signs[kind].glyph} {other} {kind}", signs[kind].colour) for kind in kinds]
    solved = by_lm is not None and len(by_lm) > 0
    if solved:
        key.append((f"{LM_GLYPH} by LM", QUIET_COLOUR))
    key.append((f"Red: N = {dimension_name(table)}{exact}. Hollow, with an arrow: only a bound is known.", QUIET_COLOUR))
    labels = list(dict.fromkeys(titles))
    names = (across, "N50 / dimension")
    figure, axes = panels(labels, across=columns_for(len(labels), 3), size=CAPACITY_PANEL, names=names, key=key)
    top = _top(table)
    if by_lm is not None and solved:
        top = max(top, _top(pd.DataFrame(map(as_capacity, by_lm.to_dict("records")))))
    values = sorted(table[across].unique())
    logarithmic = min(values) > 0 and max(values) > min(values)
    low, high = (max(values[0], 1), values[-1]) if logarithmic else (values[0], values[-1])
    # Signs of one place stand beside each other.
    inches = axes[0].get_position().width * figure.get_figwidth()
    step = DODGE * ((high / low) ** (1 / inches) - 1 if logarithmic else (high - low) / inches)
    most = 0
    for ax, label in zip(axes, labels, strict=True):
        own = table[[title == label for title in titles]]
        ax.axhline(1, color=LINE_COLOUR, lw=1.2, zorder=1)
        for value, there in own.groupby(across):
            rows = there.to_dict("records")
            marks = [((row[other], False), row, row) for row in rows]
            if by_lm is not None:
                marks += [
                    ((row[other], True), row, as_capacity(lm)) for row in rows if (lm := of_curve(by_lm, row)) is not None
                ]
            places = sorted({place for place, *_ in marks})
            most = max(most, len(places))
            for (kind, is_lm), row, drawn in marks:
                moved = step * (places.index((kind, is_lm)) - (len(places) - 1) / 2)
                x = value * (1 + moved) if logarithmic else value + moved
                sign = signs[kind]._replace(marker=LM_MARKER) if is_lm else signs[kind]
                draw_capacity(ax, drawn, x, sign, top, samples_at_ceiling(row))
    axes[0].set(ylim=(0, top), xscale="log" if logarithmic else "linear")
    room = (most / 2 + 1) * step
    if logarithmic:
        axes[0].set_xlim(low * (1 - min(room, 0.5)), high * (1 + room))
        if len(values) <= MOST_TICKS:
            axes[0].xaxis.set_major_locator(
                FixedLocator(_apart(values, LABEL / inches * np.diff(np.log(axes[0].get_xlim()))[0]))
            )
            axes[0].xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes[0].xaxis.set_minor_locator(FixedLocator(values))
            axes[0].xaxis.set_minor_formatter(NullFormatter())
        else:
            log_axis(axes[0], "x", MOST_TICKS)
    else:
        axes[0].set_xlim(low - max(room, 0.5), high + max(room, 0.5))
        axes[0].xaxis.set_major_locator(FixedLocator(values))
    sns.despine(figure)
    return figure


def _apart(values: list[int], least: float) -> list[int]:
    """Those of ascending numbers whose logarithms differ by so much at least, the first of near ones.

    >>> _apart([8, 10, 12, 15, 16, 32], 0.2)
    [8, 10, 15, 32]
    """
    kept = values[:1]
    for value in values[1:]:
        if math.log(value / kept[-1]) >= least:
            kept.append(value)
    return kept


def draw_capacity(ax: Axes, row: Mapping[Any, Any], x: float, sign: Sign, top: float, dimensions: float) -> None:
    """One network: its N50 over so many dimensions with the interval, or the bound that is known; the axis ends at `top`."""
    says = what_is_known(row)
    if says == "nothing":
        return
    low, high = row["n50_low"] / dimensions, row["n50_high"] / dimensions
    if says == "value":
        ax.plot([x, x], [low, min(high, top)], color=sign.colour, solid_capstyle="butt", lw=1.3)
        ax.plot(x, row["n50"] / dimensions, sign.marker, ms=5, color=sign.colour, mew=1.3 * (sign.marker == LM_MARKER))
        return
    y = low if says == "more" else min(high, (1 - ARROW / 4) * top)
    end = min(y + ARROW * top, top) if says == "more" else max(y - ARROW * top, 0)
    arrow = {"arrowstyle": "-|>", "lw": 0.9, "color": sign.colour, "shrinkA": 3, "shrinkB": 0, "mutation_scale": 6}
    ax.annotate("", (x, end), (x, y), arrowprops=arrow, annotation_clip=False)
    ax.plot(x, y, sign.marker, ms=5, mfc="white", mec=sign.colour, mew=1.1, clip_on=False)


def budgets(table: pd.DataFrame) -> Figure:
    """N50 against the budget with its interval: a line for each network, by width, or by depth where that alone varies; a panel
    for each setting and choice of rates, and for each depth where lines are widths.

    A bound is a hollow sign with an arrow. `table` is that of `bench.statistics.budgets.capacity_by_budget`.
    """
    line = budget_line(table)
    places = {f"{name} place": pd.factorize(table[name])[0] for name in ("setting", "rates")}
    table = table.assign(**places).sort_values([*places, "depth"], kind="stable")
    titles = _budget_titles(table, line)
    labels, kinds = list(dict.fromkeys(titles)), sorted(table[line].unique())
    signs = {kind: sign_of(number) for number, kind in enumerate(kinds)}
    key = [(f"{signs[kind].glyph} {line} {kind}", signs[kind].colour) for kind in kinds]
    key.append(("Bars: 95 % intervals. Hollow, with an arrow: only a bound is known.", QUIET_COLOUR))
    # A setting in each row, where all have the same depths.
    depths = table["depth"].nunique() if line == "width" else 1
    alike = depths <= MOST_ACROSS and len(labels) == depths * len(table[[*places]].drop_duplicates())
    across = depths if alike and depths > 1 else columns_for(len(labels), MOST_ACROSS)
    figure, axes = panels(labels, across=across, size=BUDGET_PANEL, names=("epochs of training", "N50"), key=key)
    inches = axes[0].get_position().width * figure.get_figwidth()
    first, last = int(table["budget"].min()), int(table["budget"].max())
    # Signs of one budget stand beside each other.
    step = max(last / first, 2) ** (BUDGET_DODGE / inches)
    low, high, reach = _budget_axis(table)
    for ax, label in zip(axes, labels, strict=True):
        own = table[[title == label for title in titles]]
        here = sorted(own[line].unique())
        for number, kind in enumerate(here):
            sign, shift = signs[kind], step ** (number - (len(here) - 1) / 2)
            network = own[own[line] == kind]
            # Where it has no value, the line is broken.
            ax.plot(shift * network["budget"], network["n50"], color=sign.colour, lw=1.1)
            for row in network.to_dict("records"):
                _draw_budget(ax, row, shift * row["budget"], sign, (low, high), reach)
    room = step ** ((len(kinds) + 1) / 2)
    axes[0].set(xscale="log", yscale="log", xlim=(first / room, last * room), ylim=(low, high))
    log_axis(axes[0], "x", MOST_BUDGET_TICKS if inches > MOST_BUDGET_TICKS * TICK_INCHES else FEW_TICKS)
    log_axis(axes[0], "y", MOST_TICKS)
    sns.despine(figure)
    return figure


def budget_line(table: pd.DataFrame) -> str:
    """What the lines of `budgets` differ in."""
    return "width" if varying(table, among=("width",)) or not varying(table, among=("depth",)) else "depth"


def sign_of(number: int) -> Sign:
    """No two are alike: where the signs are used up, they go on in other colours."""
    return SIGNS[number % len(SIGNS)]._replace(colour=SIGNS[(number + number // len(SIGNS)) % len(SIGNS)].colour)


def _budget_titles(table: pd.DataFrame, line: str) -> list[str]:
    """The panel of each row: its depth, setting and rates, so far as they vary and are no lines."""
    rates, depths = ([f"{text} {value}" for value in table[name]] for text, name in (("rate:", "rates"), ("depth", "depth")))
    parts = table.assign(rates=rates, depth=depths)
    names = tuple(name for name in ("depth", "setting", "rates") if name != line)
    shown = varying(parts, among=names) or [names[0]]
    return [", ".join(row) for row in parts[shown].itertuples(index=False, name=None)]


def _budget_axis(table: pd.DataFrame) -> tuple[float, float, float]:
    """(the ends of an axis that shows all N50s, intervals and bounds, by what factor an arrow goes on from a bound)."""
    shown = {"value": ("n50", "n50_low", "n50_high"), "more": ("n50_low",), "less": ("n50_high",), "nothing": ()}
    rows = [(row, what_is_known(row)) for row in table.to_dict("records")]
    values = [row[name] for row, says in rows for name in shown[says]]
    reach = max(max(values) / min(values), 2) ** ARROW
    values += [row["n50_low"] * reach for row, says in rows if says == "more"]
    values += [row["n50_high"] / reach for row, says in rows if says == "less"]
    return min(values) / reach**0.5, max(values) * reach**0.5, reach


def _draw_budget(ax: Axes, row: Mapping[Any, Any], x: float, sign: Sign, ends: tuple[float, float], reach: float) -> None:
    """N50 of a network at a budget, or the bound that is known."""
    says, (low, high) = what_is_known(row), ends
    if says == "nothing":
        return
    if says == "value":
        ax.plot([x, x], [max(row["n50_low"], low), min(row["n50_high"], high)], color=sign.colour, lw=1, alpha=0.6)
        ax.plot(x, row["n50"], sign.marker, ms=4, color=sign.colour, mew=0)
        return
    y, way = (row["n50_low"], reach) if says == "more" else (row["n50_high"], 1 / reach)
    arrow = {"arrowstyle": "-|>", "lw": 0.8, "color": sign.colour, "shrinkA": 2.5, "shrinkB": 0, "mutation_scale": 5}
    ax.annotate("", (x, y * way), (x, y), arrowprops=arrow, annotation_clip=False)
    ax.plot(x, y, sign.marker, ms=4, mfc="white", mec=sign.colour, mew=0.9, clip_on=False)


def _top(table: pd.DataFrame) -> float:
    """How many times the functional dimension the axis shows: all N50s and lower bounds, and the ceiling."""
    bounds = [row["n50_low"] / samples_at_ceiling(row) for row in table.to_dict("records") if what_is_known(row) == "more"]
    return 1.15 * max([1.0, *bounds, *table["n50_per_dim"].dropna()])


def incidence(table: pd.DataFrame) -> Figure:
    """The share of cells that had memorized by each epoch with its interval, a panel for each setting, beside the first."""
    labels = list(dict.fromkeys(table["setting"]))
    used = [name for name in ENDS if table[name].gt(0).any()]
    key = [(name.replace("_", " "), ENDS[name][0]) for name in used]
    key.append((f"grey: memorized under {labels[0]}", QUIET_COLOUR))
    names = ("epoch", "share of cells")
    figure, axes = panels(labels, across=columns_for(len(labels), 4), size=INCIDENCE_PANEL, names=names, key=key)
    first = table[table["setting"] == labels[0]]
    for ax, label in zip(axes, labels, strict=True):
        own = table[table["setting"] == label]
        if label != labels[0]:
            ax.plot(first["epoch"], first["memorized"], color="#9a9a9a", lw=1.2, drawstyle="steps-post")
        bounds = (own["memorized_low"], own["memorized_high"])
        ax.fill_between(own["epoch"], *bounds, color=BELOW_COLOUR, alpha=0.2, lw=0, step="post")
        for name in used:
            colour, style = ENDS[name]
            ax.plot(own["epoch"], own[name], color=colour, lw=1.5, ls=style, drawstyle="steps-post")
        ax.text(
            0.04, 0.93, f"{own['n_cells'].iloc[0]} cells", fontsize=SMALLEST_FONT, color=QUIET_COLOUR, transform=ax.transAxes
        )
    axes[0].set(xscale="log", ylim=(0, 1.02))
    axes[0].xaxis.set_major_locator(LogLocator(numticks=6))
    axes[0].xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes[0].xaxis.set_minor_locator(NullLocator())
    axes[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    sns.despine(figure)
    return figure
