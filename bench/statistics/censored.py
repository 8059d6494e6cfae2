"""Regression on numbers each known to an interval of its own, or by a bound alone: maximum likelihood, profile intervals."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats
from scipy.optimize import root_scalar
from scipy.special import log_ndtr

from bench.statistics.frontier import TWO_SIDED

# Standard deviations about the line that a fit considers, as shares of that about a constant.
SCATTERS = np.geomspace(1e-4, 2.0, 20)

# How many more are tried about the likeliest of these.
CLOSER = 15

# Steps of Newton's method at most, and the step that ends it.
MOST_STEPS, SMALL_STEP = 60, 1e-9

# An exponent further than this from its estimate has no bound.
FARTHEST = 64.0


class Measured(NamedTuple):
    """What is known of each number: its `value`, or (NaN there) that it is above `low` or below `high`.

    `error`: the standard error of a value; of a bound how uncertain it is.
    """

    value: Float[np.ndarray, " number"]
    low: Float[np.ndarray, " number"]
    high: Float[np.ndarray, " number"]
    error: Float[np.ndarray, " number"]

    def without(self, place: int) -> Measured:
        return Measured(*(np.delete(part, place) for part in self))

    @property
    def has_value(self) -> Bool[np.ndarray, " number"]:
        return np.isfinite(self.value)


class Fit(NamedTuple):
    """The likeliest coefficients, the standard deviation about the line beyond the errors, and the log-likelihood."""

    coefficients: Float[np.ndarray, " term"]
    scatter: float
    log_likelihood: float


def fit(design: Float[np.ndarray, "number term"], known: Measured) -> Fit:
    """The likeliest line: each number is normal about it, with one variance for all beside that of its own error.

    Where nothing is censored, and no number has an error, it is that of least squares.

    Source: Tobin 1958 (Econometrica 26, 24-36), with known errors as in a meta-regression (Thompson and Higgins 2002,
    Statistics in Medicine 21, 1559-1573).

    >>> known = Measured(np.array([1.0, 3.0, 4.0]), *np.full((2, 3), np.nan), np.zeros(3))
    >>> fit(np.column_stack([np.ones(3), [0.0, 1.0, 2.0]]), known).coefficients.round(3).tolist()
    [1.167, 1.5]
    """
    bounds = np.where(np.isfinite(known.low), known.low, known.high)
    target = np.where(known.has_value, known.value, bounds)
    side = np.where(known.has_value, 0.0, np.where(np.isfinite(known.low), 1.0, -1.0))
    scatters = SCATTERS * max(float(np.std(target)), float(np.max(known.error)), SCATTERS[0])
    _, likelihood = _maxima(design, target, side, np.hypot(scatters[:, None], known.error))
    best = int(likelihood.argmax())
    scatters = np.geomspace(scatters[max(best - 1, 0)], scatters[min(best + 1, len(scatters) - 1)], CLOSER)
    coefficients, likelihood = _maxima(design, target, side, np.hypot(scatters[:, None], known.error))
    best = int(likelihood.argmax())
    return Fit(coefficients[best], float(scatters[best]), _top(likelihood, best))


def _top(values: Float[np.ndarray, " scatter"], best: int) -> float:
    """The top of the parabola through the largest value and its neighbours."""
    if best in (0, len(values) - 1):
        return float(values[best])
    left, middle, right = (float(value) for value in values[best - 1 : best + 2])
    bend = left - 2 * middle + right
    return middle - (left - right) ** 2 / (8 * bend) if bend < 0 else middle


def _maxima(
    design: Float[np.ndarray, "number term"],
    target: Float[np.ndarray, " number"],
    side: Float[np.ndarray, " number"],
    spread: Float[np.ndarray, "scatter number"],
) -> tuple[Float[np.ndarray, "scatter term"], Float[np.ndarray, " scatter"]]:
    """For every scatter the coefficients that maximize the likelihood, which is concave in them, and the maximum.

    `side`: 0 of a value, 1 of a number above its target, -1 of one below.
    """
    coefficients = _solve(design, 1 / spread**2, target / spread**2)
    likelihood, gradient, curvature = _derivatives(design @ coefficients[:, :, None], target, side, spread)
    # Where all are values, the likelihood is quadratic, and that was its top.
    for _ in range(MOST_STEPS if side.any() else 0):
        step = _solve(design, curvature, gradient)
        share = np.ones(len(step))
        while True:
            tried = coefficients + share[:, None] * step
            found = _derivatives(design @ tried[:, :, None], target, side, spread)
            worse = found[0] < likelihood - 1e-12 * (1 + np.abs(likelihood))
            if not worse.any() or share.min() < SMALL_STEP:
                break
            share[worse] /= 2
        coefficients, (likelihood, gradient, curvature) = tried, found
        if np.abs(step).max(initial=0.0) < SMALL_STEP:
            break
    return coefficients, likelihood


def _solve(design, weights, right) -> Float[np.ndarray, "scatter term"]:
    """The weighted normal equations of every scatter."""
    matrix = np.einsum("nj,sn,nk->sjk", design, weights, design)
    return np.linalg.solve(matrix, (right @ design)[:, :, None])[:, :, 0]


def _derivatives(middle, target, side, spread):
    """(log-likelihood of every scatter, its slope and its curvature at the middle of each number)."""
    z = (target - middle[:, :, 0]) / spread
    terms, slope, bend = -(z**2) / 2 - np.log(spread) - math.log(2 * math.pi) / 2, z.copy(), np.ones_like(z)
    if (bound := side != 0).any():
        # Of a bound, the log-probability to be beyond it, and the hazard there.
        own, way = z[:, bound], side[bound]
        log_beyond = log_ndtr(-way * own)
        hazard = np.exp(-(own**2) / 2 - log_beyond) / math.sqrt(2 * math.pi)
        terms[:, bound], slope[:, bound] = log_beyond, way * hazard
        # A bound that is met by far bends nothing; a little keeps the equations apart.
        bend[:, bound] = np.maximum(hazard * (hazard - way * own), 1e-9)
    return terms.sum(axis=1), slope / spread, bend / spread**2


class Profile(NamedTuple):
    """One coefficient: its estimate, the 95 % interval, and the two-sided p of the value that it is held against."""

    estimate: float
    low: float
    high: float
    p_value: float


def profile(design: Float[np.ndarray, "number term"], known: Measured, term: int, against: float) -> Profile:
    """The interval of a coefficient by its profile likelihood, and the test of the value `against` by the same.

    The critical value is that of least squares with as many values as have one: there the deviance is n ln(1 + t^2 / (n - p)),
    exactly. So few numbers do not make the interval too narrow. Bounds add to the likelihood, but not to n.

    Source: Venzon and Moolgavkar 1988 (Applied Statistics 37, 87-94).
    """
    whole = fit(design, known)
    estimate = float(whole.coefficients[term])
    n, freedom = _sizes(design, known)
    quantile = float(stats.t.ppf(TWO_SIDED, freedom))
    most = n * math.log1p(quantile**2 / freedom)

    def excess(at: float) -> float:
        return deviance(design, known, term, at, whole) - most

    def end(sign: int) -> float:
        reach = 1 / 8
        while excess(estimate + sign * reach) < 0:
            reach *= 2
            if reach > FARTHEST:
                return sign * math.inf
        return float(root_scalar(excess, bracket=(estimate, estimate + sign * reach), xtol=1e-4).root)

    return Profile(estimate, end(-1), end(1), p_value(design, known, term, against, whole))


def p_value(design: Float[np.ndarray, "number term"], known: Measured, term: int, against: float, whole: Fit) -> float:
    """Two-sided p of a coefficient that is `against`, by the deviance as `profile` reads it."""
    n, freedom = _sizes(design, known)
    t = math.sqrt(freedom * math.expm1(deviance(design, known, term, against, whole) / n))
    return 2 * float(stats.t.sf(t, freedom))


def deviance(design: Float[np.ndarray, "number term"], known: Measured, term: int, at: float, whole: Fit) -> float:
    """Twice the log-likelihood that is lost where a coefficient is held at a value."""
    moved = at * design[:, term]
    held = Measured(known.value - moved, known.low - moved, known.high - moved, known.error)
    return max(0.0, 2 * (whole.log_likelihood - fit(np.delete(design, term, axis=1), held).log_likelihood))


def _sizes(design: Float[np.ndarray, "number term"], known: Measured) -> tuple[int, int]:
    """(how many numbers have a value, their degrees of freedom about the line)."""
    n = int(known.has_value.sum())
    return n, n - design.shape[1]


class Lack(NamedTuple):
    """Whether errors alone explain what is left: chi-square on its degrees of freedom, and its p."""

    chi_square: float
    freedom: int
    p_value: float


def lack_of_fit(design: Float[np.ndarray, "number term"], known: Measured) -> Lack:
    """The values about the line of least squares that weighs each by its own error alone: is there more than those errors?"""
    own = known.has_value
    x, y, error = design[own], known.value[own], known.error[own]
    scaled = x / error[:, None]
    left = y / error - scaled @ np.linalg.lstsq(scaled, y / error, rcond=None)[0]
    chi_square, freedom = float(left @ left), int(own.sum()) - x.shape[1]
    return Lack(chi_square, freedom, float(stats.chi2.sf(chi_square, freedom)))
