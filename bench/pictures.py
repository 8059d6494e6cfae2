"""The tables of a run -> the figures of its report, each with a caption, and a text for those who cannot see it."""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure

from bench import plots
from bench.cells import STRENGTHS
from bench.networks import HOMOGENEOUS
from bench.rates import at_default_rate, best_over_rates
from bench.settings import MAP_AXES, acts, label_settings, strengths_on, varying
from bench.tables import Tables
from bench.verdict import MAJORITY, verdict

# Loads of one map closer than this factor are one.
SAME_LOAD = 1.1

# Beyond these a page would be too long to read, and it says so.
MOST_SETTINGS = 24
MOST_VARIANTS = 12

# At these a strength is off: None, which a map draws as the loosest constraint there is, and 0.
OFF_WHERE_ABSENT = math.inf


@dataclasses.dataclass(frozen=True, slots=True)
class Picture:
    """A figure of the report: its file name without ending, a caption, a text for those who cannot see it, and its table."""

    name: str
    caption: str
    alt: str
    table: str
    figure: Figure


def draw(tables: Tables) -> Iterator[Picture]:
    """The figures, the answer first; figures without data are left out. The caller closes them."""
    if not tables.variants:
        yield from _maps(tables.groups)
    if len(tables.regularizers) > 1:
        yield _ranking(tables.regularizers)
    if len(tables.learning_curves):
        yield _curves(tables)
    if len(tables.predictions):
        yield _predictions(tables)
    if len(tables.signal_propagation):
        yield _signal(tables.signal_propagation)


def drawn(tables: Tables) -> list[str]:
    """The settings that figures have room for: the first; or of variants the asked cell, the remedy, and what came closest."""
    settings = list(dict.fromkeys(tables.groups["setting"]))
    if not tables.variants or len(settings) <= MOST_VARIANTS:
        return settings[:MOST_SETTINGS]
    asked, others = tables.groups.iloc[0], tables.groups.iloc[1:]
    fewer = (others["n_samples"] < asked["n_samples"]).rename("fewer")
    closest = others.assign(fewer=fewer).sort_values(["fewer", "median_final_tau"], kind="stable")["setting"]
    first = [settings[0], verdict(tables.evidence).change, *closest]
    kept = list(dict.fromkeys(filter(None, first)))[:MOST_VARIANTS]
    return [setting for setting in settings if setting in kept]


def _maps(groups: pd.DataFrame) -> Iterator[Picture]:
    """Maps of depth, width and n_samples for each setting; a swept rate or strength is an axis of maps, not a setting."""
    norm = plots.epoch_norm(groups)
    best = best_over_rates(groups)
    if len(best):
        rates = f"learning rates {_span(groups)}"
        for chosen, words in ((best, f"best of the {rates}"), (at_default_rate(groups), "at the default learning rate")):
            labels = label_settings(chosen.assign(learning_rate=0.0)) if len(chosen) else chosen["setting"]
            named = [words if label == "all cells" else f"{label}, {words}" for label in labels]
            name = "map_best_rate" if chosen is best else "map_default_rate"
            yield from _network_maps(chosen.assign(setting=named), norm, name)
        yield from _swept_maps(groups, "learning_rate", norm)
    strengths = [name for name in STRENGTHS if _is_swept(groups, name)]
    alone = [[name] for name in strengths]
    for strength in strengths:
        yield from _swept_maps(groups, strength, norm)
    if not len(best):
        # A swept strength that acts alone has its map; with others it makes a setting like any other.
        mapped = groups.apply(lambda row: strengths_on(row) in alone, axis=1)
        own = groups[~mapped.astype(bool)]
        yield from _network_maps(own, norm, "map")


def _network_maps(groups: pd.DataFrame, norm: plots.LogNorm, prefix: str) -> Iterator[Picture]:
    for number, setting in enumerate(list(dict.fromkeys(groups["setting"]))[:MOST_SETTINGS]):
        own = groups[groups["setting"] == setting]
        for rows, columns, panels in _map_axes(own):
            shown = own.assign(load=_steps(own["load"]))
            yield _map(shown, rows, columns, panels, norm, f"{prefix}_{number:02d}_{columns}_{rows}", setting)


def _swept_maps(groups: pd.DataFrame, axis: str, norm: plots.LogNorm) -> Iterator[Picture]:
    """What a swept rate or strength does: its values down, n_samples across, a panel for each depth, a figure for each width.

    Other strengths are off; the row of a strength that is off is the same networks without regularization.
    """
    others = [name for name in STRENGTHS if name != axis]
    shown = groups[~groups[others].apply(lambda row: any(map(acts, row)), axis=1)]
    if axis in STRENGTHS:
        shown = shown.assign(**{axis: shown[axis].astype(float).fillna(OFF_WHERE_ABSENT)})
    same = shown.assign(**{axis: 0.0}, regularization="none")
    labels = label_settings(same)
    for (label, width), own in shown.groupby([labels, "width"], sort=False):
        if own[axis].nunique() < 2:
            continue
        alone = len(labels.unique()) == 1
        setting = f"{axis} at width {width}" if alone else f"{axis} at width {width}, {label}"
        name = f"map_{axis}_width_{width}" + ("" if alone else f"_{list(labels.unique()).index(label)}")
        yield _map(own, axis, "n_samples", "depth", norm, name, setting)


