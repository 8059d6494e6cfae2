"""Tests on pairs: exact where all exchanges can be listed, and held to scipy's where it has the same test."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from bench.statistics import paired
from bench.statistics.paired import discordant, exchanged, log_n50_weights, median_ratio, signed_ranks


def test_few_pairs_are_exchanged_in_every_way():
    differences = np.array([3.0, -1.0, 0.0, 2.0, 2.0])
    own = differences[differences != 0]
    sums = [abs(np.dot(signs, own)) for signs in itertools.product((-1, 1), repeat=4)]
    expected = np.mean([total >= 6 for total in sums])
    assert exchanged(differences) == (6.0, expected, 4)


def test_without_a_pair_that_differs_nothing_is_found():
    assert exchanged(np.zeros(5)) == (0.0, 1.0, 0)
    assert exchanged(np.empty(0)) == (0.0, 1.0, 0)


def test_the_p_value_of_ranks_is_that_of_wilcoxon():
    rng = np.random.default_rng(1)
    base = rng.uniform(10, 500, 15)
    head = base * np.exp(rng.normal(0.05, 0.1, 15))
    differences = np.log(head / base)
    assert exchanged(signed_ranks(base, head)).p_value == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue)


def test_the_p_value_of_shares_is_that_of_mcnemar():
    base, head = np.array([True] * 14 + [False] * 6), np.array([True] * 2 + [False] * 12 + [True] * 3 + [False] * 3)
    assert exchanged(discordant(base, head)).p_value == pytest.approx(stats.binomtest(3, 15).pvalue)


def test_many_pairs_are_exchanged_at_random_to_the_same_answer(monkeypatch):
    rng = np.random.default_rng(4)
    differences = rng.normal(0.5, 1, 14)
    exact = exchanged(differences).p_value
    monkeypatch.setattr(paired, "EXCHANGES", 2**14 - 1)
    monkeypatch.setattr(paired, "AT_ONCE", 14 * 1000)
    drawn = exchanged(differences).p_value
    assert drawn == pytest.approx(exact, abs=4 * np.sqrt(exact / 2**14))
    # The same exchanges each time, and others for another seed.
    assert exchanged(differences).p_value == drawn != exchanged(differences, seed=1).p_value


def test_of_two_that_never_came_neither_is_first_and_one_that_never_came_is_last():
    base, head = np.array([10, np.inf, np.inf, 5.0]), np.array([20, 7, np.inf, 5.0])
    assert signed_ranks(base, head).tolist() == [1, -2, 0, 0]
    assert median_ratio(base, head) == 1.5
    assert np.isnan(median_ratio(base[1:3], head[1:3]))


def test_the_weights_are_those_of_the_area_under_the_curve_of_shares():
    """Log N50 of a step at a count is its logarithm, but for half the distance to the next count."""
    counts = np.array([8.0, 16.0, 32.0, 64.0])
    weights = log_n50_weights(counts)
    # All memorize up to 16, none from 32 on: half way between, on the log scale.
    shares = np.array([1.0, 1.0, 0.0, 0.0])
    assert np.log(8) + shares @ weights == pytest.approx((np.log(16) + np.log(32)) / 2)
