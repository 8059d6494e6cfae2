"""The tables of a run -> the figures of its report, each with a caption, and a text for those who cannot see it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from bench.protocol import theory
from bench.report import curves, label_figures, map_layers, maps, plots
from bench.report.atlas import MOST_SETTINGS, Sheet, sheets
from bench.report.map_cells import Marks, note
from bench.report.words import unspelled, worded
from bench.statistics.confirmation import MAJORITY
from bench.statistics.settings import changed_fields, regularized, same
from bench.statistics.tables import Tables
from bench.statistics.verdict import verdict
from bench.store.parts import Design

MOST_VARIANTS, MOST_BUDGET_PANELS = 12, 16

MAPS = "maps"

# What the signs of a map are called in a caption.
SIGNS_IN_WORDS = {
    "number": "Numbers and colours",
    "hatched": "hatched",
    "border": "red line",
    "n50": "diamond",
    "exists": "dots",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Picture:
    """A figure of the report: its file name without ending, a caption, a text for those who cannot see it, and its table.

    `section` says where on the page it stands; MAPS are there as drawings of its own. `figure` is None where its files are all
    that is left.
    """

    name: str
    caption: str
    alt: str
    table: str
    figure: Figure | None
    section: str

    @property
    def endings(self) -> tuple[str, ...]:
        """The files it is kept in."""
        return "png", "svg"


# Draws a picture when it is called; another process may do so.
Drawing = Callable[[], Picture]


def drawings(tables: Tables) -> Iterator[Drawing]:
    """The figures to draw, the answer first; figures without data are left out."""
    if tables.design is Design.PRODUCT:
        yield from _maps(tables)
    shown = _compared(_without_marked(tables.capacity, tables.by_lm))
    if len(shown):
        yield partial(_capacity, tables, shown)
    grown = _grown(tables.capacity_by_budget)
    if len(grown):
        yield partial(_budgets, tables, grown)
    stored = label_figures.told(tables.labels)
    if len(stored):
        yield partial(_labels, tables, stored)
    if len(tables.regularizers) > 1:
        yield partial(_ranking, tables.regularizers)
    if len(tables.log_rank):
        yield partial(_incidence, tables)
    if len(tables.learning_fans):
        yield partial(_fans, tables)
    if len(tables.predictions):
        yield partial(_predictions, tables)
    # One sample varies across no inputs, and zeros have no place on a logarithmic axis.
    if (tables.signal_propagation["variance_across_inputs"] > 0).any():
        yield partial(_signal, tables.signal_propagation)


def drawn(tables: Tables) -> list[str]:
    """The settings that figures have room for: the first; or of variants the asked cell, the remedy, each part of it alone,
    and what came closest.
    """
    settings = list(dict.fromkeys(tables.groups["setting"]))
    if not tables.variants or len(settings) <= MOST_VARIANTS:
        return settings[:MOST_SETTINGS]
    asked, others = tables.groups.iloc[0], tables.groups.iloc[1:]
    fewer = (others["n_samples"] < asked["n_samples"]).rename("fewer")
    closest = others.assign(fewer=fewer).sort_values(["fewer", "median_final_tau"], kind="stable")["setting"]
    remedy = verdict(tables.evidence).change
    first = [settings[0], remedy, *_parts(asked, tables.groups[tables.groups["setting"] == remedy], others), *closest]
    kept = list(dict.fromkeys(filter(None, first)))[:MOST_VARIANTS]
    return [setting for setting in settings if setting in kept]


def _parts(asked: pd.Series, remedies: pd.DataFrame, others: pd.DataFrame) -> list[str]:
    """The variants that change nothing but what a remedy changes too, if there is one, and change it alike."""
    return [
        row["setting"]
        for _, row in others.iterrows()
        for _, remedy in remedies.iterrows()
        if all(same(row[name], remedy[name]) for name in changed_fields(row, asked))
    ]


def _maps(tables: Tables) -> Iterator[Drawing]:
    """The maps at the cells' own thresholds, all on one colour scale."""
    norm = maps.LogNorm(*map_layers.colour_ends(tables))
    for sheet in sheets(tables.groups):
        yield partial(_map, sheet, map_layers.finding(sheet, tables), map_layers.marks(sheet, tables), norm)


