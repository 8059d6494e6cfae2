"""N50 under one setting over N50 under the first: the ratio and its interval, in a table and in words."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from bench.statistics.ratios import in_words, ratios
from bench.statistics.survival import Z95


def capacities(rows: list[tuple[str, int, float, float]], rates: str = "as asked") -> pd.DataFrame:
    """Rows of (setting, width, n50, standard error of its logarithm)."""
    made = pd.DataFrame(rows, columns=["setting", "width", "n50", "error"]).assign(rates=rates, depth=2, d_in=8)
    reach = np.exp(Z95 * made["error"])
    return made.assign(n50_low=made["n50"] / reach, n50_high=made["n50"] * reach)


def test_the_ratio_covers_the_truth_about_as_often_as_it_says():
    """tanh truly holds 1.4 times what relu does; the one N50 is known thrice as well as the other."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        relu, tanh = 200 * math.exp(0.1 * rng.standard_normal()), 280 * math.exp(0.03 * rng.standard_normal())
        (row,) = ratios(capacities([("relu", 8, relu, 0.1), ("tanh", 8, tanh, 0.03)])).to_dict("records")
        assert (row["setting"], row["over"], row["width"]) == ("tanh", "relu", 8)
        assert row["ratio"] == pytest.approx(tanh / relu)
        covered += row["ratio_low"] <= 1.4 <= row["ratio_high"]
    # Three standard errors of 300 draws.
    assert covered / 300 == pytest.approx(0.95, abs=0.038)


def test_only_the_same_network_with_both_n50_known_at_the_same_rates_is_compared():
    rows = [("relu", 8, 100.0, 0.1), ("relu", 16, 200.0, 0.1), ("tanh", 8, math.nan, 0.1), ("tanh", 16, 300.0, 0.1)]
    made = ratios(capacities([*rows, ("tanh", 32, 900.0, 0.1)]))
    assert made["width"].tolist() == [16]
    assert ratios(pd.concat([capacities(rows[:2], "best"), capacities(rows[2:], "default")])).empty
    assert ratios(capacities(rows[:2])).empty
    assert ratios(pd.DataFrame()).empty


def test_the_words_give_one_ratio_or_the_geometric_mean_of_several():
    one = capacities([("relu", 8, 100.0, 0.1), ("tanh", 8, 150.0, 0.1)])
    assert in_words(ratios(one)) == ["N50 under tanh is 1.50 (1.14 to 1.98) times that under relu: one network."]
    three = [(name, width, width * times, 0.1) for name in ("relu", "tanh") for width, times in ((8, 10), (16, 10), (32, 10))]
    several = capacities([(name, width, n50 * (1.5 if name == "tanh" else 1), error) for name, width, n50, error in three])
    assert in_words(ratios(several)) == [
        "N50 under tanh is 1.50 (1.50 to 1.50) times that under relu: 3 networks in the geometric mean."
    ]
