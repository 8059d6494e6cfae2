"""Learning rates as an axis: each network at its best swept rate beside itself at the default rate of its optimizer."""

from __future__ import annotations

import pandas as pd

from bench.protocol.cells import DEFAULTS, SECOND_ORDER
from bench.statistics.survival import GROUP_FIELDS

KEY = [name for name in GROUP_FIELDS if name != "learning_rate"]

# What is said of a network at either rate.
MEASURES = [
    "learning_rate",
    "n_memorized",
    "n_seeds",
    "fraction_memorized",
    "fraction_low",
    "fraction_high",
    "median_epoch_to_tau",
    "median_final_tau",
]


def best_over_rates(groups: pd.DataFrame) -> pd.DataFrame:
    """For all groups that differ in the learning rate alone, the row at the best: an untuned rate reads as missing capacity.

    The best rate memorizes the most seeds, then in the fewest median epochs, then leaves the least, then is the smallest. It is
    chosen on the seeds that it is reported for, so it is as optimistic as the best of so many tries is. Groups without results
    are left out, and so are those trained at one rate only.
    """
    swept = groups[groups["n_seeds"] > 0]
    swept = swept[swept.groupby(KEY, dropna=False)["learning_rate"].transform("nunique") > 1]
    ordered = swept.sort_values(
        ["fraction_memorized", "median_epoch_to_tau", "median_final_tau", "learning_rate"],
        ascending=[False, True, True, True],
        kind="stable",
    )
    return ordered.drop_duplicates(KEY).sort_index()


def at_default_rate(groups: pd.DataFrame) -> pd.DataFrame:
    """The groups trained at the rate that a cell has where nothing is said. Those of optimizer=lm have none."""
    return groups[(groups["learning_rate"] == DEFAULTS["learning_rate"]) & (groups["optimizer"] != SECOND_ORDER)]


def compare_rates(groups: pd.DataFrame) -> pd.DataFrame:
    """One row for all groups that differ in the learning rate alone: the measures at the best rate beside those at the default.

    Returns:
        The columns of `learning_rates` (`bench.protocol.columns`).
    """
    best = best_over_rates(groups)
    rates = groups[groups["n_seeds"] > 0].groupby(KEY, dropna=False, sort=False)["learning_rate"]
    span = rates.agg(n_rates="nunique", lowest_rate="min", highest_rate="max").reset_index()
    table = best[[*KEY, "n_params", "functional_dim"]].merge(span, on=KEY, how="left")
    table = table.join(best[MEASURES].add_prefix("best_").reset_index(drop=True))
    default = at_default_rate(groups[groups["n_seeds"] > 0])[[*KEY, *MEASURES]]
    table = table.merge(default.rename(columns={name: f"default_{name}" for name in MEASURES}), on=KEY, how="left")
    chosen = table["best_learning_rate"]
    return table.assign(best_at_edge=(chosen == table["lowest_rate"]) | (chosen == table["highest_rate"]))
