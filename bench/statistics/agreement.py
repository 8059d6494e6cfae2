"""Does a measured interval agree with a published statement? Yes, no, or undecided."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy import stats

from bench.statistics.frontier import TWO_SIDED

# An interval whose ends are a larger factor apart says too little to agree with a value.
TOO_WIDE = 1.5

Agreement = Literal["yes", "no", "undecided"]


def agreement(low: float, high: float, theirs_low: float, theirs_high: float) -> Agreement:
    """Whether a 95 % interval (low, high) agrees with a statement that a number lies between theirs_low and theirs_high.

    A bound or a direction has one infinite end, a value two equal ones. "no": the interval lies outside the statement.
    "yes": it lies inside; or the statement has two ends, the interval overlaps it and its own ends are at most a factor of
    TOO_WIDE apart. Else, and where an end is NaN, "undecided": the interval is too wide to tell.

    >>> agreement(0.97, 1.02, 1, 1), agreement(0.5, 2.1, 1, 1), agreement(1.1, 1.2, 1, 1)
    ('yes', 'undecided', 'no')
    >>> agreement(0.8, 0.9, -math.inf, 1), agreement(0.9, 1.1, -math.inf, 1)
    ('yes', 'undecided')
    """
    if low > theirs_high or high < theirs_low:
        return "no"
    if theirs_low < low and high < theirs_high:
        return "yes"
    told = math.isfinite(theirs_low) and math.isfinite(theirs_high) and low > 0 and high <= TOO_WIDE * low
    return "yes" if told else "undecided"


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


def ratio_interval(above: tuple[float, float, float], below: tuple[float, float, float]) -> tuple[float, float, float]:
    """(ratio, low, high) of two independent positive numbers, each given so: their intervals combined on a log scale.

    Source: Zou and Donner 2008 (Statistics in Medicine 27, 1693-1702), who recover variances from the ends of the intervals.

    >>> ratio_interval((2.0, 2.0, 2.0), (1.0, 0.5, 2.0))
    (2.0, 1.0, 4.0)
    """
    with np.errstate(divide="ignore"):
        (a, a_low, a_high), (b, b_low, b_high) = np.log(above), np.log(below)
    middle = a - b
    low, high = middle - math.hypot(a - a_low, b_high - b), middle + math.hypot(a_high - a, b - b_low)
    return math.exp(middle), math.exp(low), math.exp(high)
