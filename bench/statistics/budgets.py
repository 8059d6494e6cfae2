"""Capacity against budget: N50 as fewer epochs would have left it, from the epochs to tau of the cells, and how it grows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, zip_longest
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from bench.protocol.cells import Status
from bench.protocol.columns import columns_of
from bench.statistics.agreement import ratio_interval
from bench.statistics.capacity import at_edge, curves, frontier_of, what_is_known
from bench.statistics.censored import Measured, profile
from bench.statistics.clusters import clusters, kinds, pairs
from bench.statistics.frontier import Frontier, residuals
from bench.statistics.rates import best_over_rates
from bench.statistics.ratios import ROUNDING
from bench.statistics.scaling import LEAST_SHARE
from bench.statistics.survival import CURVE_FIELDS, GROUP_FIELDS, Z95, of_grids
from bench.statistics.survival import groups as group_statistics

# How many budgets there are at most, each half of the next.
MOST_BUDGETS = 8

COLUMNS, GROWTH_COLUMNS = list(columns_of("capacity_by_budget")), list(columns_of("budget_growth"))

# What tells a network in the table, beside its setting.
NETWORK = ["rates", "learning_rate", "d_in", "depth", "width"]

# What ties a training to its budget.
SCHEDULE, EARLY_STOPPING = "a schedule of the learning rate", "early stopping"

# A growth and the ends of its interval.
GROWTH = ("growth", "growth_low", "growth_high")


def halved(max_epochs: int) -> list[int]:
    """The budgets of a network, the whole one first.

    >>> halved(5000), halved(5)
    ([5000, 2500, 1250, 625, 312, 156, 78, 39], [5, 2, 1])
    """
    return [max_epochs >> k for k in range(MOST_BUDGETS) if max_epochs >> k]


def tied(table: pd.DataFrame) -> pd.Series:
    """For each row why fewer epochs would not have been the beginning of its training, or "".

    A schedule is stretched to the budget. Early stopping ends a training whatever is left of it.
    """
    reasons = np.where(table["patience"].notna(), EARLY_STOPPING, "")
    return pd.Series(np.where(table["lr_schedule"] != "constant", SCHEDULE, reasons), index=table.index)


def capacity_by_budget(
    cells: pd.DataFrame,
    known: Iterable[tuple[str, pd.DataFrame]] | None = None,
    budgets: Callable[[int], Sequence[int]] = halved,
) -> pd.DataFrame:
    """The N50 of each network at the budget that it had, and at budgets of which each is half of the next.

    Epochs to tau are recorded, and at a constant learning rate a training of fewer epochs is the beginning of one of more: so a
    cell had memorized within a budget if its epoch_to_tau is at most that. All else is as in
    `bench.statistics.capacity.capacities`, whose rows are those at the whole budget. The best of several learning rates is
    chosen anew at each.

    Curves whose training hangs on the budget otherwise (`tied`) have no rows.

    Args:
        cells: one row for each cell, of one run or of several.
        known: the curves of these cells to tell of (`bench.statistics.capacity.curves`); all without.
        budgets: of a network with so many epochs, the largest first.

    Returns:
        The columns of `capacity_by_budget` (`bench.protocol.columns`), a network after the other, the smallest budget first.
        `growth` is N50 over that of the row before, for each doubling. Its interval combines theirs by what the same cells say
        of both.
    """
    rows: list[dict[str, object]] = []
    every = curves(cells) if known is None else known
    free = [(rates, curve) for rates, curve in every if not tied(curve.head(1)).iloc[0]]
    for rates, curve, steps in _by_budget(cells, free, budgets):
        points = list(_points(steps))
        first = curve.iloc[0]
        named = {name: first[name] for name in ("setting", *NETWORK[1:], "n_params", "functional_dim", "tau", "max_epochs")}
        made = []
        for point, before in zip_longest(points, points[1:]):
            found = point.found
            made.append(
                named
                | {"rates": rates, "budget": point.budget, "n_cells": len(point.success)}
                | {"n_memorized": int(point.success.sum()), "n50": found.n50, "n50_low": found.low, "n50_high": found.high}
                | {"side": found.side, "at_edge": at_edge(found, point.counts), "stuck": point.stuck}
                | dict(zip(GROWTH, _growth(point, before), strict=True))
            )
        rows += reversed(made)
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype(dict.fromkeys(("n50", "n50_low", "n50_high", *GROWTH), float))


def _by_budget(
    cells: pd.DataFrame, known: Sequence[tuple[str, pd.DataFrame]], budgets: Callable[[int], Sequence[int]]
) -> Iterator[tuple[str, pd.DataFrame, list[tuple[pd.DataFrame, int]]]]:
    """(rates, the curve, its cells at each budget, the largest first)."""
    ladders = {most: budgets(most) for most in {int(curve["max_epochs"].iloc[0]) for _, curve in known}}
    best = [curve for rates, curve in known if rates == "best"]
    chosen: list[dict[tuple, pd.DataFrame]] = []
    if best:
        network = [name for name in CURVE_FIELDS if name != "learning_rate"]
        networks = pd.concat([curve.head(1)[network] for curve in best]).drop_duplicates()
        tried = of_grids(cells).merge(networks, on=network, how="inner")
        rungs = range(max(map(len, ladders.values())))
        chosen = [_best(tried, {most: ladder[rung:] for most, ladder in ladders.items()}) for rung in rungs]
    for rates, curve in known:
        ladder = ladders[int(curve["max_epochs"].iloc[0])]
        own = [one[_key(curve)] for one in chosen] if rates == "best" else [curve] * len(ladder)
        if ladder:
            yield rates, curve, list(zip(own, ladder, strict=False))


def _best(tried: pd.DataFrame, ladders: Mapping[int, Sequence[int]]) -> dict[tuple, pd.DataFrame]:
    """The curves at the best rates, had training ended after the first epochs named for its budget."""
    most = tried["max_epochs"].map({own: ladder[0] if ladder else 0 for own, ladder in ladders.items()})
    epochs = _epochs(tried)
    late = np.isfinite(epochs) & (epochs > most.to_numpy())
    censored = {"status": tried["status"].mask(late, Status.CENSORED), "epoch_to_tau": tried["epoch_to_tau"].mask(late)}
    chosen = best_over_rates(group_statistics(tried.assign(**censored)))
    own = tried.merge(chosen[list(GROUP_FIELDS)], on=list(GROUP_FIELDS), how="inner").assign(
        learning_rate=math.nan, searched=False
    )
    return {_key(curve): curve for _, curve in own.groupby(list(CURVE_FIELDS), sort=False, dropna=False)}


def _key(curve: pd.DataFrame) -> tuple:
    """What curves at the best rates are told apart by; absent is one value."""
    first = curve.iloc[0]
    return tuple(None if pd.isna(first[name]) else first[name] for name in CURVE_FIELDS if name != "learning_rate")


def _epochs(cells: pd.DataFrame) -> Float[np.ndarray, " cell"]:
    """By which epoch each cell had memorized; infinite where it never did."""
    epochs = cells["epoch_to_tau"].to_numpy(float, na_value=0.0)
    return np.where((cells["status"] == Status.MEMORIZED).to_numpy(bool), epochs, math.inf)


class _Point(NamedTuple):
    """A curve at a budget: its cells, which of them had memorized, what that says of N50, and how they lie about it."""

    budget: int
    cells: pd.DataFrame
    counts: Int[np.ndarray, " count"]
    success: Bool[np.ndarray, " cell"]
    found: Frontier
    stuck: float
    by_seed: Float[np.ndarray, " seed"]


def _points(steps: Sequence[tuple[pd.DataFrame, int]]) -> Iterator[_Point]:
    for _, alike in groupby(steps, key=lambda step: id(step[0])):
        own = list(alike)
        cells, before = own[0][0], None
        n_samples, epochs, of_search = cells["n_samples"].to_numpy(), _epochs(cells), bool(cells["searched"].iloc[0])
        counts, cluster, seeds, labels = np.unique(n_samples), kinds(cells), pairs(cells), clusters(cells)
        for _, budget in own:
            success = epochs <= budget
            if before is None or (before.success != success).any():
                found, stuck = frontier_of(n_samples, success, cluster, seeds, of_search=of_search)
                left = np.zeros(len(success)) if math.isnan(found.n50) else residuals(n_samples, success, found)
                before = _Point(budget, cells, counts, success, found, stuck, np.bincount(labels, weights=left))
            before = before._replace(budget=budget)
            yield before


def _growth(point: _Point, before: _Point | None) -> tuple[float, float, float]:
    """N50 over that at a smaller budget, for each doubling, with its interval; NaN where one has no value."""
    if before is None or math.isnan(point.found.n50) or math.isnan(before.found.n50):
        return math.nan, math.nan, math.nan
    ends = [(one.found.n50, one.found.low, one.found.high) for one in (point, before)]
    doublings = math.log2(point.budget / before.budget)
    ratio, low, high = ratio_interval(ends[0], ends[1], _alike(point, before))
    return ratio ** (1 / doublings), low ** (1 / doublings), high ** (1 / doublings)


def _alike(one: _Point, other: _Point) -> float:
    """The correlation of what two budgets leave of each seed; 0, as of independent cells, where these are not the same.

    A seed's frontier is known but for the gap between two counts, which makes them less alike.
    """
    if one.cells is not other.cells:
        return 0.0
    gaps = ROUNDING * len(one.by_seed)
    sums = [float(a @ b) for a, b in ((one.by_seed, other.by_seed), (one.by_seed,) * 2, (other.by_seed,) * 2)]
    return sums[0] / math.sqrt((sums[1] + gaps) * (sums[2] + gaps))


def growth(table: pd.DataFrame) -> pd.DataFrame:
    """By how much N50 still grows at the end of the budget, over the networks of each setting.

    A censored regression of ln(growth) on nothing but a constant (`bench.statistics.censored`): a value counts by the
    intervals of its N50s, and where an N50 has no value, what bounds the growth counts as a bound. The interval is that of the
    mean over networks like these; of a single network it is its own. There is no row where less than LEAST_SHARE of the
    networks have a value, or one of several.

    Args:
        table: of `capacity_by_budget`. Of swept rates those at the default and at the best count.

    Returns:
        The columns of `budget_growth` (`bench.protocol.columns`).
    """
    rows = []
    own = table[table["rates"] != "swept"]
    network = own.groupby(["setting", *NETWORK, "max_epochs"], dropna=False, sort=False).ngroup()
    last = ~network.duplicated(keep="last")
    before_last = ~last & ~network[~last].duplicated(keep="last").reindex(own.index, fill_value=True)
    for (setting, rates, _), networks in own[last].groupby(["setting", "rates", "budget"], sort=False):
        before = own[before_last & network.isin(network[networks.index])]
        if len(before) < len(networks):  # One epoch has no half.
            continue
        budget, half = (int(one["budget"].iloc[0]) for one in (networks, before))
        bounds = [
            _bounds(row, other) for row, other in zip(networks.to_dict("records"), before.to_dict("records"), strict=True)
        ]
        doublings = math.log2(budget / half)
        value, low, high = (np.log(networks[name].to_numpy(float)) for name in GROWTH)
        least, most = (np.array(ends) / doublings for ends in zip(*bounds, strict=True))
        has_value, above, below = np.isfinite(value), np.isfinite(least), np.isfinite(most)
        n_known = int(has_value.sum())
        if n_known < (1 if len(networks) == 1 else max(2, LEAST_SHARE * len(networks))):
            continue
        if n_known == 1:
            found = (float(value[0]), float(low[0]), float(high[0]))
        else:
            # As if budgets were independent, less by what they have in common in the median: of a network alone, a growth that
            # comes out small has them in common most, and would weigh too much by it.
            apart = np.hypot(_errors(networks), _errors(before))
            alike = float(np.median(((high - low) / (2 * Z95) / apart)[has_value]))
            error = np.where(has_value, apart * alike, np.median(apart[has_value]) * alike)
            used = has_value | above | below
            known = Measured(value[used], least[used], most[used], error[used])
            found = profile(np.ones((int(used.sum()), 1)), known, 0, 0.0)[:3]
        rows.append(
            {"setting": setting, "rates": rates, "half": half, "budget": budget}
            | dict(zip(GROWTH, map(math.exp, found), strict=True))
            | {"n_networks": n_known, "n_above": int(above.sum()), "n_below": int(below.sum())}
            | {"n_vague": int((~(has_value | above | below)).sum())}
        )
    return pd.DataFrame(rows, columns=GROWTH_COLUMNS)


def _errors(capacities: pd.DataFrame) -> Float[np.ndarray, " network"]:
    """Standard errors of ln(N50), by their intervals."""
    with np.errstate(divide="ignore"):
        return np.log((capacities["n50_high"] / capacities["n50_low"]).to_numpy(float)) / (2 * Z95)


def _bounds(row: Mapping[Any, Any], before: Mapping[Any, Any]) -> tuple[float, float]:
    """(ln of what the growth exceeds, ln of what it stays below), NaN where that is not known, or both where it has a value."""
    says, said = what_is_known(row), what_is_known(before)
    if (says, said) == ("value", "value"):
        return math.nan, math.nan
    least = {"value": row["n50"], "more": row["n50_low"]}.get(says, math.nan)
    below = {"value": before["n50"], "less": before["n50_high"]}.get(said, math.nan)
    most = {"value": row["n50"], "less": row["n50_high"]}.get(says, math.nan)
    above = {"value": before["n50"], "more": before["n50_low"]}.get(said, math.nan)
    exceeds, stays = math.log(least / below), math.log(most / above)
    # What is known of two N50s may bound their ratio from one side alone.
    return (exceeds, math.nan) if math.isfinite(exceeds) else (math.nan, stays)