def _map(sheet: Sheet, title: str, marks: Mapping[tuple[Any, Any], Marks], norm: maps.LogNorm) -> Picture:
    groups = sheet.groups
    taus = ", ".join(f"{tau:g}" for tau in groups["tau"].unique())
    number = f"epoch by which half of the seeds had reached tau {taus}"
    figure = maps.heatmaps(
        groups,
        rows=sheet.rows,
        columns=sheet.columns,
        panels=sheet.panels,
        norm=norm,
        title=title.removesuffix("."),
        number=number,
        marks=marks,
    )
    medians = groups.loc[groups["fraction_memorized"] >= MAJORITY, "median_epoch_to_tau"]
    low, high = f"{medians.min():.0f}", f"{medians.max():.0f}"
    by = f"epoch {low}" if low == high else f"epochs {low} to {high}"
    span = f" By {by} in the median." if len(medians) else ""
    alt = f"Maps of {sheet.columns} by {sheet.rows}, one for each {sheet.panels}. {title}{span}"
    texts = {line for group in groups.to_dict("records") for line in note(group).split("\n")}
    name = theory.dimension_name(groups)
    entries = maps.key_entries(groups, texts, number, marks, bordered=True, border=name)
    explained = "; ".join(f"{SIGNS_IN_WORDS.get(sign, sign)}: {meaning}" for sign, meaning in entries)
    return Picture(sheet.name, f"{title} {explained}.", alt, "groups", figure, MAPS)


def _without_marked(capacity: pd.DataFrame, by_lm: pd.DataFrame) -> pd.DataFrame:
    """The capacities without those by optimizer=lm that stand beside another optimizer's as marks."""
    if by_lm.empty:
        return capacity
    marked = set(by_lm[["setting_lm", "depth", "width", "d_in"]].itertuples(index=False, name=None))
    own = capacity[["setting", "depth", "width", "d_in"]].itertuples(index=False, name=None)
    return capacity[[curve not in marked for curve in own]]


def _compared(capacity: pd.DataFrame) -> pd.DataFrame:
    """The capacities of the first settings that have two networks or more with an N50: fewer are no picture.
    Of swept rates the default and the best are drawn.

    Those without regularization are shown beside them, however few: the others are read against these.
    """
    if capacity.empty:
        return capacity
    capacity = capacity[capacity["rates"] != "swept"]
    n_known = capacity["n50"].notna().groupby([capacity["setting"], capacity["rates"]]).transform("sum")
    several = capacity[(n_known > 1) | ~regularized(capacity)] if n_known.gt(1).any() else capacity.iloc[:0]
    return several[several["setting"].isin(several["setting"].unique()[:MOST_VARIANTS])]


def _grown(table: pd.DataFrame) -> pd.DataFrame:
    """N50 by budget of the first settings that have a network with N50s at two budgets or more: fewer are no line."""
    if table.empty:
        return table
    table = table[table["rates"] != "swept"]
    sides = [table["setting"], table["rates"]]
    n_known = table["n50"].notna().groupby([*sides, table["depth"], table["width"], table["d_in"]]).transform("sum")
    told = table[n_known.gt(1).groupby(sides).transform("any")]
    panel = ["setting", "rates", *(["depth"] if curves.budget_line(told) == "width" else [])]
    panels = told.drop_duplicates(panel).groupby(["setting", "rates"], sort=False).size().cumsum()
    shown = panels[panels <= max(MOST_BUDGET_PANELS, panels.min())].index if len(panels) else []
    return told[[pair in shown for pair in zip(told["setting"], told["rates"], strict=True)]]


