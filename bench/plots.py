"""Tables -> figures. Nothing is computed here: every number drawn stands in a table of the run."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from itertools import chain

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from bench.peers import OURS

matplotlib.use("Agg")
sns.set_theme(
    context="notebook",
    style="ticks",
    rc={"font.size": 9, "axes.titlesize": 10, "axes.labelsize": 9, "xtick.labelsize": 8.5, "ytick.labelsize": 8.5},
)
matplotlib.rcParams.update({"svg.hashsalt": "memcap", "svg.fonttype": "none", "figure.dpi": 110, "savefig.bbox": "tight"})

# Perceptually uniform and safe for colour-blind readers; reversed, so that "memorized at once" is the light end.
EPOCH_COLOURS = "viridis_r"
# Blue below, red above, dark in between: thin lines have to show on white.
LOAD_COLOURS = sns.diverging_palette(250, 15, s=90, l=55, center="dark", as_cmap=True)
TITLE_CHARACTERS, NARROW_TITLE = 40, 32
BEYOND_FACE, BEYOND_HATCH = "#ececec", "#9a9a9a"
LINE_COLOUR = "#c1121f"
PEER_COLOUR = "#33658a"
CELL_INCHES = (0.58, 0.42)
# The text width of the report's page: a wider figure would be shrunk, and its text with it.
PAGE_INCHES = 10.9
SMALLEST_FONT = 8
SAMPLES_SHOWN = 60
BEYOND_TARGETS = 0.25
MOST_TAU = 30.0
PNG_DPI = 150


def epoch_norm(groups: pd.DataFrame) -> LogNorm:
    """One colour scale for all maps of a run: from its fastest median epoch to its largest budget."""
    finite = groups["median_epoch_to_tau"].replace(math.inf, np.nan).dropna()
    top = max(float(groups["max_epochs"].max()), 2.0)
    return LogNorm(max(1.0, min(float(finite.min()) if len(finite) else 1.0, top / 2)), top)


def heatmaps(groups: pd.DataFrame, *, rows: str, columns: str, panels: str, norm: LogNorm, title: str) -> Figure:
    """Median epoch_to_tau as one heatmap for each value of `panels`.

    A cell that most seeds did not memorize is hatched and says the budget; where the seeds disagree, it says how many
    memorized.
    The red line, N = functional_dim, separates sample counts that a generic network can fit exactly from those it cannot.
    """
    values = {name: sorted(groups[name].unique()) for name in (rows, columns, panels)}
    width = CELL_INCHES[0] * len(values[columns]) + 0.3
    height = CELL_INCHES[1] * len(values[rows]) + 0.65
    down = math.ceil(len(values[panels]) * width / PAGE_INCHES)
    across = math.ceil(len(values[panels]) / down)
    size = (max(4.5, width * across + 1.3), height * down + 0.4)
    figure, axes = plt.subplots(down, across, figsize=size, squeeze=False, sharex=True, sharey=True, layout="constrained")
    for ax, panel in zip(axes.flat, values[panels], strict=False):
        shown = groups[groups[panels] == panel].set_index([rows, columns], drop=False)
        _map(ax, shown, values[rows], values[columns], norm)
        _dimension_border(ax, shown, values[rows], values[columns])
        ax.set_title(f"{_title(panels)} {panel:g}")
    _label_edges(axes, len(values[panels]), _title(columns), _title(rows))
    bar = figure.colorbar(
        ScalarMappable(norm, EPOCH_COLOURS), ax=axes.ravel().tolist(), shrink=0.9, pad=0.015, aspect=14 * down
    )
    bar.set_label("median epochs to tau")
    bar.ax.tick_params(labelsize=SMALLEST_FONT)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    return figure


def learning_curves(curves: pd.DataFrame) -> Figure:
    """Learning curves: a thin line for each cell, a panel for each setting, coloured by n_samples / functional_dim."""
    labels = list(dict.fromkeys(curves["setting"]))
    across = min(4, len(labels))
    down = math.ceil(len(labels) / across)
    figure, axes = plt.subplots(
        down,
        across,
        figsize=(3.0 * across + 1.1, 2.5 * down + 0.5),
        squeeze=False,
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    relative = curves["n_samples"] / curves["functional_dim"]
    extent = max(2.0, float(relative.max()), 1 / float(relative.min()))
    norm = LogNorm(1 / extent, extent)
    finite = curves.loc[np.isfinite(curves["tau"]) & (curves["epoch"] > 0), "tau"]
    # Far above 1 there is nothing to see; a network that starts there comes down within a few epochs.
    top = min(MOST_TAU, 1.5 * float(finite.max())) if len(finite) else MOST_TAU
    for ax, label in zip(axes.flat, labels, strict=False):
        for _, line in curves[curves["setting"] == label].groupby("cell_id", sort=False):
            load = line["n_samples"].iloc[0] / line["functional_dim"].iloc[0]
            drawn = line[line["epoch"] > 0]
            ax.plot(drawn["epoch"], drawn["tau"], color=LOAD_COLOURS(norm(load)), lw=0.9, alpha=0.85, rasterized=True)
        ax.axhline(1, color="#555555", lw=0.8, ls=":")
        for tau in curves.loc[curves["setting"] == label, "threshold"].unique():
            ax.axhline(tau, color="#555555", lw=0.8, ls="--")
        ax.set(xscale="log", yscale="log")
        ax.set_title(_wrapped(label, NARROW_TITLE), fontsize=9)
    axes[0][0].set_ylim(0.5 * max(float(finite.min()) if len(finite) else 0, float(curves["threshold"].min())), max(2.0, top))
    _label_edges(axes, len(labels), "epoch", "tau (1: predicts the mean)")
    bar = figure.colorbar(ScalarMappable(norm, LOAD_COLOURS), ax=axes.ravel().tolist(), shrink=0.9, pad=0.015, aspect=25)
    bar.set_label("n_samples / functional dimension")
    return figure


def predictions(table: pd.DataFrame) -> Figure:
    """Targets (blue circles) against predictions (red stars) of the first training samples, a panel for each setting."""
    labels = list(dict.fromkeys(table["setting"]))
    across = min(3, len(labels))
    down = math.ceil(len(labels) / across)
    figure, axes = plt.subplots(
        down, across, figsize=(4.2 * across, 2.2 * down + 0.3), squeeze=False, sharex=True, sharey=True, layout="constrained"
    )
    low, high = table["target"].min(), table["target"].max()
    low, high = low - BEYOND_TARGETS * (high - low), high + BEYOND_TARGETS * (high - low)
    for ax, label in zip(axes.flat, labels, strict=False):
        shown = table[(table["setting"] == label) & (table["sample"] < SAMPLES_SHOWN)]
        ax.plot(shown["sample"], shown["target"], "o", color="#1f4e9c", mfc="none", ms=4.5, mew=1.0)
        # A prediction far from all targets is drawn at the edge; else it would squeeze them into a line.
        ax.plot(shown["sample"], shown["prediction"].clip(low, high), "*", color=LINE_COLOUR, ms=5, mew=0)
        ax.set_title(_wrapped(f"{label}: tau {shown['final_tau'].iloc[0]:.2g}"), fontsize=9)
    axes[0][0].xaxis.set_major_locator(MaxNLocator(integer=True))
    _label_edges(axes, len(labels), "training sample", "target / prediction")
    low, high = axes[0][0].get_ylim()
    axes[0][0].set_ylim(low, high + 0.22 * (high - low))
    axes[0][0].text(0.02, 0.96, "o target", color="#1f4e9c", transform=axes[0][0].transAxes, va="top", fontsize=SMALLEST_FONT)
    axes[0][0].text(
        0.20, 0.96, "* prediction", color=LINE_COLOUR, transform=axes[0][0].transAxes, va="top", fontsize=SMALLEST_FONT
    )
    return figure


def propagation(signal: pd.DataFrame) -> Figure:
    """Variance across inputs of each layer of the untrained networks, a line for each setting, named at its end."""
    figure, ax = plt.subplots(figsize=(7.6, 3.6), layout="constrained")
    palette = sns.color_palette("colorblind", signal["setting"].nunique())
    ends = []
    for colour, (label, line) in zip(palette, signal.groupby("setting", sort=False), strict=True):
        ax.plot(line["layer"], line["variance_across_inputs"], "o-", ms=3.5, lw=1.3, color=colour)
        ends.append(
            (
                math.log10(max(float(line["variance_across_inputs"].iloc[-1]), 1e-300)),
                float(line["layer"].iloc[-1]),
                label,
                colour,
            )
        )
    ax.set(yscale="log", xlabel="layer (the last is the output)", ylabel="variance across inputs")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    low, high = (math.log10(limit) for limit in ax.get_ylim())
    ends.sort()
    columns = [[end for end in ends if end[1] == layer] for layer in sorted({end[1] for end in ends})]
    heights = [_apart([end[0] for end in column], least=0.11 * (high - low), top=high) for column in columns]
    for height, (_, layer, label, colour) in zip(chain(*heights), chain(*columns), strict=True):
        ax.annotate(
            _wrapped(label),
            (layer, 10**height),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALLEST_FONT,
            color=colour,
            annotation_clip=False,
        )
    sns.despine(figure)
    return figure


def ranking(table: pd.DataFrame) -> Figure:
    """What each regularizer takes away, a row for each: the share that still memorizes, and the delay, with their intervals."""
    names = list(table["regularizer"])
    kinds = sorted(table["regularization"].unique())
    # The palette for colour-blind readers has ten colours.
    palette = sns.color_palette("colorblind" if len(kinds) <= 10 else "husl", len(kinds))
    colours = dict(zip(kinds, palette, strict=True))
    figure, (share, delay) = plt.subplots(
        1, 2, figsize=(9.6, 0.23 * len(table) + 0.9), sharey=True, layout="constrained", width_ratios=(1, 1.2)
    )
    finite = table[["median_delay", "delay_low", "delay_high"]].replace(math.inf, np.nan).max().max()
    edge = 1.6 * (finite if finite == finite else 1)
    for y, (_, row) in enumerate(table.iterrows()):
        style = {"color": colours[row["regularization"]], "solid_capstyle": "butt"}
        share.plot([row["fraction_low"], row["fraction_high"]], [y, y], lw=1.4, **style)
        share.plot(row["fraction_memorized"], y, "o", ms=4.5, **style)
        delay.plot([min(row["delay_low"], edge), min(row["delay_high"], edge)], [y, y], lw=1.4, **style)
        never = math.isinf(row["median_delay"])
        if math.isinf(row["delay_high"]):
            delay.plot(edge, y, ">", ms=3.5, **style)
        delay.plot(edge if never else row["median_delay"], y, ">" if never else "o", ms=5 if never else 4.5, **style)
    share.set(xlim=(-0.03, 1.03), xlabel="share that memorizes", ylim=(len(names) - 0.4, -0.6))
    share.set_yticks(range(len(names)), names, fontsize=SMALLEST_FONT)
    delay.set(xscale="log", xlabel="median epochs over those without it (triangle: never)")
    delay.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    delay.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    delay.xaxis.set_minor_locator(NullLocator())
    delay.axvline(1, color="#555555", lw=0.8, ls=":")
    for ax in (share, delay):
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", color="#eeeeee", lw=0.6)
        ax.set_axisbelow(True)
    sns.despine(figure, left=True)
    return figure


def _map(ax: Axes, shown: pd.DataFrame, rows: Sequence, columns: Sequence, norm: LogNorm) -> None:
    median = np.full((len(rows), len(columns)), np.nan)
    notes = np.full(median.shape, "", dtype=object)
    for (i, row), (j, column) in ((r, c) for r in enumerate(rows) for c in enumerate(columns)):
        if (row, column) not in shown.index:
            ax.text(j + 0.5, i + 0.5, "-", ha="center", va="center", fontsize=SMALLEST_FONT, color="#777777")
            continue
        group = shown.loc[(row, column)]
        if math.isfinite(group["median_epoch_to_tau"]):
            median[i, j] = max(group["median_epoch_to_tau"], norm.vmin)
        else:
            ax.add_patch(Rectangle((j, i), 1, 1, facecolor=BEYOND_FACE, edgecolor=BEYOND_HATCH, hatch="////", lw=0))
        notes[i, j] = _note(group)
    sns.heatmap(
        pd.DataFrame(median, index=pd.Index([_tick(row) for row in rows]), columns=pd.Index([_tick(c) for c in columns])),
        ax=ax,
        norm=norm,
        vmin=norm.vmin,
        vmax=norm.vmax,
        cmap=EPOCH_COLOURS,
        cbar=False,
        linewidths=1,
        linecolor="white",
        annot=np.where(np.isnan(median), "", notes),
        fmt="",
        annot_kws={"fontsize": SMALLEST_FONT},
    )
    box = {"facecolor": BEYOND_FACE, "edgecolor": "none", "pad": 0.8}
    for i, j in np.argwhere(np.isnan(median) & (notes != "")):
        ax.text(j + 0.5, i + 0.5, str(notes[i, j]), ha="center", va="center", fontsize=SMALLEST_FONT, color="#333333", bbox=box)
    ax.invert_yaxis()
    ax.tick_params(axis="both", rotation=0, length=0)


def _note(group: pd.Series) -> str:
    """What a map's cell says: the median epoch or the budget it exceeds, and the seeds that memorized where they disagree."""
    if group["n_seeds"] == 0:
        return "failed" if group["n_failed"] else "pending"
    if math.isfinite(group["median_epoch_to_tau"]):
        note = f"{group['median_epoch_to_tau']:.0f}"
    elif group["n_diverged"] == group["n_seeds"]:
        note = "diverged"
    elif group["n_early_stopped"] == group["n_seeds"]:
        note = "stopped"
    else:
        note = f">{group['max_epochs']}"
    mixed = 0 < group["n_memorized"] < group["n_seeds"]
    return f"{note}\n{group['n_memorized']}/{group['n_seeds']}" if mixed else note


