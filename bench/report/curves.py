"""Capacities and curves of who had memorized -> figures, a panel for each setting. Nothing is computed here."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, StrMethodFormatter

from bench.protocol.theory import BITS_PER_PARAM, NETWORK, dimension_name
from bench.report.panels import columns_for, panels
from bench.report.style import BELOW_COLOUR, LINE_COLOUR, QUIET_COLOUR, SMALLEST_FONT, log_axis
from bench.statistics.capacity import what_is_known

# Inches.
CAPACITY_PANEL, INCIDENCE_PANEL = (2.9, 2.6), (2.35, 1.7)

ENDS = {"memorized": (BELOW_COLOUR, "-"), "early_stopped": ("#b35900", "--"), "diverged": (LINE_COLOUR, ":")}

MOST_TICKS = 7

# Depths from light to dark, none of them like the red of the ceiling.
DEPTH_COLOURS = "crest"


def capacities(table: pd.DataFrame, theory: pd.DataFrame) -> Figure:
    """N50 with its interval against n_params, both on log scales, a panel for each setting and choice of rates.

    `table` is that of `bench.statistics.capacity`, `theory` that of `bench.protocol.theory`.
    """
    titles = [f"{s}" if r == "as asked" else f"{s}, rate: {r}" for s, r in zip(table["setting"], table["rates"], strict=True)]
    depths = sorted(table["depth"].unique())
    colours = dict(zip(depths, sns.color_palette(DEPTH_COLOURS, len(depths)), strict=True))
    bits = [f"{value:g}" for value in BITS_PER_PARAM]
    grey = f"Grey, from below: what {', '.join(bits[:-1])} and {bits[-1]} bits for each parameter would hold."
    held = (theory["kind"] == "information").any()
    exact = "" if (table["loss"] != "mse").any() else ", which bounds exact fits"
    words = f"Red: N = {dimension_name(table)}{exact}.{f' {grey}' if held else ''}"
    key = [*((f"depth {depth}", to_hex(colours[depth])) for depth in depths), (words, QUIET_COLOUR)]
    labels = list(dict.fromkeys(titles))
    names = ("parameters P", "N50, samples")
    figure, axes = panels(labels, across=columns_for(len(labels), 3), size=CAPACITY_PANEL, names=names, key=key)
    low, high = _ends(table)
    for ax, label in zip(axes, labels, strict=True):
        own = table[[title == label for title in titles]]
        for depth, rows in own.groupby("depth"):
            _capacities(ax, rows.sort_values("n_params"), colours[depth], (low, high))
        line = own.drop_duplicates(["n_params", "functional_dim"]).sort_values(["n_params", "functional_dim"])
        ax.plot(line["n_params"], line["functional_dim"], color=LINE_COLOUR, lw=1.2, zorder=1)
        _information(ax, own, theory)
    axes[0].set(xscale="log", yscale="log", ylim=(low, high))
    for name in ("x", "y"):
        log_axis(axes[0], name, MOST_TICKS)
    sns.despine(figure)
    return figure


def _capacities(ax: Axes, rows: pd.DataFrame, colour: tuple[float, float, float], ends: tuple[float, float]) -> None:
    for row in rows.to_dict("records"):
        says = what_is_known(row)
        if says == "nothing":
            continue
        span = [max(row["n50_low"], ends[0]), min(row["n50_high"], ends[1])]
        thick, strength = (1.4, 1.0) if says == "value" else (0.9, 0.45)
        ax.plot([row["n_params"]] * 2, span, color=colour, solid_capstyle="butt", lw=thick, alpha=strength)
        if says == "value":
            ax.plot(row["n_params"], row["n50"], "o", ms=4.5, color=colour)
        else:
            sign, y = ("^", span[0]) if says == "more" else ("v", span[1])
            ax.plot(row["n_params"], y, sign, ms=5, mfc="white", mec=colour, mew=1.2)
    joined = rows[rows["n50"].notna()]
    ax.plot(joined["n_params"], joined["n50"], color=colour, lw=0.8, alpha=0.6)


def _information(ax: Axes, own: pd.DataFrame, theory: pd.DataFrame) -> None:
    bits = theory[(theory["kind"] == "information") & theory["tau"].isin(own["tau"])]
    bits = bits.merge(own[[*NETWORK, "n_params"]].drop_duplicates(), on=NETWORK)
    for _, line in bits.groupby(["line", "tau"], sort=False):
        ordered = line.drop_duplicates("n_params").sort_values("n_params")
        ax.plot(ordered["n_params"], ordered["n_samples"], color="#9a9a9a", lw=0.8, ls=(0, (4, 2)), zorder=0)


def _ends(table: pd.DataFrame) -> tuple[float, float]:
    """Least and largest sample count worth drawing."""
    values = pd.concat([table[name] for name in ("n50", "n50_low", "n50_high", "functional_dim")]).astype(float)
    positive = values[(values > 0) & np.isfinite(values)]
    return 0.6 * float(positive.min()), 1.6 * float(positive.max())


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