def _map(groups: pd.DataFrame, rows: str, columns: str, panels: str, norm: plots.LogNorm, name: str, setting: str) -> Picture:
    red = "P - depth*width" if groups["activation"].isin(HOMOGENEOUS).all() else "functional dimension"
    title = f"{setting}: epochs until tau <= {', '.join(f'{tau:g}' for tau in groups['tau'].unique())}; red: N = {red}"
    figure = plots.heatmaps(groups, rows=rows, columns=columns, panels=panels, norm=norm, title=title)
    reached = int((groups["fraction_memorized"] >= MAJORITY).sum())
    caption = f"{setting}: {columns} by {rows}, a map for each {panels}. Hatched: fewer than half of the seeds got there."
    combinations = f"{reached} of {len(groups)} combinations of {', '.join(dict.fromkeys((*MAP_AXES, rows)))}"
    alt = f"Heatmaps of the median epoch to tau, {setting}: at least half of the seeds memorized {combinations}."
    return Picture(name, caption, alt, "groups", figure)


def _span(groups: pd.DataFrame) -> str:
    """The swept learning rates, least to greatest."""
    return f"{groups['learning_rate'].min():g} to {groups['learning_rate'].max():g}"


def _is_swept(groups: pd.DataFrame, strength: str) -> bool:
    alone = groups[groups.apply(lambda row: strengths_on(row) == [strength], axis=1).astype(bool)]
    return len(set(alone[strength])) > 1


def _map_axes(groups: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Rows, columns and panels of the maps worth drawing: at least two by two, and load for n_samples where that is ragged."""
    networks = len(groups[["depth", "width"]].drop_duplicates())
    ragged = 2 * len(groups) < networks * groups["n_samples"].nunique()
    samples = "load" if ragged else "n_samples"
    axes = [(samples, "width", "depth"), ("depth", "width", samples)]
    if not varying(groups, among=("width",)):
        axes = [(samples, "depth", "width")]
    return [names for names in axes if all(len(varying(groups, among=(name,))) for name in names[:2])]


def _steps(loads: pd.Series) -> list[float]:
    """Loads as the few that were meant: n_samples is whole, so one load asked for differs a little from network to network."""
    steps: list[float] = []
    for load in sorted(loads.unique()):
        if not steps or load > SAME_LOAD * steps[-1]:
            steps.append(float(load))
    return [float(f"{steps[bisect.bisect_right(steps, load) - 1]:.2g}") for load in loads]


def _ranking(regularizers: pd.DataFrame) -> Picture:
    caption = (
        "What each regularizer takes away from cells that memorize without it, the strongest first: the share that still"
        " memorizes, and how many times the epochs of the same cell without it the median takes. Bars: 95 % intervals."
    )
    first, last = regularizers.iloc[0], regularizers.iloc[-1]
    alt = (
        f"Of {len(regularizers)} regularizers and strengths, {first['regularizer']} hinders memorization most"
        f" ({first['n_memorized']} of {first['n_pairs']} cells memorize), {last['regularizer']} least"
        f" ({last['n_memorized']} of {last['n_pairs']})."
    )
    return Picture("regularizers", caption, alt, "regularizers", plots.ranking(regularizers))


def _curves(tables: Tables) -> Picture:
    curves = tables.learning_curves
    shown = curves[curves["setting"].isin(drawn(tables))]
    caption = "Learning curves. Blue: fewer samples than the functional dimension; red: more."
    caption += " Dotted: the mean; dashed: the threshold."
    if len(curves) and curves["cell_id"].nunique() < len(tables.cells):
        caption += " One seed of each network, or fewer where they are many."
    alt = f"Learning curves of {shown['cell_id'].nunique()} cells; the lowest tau drawn is {shown['tau'].min():.2g}."
    return Picture("learning_curves", caption, alt, "learning_curves", plots.learning_curves(shown))


def _predictions(tables: Tables) -> Picture:
    predicted = tables.predictions[tables.predictions["setting"].isin(drawn(tables))]
    caption = (
        "Targets (blue circles) and final predictions (red stars) of the first training samples, one cell for each setting."
    )
    taus = predicted.drop_duplicates("setting")
    alt = "Predictions against targets. Final tau: " + "; ".join(
        f"{label} {tau:.2g}" for label, tau in zip(taus["setting"], taus["final_tau"], strict=True)
    )
    return Picture("predictions", caption, alt, "predictions", plots.predictions(predicted))


def _signal(signal: pd.DataFrame) -> Picture:
    caption = "What tells inputs apart in the untrained networks: the variance of each layer's pre-activations across inputs."
    last = signal.groupby("setting", sort=False)["variance_across_inputs"].last()
    alt = "Variance across inputs at the output of the untrained network: " + "; ".join(
        f"{label} {value:.2g}" for label, value in last.items()
    )
    return Picture("signal_propagation", caption, alt, "signal_propagation", plots.propagation(signal))
