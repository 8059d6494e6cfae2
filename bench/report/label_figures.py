"""Bits of random labels against samples, over the parameters of each network -> a figure. Bits of numbers are never beside."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from bench.report.curves import sign_of
from bench.report.panels import columns_for, panels
from bench.report.style import LINE_COLOUR, QUIET_COLOUR, log_axis

PANEL = (2.5, 2.1)

# More panels are in the table alone.
MOST_PANELS = 12

MOST_TICKS = 5


def told(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of `labels` that are drawn: of networks of two sample counts or more, of the first settings and depths.

    First come cells that train to the end of their budget, which alone tell what is left beyond capacity.
    """
    if table.empty:
        return table
    counts = table.groupby(["setting", "depth", "width"])["n_samples"].transform("nunique")
    shown = table[(counts > 1) & (table["depth"] > 0)]
    shown = shown.sort_values("criterion", key=lambda criteria: criteria != "tau", kind="stable")
    titles = _titles(shown)
    return shown[titles.isin(titles.unique()[:MOST_PANELS])]


def bits(table: pd.DataFrame) -> Figure:
    """A panel for each setting and depth, a sign for each width; the dashed line is all that there is to store.

    `table` is that of `bench.statistics.labels.on_samples`.
    """
    titles = _titles(table)
    labels, widths = list(titles.unique()), sorted(table["width"].unique())
    signs = {width: sign_of(k) for k, width in enumerate(widths)}
    key = [(f"{signs[width].glyph} width {width}", signs[width].colour) for width in widths]
    key += [("Dashed: all there is.", QUIET_COLOUR), ("Red: a linear softmax of any number of samples.", LINE_COLOUR)]
    names = ("samples / parameter", "bits / parameter")
    figure, axes = panels(labels, across=columns_for(len(labels), 4), size=PANEL, names=names, key=key)
    load = table["n_samples"] / table["n_params"]
    for ax, label in zip(axes, labels, strict=True):
        own = table[titles == label]
        for width, network in own.groupby("width", sort=True):
            x, sign = network["n_samples"] / network["n_params"], signs[width]
            ax.plot(x, network["bits_per_param"], sign.marker, ls="-", ms=4, lw=1.0, color=sign.colour, mew=0)
            ax.vlines(x, network["bits_per_param_low"], network["bits_per_param_high"], color=sign.colour, lw=1.0)
        for classes in own["n_classes"].unique():
            line = np.geomspace(float(load.min()), float(load.max()), 50)
            ax.plot(line, line * math.log2(classes), color=QUIET_COLOUR, lw=0.8, ls="--", zorder=0)
        ax.axhline(float((own["chance_bits"] / own["n_params"]).median()), color=LINE_COLOUR, lw=0.9, zorder=0)
    top = 1.15 * float(table["bits_per_param_high"].fillna(table["bits_per_param"]).max())
    axes[0].set(xscale="log", ylim=(0, top))
    log_axis(axes[0], "x", MOST_TICKS)
    sns.despine(figure)
    return figure


def _titles(table: pd.DataFrame) -> pd.Series:
    """Of the panels: what their settings have not in common, and depths."""
    depths = table["depth"].astype(str) + np.where(table["depth"] == 1, " hidden layer", " hidden layers")
    parts = {setting: setting.split(", ") for setting in table["setting"].unique()}
    common = set.intersection(*map(set, parts.values()))
    own = {setting: ", ".join(part for part in words if part not in common) for setting, words in parts.items()}
    return table["setting"].map(lambda setting: f"{own[setting]}, " if own[setting] else "") + depths
