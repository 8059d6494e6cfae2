"""Does a measured interval agree with a published statement, within a margin? Yes, no, or undecided."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy import stats

from bench.statistics.frontier import TWO_SIDED

# What a p-value is held against, after correction, and what part of intervals covers the truth.
LEVEL, LEVEL_OF_INTERVALS = 0.05, 0.95

Agreement = Literal["yes", "no", "undecided"]


def agreement(low: float, high: float, within: tuple[float, float], holm: float) -> Agreement:
    """Whether a 95 % interval (low, high) agrees with a statement.

    `within`: where a number agrees with it, its equivalence margin included; a bound or a direction has one infinite end.
    "yes": the interval lies inside. "no": it lies outside, and does so after correction for the other lines (`holm`: the
    p-value of `holm_correction`). Else, and where an end is NaN, "undecided": the interval is too wide to tell.

    Source: an equivalence test by the interval, Schuirmann 1987 (J. Pharmacokinet. Biopharm. 15, 657-680).

    >>> agreement(0.97, 1.02, (0.9, 1.1), 1.0), agreement(0.8, 1.02, (0.9, 1.1), 1.0), agreement(1.2, 1.3, (0.9, 1.1), 0.01)
    ('yes', 'undecided', 'no')
    >>> agreement(1.2, 1.3, (0.9, 1.1), 0.06)
    'undecided'
    """
    if within[0] <= low and high <= within[1]:
        return "yes"
    return "no" if (low > within[1] or high < within[0]) and holm < LEVEL else "undecided"


def p_outside(interval: tuple[float, float, float], within: tuple[float, float], n_seeds: int, *, ratio: bool) -> float:
    """Two-sided p of a number that lies where it agrees with a statement, at the end of that which is nearest.

    The standard error is that of the interval's end on that side, by Student's quantile for so many seeds; NaN without an
    interval. An interval that has no value, since it is a bound, says no more than that it is one of 95 %.

    Args:
        interval: (value, low, high), 95 %.
        within: where a number agrees.
        n_seeds: independent observations behind the interval.
        ratio: whether errors are those of a logarithm.

    >>> round(p_outside((1.0, 0.5, 1.5), (-math.inf, 0.5), 1000, ratio=False), 3)
    0.05
    >>> p_outside((1.0, 0.5, 1.5), (0.9, 1.1), 1000, ratio=False)
    1.0
    """
    value, low, high = interval
    if math.isnan(low) or math.isnan(high) or n_seeds < 2:
        return math.nan
    if math.isnan(value):
        return 1 - LEVEL_OF_INTERVALS if low > within[1] or high < within[0] else 1.0
    if within[0] <= value <= within[1]:
        return 1.0
    edge, end = (within[1], low) if value > within[1] else (within[0], high)
    if ratio:
        value, edge, end = (math.log(number) if number > 0 else -math.inf for number in (value, edge, end))
    if value == end:
        return 0.0
    distance = (value - edge) / (value - end) * float(stats.t.ppf(TWO_SIDED, n_seeds - 1))
    return 2 * float(stats.t.sf(distance, n_seeds - 1))


def holm_correction(p_values: Float[np.ndarray, " line"]) -> Float[np.ndarray, " line"]:
    """p-values that hold for all lines at once: each times the lines that are no surer than it; NaN stays, and counts nowhere.

    Source: Holm 1979 (Scandinavian Journal of Statistics 6, 65-70).

    >>> holm_correction(np.array([0.04, 0.01, math.nan, 0.03])).tolist()
    [0.06, 0.03, nan, 0.06]
    """
    corrected = np.full(len(p_values), math.nan)
    places = np.argsort(p_values)[: int(np.isfinite(p_values).sum())]
    raised = p_values[places] * np.arange(len(places), 0, -1)
    corrected[places] = np.minimum(np.maximum.accumulate(raised), 1.0)
    return corrected


def mean_interval(values: Float[np.ndarray, " seed"]) -> tuple[float, float, float]:
    """(mean, low, high): the mean of independent values with Student's 95 % interval, which one value does not have (NaN).

    >>> mean_interval(np.array([2.0]))
    (2.0, nan, nan)
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, math.nan, math.nan
    half = float(stats.t.ppf(TWO_SIDED, len(values) - 1) * np.std(values, ddof=1)) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def ratio_interval(
    above: tuple[float, float, float], below: tuple[float, float, float], correlation: float = 0.0
) -> tuple[float, float, float]:
    """(ratio, low, high) of two positive numbers, each given so: their intervals combined on a log scale.

    `correlation` is that of their errors, 0 where they are independent.

    Source: Zou and Donner 2008 (Statistics in Medicine 27, 1693-1702), who recover variances from the ends of the intervals.

    >>> ratio_interval((2.0, 2.0, 2.0), (1.0, 0.5, 2.0))
    (2.0, 1.0, 4.0)
    >>> ratio_interval((2.0, 1.0, 4.0), (2.0, 1.0, 4.0), correlation=1.0)
    (1.0, 1.0, 1.0)
    >>> ratio_interval((2.0, 0.0, 4.0), (1.0, 1.0, 1.0)), ratio_interval((2.0, math.nan, math.nan), (1.0, 1.0, 1.0))
    ((2.0, 0.0, 4.0), (2.0, nan, nan))
    """

    def reach(one: float, other: float) -> float:
        if not math.isfinite(one + other):
            return one + other  # An end at 0 or without bound, or none: so is that of the ratio.
        return math.sqrt(max(0.0, one**2 + other**2 - 2 * correlation * one * other))

    with np.errstate(divide="ignore"):
        (a, a_low, a_high), (b, b_low, b_high) = np.log(above), np.log(below)
    middle = a - b
    low, high = middle - reach(a - a_low, b_high - b), middle + reach(a_high - a, b - b_low)
    return math.exp(middle), math.exp(low), math.exp(high)
