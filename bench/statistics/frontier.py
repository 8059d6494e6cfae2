"""Successes against sample counts -> N50, the count at which half succeed, with an interval that small samples do not break."""

from __future__ import annotations

import functools
import math
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy import stats
from scipy.special import expit, log_expit

# The quantile of a two-sided 95 % interval.
TWO_SIDED = 0.975

# Slopes of the success curve, d logit / d ln(n), that a fit considers; beyond the last a curve is a step.
SHARPNESS = np.geomspace(0.5, 200, 24)

# Shares of seeds that are stuck, whatever the sample count, that a fit considers: from a half on no count is memorized by half.
STUCK = np.array([0.0, 0.05, 0.1, 0.2, 0.3, 0.4])

# How far beyond the sample counts a frontier is looked for, and how finely, in ln(n).
BEYOND, STEP = 1.5, 0.02

# A search stops when it likes what it sees, and its intervals pay for that with this factor on the deviance allowed: found by
# simulation, so that they cover (tests/runs/test_search.py).
SEQUENTIAL = 1.6

# Log-likelihoods closer than this are equal: the most likely N50 is then the middle of those that are equally likely.
EQUAL = 1e-3

# A sum of squared residuals below this is that of a curve through all points, which says nothing of clusters.
NO_RESIDUAL = 1e-3


Side = Literal["inside", "above", "below"]


class Frontier(NamedTuple):
    """Where success ends.

    `n50`: the sample count at which half succeed, NaN where it is likeliest "above" or "below" the counts that were tried, not
    "inside" them (`side`); `low`, `high`: its 95 % interval, 0 and infinity where nothing bounds it; `sharpness`: slope of
    the success curve of seeds that are not stuck, -d logit(p) / d ln(n), infinite where it is a step between the counts tried;
    `stuck`: the likeliest share of seeds that memorize at no count.
    """

    n50: float
    low: float
    high: float
    sharpness: float
    side: Side
    stuck: float


