"""Trainings of somebody's own networks on noise -> how many memorized at each sample count, and N50 of each network."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from bench.protocol.cells import Status
from bench.protocol.columns import columns_of
from bench.statistics.capacity import frontier_of
from bench.statistics.survival import median_with_censoring, wilson_interval

# What networks are told apart by.
NETWORK = ["model_args", "optimizer", "learning_rate", "batch_size"]

# From so many sample counts on, as a search has them, a map has bands of counts in place of each count.
MOST_COUNTS = 12

# The upper ends of bands are powers of this.
BAND = math.sqrt(2)


def groups(trainings: pd.DataFrame) -> pd.DataFrame:
    """A row for each network and sample count, the columns of `network_groups` (`bench.protocol.columns`).

    Trainings that failed are counted beside the others; a group of them alone has no shares.

    Args:
        trainings: the columns of `network_trainings`.
    """
    by = trainings.groupby([*NETWORK, "n_samples"], sort=False, dropna=False)
    rows = [
        dict(zip((*NETWORK, "n_samples"), key, strict=True)) | shares(own)
        # pandas gives the key of several columns as a tuple.
        for key, own in by  # pyright: ignore[reportGeneralTypeIssues]
    ]
    made = pd.DataFrame(rows, columns=list(columns_of("network_groups"))).astype({"batch_size": "Int64"})
    place = {name: number for number, name in enumerate(dict.fromkeys(trainings["model_args"]))}
    return made.sort_values(
        [*NETWORK, "n_samples"], key=lambda own: own.map(place) if own.name == "model_args" else own, ignore_index=True
    )


def shares(trainings: pd.DataFrame) -> dict[str, float]:
    """How many of some trainings memorized, their share with its interval, and the medians."""
    ended = trainings[trainings["status"] != Status.FAILED]
    hits, count = int((ended["status"] == Status.MEMORIZED).sum()), len(ended)
    low, high = wilson_interval(hits, count)
    return {
        "n_seeds": count,
        "n_failed": len(trainings) - count,
        "n_memorized": hits,
        "fraction_memorized": hits / count if count else math.nan,
        "fraction_low": low,
        "fraction_high": high,
        "median_epoch_to_tau": median_with_censoring(ended["epoch_to_tau"].to_numpy(float)),
        "median_best_tau": float(ended["best_tau"].median()),
    }


def capacities(trainings: pd.DataFrame, *, searched: bool, outputs: int) -> pd.DataFrame:
    """A row for each network that was trained at two sample counts or more, the columns of `network_capacity`.

    Args:
        trainings: the columns of `network_trainings`.
        searched: they are those of searches (`bench.runs.search`).
        outputs: numbers that a sample's target has.
    """
    rows = []
    for key, own in trainings[trainings["status"] != Status.FAILED].groupby(NETWORK, sort=False, dropna=False):
        counts = own["n_samples"].to_numpy()
        if counts.min() == counts.max():
            continue
        seeds = np.unique(own["seed"], return_inverse=True)[1]
        success = (own["status"] == Status.MEMORIZED).to_numpy(bool)
        found, stuck = frontier_of(counts, success, seeds, seeds, of_search=searched)
        n_params, rank = int(own["n_params"].iloc[0]), own["jacobian_rank"].iloc[0]
        rank = math.nan if pd.isna(rank) else float(rank)
        rows.append(
            dict(zip(NETWORK, key, strict=True))  # pyright: ignore[reportArgumentType]
            | {
                "n_params": n_params,
                "jacobian_rank": rank,
                "n_trainings": len(own),
                "n_seeds": own["seed"].nunique(),
                "least_n_samples": counts.min(),
                "most_n_samples": counts.max(),
                "n50": found.n50,
                "n50_low": found.low,
                "n50_high": found.high,
                "side": found.side,
                "stuck": stuck,
                "n50_per_param": found.n50 * outputs / n_params,
                "n50_per_rank": found.n50 * outputs / rank,
            }
        )
    return pd.DataFrame(rows, columns=list(columns_of("network_capacity"))).astype(
        {"jacobian_rank": "Int64", "batch_size": "Int64"}
    )


def in_bands(trainings: pd.DataFrame) -> bool:
    """Whether a map of these has bands of sample counts in place of each count."""
    return trainings["n_samples"].nunique() > MOST_COUNTS


def mapped(trainings: pd.DataFrame) -> pd.DataFrame:
    """What a map shows: the rows of `groups`, or in bands of sample counts, whose upper ends are then `n_samples`."""
    if not in_bands(trainings):
        return groups(trainings)
    most = int(trainings["n_samples"].max())
    ends = np.unique(np.round(BAND ** np.arange(0, 2 * math.ceil(math.log2(most)) + 1)).astype(int))
    place = np.searchsorted(ends, trainings["n_samples"])
    return groups(trainings.assign(n_samples=ends[place]))
