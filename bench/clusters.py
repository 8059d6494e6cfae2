"""Cells that share seeds: which do, and how many independent cells they are worth."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Int, Shaped
from scipy import stats

from bench.cells import SEEDS
from bench.frontier import TWO_SIDED


def clusters(cells: pd.DataFrame) -> Int[np.ndarray, " cell"]:
    """Which cells share what is random, as labels from 0: those of one pair of seeds, or of one seed that recurs with others.

    Seeds of data count before those of initialisation: what depends on the data is one observation, however often networks were
    initialised on it.
    """
    data, init = SEEDS
    for one, other in ((data, init), (init, data)):
        if cells.groupby(one)[other].nunique().gt(1).any():
            return cells.groupby(one).ngroup().to_numpy()
    return cells.groupby(data).ngroup().to_numpy()


def effective_number(
    hits: Shaped[np.ndarray, " cell"], clusters: Shaped[np.ndarray, " cell"], unseen: float | None = None
) -> float:
    """How many independent cells are worth as much as these, which share seeds within a cluster.

    n over the design effect, less by the square of what Student's quantile is wider with so few clusters than with n cells.
    Where all agree there is no spread to see: the effect is then taken to be `unseen`, or without that a cluster counts
    as one. Source: Korn and Graubard 1998, Survey Methodology 24, 193-201.

    >>> effective_number(np.array([1, 1, 1, 1]), np.array([0, 0, 1, 1]))
    2.0
    """
    n, n_clusters = len(hits), len(np.unique(clusters))
    effect = design_effect(hits, clusters)
    if effect is None:
        effect = unseen
    if n_clusters < 2 or effect is None:
        return float(n_clusters)
    wider = float(stats.t.ppf(TWO_SIDED, n_clusters - 1) / stats.t.ppf(TWO_SIDED, n - 1))
    return n / (effect * wider**2)


def design_effect(hits: Shaped[np.ndarray, " cell"], clusters: Shaped[np.ndarray, " cell"]) -> float | None:
    """Kish's: the variance of the fraction between clusters over that of as many independent cells, at least 1.

    None where all agree, or there is one cluster.

    >>> design_effect(np.array([1, 1, 0, 0]), np.array([0, 0, 1, 1]))
    3.0
    """
    n, share, n_clusters = len(hits), float(np.mean(hits)), len(np.unique(clusters))
    if n_clusters < 2 or share in (0.0, 1.0):
        return None
    residuals = np.bincount(np.unique(clusters, return_inverse=True)[1], weights=hits - share)
    variance = n_clusters / (n_clusters - 1) * float(residuals @ residuals) / n**2
    return max(1.0, variance / (share * (1 - share) / (n - 1)))
