"""Do two trainings of the same cells differ beyond rounding? Tests on pairs: a cell in a base, and the same cell in a head.

Both train the same data from the same weights with the same draws. So where nothing but rounding parts them, neither is more
likely to be ahead: exchanging base and head of any pair leaves all probabilities as they are. That is tested by exchanging them
at random.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

# Exchanges at random: a p-value of 0.0005 is then known to a tenth.
EXCHANGES = 200_000

# Pairs by exchanges that are held in memory at a time.
AT_ONCE = 1 << 24


class Exchanged(NamedTuple):
    """A statistic of head less base, and how often exchanging them at random gives one as large, either way."""

    statistic: float
    p_value: float
    n_pairs: int  # that differ at all


def exchanged(differences: Float[np.ndarray, " pair"], *, seed: int = 0) -> Exchanged:
    """Tests whether the differences (head less base) have a sum other than zero, by changing their signs at random.

    With few pairs that differ the p-value is exact, over all ways to exchange them; it cannot fall below 2 / 2**n.

    Args:
        differences: of each pair; zero where it does not differ.
        seed: of the exchanges.

    >>> exchanged(np.array([0.0, 1.0, 1.0, 1.0]))
    Exchanged(statistic=3.0, p_value=0.25, n_pairs=3)
    """
    own = differences[differences != 0]
    total, count = float(own.sum()), len(own)
    if not count:
        return Exchanged(0.0, 1.0, 0)
    # Sums that are equal but for rounding count as equal.
    least = abs(total) * (1 - 1e-9)
    if 2**count <= EXCHANGES:
        signs = 1 - 2 * (np.arange(2**count)[:, None] >> np.arange(count) & 1)
        return Exchanged(total, float(np.mean(np.abs(signs @ own) >= least)), count)
    rng, extreme, left = np.random.default_rng(seed), 0, EXCHANGES
    while left:
        size = min(left, max(1, AT_ONCE // count))
        signs = 1 - 2 * rng.integers(0, 2, (size, count), dtype=np.int8)
        extreme += int(np.sum(np.abs(signs @ own) >= least))
        left -= size
    # The pairs as they are count as one of the exchanges.
    return Exchanged(total, (extreme + 1) / (EXCHANGES + 1), count)


def least_p(n_pairs: int) -> float:
    """The smallest p-value that so many pairs can show, however they differ: all on one side, either way.

    >>> least_p(5)
    0.0625
    """
    return 2 / 2**n_pairs


def pairs_needed(n_tests: int, level: float) -> int:
    """How many pairs it takes until one of several tests can have a p-value below a level, corrected for their number.

    >>> pairs_needed(1, 0.05), pairs_needed(3, 0.05)
    (6, 7)
    """
    return math.floor(math.log2(2 * n_tests / level)) + 1


def signed_ranks(base: Float[np.ndarray, " pair"], head: Float[np.ndarray, " pair"]) -> Float[np.ndarray, " pair"]:
    """Each pair's rank by how far it differs (as a ratio), with the sign of head less base: zero where it does not.

    Args:
        base, head: positive times; infinite where the event never came. Of two that never came neither is first.

    Source: Wilcoxon 1945 (Biometrics Bulletin 1, 80-83).

    >>> signed_ranks(np.array([10.0, 20.0, np.inf]), np.array([11.0, np.inf, np.inf])).tolist()
    [1.0, 2.0, 0.0]
    """
    with np.errstate(invalid="ignore"):
        ratios = np.log(head) - np.log(base)
    ratios[np.isinf(base) & np.isinf(head)] = 0
    return np.sign(ratios) * _ranks_of_nonzero(np.abs(ratios))


def _ranks_of_nonzero(sizes: Float[np.ndarray, " pair"]) -> Float[np.ndarray, " pair"]:
    ranks = np.zeros(len(sizes))
    ranks[sizes > 0] = stats.rankdata(sizes[sizes > 0])
    return ranks


def median_ratio(base: Float[np.ndarray, " pair"], head: Float[np.ndarray, " pair"]) -> float:
    """The median of head over base, of the pairs in which both are finite; NaN where there is none."""
    both = np.isfinite(base) & np.isfinite(head)
    return float(np.median(head[both] / base[both])) if both.any() else math.nan


def log_n50_weights(n_samples: Float[np.ndarray, " count"]) -> Float[np.ndarray, " count"]:
    """How much the estimate of log N50 grows with the share that memorizes at each of these sample counts, in their order.

    The Spearman-Kaerber estimate is a sum of shares, each with half the distance on a log scale to its neighbours.

    Source: Miller 1973 (Biometrika 60, 535-542).

    >>> (log_n50_weights(np.array([1.0, 2.0, 4.0])) / math.log(2)).tolist()
    [0.5, 1.0, 0.5]
    """
    logs = np.log(n_samples)
    inner = np.diff(logs) / 2
    return np.concatenate([inner, [0.0]]) + np.concatenate([[0.0], inner])


def discordant(base: Bool[np.ndarray, " pair"], head: Bool[np.ndarray, " pair"]) -> Float[np.ndarray, " pair"]:
    """1 where the head alone memorized, -1 where the base alone did, 0 where they agree (McNemar 1947, Psychometrika 12)."""
    return head.astype(float) - base.astype(float)
