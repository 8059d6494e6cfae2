"""Networks of one's own on noise -> figures: who memorized by network and sample count, and N50 against rank and parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from bench.protocol.names import shortened
from bench.report.curves import CAPACITY_PANEL, MOST_TICKS, SIGNS, draw_capacity
from bench.report.maps import epoch_norm, heatmaps
from bench.report.panels import panels
from bench.report.pictures import Picture
from bench.report.style import LINE_COLOUR, QUIET_COLOUR, log_axis
from bench.report.words import TRAINED, trained_how
from bench.statistics.capacity import what_is_known

MAP, CAPACITY = "map", "capacity"

# Characters of a network's name beside a map; rows that a map has room for.
NAMED, MOST_ROWS = 40, 40

# What N50 is held against: a column of the table, and what it is called.
AGAINST = {"jacobian_rank": "the Jacobian's rank", "n_params": "parameters"}

# How far beyond its networks the figure of N50 reaches, as a factor.
BESIDE = 1.5

# Between signs of one size, as a share of it.
DODGE = 0.06


def map_picture(
    shown: pd.DataFrame, ranks: pd.Series, name: str, asked: Mapping[str, Any], outputs: int, *, banded: bool
) -> Picture:
    """A heatmap for each way to train: networks go up, sample counts across.

    Args:
        shown: as `bench.statistics.own_networks.mapped` gives it.
        ranks: the Jacobian's rank of each network, by its arguments.
        name: what a network without arguments is called.
        asked: how networks were trained.
        outputs: numbers that a sample's target has.
        banded: the counts of `shown` are the upper ends of bands.
    """
    first = list(dict.fromkeys(shown["model_args"]))[:MOST_ROWS]
    # Maps in the order of rates, whatever the first network trained at.
    own = shown.assign(trained=trained_how(shown)).sort_values(list(TRAINED), kind="stable", na_position="first")
    own = own[own["model_args"].isin(first)]
    labels = {text: shortened(text or name, NAMED) for text in first}
    if len(set(labels.values())) < len(labels):
        labels = {text: text or name for text in first}
    groups = own.assign(
        network=own["model_args"].map(labels),
        functional_dim=own["model_args"].map(ranks).astype(float) / outputs,
        max_epochs=asked["max_epochs"],
        # Of a draw's rank before training it cannot be said that no fit exists beyond it.
        loss="",
        **dict.fromkeys(("n_diverged", "n_early_stopped", "n_censored"), 0),
    )
    title = "Noise memorized: seeds of each network, by sample count"
    if banded:
        title += "; counts up to the number below, from above the one before"
    border = "the Jacobian's rank" + ("" if outputs == 1 else f" / {outputs} outputs")
    figure = heatmaps(
        groups,
        rows="network",
        columns="n_samples",
        panels="trained",
        norm=epoch_norm(groups),
        title=title,
        number=f"epoch by which half of the seeds had reached tau {asked['tau']:g}",
        counted=True,
        border=border,
    )
    hits, count = int(shown["n_memorized"].sum()), int(shown["n_seeds"].sum())
    left = shown["model_args"].nunique() - len(first)
    caption = (
        f"{title}. Fractions: seeds that reached tau {asked['tau']:g} within {asked['max_epochs']:,} epochs. Numbers and"
        f" colours: the epoch by which half had. Hatched: fewer than half did. Red line: N = {border}."
        + (f" {left} more networks are in the table alone." if left else "")
    )
    alt = f"A map of networks by sample counts for each way to train. {hits} of {count} trainings memorized."
    return Picture(MAP, caption, alt, "network_groups", figure, MAP)


def capacity_picture(table: pd.DataFrame, outputs: int) -> Picture:
    """N50 over the Jacobian's rank against that, and over the parameters against those.

    Args:
        table: the columns of `network_capacity`.
        outputs: numbers that a sample's target has.
    """
    caption = (
        "N50, the sample count that half of the seeds memorize, with its 95 % interval, over the Jacobian's rank and over the"
        " parameters. Red: as many samples as dimensions. Hollow, with an arrow: only a bound is known."
    )
    known = [row for row in table.to_dict("records") if what_is_known(row) == "value"]
    alt = f"N50 of {len(known)} networks against the Jacobian's rank and parameters."
    return Picture(CAPACITY, caption, alt, "network_capacity", capacities(table, outputs), CAPACITY)


def capacities(table: pd.DataFrame, outputs: int) -> Figure:
    """The figure of `capacity_picture`."""
    table = table.assign(trained=trained_how(table)).sort_values(list(TRAINED), kind="stable", na_position="first")
    ways = list(dict.fromkeys(table["trained"]))
    signs = {way: SIGNS[k % len(SIGNS)] for k, way in enumerate(ways)}
    key = [(f"{signs[way].glyph} {way}", signs[way].colour) for way in ways]
    key.append(("Red: as many samples as dimensions. Hollow, with an arrow: only a bound is known.", QUIET_COLOUR))
    shown = {column: what for column, what in AGAINST.items() if table[column].notna().any()}
    names = ("dimensions", "N50 / dimensions" if outputs == 1 else f"N50 x {outputs} outputs / dimensions")
    titles = [f"dimensions: {what}" for what in shown.values()]
    figure, axes = panels(titles, across=len(titles), size=CAPACITY_PANEL, names=names, key=key)
    points = [
        (ax, row, float(row[column]))
        for ax, column in zip(axes, shown, strict=True)
        for row in table[table[column].notna()].to_dict("records")
    ]
    high = {"value": "n50", "more": "n50_low"}
    ends = [row[high[known]] * outputs / x for _, row, x in points if (known := what_is_known(row)) in high]
    top = 1.15 * max([1.0, *ends])
    for ax in axes:
        ax.axhline(1, color=LINE_COLOUR, lw=1.2, zorder=1)
    for ax, row, x in points:
        # Signs of one place stand beside each other.
        shift = 1 + DODGE * (ways.index(row["trained"]) - (len(ways) - 1) / 2)
        draw_capacity(ax, row, x * shift, signs[row["trained"]], top, x / outputs)
    sizes = np.array([x for _, _, x in points])
    axes[0].set(ylim=(0, top), xscale="log", xlim=(sizes.min() / BESIDE, sizes.max() * BESIDE))
    log_axis(axes[0], "x", MOST_TICKS)
    sns.despine(figure)
    return figure
