"""The core's own exp, ln(1 + x) and normal numbers, by every build, against those of numpy in more digits than the core has."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.engines.choice import native_is_built
from tests.engines.training import NOT_BUILT

if not native_is_built():
    pytest.skip(NOT_BUILT, allow_module_level=True)

from bench.engines import _native

# Errors in units of the last place of the result. Found by every build on these numbers: 0.993 and 0.966 of exp in float32 and float64, 1.45
# and 1.86 of the logarithm, where ln 2 less nearly as much is left.
EXP_ULPS, LOG_ULPS = 1.0, 2.0

BUILDS = pytest.mark.parametrize("build", _native.instruction_sets())
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def computed(build: str, dtype: type, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """exp(x) and ln(1 + x) of numbers of a type."""
    exps, logs = _native.elementary(build, dtype is np.float64, x.astype(np.float64))
    return np.frombuffer(exps), np.frombuffer(logs)


def ulps(found: np.ndarray, exact: np.ndarray, dtype: type) -> float:
    """The largest error, in units of the last place."""
    return float(np.max(np.abs(found - exact) / np.spacing(exact.astype(dtype)).astype(np.longdouble)))


def spread(dtype: type, least: float, most: float) -> np.ndarray:
    """Numbers of all sizes, as the type holds them."""
    draws = np.random.default_rng(7)
    return np.exp(draws.uniform(math.log(least), math.log(most), 200_000)).astype(dtype)


@BUILDS
@DTYPES
def test_exp_is_right_to_the_last_place(build, dtype):
    x = np.concatenate([sign * spread(dtype, 1e-8, 87) for sign in (-1, 1)])
    assert ulps(computed(build, dtype, x)[0], np.exp(x.astype(np.longdouble)), dtype) < EXP_ULPS


@BUILDS
@DTYPES
def test_the_logarithm_of_one_and_a_little_is_right_to_two_in_the_last_place_and_so_is_that_of_much(build, dtype):
    x = np.concatenate([spread(dtype, 1e-30, 1e29), np.linspace(0, 8, 200_000).astype(dtype)])
    found, exact = computed(build, dtype, x)[1], np.log1p(x.astype(np.longdouble))
    assert ulps(found[x > 0], exact[x > 0], dtype) < LOG_ULPS
    assert (found[x == 0] == 0).all()


@BUILDS
@DTYPES
def test_what_is_no_number_stays_none_and_exp_ends_within_the_type(build, dtype):
    exps, logs = computed(build, dtype, np.array([np.nan, -np.nan]))
    assert np.isnan(exps).all() and np.isnan(logs).all()
    exps, _ = computed(build, dtype, np.array([0.0, -1e5, -np.inf, 1e5, np.inf]))
    assert exps[0] == 1.0
    assert (exps[1:3] > 0).all() and (exps[1:3] < 2 * np.finfo(dtype).tiny).all()
    assert np.isfinite(exps[3:]).all() and (exps[3:] > 1e38).all()


# Of a normal number of float32 in units of its radius. Found on these words: 2.6e-07, by the portable build 2.8e-07.
NORMAL_ERROR = 4e-7


@BUILDS
@pytest.mark.parametrize("varied", ["radius", "turn"])
def test_normal_numbers_of_all_words_are_within_four_in_ten_millions_of_their_radius(build, varied):
    """Each of the 2**23 uniform numbers that a word makes for the radius, and for the turn, beside draws of the other."""
    every = np.arange(1 << 23, dtype=np.uint32) << 9
    drawn = np.random.default_rng(3).integers(0, 1 << 32, len(every), dtype=np.uint32)
    radius, turn = (every, drawn) if varied == "radius" else (drawn, every)
    cosines, sines = (np.frombuffer(own, np.float32) for own in _native.normals(build, radius, turn))
    u, v = (((words >> 9) + 0.5) / 2**23 for words in (radius, turn))
    length = np.sqrt(-2 * np.log(u))
    for found, exact in ((cosines, np.cos(2 * np.pi * v)), (sines, np.sin(2 * np.pi * v))):
        assert np.max(np.abs(found - length * exact) / length) < NORMAL_ERROR
