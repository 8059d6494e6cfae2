"""Which maps a run has: a sheet for each setting, and for each swept rate or strength."""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Iterator

import pandas as pd

from bench.protocol.cells import SECOND_ORDER, STRENGTHS
from bench.statistics.rates import at_default_rate, best_over_rates
from bench.statistics.settings import acts, label_settings, varying

# Loads of one map closer than this factor are one.
SAME_LOAD = 1.1

# Beyond these a page would be too long to read, and it says so.
MOST_SETTINGS = 24

# At these a strength is off: None, which a map draws as the loosest constraint there is, and 0.
OFF_WHERE_ABSENT = math.inf


@dataclasses.dataclass(frozen=True, slots=True)
class Sheet:
    """The groups of a figure of maps, the fields of its axes and panels, the figure's name, what it is a view of,
    and which capacities are those of its columns (`rates` of `bench.statistics.capacity`).
    """

    groups: pd.DataFrame
    rows: str
    columns: str
    panels: str
    name: str
    view: str
    rates: str = "as asked"


def sheets(groups: pd.DataFrame) -> Iterator[Sheet]:
    """Maps of depth, width and n_samples for each setting; a swept rate or strength is an axis of maps, not a setting."""
    best = best_over_rates(groups)
    if len(best):
        tried = groups.loc[groups["optimizer"] != SECOND_ORDER, "learning_rate"]
        rates = f"learning rates {tried.min():g} to {tried.max():g}"
        for chosen, words in ((best, f"best of the {rates}"), (at_default_rate(groups), "at the default learning rate")):
            labels = label_settings(chosen.assign(learning_rate=0.0)) if len(chosen) else chosen["setting"]
            named = [words if label == "all cells" else f"{label}, {words}" for label in labels]
            name = "map_best_rate" if chosen is best else "map_default_rate"
            yield from _of_networks(chosen.assign(setting=named), name, "best" if chosen is best else "default")
        yield from _of_swept(groups, "learning_rate")
    acting = pd.DataFrame({name: groups[name].notna() & groups[name].ne(0) for name in STRENGTHS}).fillna(False).astype(bool)
    alone = acting[acting.sum(axis=1) == 1]
    swept = [name for name in STRENGTHS if len(set(groups.loc[alone.index[alone[name]], name])) > 1]
    for strength in swept:
        yield from _of_swept(groups, strength)
    if not len(best):
        # A swept strength that acts alone has its map; with others it makes a setting like any other.
        yield from _of_networks(groups.drop(index=alone.index[alone[swept].any(axis=1)]), "map")


def _of_networks(groups: pd.DataFrame, prefix: str, rates: str = "as asked") -> Iterator[Sheet]:
    for number, setting in enumerate(list(dict.fromkeys(groups["setting"]))[:MOST_SETTINGS]):
        own = groups[groups["setting"] == setting]
        if axes := _axes(own):
            name = f"{prefix}_{number:02d}_{axes[1]}_{axes[0]}"
            yield Sheet(own.assign(load=_steps(own["load"])), *axes, name, setting, rates)


def _of_swept(groups: pd.DataFrame, axis: str) -> Iterator[Sheet]:
    """What a swept rate or strength does: its values up, n_samples across, a panel for each depth, a figure for each width.

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
        view = f"{axis} at width {width}" if alone else f"{axis} at width {width}, {label}"
        name = f"map_{axis}_width_{width}" + ("" if alone else f"_{list(labels.unique()).index(label)}")
        yield Sheet(own, axis, "n_samples", "depth", name, view)


def _axes(groups: pd.DataFrame) -> tuple[str, str, str] | None:
    """Rows, columns and panels of the maps, the first choice that is at least two by two; load for n_samples where ragged."""
    networks = len(groups[["depth", "width"]].drop_duplicates())
    ragged = 2 * len(groups) < networks * groups["n_samples"].nunique()
    samples = "load" if ragged else "n_samples"
    choices = [(samples, "width", "depth"), (samples, "depth", "width"), ("depth", "width", samples)]
    return next((names for names in choices if all(len(varying(groups, among=(name,))) for name in names[:2])), None)


def _steps(loads: pd.Series) -> list[float]:
    """Loads as the few that were meant: n_samples is whole, so one load asked for differs a little from network to network."""
    steps: list[float] = []
    for load in sorted(loads.unique()):
        if not steps or load > SAME_LOAD * steps[-1]:
            steps.append(float(load))
    return [float(f"{steps[bisect.bisect_right(steps, load) - 1]:.2g}") for load in loads]
