"""Tables -> figures other than maps. Nothing is computed here: every number drawn stands in a table of the run."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from bench.peers.registry import OURS
from bench.protocol.cells import NO_TAU
from bench.report.panels import columns_for, panels
from bench.report.style import (
    ABOVE_COLOUR,
    BELOW_COLOUR,
    LINE_COLOUR,
    QUIET_COLOUR,
    SMALLEST_FONT,
    lines_inches,
    log_axis,
    sheet,
    text_inches,
    wrapped,
)
from bench.statistics.fans import ABOVE, BELOW

PEER_COLOUR = "#33658a"
# The first setting, behind another.
BEHIND_COLOUR = "#9a9a9a"
SAMPLES_SHOWN = 60
BEYOND_TARGETS = 0.25
# Far above 1 there is nothing to see; a network that starts there comes down within a few epochs.
MOST_TAU = 30.0
# Inches.
FAN_PANEL, PREDICTION_PANEL, SIGNAL_PANEL = (2.35, 1.9), (3.1, 1.5), (4.6, 3.0)
MARGIN, AXIS_ROOM, LABEL_WIDTH, LEADER = 0.1, 0.55, 3.4, 0.3
# The share of a figure on paper that the names of its lines may take.
LABEL_SHARE = 0.35
MOST_FAN_TICKS = 5
# The share of a panel's height below all lines, for the counts of cells.
FAN_FOOT = 0.16
RANK_ROW, RANK_PANELS = 0.24, (2.6, 3.2)
RANK_NAMES = ("share that memorizes (grey: without it)", "times the epochs without it (triangle: never)")
# Inches that a number on an axis takes; points of the names of axes.
TICK_INCHES = 0.45
LABEL_FONT = 9


def fans(table: pd.DataFrame) -> Figure:
    """How tau is spread over the cells of each setting, by epoch: the median as a line, the inner 80 % as a band."""
    labels = list(dict.fromkeys(table["setting"]))
    colours = {BELOW: BELOW_COLOUR, ABOVE: ABOVE_COLOUR}
    words = {BELOW: "Blue: cells with N up to the functional dimension.", ABOVE: "Red: cells with more samples than that."}
    key = [
        (
            "Lines: the median tau of the cells; bands: the inner 80 % of them; dashed: the threshold; dotted: the mean.",
            QUIET_COLOUR,
        )
    ]
    key += [(words[name], colours[name]) for name in colours if (table["samples"] == name).any()]
    across = columns_for(len(labels), 4)
    figure, axes = panels(labels, across=across, size=FAN_PANEL, names=("epoch", "tau"), key=key)
    first = table[(table["setting"] == labels[0]) & (table["epoch"] > 0)]
    for ax, label in zip(axes, labels, strict=True):
        shown = table[(table["setting"] == label) & (table["epoch"] > 0)]
        for _, fan in first.groupby("samples", sort=False) if label != labels[0] else ():
            ax.plot(fan["epoch"], fan["tau_median"].clip(upper=MOST_TAU), color=BEHIND_COLOUR, lw=1.2, zorder=1)
        for samples, fan in shown.groupby("samples", sort=False):
            low, middle, high = (fan[name].clip(upper=MOST_TAU) for name in ("tau_p10", "tau_median", "tau_p90"))
            ax.fill_between(fan["epoch"], low, high, color=colours[samples], alpha=0.2, lw=0)
            ax.plot(fan["epoch"], middle, color=colours[samples], lw=1.6)
        ax.axhline(1, color=QUIET_COLOUR, lw=0.8, ls=":")
        for tau in shown.loc[shown["threshold"] > NO_TAU, "threshold"].unique():
            ax.axhline(tau, color=QUIET_COLOUR, lw=0.8, ls="--")
        counts = shown.drop_duplicates("samples").set_index("samples")["n_cells"]
        for place, name in enumerate(name for name in colours if name in counts.index):
            text = {"color": colours[name], "fontsize": SMALLEST_FONT, "transform": ax.transAxes}
            ax.text(0.04 + 0.46 * place, 0.04, f"{counts[name]} cell{'s' if counts[name] > 1 else ''}", **text)
    axes[0].set(xscale="log", yscale="log")
    finite = table.loc[np.isfinite(table["tau_p90"]) & (table["epoch"] > 0), "tau_p90"]
    # Who trains on past any threshold has none to show.
    aimed = table.loc[table["threshold"] > NO_TAU, "threshold"]
    aim = float(aimed.min()) if len(aimed) else max(2 * float(table["tau_p10"].min()), NO_TAU)
    least = min(aim, max(float(table["tau_p10"].min()), aim / 2))
    most = max(2.0, min(MOST_TAU, float(finite.max(skipna=True)) if len(finite) else MOST_TAU))
    axes[0].set_ylim(least * (least / most) ** (FAN_FOOT / (1 - FAN_FOOT)), most)
    for name in ("x", "y"):
        log_axis(axes[0], name, MOST_FAN_TICKS)
    sns.despine(figure)
    return figure


def predictions(table: pd.DataFrame) -> Figure:
    """Targets (blue circles) against predictions (red stars) of the first training samples, a panel for each setting's cell."""
    cells = table.drop_duplicates("setting")
    titles = [
        f"{cell['setting']}\ndepth {cell['depth']}, width {cell['width']}, N = {cell['n_samples']}\n"
        f"seeds {cell['data_seed']} and {cell['init_seed']}: tau {cell['final_tau']:.2g}"
        for _, cell in cells.iterrows()
    ]
    key = [("o  target", BELOW_COLOUR), ("*  prediction", LINE_COLOUR)]
    across, names = columns_for(len(titles), 3), ("training sample", "target units")
    figure, axes = panels(titles, across=across, size=PREDICTION_PANEL, names=names, key=key)
    low, high = table["target"].min(), table["target"].max()
    low, high = low - BEYOND_TARGETS * (high - low), high + BEYOND_TARGETS * (high - low)
    for ax, setting in zip(axes, cells["setting"], strict=True):
        shown = table[(table["setting"] == setting) & (table["sample"] < SAMPLES_SHOWN)]
        ax.plot(shown["sample"], shown["target"], "o", color=BELOW_COLOUR, mfc="none", ms=4.5, mew=1.0)
        # A prediction far from all targets is drawn at the edge; else it would squeeze them into a line.
        ax.plot(shown["sample"], shown["prediction"].clip(low, high), "*", color=LINE_COLOUR, ms=5, mew=0)
    axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    sns.despine(figure)
    return figure


