"""Cells -> the capacity of each network under each protocol: N50 with its interval, over parameters and dimensions, in bits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int, Shaped

from bench.protocol.cells import NO_TAU, Status
from bench.protocol.columns import columns_of
from bench.statistics.clusters import clusters, kinds, pairs
from bench.statistics.dimensions import samples_at_ceiling
from bench.statistics.frontier import Frontier, fit
from bench.statistics.rates import at_default_rate, best_over_rates
from bench.statistics.settings import label_settings
from bench.statistics.survival import CURVE_FIELDS, GROUP_FIELDS, measured, searched
from bench.statistics.survival import groups as group_statistics

# Where more seeds than this memorize at no sample count, N50 has no value.
MOST_STUCK = 1 / 5

# What a row of capacities says of N50.
Known = Literal["value", "more", "less", "nothing"]

COLUMNS = list(columns_of("capacity"))


def capacities(cells: pd.DataFrame) -> pd.DataFrame:
    """One row for each network and protocol that was trained on two sample counts or more.

    Where learning rates were swept, a network has a row at each of them, one at the default rate of the optimizer, if that was
    among them, and one at the rate that is best for each sample count. The best is chosen on the same seeds, so it is a little
    too good. Failed and pending cells do not count, and a cell that stands there twice counts once.

    An N50 that lies between the outermost counts and their neighbours, or whose interval goes on beyond the counts tried, is
    marked (`at_edge`): it may be on the other side. Where more than MOST_STUCK of the seeds memorize at no count, it has no
    value.

    Cells of which no two share a seed are those of a search (`bench.statistics.survival.searched`). Their intervals pay for its
    stopping, and their rates, which were tried at sample counts of their own, have no best.

    Args:
        cells: one row for each cell, of one run or of several; `setting` names what else varies, and is made up if it is not
            there.

    Returns:
        The columns of `capacity` (`bench.protocol.columns`). `learning_rate` is empty in rows at the best rate.
    """
    return of_curves(curves(cells), cells)


def of_curves(known: Iterable[tuple[str, pd.DataFrame]], cells: pd.DataFrame) -> pd.DataFrame:
    """The same, of the `curves` of these cells."""
    made = pd.DataFrame([_row(curve, rates) for rates, curve in known], columns=COLUMNS)
    # A table without rows would make these columns of objects.
    numbers = dict.fromkeys(
        ("n50", "n50_low", "n50_high", "sharpness", "n50_per_param", "n50_per_dim", "bits_per_param"), float
    )
    return made.astype({name: cells[name].dtype for name in CURVE_FIELDS} | numbers)


def curves(cells: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The cells behind each row of `capacities`, in its order, and before them what the row says of rates.

    Cells of a curve have their `setting`, and whether they are `searched`.
    """
    known = measured(cells)
    # Cells that train to the end of their budget whatever they reach memorize nothing by it.
    known = known[(known["criterion"] != "tau") | (known["tau"] > NO_TAU)]
    if "setting" not in known:
        known = known.assign(setting=label_settings(known))
    known = known.assign(searched=searched(known))
    groups = group_statistics(known)
    groups = groups.merge(known[[*CURVE_FIELDS, "searched"]].drop_duplicates(), on=list(CURVE_FIELDS), how="left")
    # Of a network, not of a sample count: else a rate tried at some counts alone would split the curves of the others.
    network = [name for name in CURVE_FIELDS if name != "learning_rate"]
    swept = ~groups["searched"] & (groups.groupby(network, dropna=False)["learning_rate"].transform("nunique") > 1)
    rates_of = groups[swept]
    parts = {
        "as asked": groups[~swept],
        "default": at_default_rate(rates_of),
        "best": best_over_rates(rates_of),
        "swept": rates_of,
    }
    for name, chosen in parts.items():
        own = known.merge(chosen[list(GROUP_FIELDS)], on=list(GROUP_FIELDS), how="inner")
        if name in ("default", "best") and len(own):
            own = own.assign(setting=label_settings(own.assign(learning_rate=0.0)))
        if name == "best":
            own = own.assign(learning_rate=math.nan)
        for _, curve in own.groupby(list(CURVE_FIELDS), sort=False, dropna=False):
            if curve["n_samples"].min() < curve["n_samples"].max():
                yield name, curve