def _said(table: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """A table with its settings in words; variants are named as they are asked for."""
    return table if tables.variants else worded(table, tables.groups)


def _by_effect(table: pd.DataFrame, measure: str, tables: Tables) -> pd.DataFrame:
    """The first setting, and the others by how far they end from it in a measure, the nearest first; variants as they come."""
    if tables.variants or table.empty:
        return table
    kinds = ["samples"] if "samples" in table else []
    last = table.drop_duplicates(["setting", *kinds], keep="last")
    first = table["setting"].iloc[0]
    own = last[last["setting"] == first]
    base = last["samples"].map(own.set_index("samples")[measure]) if kinds else own[measure].iloc[0]
    moved = (last[measure] - base).abs().groupby(last["setting"], sort=False).max()
    order = moved.sort_values(kind="stable").index
    place = {setting: -1 if setting == first else number for number, setting in enumerate(order)}
    ordered = table.assign(place=table["setting"].map(place)).sort_values("place", kind="stable").drop(columns="place")
    return _said(ordered, tables)


def _capacity(tables: Tables, shown: pd.DataFrame) -> Picture:
    with_n50 = shown[shown["n50"].notna()]
    told = _without_marked(tables.capacity, tables.by_lm)
    told = told[told["rates"] != "swept"]
    left = told["setting"].nunique() - shown["setting"].nunique()
    lm = tables.by_lm[tables.by_lm["setting"].isin(shown["setting"])] if len(tables.by_lm) else tables.by_lm
    caption = (
        "N50, the sample count that half of the seeds memorize, over the dimensions that the network's functions reach, with"
        f" its 95 % interval. An arrow means that N50 lies beyond that point. {theory.in_words(shown)}"
    )
    if left:
        caption += (
            f" {left} of {left + shown['setting'].nunique()} settings, most with fewer than two N50, are in the table alone."
        )
    if len(lm):
        caption += " A cross is N50 of the same network by Levenberg and Marquardt's method (tables/by_lm.csv)."
    shares = with_n50["n50_per_dim"]
    span = f"; N50 is {shares.min():.2g} to {shares.max():.2g} times the functional dimension" if len(shares) else ""
    alt = f"Capacities: {len(with_n50)} of {len(shown)} N50, of each network under each setting, are known{span}."
    if len(ratios := lm["ratio"].dropna() if len(lm) else lm):
        alt += f" By Levenberg and Marquardt's method it is {ratios.min():.2f} to {ratios.max():.2f} times as much."
    figure = curves.capacities(_said(shown, tables), _said(lm, tables))
    return Picture("capacity", caption, alt, "capacity", figure, "capacities")


def _budgets(tables: Tables, shown: pd.DataFrame) -> Picture:
    told = tables.capacity_by_budget[tables.capacity_by_budget["rates"] != "swept"]
    left = told["setting"].nunique() - shown["setting"].nunique()
    caption = (
        "N50 had training ended after so many epochs: a cell counts as memorized where its epoch to tau is no later. Both axes"
        " are logarithmic. A hollow sign with an arrow is a bound: N50 lies beyond it."
    )
    if left:
        caption += f" {left} of {left + shown['setting'].nunique()} settings are in the table alone."
    whole = shown[shown["budget"] == shown["max_epochs"]]
    known = whole["growth"].dropna()
    span = f"; the last doubling makes {known.min():.2f} to {known.max():.2f} times as much of it" if len(known) else ""
    alt = (
        f"N50 against the budget of {len(whole)} networks, of {int(whole['n50'].notna().sum())} with a value at the end{span}."
    )
    return Picture("budgets", caption, alt, "capacity_by_budget", curves.budgets(_said(shown, tables)), "capacities")


def _labels(tables: Tables, shown: pd.DataFrame) -> Picture:
    caption = (
        "What networks store of random labels when training ends, in bits for each parameter, after one temperature for all"
        " outputs is chosen, with 95 % intervals. Where every label is right it is all there is, the dashed line. The red line"
        " is what a linear softmax of as many dimensions keeps of any number of samples, half a nat for each."
    )
    most = shown["bits_per_param"]
    alt = f"Bits of labels against samples: {most.min():.2g} to {most.max():.2g} bits for each parameter."
    return Picture("labels", caption, alt, "labels", label_figures.bits(_said(shown, tables)), "capacities")


def _incidence(tables: Tables) -> Picture:
    shown = _by_effect(tables.incidence[tables.incidence["setting"].isin(drawn(tables))], "memorized", tables)
    caption = (
        "The share of cells that had memorized by each epoch, over all networks and sample counts of a setting, with its 95 %"
        " interval. A cell that stopped early or diverged counts as never memorizing (Kaplan-Meier with competing ends)."
    )
    last = shown.drop_duplicates("setting", keep="last")
    ends = [f"{row['setting']} {100 * row['memorized']:.0f} %" for _, row in last.iterrows()]
    alt = f"Shares that had memorized by the last epoch: {'; '.join(ends)}."
    return Picture("incidence", caption, alt, "incidence", curves.incidence(shown), "regularizers")


def _ranking(regularizers: pd.DataFrame) -> Picture:
    regularizers = regularizers.assign(regularizer=regularizers["regularizer"].map(unspelled))
    first, last = regularizers.iloc[0], regularizers.iloc[-1]
    caption = (
        "What each regularizer does to networks that memorize without it under every other seed, the strongest first. Left:"
        " the share that memorizes; the grey line is the share of the same cells that does without it. Right: how many times"
        " as many epochs it takes, in the median. Bars are 95 % intervals."
    )
    alt = (
        f"Of {len(regularizers)} regularizers and strengths, {first['regularizer']} hinders memorization most"
        f" ({first['n_memorized']} of {first['n_pairs']} cells memorize), {last['regularizer']} least"
        f" ({last['n_memorized']} of {last['n_pairs']})."
    )
    return Picture("regularizers", caption, alt, "regularizers", plots.ranking(regularizers), "regularizers")


def _fans(tables: Tables) -> Picture:
    fans, shown = tables.learning_fans, drawn(tables)
    own = _by_effect(fans[fans["setting"].isin(shown)], "tau_median", tables)
    caption = (
        "How tau falls in each setting: the median over cells at each epoch, and the band that holds the inner 80 % of them. A"
        " cell that has ended keeps its last tau; one that diverged counts as infinite."
    )
    if len(shown) > 1 and not tables.variants:
        caption += f" Grey: the medians of {own['setting'].iloc[0]}. The settings are in the order of what they change."
    last = own.drop_duplicates(["setting", "samples"], keep="last")
    ends = [
        f"{row['setting']}, samples {row['samples']} the functional dimension ({row['n_cells']} cells): {row['tau_median']:.2g}"
        for _, row in last.iterrows()
    ]
    alt = f"Learning curves; the median tau at the end: {'; '.join(ends)}."
    return Picture("learning_curves", caption, alt, "learning_fans", plots.fans(own), "curves")


def _predictions(tables: Tables) -> Picture:
    predicted = _said(tables.predictions[tables.predictions["setting"].isin(drawn(tables))], tables)
    caption = (
        "Targets and final predictions of the first training samples, for the first cell of each setting. The title gives its"
        " seeds of data and of weights, and its tau over all samples."
    )
    taus = predicted.drop_duplicates("setting")
    alt = "Predictions against targets. Final tau: " + "; ".join(
        f"{label} {tau:.2g}" for label, tau in zip(taus["setting"], taus["final_tau"], strict=True)
    )
    return Picture("predictions", caption, alt, "predictions", plots.predictions(predicted), "networks")


def _signal(signal: pd.DataFrame) -> Picture:
    caption = (
        "How well each layer of the untrained networks tells inputs apart: the variance of its pre-activations across inputs."
        " Near 0 a layer is blind to the input."
    )
    last = signal.groupby("setting", sort=False)["variance_across_inputs"].last()
    alt = "Variance across inputs at the output of the untrained network: " + "; ".join(
        f"{label} {value:.2g}" for label, value in last.items()
    )
    return Picture("signal_propagation", caption, alt, "signal_propagation", plots.propagation(signal), "networks")