def propagation(signal: pd.DataFrame) -> Figure:
    """Variance across inputs of each layer of the untrained networks, a line for each setting, named to the right."""
    lines = [(str(label), line) for label, line in signal.groupby("setting", sort=False)]
    palette = dict(zip([label for label, _ in lines], _palette(len(lines)), strict=True))
    # The highest end first: the names stand in the order in which the lines end.
    lines.sort(key=lambda named: -named[1]["variance_across_inputs"].iloc[-1])
    room = LABEL_SHARE * sheet().inches if sheet().paper else LABEL_WIDTH
    names = [wrapped(label, room, SMALLEST_FONT) for label, _ in lines]
    heights = [lines_inches(name, SMALLEST_FONT) + 0.04 for name in names]
    (wide, high), label_width = SIGNAL_PANEL, max(text_inches(name, SMALLEST_FONT) for name in names)
    high = max(high, sum(heights))
    left, foot = MARGIN + 2 * AXIS_ROOM / 1.3, AXIS_ROOM
    if sheet().paper:
        wide = sheet().inches - left - LEADER - label_width - MARGIN
    width, height = left + wide + LEADER + label_width + MARGIN, MARGIN + high + foot
    figure = Figure(figsize=(width, height))
    ax = figure.add_axes((left / width, foot / height, wide / width, high / height))
    for label, line in lines:
        ax.plot(line["layer"], line["variance_across_inputs"], "o-", ms=3.5, lw=1.3, color=palette[label])
    ax.set(yscale="log", xlabel="layer (the last is the output)", ylabel="variance across inputs")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.yaxis.set_major_locator(LogLocator(numticks=8))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.autoscale_view()
    bottom, top = np.log10(ax.get_ylim())
    ends = [
        (math.log10(max(float(line["variance_across_inputs"].iloc[-1]), 10**bottom)) - bottom) / (top - bottom)
        for _, line in lines
    ]
    for (label, line), name, end, place in zip(
        lines, names, ends, _stacked([end * high for end in ends], heights, high), strict=True
    ):
        last, right = float(line["layer"].iloc[-1]), 1 + LEADER / wide
        style = {"color": palette[label], "lw": 0.6, "clip_on": False}
        ax.plot(
            [ax.transLimits.transform((last, 0))[0], right - 0.01],
            [end, place / high],
            transform=ax.transAxes,
            alpha=0.7,
            **style,
        )
        ax.text(right, place / high, name, transform=ax.transAxes, va="center", fontsize=SMALLEST_FONT)
    sns.despine(figure)
    return figure