def _row(cells: pd.DataFrame, rates: str) -> dict[str, object]:
    first = cells.iloc[0]
    success = (cells["status"] == Status.MEMORIZED).to_numpy()
    n_samples = cells["n_samples"].to_numpy()
    found, stuck = frontier_of(n_samples, success, kinds(cells), pairs(cells), of_search=bool(first["searched"]))
    n50 = found.n50
    return {
        **{name: first[name] for name in ("setting", *CURVE_FIELDS, "n_params", "functional_dim")},
        "rates": rates,
        "n_cells": len(cells),
        "n_seeds": len(np.unique(clusters(cells))),
        "least_n_samples": n_samples.min(),
        "most_n_samples": n_samples.max(),
        "n50": n50,
        "n50_low": found.low,
        "n50_high": found.high,
        "side": found.side,
        "at_edge": at_edge(found, np.unique(n_samples)),
        "stuck": stuck,
        "sharpness": found.sharpness,
        "n50_per_param": n50 / first["n_params"],
        "n50_per_dim": n50 / samples_at_ceiling(first),
        "bits_per_param": n50 * bits_per_sample(first) / first["n_params"],
    }


def bits_per_sample(cell: Mapping[Any, Any] | pd.Series) -> float:
    """What a sample is worth that is memorized by the cell's criterion; NaN where it has no number of bits."""
    if cell["criterion"] == "recall":
        return math.log2(cell["n_classes"])
    return cell["n_outputs"] * math.log2(1 / cell["tau"]) / 2 if cell["target"] == "normal" else math.nan


def at_edge(found: Frontier, counts: Int[np.ndarray, " count"]) -> bool:
    """Whether an N50 lies beyond the second of the counts tried from either end, or its interval goes on beyond them all."""
    return bool(found.n50 < counts[1] or found.n50 > counts[-2] or found.low < counts[0] or found.high > counts[-1])


def frontier_of(
    n_samples: Int[np.ndarray, " cell"],
    success: Bool[np.ndarray, " cell"],
    cluster: Shaped[np.ndarray, "cell *kind"],
    seeds: Int[np.ndarray, " cell"],
    *,
    of_search: bool,
) -> tuple[Frontier, float]:
    """(the frontier of cells of one curve as tables tell it, the share of seeds that are stuck at every count).

    N50 is NaN where its interval has an open end, and where more than MOST_STUCK of the seeds are stuck.

    Args:
        n_samples, success, cluster: as of `bench.statistics.frontier.fit`.
        seeds: which cells have all seeds in common, as labels from 0.
        of_search: the cells are those of a search.
    """
    found = fit(n_samples, success, cluster, searched=of_search)
    # The share of seeds of which no cell memorized, at whatever sample count.
    stuck = found.stuck if of_search else float((np.bincount(seeds, weights=success) == 0).mean())
    if success.any() and stuck > MOST_STUCK:
        # What half of the seeds memorize hangs on how many are stuck; the others' frontier is beyond it.
        found = found._replace(n50=math.nan, low=0.0, high=math.inf if found.side == "above" else found.high)
    # An estimate whose error nothing bounds is none.
    known = found.low > 0 and math.isfinite(found.high)
    return (found if known else found._replace(n50=math.nan)), stuck


def what_is_known(capacity: Mapping[Any, Any] | pd.Series) -> Known:
    """What a row of the table says of N50: its value, a bound that it exceeds or stays below, or nothing."""
    if not math.isnan(capacity["n50"]):
        return "value"
    if capacity["n50_low"] > 0 and capacity["side"] != "below":
        return "more"
    return "less" if math.isfinite(capacity["n50_high"]) and capacity["side"] != "above" else "nothing"


def spell(capacity: Mapping[Any, Any] | pd.Series) -> str:
    """N50 with its interval, or the bound that is known.

    >>> spell({"n50": 141.2, "n50_low": 120.4, "n50_high": 180.0, "side": "inside"})
    '141 (120 to 180)'
    >>> spell({"n50": math.nan, "n50_low": 512.0, "n50_high": math.inf, "side": "above"})
    '> 512'
    """
    low, high = f"{capacity['n50_low']:.0f}", f"{capacity['n50_high']:.0f}"
    value = f"{capacity['n50']:.0f} ({low} to {high})"
    return {"value": value, "more": f"> {low}", "less": f"< {high}", "nothing": "unknown"}[what_is_known(capacity)]