def _dimension_border(ax: Axes, shown: pd.DataFrame, rows: Sequence, columns: Sequence) -> None:
    """The border between neighbours of which one has its n_samples within the functional dimension, and one has not."""
    within = np.full((len(rows), len(columns)), np.nan)
    for i, j in np.ndindex(*within.shape):
        if (rows[i], columns[j]) in shown.index:
            group = shown.loc[(rows[i], columns[j])]
            within[i, j] = group["n_samples"] <= group["functional_dim"]
    # The difference to a missing neighbour is NaN, and no border.
    segments = [((j, j + 1), (i + 1, i + 1)) for i, j in np.argwhere(np.abs(np.diff(within, axis=0)) == 1)]
    segments += [((j + 1, j + 1), (i, i + 1)) for i, j in np.argwhere(np.abs(np.diff(within, axis=1)) == 1)]
    for colour, width in (("white", 3.6), (LINE_COLOUR, 1.8)):
        for x, y in segments:
            ax.plot(x, y, color=colour, lw=width, solid_capstyle="projecting")


def _label_edges(axes: np.ndarray, used: int, x: str, y: str) -> None:
    """Names on the left and at the foot of every column of a grid of panels whose last row may be part empty."""
    across = axes.shape[1]
    for number, ax in enumerate(axes.flat):
        if number >= used:
            ax.axis("off")
        elif number + across >= used:
            ax.set_xlabel(x)
            ax.tick_params(labelbottom=True)
    for ax in axes[:, 0]:
        ax.set_ylabel(y)