def ranking(table: pd.DataFrame) -> Figure:
    """What each regularizer takes away, a row for each: the share that still memorizes, and the delay, with their intervals.

    A grey line across a row is its placebo: the share of the same cells that memorizes without it.
    """
    names = list(table["regularizer"])
    kinds = sorted(table["regularization"].unique())
    colours = dict(zip(kinds, _palette(len(kinds)), strict=True))
    left = MARGIN + max(text_inches(name, SMALLEST_FONT) for name in names) + MARGIN
    high, gap, foot = RANK_ROW * len(table) + 0.1, 0.3, AXIS_ROOM
    room = sheet().inches - left - gap - 2 * MARGIN if sheet().paper else sum(RANK_PANELS)
    wide = [room * inches / sum(RANK_PANELS) for inches in RANK_PANELS]
    axis_names = [wrapped(text, inches, LABEL_FONT) for text, inches in zip(RANK_NAMES, wide, strict=True)]
    foot += max(lines_inches(text, LABEL_FONT) for text in axis_names) - lines_inches("", LABEL_FONT)
    width, height = left + sum(wide) + gap + 2 * MARGIN, MARGIN + high + foot
    figure = Figure(figsize=(width, height))
    share = figure.add_axes((left / width, foot / height, wide[0] / width, high / height))
    delay = figure.add_axes(((left + wide[0] + gap) / width, foot / height, wide[1] / width, high / height), sharey=share)
    finite = table[["median_delay", "delay_low", "delay_high"]].replace(math.inf, np.nan).max().max()
    edge = 1.6 * (finite if finite == finite else 1)
    for y, (_, row) in enumerate(table.iterrows()):
        style = {"color": colours[row["regularization"]], "solid_capstyle": "butt"}
        share.plot([row["fraction_low"], row["fraction_high"]], [y, y], lw=1.4, **style)
        share.plot([row["fraction_without"]] * 2, [y - 0.35, y + 0.35], color=QUIET_COLOUR, lw=1.0, zorder=1)
        share.plot(row["fraction_memorized"], y, "o", ms=4.5, **style)
        delay.plot([max(row["delay_low"], 1 / edge), min(row["delay_high"], edge)], [y, y], lw=1.4, **style)
        never = math.isinf(row["median_delay"])
        if math.isinf(row["delay_high"]):
            delay.plot(edge, y, ">", ms=3.5, **style)
        delay.plot(
            edge if never else max(row["median_delay"], 1 / edge), y, ">" if never else "o", ms=5 if never else 4.5, **style
        )
    share.set(xlim=(-0.03, 1.03), xlabel=axis_names[0], ylim=(len(names) - 0.4, -0.6))
    share.set_yticks(range(len(names)), names, fontsize=SMALLEST_FONT)
    share.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    delay.set(xscale="log", xlabel=axis_names[1])
    log_axis(delay, "x", max(2, int(wide[1] / TICK_INCHES)))
    delay.axvline(1, color=QUIET_COLOUR, lw=0.8, ls=":")
    delay.tick_params(labelleft=False)
    for ax in (share, delay):
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", color="#eeeeee", lw=0.6)
        ax.set_axisbelow(True)
    sns.despine(figure, left=True)
    return figure


def _palette(count: int) -> list[tuple[float, float, float]]:
    """Colours that differ for colour-blind readers too, of which there are ten."""
    return sns.color_palette("colorblind" if count <= 10 else "husl", count)


def _stacked(places: Sequence[float], heights: Sequence[float], total: float) -> list[float]:
    """Centres of labels of these heights, the highest first, moved as little as keeps them apart and between 0 and total.

    >>> _stacked([1.0, 0.9, 0.1], [0.4, 0.4, 0.4], 1.2)
    [1.0, 0.6, 0.2]
    """
    moved, ceiling, below = [], total, sum(heights)
    for place, height in zip(places, heights, strict=True):
        below -= height
        centre = max(min(place, ceiling - height / 2), below + height / 2)
        moved.append(centre)
        ceiling = centre - height / 2
    return [round(centre, 6) for centre in moved]


def speeds(table: pd.DataFrame, summary: pd.DataFrame) -> Figure:
    """Each peer's share of the machine's peak on a log scale, a mark for each shape; as text how much slower it is than ours.

    `table` and `summary` are those of `bench.peers.comparison`.
    """
    done = summary[summary["n_shapes"] > 0].reset_index(drop=True)
    figure, ax = plt.subplots(figsize=(8.5, 0.48 * len(done) + 1.1), layout="constrained")
    for y, (_, peer) in enumerate(done.iterrows()):
        own = table.loc[table["peer"] == peer["peer"], "of_peak"].dropna()
        colour = LINE_COLOUR if peer["peer"] in OURS else PEER_COLOUR
        ax.plot(own, [y] * len(own), "|", ms=13, mew=1.6, alpha=0.75, color=colour)
        if math.isfinite(peer["slower"]) and peer["slower_low"] != peer["slower_high"]:
            text = f"{peer['slower']:.3g} times slower ({peer['slower_low']:.2g} to {peer['slower_high']:.3g})"
            ax.annotate(text, (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=SMALLEST_FONT)
    ax.set_xscale("log")
    ax.set_xlim(right=1)
    ax.set_yticks(range(len(done)), done["label"])
    ax.set_ylim(len(done) - 0.5, -0.5)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    ax.set_xlabel(
        f"useful arithmetic, of the machine's peak ({done['peak'].iloc[0]}, {done['peak_gflops'].iloc[0]:.0f} GFLOP/s)"
    )
    ax.grid(axis="x", alpha=0.3)
    sns.despine(figure, left=True)
    title = f"The same small networks trained by each, {done['n_shapes'].max()} shapes: a mark for each"
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    return figure
