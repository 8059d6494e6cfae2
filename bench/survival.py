"""Censored statistics: cells -> one row for each group of cells that differ in their seeds alone."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from jaxtyping import Float

from bench.cells import FIELDS, SEEDS, Status
from bench.store import PENDING

GROUP_FIELDS = tuple(name for name in FIELDS if name not in SEEDS)

# Two-sided 95 % quantile of the standard normal distribution.
Z95 = 1.959963984540054


def groups(cells: pd.DataFrame) -> pd.DataFrame:
    """Memorization statistics of every group, in the order of the cells.

    Args:
        cells: one row for each cell (`bench.store.Store.read_cells`).

    Returns:
        The fields that a group shares, `n_params`, `functional_dim`, `load` (n_samples / n_params), and

        - `n_seeds`: cells with a result; `n_failed` and `n_pending` have none and enter nothing else;
        - `n_memorized`, `n_censored`, `n_early_stopped`, `n_diverged`;
        - `fraction_memorized` of n_seeds, with its 95 % Wilson interval `fraction_low`, `fraction_high`;
        - `median_epoch_to_tau`: the epoch by which half of the seeds had memorized, infinite where fewer did;
        - `median_final_tau`: over the seeds whose training stayed finite;
        - `median_best_val_mse`, in squared target units;
        - `median_bits_per_param`.
    """
    rows = []
    for key, members in cells.groupby(list(GROUP_FIELDS), sort=False, dropna=False):
        rows.append(dict(zip(GROUP_FIELDS, key, strict=True)) | _statistics(members))
    return pd.DataFrame(rows).astype({name: cells[name].dtype for name in GROUP_FIELDS})


def _statistics(members: pd.DataFrame) -> dict[str, object]:
    counts = members["status"].value_counts()
    results = members[~members["status"].isin([Status.FAILED, PENDING])]
    memorized = int(counts.get(Status.MEMORIZED, 0))
    low, high = wilson_interval(memorized, len(results))
    first = members.iloc[0]
    return {
        "n_params": first["n_params"],
        "functional_dim": first["functional_dim"],
        "load": first["n_samples"] / first["n_params"],
        "n_seeds": len(results),
        **{f"n_{status}": int(counts.get(status, 0)) for status in (*Status, PENDING)},
        "fraction_memorized": memorized / len(results) if len(results) else math.nan,
        "fraction_low": low,
        "fraction_high": high,
        "median_epoch_to_tau": median_with_censoring(results["epoch_to_tau"].to_numpy(float, na_value=math.nan)),
        "median_final_tau": results["final_tau"].median(),
        "median_best_val_mse": results["best_val_mse"].median(),
        "median_bits_per_param": results["bits_per_param"].median(),
    }


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


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95 % score interval of a binomial fraction (Wilson 1927, doi 10.1080/01621459.1927.10502953); NaN without trials.

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