def _wrapped(label: str, characters: int = TITLE_CHARACTERS) -> str:
    return "\n".join(textwrap.wrap(label, characters, break_on_hyphens=False))


def _apart(heights: Sequence[float], *, least: float, top: float) -> list[float]:
    """Ascending heights moved no more than it takes to be this far apart and below the top.

    >>> _apart([0.0, 0.1, 0.9, 1.0], least=0.25, top=1.0)
    [0.0, 0.25, 0.75, 1.0]
    """
    raised, last = [], -math.inf
    for height in heights:
        last = max(height, last + least)
        raised.append(last)
    return [min(height, top - least * (len(raised) - 1 - place)) for place, height in enumerate(raised)]


def _tick(value: float | np.integer) -> str:
    """A value of an axis; strengths are off at 0, and constraints where they are infinitely loose."""
    return "off" if value in (0.0, math.inf) and isinstance(value, float) else f"{value:g}"


def _title(field: str) -> str:
    return {"n_samples": "samples N", "load": "load N / P"}.get(field, field)


def speeds(table: pd.DataFrame, summary: pd.DataFrame) -> Figure:
    """Each peer's share of the machine's peak on a log scale, a mark for each shape; as text how much slower it is than ours.

    `table` and `summary` are those of `bench.comparison`.
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
