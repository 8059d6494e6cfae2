"""Capacities -> how many times as much a network holds under one setting as under the first: ratios of N50s with intervals."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from bench.protocol.cells import SEEDS, Status
from bench.protocol.columns import columns_of
from bench.statistics.agreement import mean_interval, ratio_interval
from bench.statistics.survival import CURVE_FIELDS, measured

COLUMNS = list(columns_of("ratios"))

# What two rows share whose N50s are compared.
NETWORK = ["rates", "depth", "width", "d_in"]

# The variance, in gaps between counts, of where within its gap a seed's frontier is.
ROUNDING = 1 / 12


def ratios(capacities: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """A row for each network whose N50 has a value under a setting and under the first of the table.

    Where both were trained with the same seeds, each at all counts, a seed that holds much under the one tends to hold much
    under the other, and their ratio is known better than from two independent N50s: the intervals are combined with the
    correlation of what the seeds hold. Of N50s that are means over seeds this is the paired t interval, whose quantile makes
    up for a correlation of few seeds: with five it covers .944 to .952 at any true correlation. Else, as for the cells of a
    search, and at the best of several rates, they are taken to be independent.

    Args:
        capacities: of `bench.statistics.capacity.capacities`.
        cells: those that it was made of.

    Returns:
        The columns of `ratios` (`bench.protocol.columns`).
    """
    if capacities.empty:
        return pd.DataFrame(columns=COLUMNS)
    known = capacities[capacities["n50"].notna() & (capacities["rates"] != "swept")]
    first = capacities["setting"].iloc[0]
    pairs = (
        known[known["setting"] != first]
        .reset_index()
        .merge(known[known["setting"] == first].reset_index(), on=NETWORK, suffixes=("", "_first"))
    )
    if pairs.empty:
        return pd.DataFrame(columns=COLUMNS)
    compared = known.loc[sorted({*pairs["index"], *pairs["index_first"]}), list(CURVE_FIELDS)].reset_index()
    curves = compared.merge(measured(cells), on=list(CURVE_FIELDS)).groupby("index")
    seeds = {number: held(curve) for number, curve in curves}
    rows = []
    for row in pairs.to_dict("records"):
        sides = [tuple(float(row[f"{name}{end}"]) for name in ("n50", "n50_low", "n50_high")) for end in ("", "_first")]
        n_shared, correlation = shared_seeds(seeds.get(row["index"]), seeds.get(row["index_first"]))
        ratio, low, high = ratio_interval(
            (sides[0][0], sides[0][1], sides[0][2]), (sides[1][0], sides[1][1], sides[1][2]), correlation
        )
        numbers = {"ratio": ratio, "ratio_low": low, "ratio_high": high, "n_shared": n_shared, "correlation": correlation}
        rows.append({"setting": row["setting"], "over": first, **{name: row[name] for name in NETWORK}, **numbers})
    return pd.DataFrame(rows, columns=COLUMNS)


def held(curve: pd.DataFrame) -> pd.Series | None:
    """The number of sample counts that each seed of a curve memorizes, by its pair of seeds.

    None where that says nothing of the seed: it was not trained at every count, seeds recur in several pairs, or there is one.
    """
    by_seed = curve.assign(hit=curve["status"] == Status.MEMORIZED).groupby(list(SEEDS))["hit"]
    hits, tries = by_seed.sum(), by_seed.size()
    recurs = [len(set(curve[name])) not in (1, len(hits)) for name in SEEDS]
    if len(hits) < 2 or any(recurs) or (tries != curve["n_samples"].nunique()).any():
        return None
    return hits


def shared_seeds(one: pd.Series | None, other: pd.Series | None) -> tuple[int, float]:
    """How many seeds two curves share, and how alike what they hold is; nothing where the seeds are not the same."""
    if one is None or other is None or set(one.index) != set(other.index):
        return 0, 0.0
    (own, joint), (_, others) = np.cov(one, other.loc[one.index])
    return len(one), float(joint / math.sqrt((own + ROUNDING) * (others + ROUNDING)))


def in_words(table: pd.DataFrame, capacities: pd.DataFrame) -> list[str]:
    """A sentence for each setting: the ratio of one network, or the geometric mean of several with Student's interval.

    It says of how many networks more only a bound is known on a side: a regularizer that ruins a network leaves no ratio of it.

    Args:
        table: as `ratios` returns it.
        capacities: what it was made of, its settings named alike.
    """
    if table.empty:
        return []
    by_setting = capacities.groupby(["setting", "rates"])
    networks = {key: set(own[NETWORK].itertuples(index=False, name=None)) for key, own in by_setting}
    sentences = []
    for (setting, over, rates), own in table.groupby(["setting", "over", "rates"], sort=False):
        subject = setting if rates == "as asked" else f"{setting}, {rates} learning rate"
        if len(own) == 1:
            (row,) = own.to_dict("records")
            numbers, of = (row["ratio"], row["ratio_low"], row["ratio_high"]), "one network"
        else:
            mean, low, high = (math.exp(one) for one in mean_interval(np.log(own["ratio"].to_numpy(float))))
            numbers, of = (mean, low, high), f"{len(own)} networks in the geometric mean"
        value, low, high = (f"{number:.2f}" for number in numbers)
        left = len(networks[setting, rates] & networks[over, rates]) - len(own)
        more = f" (of {left} more only a bound is known)" if left else ""
        sentences.append(f"N50 under {subject} is {value} (95 %: {low} to {high}) times that under {over}: {of}{more}.")
    return sentences
