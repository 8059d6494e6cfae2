"""Censored statistics: cells -> one row for each group of cells that differ in their seeds alone."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from bench.protocol.cells import FIELDS, SEEDS, Status
from bench.statistics.clusters import independent_cells
from bench.store.parts import PENDING

GROUP_FIELDS = tuple(name for name in FIELDS if name not in SEEDS)

# Two-sided 95 % quantile of the standard normal distribution.
Z95 = 1.959963984540054


# What cells of one success curve share.
CURVE_FIELDS = tuple(name for name in GROUP_FIELDS if name != "n_samples")


def has_result(cells: pd.DataFrame) -> Bool[np.ndarray, " cell"]:
    """For each cell whether training came to an end: it neither failed nor is pending."""
    return ~cells["status"].isin([Status.FAILED, PENDING]).to_numpy()


def once(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells without repetition, numbered anew: two runs that hold the same cell make no two observations of it.

    The first row that has a result stays, and without any the first.
    """
    if "cell_id" in cells and cells["cell_id"].is_unique:  # As the store gives them: told by their hashes, which is quick.
        return cells.reset_index(drop=True)
    cells = cells.reset_index(drop=True)
    better = np.argsort(~has_result(cells), kind="stable")
    return cells.loc[np.sort(cells.iloc[better].drop_duplicates(list(FIELDS)).index)].reset_index(drop=True)


def measured(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells that have a result, each once."""
    return once(cells[has_result(cells)])


def of_grids(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells that have a result, each once, without those of a search: its few seeds at each count are no fair sample."""
    known = measured(cells)
    return known[~searched(known)].reset_index(drop=True)


def searched(cells: pd.DataFrame) -> Bool[np.ndarray, " cell"]:
    """For each cell whether it is one of a search (`bench.runs.search`): its curve has several sample counts, and no two cells
    of it share a seed. Cells of one sample count are those of a grid.
    """
    curve = cells.groupby(list(CURVE_FIELDS), dropna=False).ngroup()
    of = cells[["n_samples", *SEEDS]].groupby(curve.to_numpy())
    alone = [of[seed].transform("nunique") == of[seed].transform("size") for seed in SEEDS]
    return (alone[0] & alone[1] & (of["n_samples"].transform("nunique") > 1)).to_numpy(bool)


def groups(cells: pd.DataFrame) -> pd.DataFrame:
    """Memorization statistics of every group, in the order of the cells; a cell that stands there twice counts once.

    Args:
        cells: one row for each cell (`bench.store.parts.Store.read_cells`).

    Returns:
        The columns of `groups` (`bench.protocol.columns`), without `setting`.
    """
    cells = once(cells)
    number = cells.groupby(list(GROUP_FIELDS), sort=False, dropna=False).ngroup()
    first = cells.loc[~number.duplicated(), [*GROUP_FIELDS, "n_params", "functional_dim"]].reset_index(drop=True)
    counts = pd.crosstab(number, cells["status"]).reindex(columns=[*Status, PENDING], fill_value=0).add_prefix("n_")
    known = has_result(cells)
    results = cells[known].groupby(number[known])
    n_seeds = results.size().reindex(first.index, fill_value=0)
    memorized = counts[f"n_{Status.MEMORIZED}"]
    hits, seeds = (cells["status"] == Status.MEMORIZED).to_numpy(), cells[list(SEEDS)].to_numpy()
    members = [np.flatnonzero(known & (number.to_numpy() == group)) for group in first.index]
    intervals = [fraction_interval(hits[own], seeds[own]) for own in members]
    epochs = results["epoch_to_tau"].agg(lambda values: median_with_censoring(values.to_numpy(float, na_value=math.nan)))
    spent = results["epochs_run"].sum().reindex(first.index).astype(float)
    medians = results[["final_tau", "best_val_mse", "bits_per_param"]].median().add_prefix("median_").reindex(first.index)
    sizes = pd.DataFrame({"load": first["n_samples"] / first["n_params"], "n_seeds": n_seeds})
    shares = pd.DataFrame(
        {
            "fraction_memorized": memorized / n_seeds.where(n_seeds > 0),
            "fraction_low": [low for low, _ in intervals],
            "fraction_high": [high for _, high in intervals],
            "median_epoch_to_tau": epochs.reindex(first.index).astype(float),
            "expected_running_time": (spent / memorized.where(memorized > 0)).where(memorized > 0, math.inf).where(n_seeds > 0),
        }
    )
    return pd.concat([first, sizes, counts, shares, medians], axis=1)


def fraction_interval(hits: Bool[np.ndarray, " cell"], seeds: Int[np.ndarray, "cell seed"]) -> tuple[float, float]:
    """95 % interval of the fraction of hits among the cells of one group: Wilson's, for as many as are independent.

    `seeds` has a column for each of `bench.protocol.cells.SEEDS`. NaN without cells.
    """
    if not len(hits):
        return math.nan, math.nan
    n = independent_cells(hits, seeds)
    return wilson_interval(int(hits.sum()) if n == len(hits) else float(hits.mean()) * n, n)


def median_with_censoring(epochs: Float[np.ndarray, " cell"]) -> float:
    """The smallest epoch by which at least half of the cells had the event; NaN entries never had it, and count as +infinity.

    Under a common budget this is the Kaplan-Meier median. NaN where there is no cell at all.

    >>> median_with_censoring(np.array([30.0, 10.0, float("nan"), 20.0]))
    20.0
    """
    if len(epochs) == 0:
        return math.nan
    ordered = np.sort(np.where(np.isnan(epochs), math.inf, epochs))
    return float(ordered[(len(ordered) - 1) // 2])


def wilson_interval(successes: float, trials: float) -> tuple[float, float]:
    """95 % score interval of a binomial fraction (Wilson 1927, doi 10.1080/01621459.1927.10502953); NaN without trials.

    Counts need not be whole: an effective number of trials is a number.

    >>> low, high = wilson_interval(5, 5)
    >>> round(low, 3), high
    (0.566, 1.0)
    """
    if trials == 0:
        return math.nan, math.nan
    share, z2 = successes / trials, Z95**2 / trials
    centre = (share + z2 / 2) / (1 + z2)
    half = Z95 * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials)) / (1 + z2)
    # The ends are exact at no and at all successes; rounding must not push them past 0 and 1.
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == trials else centre + half)
