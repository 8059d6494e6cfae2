"""Who had memorized by which epoch: curves with censoring and competing ends, and log-rank comparisons of regularizers."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from scipy import stats

from bench.protocol.cells import Status
from bench.protocol.columns import columns_of
from bench.statistics.agreement import LEVEL, holm_correction
from bench.statistics.clusters import clusters, effective_number
from bench.statistics.paired import least_p, pairs_needed
from bench.statistics.ranking import NETWORK_KEY, PAIR_KEY
from bench.statistics.settings import regularized
from bench.statistics.survival import of_grids, wilson_interval

# Points of a curve for each factor of ten in epochs.
POINTS_PER_DECADE = 12

CURVE_COLUMNS = list(columns_of("incidence"))

# Exchanges of labels that a test tries, where there are more than these.
RESAMPLES = 9999

TEST_COLUMNS = list(columns_of("log_rank"))


def incidence(cells: pd.DataFrame) -> pd.DataFrame:
    """The share of each setting's cells that had memorized, stopped early or diverged by an epoch, over all its networks.

    Kaplan-Meier estimates (`scipy.stats.ecdf`) in which a budget that is spent censors. The ends compete: whoever has stopped
    early or diverged will never memorize, and counts so, rather than as censored. Failed and pending cells enter nothing,
    nor do those of a search; a cell that stands there twice counts once.

    Args:
        cells: one row for each cell, with `setting`.

    Returns:
        The columns of `incidence` (`bench.protocol.columns`), POINTS_PER_DECADE epochs to a factor of ten. The interval is
        Wilson's, for as many independent cells as the spread between seeds allows, where that is largest.
    """
    measured = of_grids(cells)
    tables = [_curve(str(setting), own) for setting, own in measured.groupby("setting", sort=False)]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=CURVE_COLUMNS)


def _curve(setting: str, cells: pd.DataFrame) -> pd.DataFrame:
    budget = cells["max_epochs"].to_numpy(int)
    decades = math.log10(budget.max())
    epochs = np.unique(np.geomspace(1, budget.max(), 1 + math.ceil(POINTS_PER_DECADE * decades)).round().astype(int))
    ends = {
        Status.MEMORIZED: cells["epoch_to_tau"],
        Status.EARLY_STOPPED: cells["epochs_run"],
        Status.DIVERGED: cells["epochs_run"],
    }
    shares = {str(s): _share_by(epochs, when, (cells["status"] == s).to_numpy(), budget) for s, when in ends.items()}
    seeds = clusters(cells)
    reached = cells["epoch_to_tau"].astype(float).fillna(math.inf).to_numpy()
    # One number for all epochs, so that the ends never fall while the share rises: where cells disagree, the fewest.
    mixed = [reached <= epoch for epoch in epochs if 0 < np.mean(reached <= epoch) < 1]
    n = min((effective_number(hits, seeds) for hits in mixed), default=float(len(np.unique(seeds))))
    intervals = [wilson_interval(k * n, n) for k in shares["memorized"]]
    bounds = {"memorized_low": [low for low, _ in intervals], "memorized_high": [high for _, high in intervals]}
    table = pd.DataFrame({"setting": setting, "epoch": epochs, **shares, **bounds, "n_cells": len(cells)})
    return table[CURVE_COLUMNS]


def _share_by(
    epochs: Int[np.ndarray, " epoch"], when: pd.Series, ended: Bool[np.ndarray, " cell"], budget: Int[np.ndarray, " cell"]
) -> Float[np.ndarray, " epoch"]:
    """The cumulative incidence of one end: all cells without it stay at risk until their budget is spent."""
    times = np.where(ended, when.fillna(0).to_numpy(float), budget)
    estimate = stats.ecdf(stats.CensoredData.right_censored(times, ~ended))
    return estimate.cdf.evaluate(epochs)


def log_rank(cells: pd.DataFrame) -> pd.DataFrame:
    """Each regularizer against the same cells without any: do they memorize later, or less often?

    A stratified log-rank test: a stratum is one network on one sample count, a pair the two cells of the same seeds. Cells that
    stopped early or diverged stay at risk, as they will never memorize. What a seed's cells say in all strata is one
    observation, since they share data. If the regularizer did nothing, a seed's two labels could be exchanged, which turns the
    sign of what it says: the test goes over all such exchanges, or RESAMPLES of them, so k seeds show no less than 2 / 2^k
    (`least_p`). How many seeds it takes for a p below LEVEL counts in that there are several tests.

    Args:
        cells: one row for each cell, with `setting`.

    Returns:
        The columns of `log_rank` (`bench.protocol.columns`), a row for each setting with twins. `expected` sums over epochs
        those that memorize then, times the share of regularized cells among those still at risk; it may exceed the number of
        pairs, where regularized cells stay at risk after their twins have ended.

    Sources: Mantel 1966; Peto and Peto 1972; the sum over clusters, Lin and Wei 1989 (JASA 84, 1074-1078); exchanged signs,
    Fisher 1935.
    """
    measured = of_grids(cells)
    off = ~regularized(measured)
    plain = measured[off].drop_duplicates(PAIR_KEY)
    rows = []
    for setting, own in measured[~off].groupby("setting", sort=False):
        pairs = own.merge(plain[[*PAIR_KEY, "status", "epoch_to_tau"]], on=PAIR_KEY, suffixes=("", "_twin"))
        if len(pairs):
            rows.append({"setting": setting, **_test(pairs)})
    made = pd.DataFrame(rows, columns=TEST_COLUMNS)
    needed = pairs_needed(len(rows), LEVEL) if rows else 0
    return made.assign(p_holm=holm_correction(made["p_value"].to_numpy(float)), seeds_needed=needed)


def _test(pairs: pd.DataFrame) -> dict[str, float]:
    stratum = np.tile(pairs.groupby(NETWORK_KEY, dropna=False).ngroup().to_numpy(), 2)
    seed = np.tile(clusters(pairs), 2)
    treated = np.repeat([True, False], len(pairs))
    reached = pd.concat([pairs["epoch_to_tau"], pairs["epoch_to_tau_twin"]]).astype(float).to_numpy()
    times = np.where(np.isnan(reached), np.tile(pairs["max_epochs"].to_numpy(float), 2), reached)
    residuals, expected = np.zeros(len(times)), 0.0
    for number in range(stratum.max() + 1):
        own = stratum == number
        residuals[own], expected_here = log_rank_residuals(times[own], ~np.isnan(reached[own]), treated[own])
        expected += expected_here
    sums = np.bincount(seed, weights=residuals)
    size = float(np.linalg.norm(sums))
    return {
        "n_pairs": len(pairs),
        "n_strata": int(stratum.max()) + 1,
        "observed": int((~np.isnan(reached) & treated).sum()),
        "expected": expected,
        "statistic": float(sums.sum()) / size if size > 0 else 0.0,
        "n_seeds": len(sums),
        "p_value": _sign_flips(sums) if len(sums) > 1 else math.nan,
        "least_p": least_p(len(sums)),
    }


def _sign_flips(sums: Float[np.ndarray, " seed"]) -> float:
    """How often signs at random come to as large a sum, either way."""
    test = stats.permutation_test(
        (sums,), np.sum, permutation_type="samples", n_resamples=RESAMPLES, vectorized=True, rng=np.random.default_rng(0)
    )
    return float(test.pvalue)


def log_rank_residuals(
    times: Float[np.ndarray, " cell"], event: Bool[np.ndarray, " cell"], treated: Bool[np.ndarray, " cell"]
) -> tuple[Float[np.ndarray, " cell"], float]:
    """(what each cell adds to observed less expected events of the treated, the expected events of the treated).

    >>> residuals, expected = log_rank_residuals(np.array([1.0, 2.0]), np.array([True, True]), np.array([True, False]))
    >>> float(residuals.sum()), float(expected)
    (0.5, 0.5)
    """
    residuals, expected = np.zeros(len(times)), 0.0
    for time in np.unique(times[event]):
        at_risk, ended = times >= time, event & (times == time)
        share = float(treated[at_risk].mean())
        hazard = ended.sum() / at_risk.sum()
        residuals += (treated - share) * (ended - hazard * at_risk)
        expected += hazard * float(treated[at_risk].sum())
    return residuals, expected
