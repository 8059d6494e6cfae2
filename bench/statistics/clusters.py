"""Cells that share seeds: which do, and how many independent cells they are worth."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int, Shaped
from scipy import stats

from bench.protocol.cells import SEEDS
from bench.statistics.frontier import TWO_SIDED, design_effect


def clusters(cells: pd.DataFrame) -> Int[np.ndarray, " cell"]:
    """Which cells share what is random, as labels from 0: those of one pair of seeds, or of one seed that recurs with others.

    Seeds of data count before those of initialisation: what depends on the data is one observation, however often networks were
    initialised on it. A seed that all cells share is no chance but a condition: what is said then holds for that seed.
    """
    (data, n_data), (init, n_init) = (_labels(cells[name].to_numpy()) for name in SEEDS)
    n_pairs = len(np.unique(data * n_init + init))
    # Where there are more pairs than seeds of a kind, one of these recurs.
    return init if n_init > 1 and (n_data == 1 or n_init < n_pairs == n_data) else data


def kinds(cells: pd.DataFrame) -> Int[np.ndarray, "cell kind"]:
    """The labels of `clusters` as a column; of each kind of seed one, where both recur: seeds that are crossed."""
    labels = [_labels(cells[name].to_numpy()) for name in SEEDS]
    n_pairs = len(np.unique(labels[0][0] * labels[1][1] + labels[1][0]))
    if all(1 < n < n_pairs for _, n in labels):
        return np.column_stack([values for values, _ in labels])
    return clusters(cells)[:, None]


def pairs(cells: pd.DataFrame) -> Int[np.ndarray, " cell"]:
    """Which cells have both seeds in common, as labels from 0."""
    (data, _), (init, n_init) = (_labels(cells[name].to_numpy()) for name in SEEDS)
    return _labels(data * n_init + init)[0]


def _labels(values: Shaped[np.ndarray, " cell"]) -> tuple[Int[np.ndarray, " cell"], int]:
    """Each value as a number from 0, and how many there are."""
    unique, labels = np.unique(values, return_inverse=True)
    return labels, len(unique)


def independent_cells(hits: Bool[np.ndarray, " cell"], seeds: Int[np.ndarray, "cell seed"]) -> float:
    """How many independent cells are worth as much as these, of one group of seeds: all, where no seed recurs.

    Where both seeds recur, what each adds to the variance is added. `seeds` has a column for each of
    `bench.protocol.cells.SEEDS`.

    >>> independent_cells(np.array([True, False, True]), np.array([[0, 0], [1, 0], [2, 0]]))
    3.0
    """
    n = len(hits)
    # By pandas' hashes: of a million seeds in a tenth of the time that numpy takes.
    counts = [len(pd.unique(labels)) for labels in seeds.T]
    if all(count in (1, n) for count in counts):
        return float(n)
    varied = [labels for labels, count in zip(seeds.T, counts, strict=True) if count > 1]
    effects = [fraction_effect(hits, labels) for labels in varied]
    known = [effect - 1 for effect in effects if effect is not None]
    effect = 1 + sum(known) if known else None
    return _discounted(n, len(np.unique(clusters(pd.DataFrame(seeds, columns=list(SEEDS))))), effect)


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
    effect = fraction_effect(hits, clusters)
    return _discounted(len(hits), len(np.unique(clusters)), unseen if effect is None else effect)


def fraction_effect(hits: Shaped[np.ndarray, " cell"], clusters: Shaped[np.ndarray, " cell"]) -> float | None:
    """The design effect of clusters on a fraction: 1 where every cell is a cluster.

    None where all agree, or there is one cluster.

    >>> fraction_effect(np.array([1, 1, 0, 0]), np.array([0, 0, 1, 1]))
    3.0
    """
    n, share = len(hits), float(np.mean(hits))
    if len(np.unique(clusters)) < 2 or share in (0.0, 1.0):
        return None
    return max(1.0, (n - 1) / n * design_effect(hits - share, clusters))


def _discounted(n: int, n_clusters: int, effect: float | None) -> float:
    if n_clusters < 2 or effect is None:
        return float(n_clusters)
    wider = float(stats.t.ppf(TWO_SIDED, n_clusters - 1) / stats.t.ppf(TWO_SIDED, n - 1))
    return n / (effect * wider**2)