def fit(
    n_samples: Int[np.ndarray, " cell"],
    success: Bool[np.ndarray, " cell"],
    cluster: Shaped[np.ndarray, "cell *kind"],
    *,
    searched: bool = False,
) -> Frontier:
    """The frontier of cells that differ in their sample counts and seeds alone.

    The success probability is logistic in ln(n_samples), and falls from 1 less the share of seeds that are stuck whatever the
    count: without that share, which is fitted too, a few stuck seeds would pull N50 down, and its interval with it. N50
    maximizes the likelihood, its interval is that of the profile likelihood, with two corrections. The critical value is that
    of a mean of as many values as there are clusters, with unknown spread, k ln(1 + t^2 / (k - 1)), in place of its limit for
    many. And the deviance is divided by the design effect of clusters: cells of one seed share their data, nested in
    n_samples, and succeed together. Where seeds of two kinds are crossed, the two variances add.

    Args:
        n_samples: counts.
        success: whether each cell memorized.
        cluster: its seeds, as one label; or a column for each kind of seed, where these are crossed.
        searched: the cells are those of a search (`bench.runs.search`), for whose stopping SEQUENTIAL pays.

    Source: a psychometric function with lapses, Wichmann and Hill 2001 (Perception & Psychophysics 63, 1293-1313), who show the
    bias; the likelihood-ratio interval, Venzon and Moolgavkar 1988 (Applied Statistics 37, 87-94); the design effect, Kish
    1965; two kinds of clusters, Cameron, Gelbach and Miller 2011 (J. Business and Economic Statistics 29, 238-249).

    >>> n, seed = np.repeat([50, 100, 200, 400], 5), np.tile(np.arange(5), 4)
    >>> found = fit(n, n < 150, seed)
    >>> round(found.n50), found.low < 141 < found.high, found.sharpness
    (141, True, inf)
    """
    counts, place = np.unique(n_samples, return_inverse=True)
    hits, tries = np.bincount(place, weights=success), np.bincount(place)
    x, middle, outcomes = _curves(tuple(counts.tolist()))
    likelihood = np.stack([made @ hits + missed @ (tries - hits) for made, missed in outcomes], axis=-1)
    profile = likelihood.max(axis=(1, 2))
    likely = np.flatnonzero(profile >= profile.max() - EQUAL)
    best = float(middle[likely].mean())
    of_best = likelihood[likely[len(likely) // 2]]
    slopes = of_best.max(axis=1)
    stuck, slope = float(STUCK[of_best.max(axis=0).argmax()]), float(SHARPNESS[slopes.argmax()])
    effect, n_clusters = crossed_effect(success - _success(np.log(n_samples) - best, slope, stuck), cluster)
    allowed = effect * _critical(n_clusters) * (SEQUENTIAL if searched else 1)
    low, high = _inside(middle, profile.max() - profile, allowed / 2)
    side: Side = "below" if best < x[0] else "above" if best > x[-1] else "inside"
    return Frontier(
        n50=math.exp(best) if side == "inside" else math.nan,
        # What was never tried bounds nothing, however steep the curve.
        low=math.exp(min(low, float(x[-1]))),
        high=math.exp(max(high, float(x[0]))),
        sharpness=math.inf if slopes[-1] >= slopes.max() - EQUAL else _peak(np.log(SHARPNESS), slopes),
        side=side,
        stuck=stuck,
    )


def residuals(
    n_samples: Int[np.ndarray, " cell"], success: Bool[np.ndarray, " cell"], found: Frontier
) -> Float[np.ndarray, " cell"]:
    """What a frontier leaves of each cell: 1 or 0 less the probability of its success. `found` has an N50."""
    slope = min(found.sharpness, float(SHARPNESS[-1]))
    return success - _success(np.log(n_samples) - math.log(found.n50), slope, found.stuck)


def design_effect(residuals: Float[np.ndarray, " cell"], cluster: Shaped[np.ndarray, " cell"]) -> float:
    """Variance of a sum of residuals over what it were if they were independent within clusters; at least 1.

    >>> design_effect(np.array([1.0, 1.0, -1.0, -1.0]), np.array([0, 0, 1, 1]))
    4.0
    """
    _, number = np.unique(cluster, return_inverse=True)
    sums = np.bincount(number, weights=residuals)
    alone = float(residuals @ residuals)
    if len(sums) < 2 or alone < NO_RESIDUAL:
        return 1.0
    return max(1.0, len(sums) / (len(sums) - 1) * float(sums @ sums) / alone)


def crossed_effect(residuals: Float[np.ndarray, " cell"], cluster: Shaped[np.ndarray, "cell *kind"]) -> tuple[float, float]:
    """(the design effect of all kinds of clusters together, and how many clusters it is known by).

    What each kind adds to the variance is added. Their number is that of one kind, or Satterthwaite's for a sum of variances
    (1946, Biometrics Bulletin 2, 110-114), where that is less.

    >>> crossed_effect(np.array([1.0, 1.0, -1.0, -1.0]), np.array([0, 0, 1, 1]))
    (4.0, 2.0)
    """
    kinds = cluster.reshape(len(cluster), -1).T
    sizes = [len(np.unique(labels)) for labels in kinds]
    excess = [design_effect(residuals, labels) - 1 for labels in kinds]
    total, most = 1 + sum(excess), float(max(sizes))
    if len(kinds) == 1 or min(sizes) < 2:
        return total, float(sizes[0])
    spread = sum(one**2 / (size - 1) for one, size in zip(excess, sizes, strict=True)) + 1 / (len(residuals) - 1)
    return total, min(most, 1 + total**2 / spread)


def _peak(x: Float[np.ndarray, " slope"], y: Float[np.ndarray, " slope"]) -> float:
    """exp(x) at the top of the parabola through the largest of y and its neighbours; at an end that end."""
    at = int(y.argmax())
    if at in (0, len(y) - 1):
        return math.exp(x[at])
    left, middle, right = (float(value) for value in y[at - 1 : at + 2])
    shift = (left - right) / (2 * (left - 2 * middle + right))
    return math.exp(x[at] + shift * float(x[1] - x[0]))


def _success(x: Float[np.ndarray, " cell"], slope: float, stuck: float) -> Float[np.ndarray, " cell"]:
    """The probability of success at x = ln(n / N50): one half at 0, 1 - stuck far below."""
    return (1 - stuck) * expit(_logit(x, slope, stuck))


def _logit(x, slope, stuck: float):
    """Of the success of a seed that is not stuck."""
    return -slope * x - math.log1p(-2 * stuck)


# Of one grid, whose networks have their sample counts in common; of one search, whose networks have budgets.
@functools.lru_cache(maxsize=1)
def _curves(
    counts: tuple[float, ...],
) -> tuple[
    Float[np.ndarray, " count"],
    Float[np.ndarray, " middle"],
    tuple[tuple[Float[np.ndarray, "middle sharpness count"], Float[np.ndarray, "middle sharpness count"]], ...],
]:
    """(ln of the counts, ln of every N50 considered, log-probabilities of a success and of a failure at each count).

    The latter for each share of stuck seeds, by N50 and sharpness.
    """
    x = np.log(np.array(counts))
    middle = np.arange(x[0] - BEYOND, x[-1] + BEYOND, STEP)
    made = []
    for stuck in STUCK.tolist():
        logit = _logit(x - middle[:, None, None], SHARPNESS[:, None], stuck)
        free = log_expit(logit)
        # Of a success (1 - stuck) p; of a failure 1 - (1 - stuck) p, or 1 - p where none is stuck, too small for a difference.
        failure = np.log1p((stuck - 1) * np.exp(free)) if stuck else free - logit
        made.append((free + math.log1p(-stuck), failure))
    for array in (x, middle, *(part for pair in made for part in pair)):
        array.flags.writeable = False
    return x, middle, tuple(made)


def _inside(middle: Float[np.ndarray, " middle"], loss: Float[np.ndarray, " middle"], most: float) -> tuple[float, float]:
    """Where the log-likelihood lost first comes down to the most allowed, and last goes up; infinite at the ends."""
    inside = np.flatnonzero(loss <= most)
    low, high = int(inside[0]), int(inside[-1])

    def crossing(out: int, within: int) -> float:
        share = (most - loss[within]) / (loss[out] - loss[within])
        return float(middle[within] + share * (middle[out] - middle[within]))

    return (
        -math.inf if low == 0 else crossing(low - 1, low),
        math.inf if high == len(middle) - 1 else crossing(high + 1, high),
    )


@functools.lru_cache(maxsize=256)
def _critical(n_clusters: float) -> float:
    """What a deviance may be within a 95 % interval; infinite for one cluster, which has no spread to see."""
    if n_clusters < 2:
        return math.inf
    quantile = float(stats.t.ppf(TWO_SIDED, n_clusters - 1))
    return n_clusters * math.log1p(quantile**2 / (n_clusters - 1))


def narrow(low, high, ratio: float):
    """Whether ends of an interval, numbers or columns of them, are no further apart than a factor, or than one sample."""
    return (high <= ratio * low) | (high - low <= 1)
