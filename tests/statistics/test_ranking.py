"""What a regularizer takes away, and how sure that is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from omegaconf import OmegaConf

from bench.commands.config import config_dir
from bench.protocol.cells import DEFAULT_STRENGTHS
from bench.statistics.clusters import effective_number
from bench.statistics.ranking import median_interval, ranking
from bench.statistics.survival import wilson_interval
from tests.statistics.tables import seeds, table


def ends(epochs, **fields):
    return seeds(["memorized" if epoch is not None else "censored" for epoch in epochs], epochs, **fields)


def test_a_row_compares_cells_with_the_same_cells_without_regularization():
    """Of width 32 every twin memorized; of width 4 one did not, so that network says nothing; a failed cell makes no pair."""
    plain = ends([10, 20, 40, 50]) + ends([10, None], width=4)
    decayed = ends([30, None, 160, None], regularization="weight_decay", weight_decay=0.001)
    decayed[3]["status"] = "failed"
    decayed += ends([None, None], width=4, regularization="weight_decay", weight_decay=0.001)
    (row,) = ranking(table(*plain, *decayed)).to_dict("records")
    assert row["regularizer"] == "weight_decay=0.001"
    assert (row["n_pairs"], row["n_memorized"], row["rank"]) == (3, 2, 1)
    assert row["fraction_memorized"] == pytest.approx(2 / 3)
    assert (row["fraction_low"], row["fraction_high"]) == pytest.approx(wilson_interval(2, 3))
    assert row["median_delay"] == 4  # of 3, 4 and infinity
    assert math.isinf(row["delay_high"])


def test_what_is_plain_is_decided_by_strengths_not_by_names():
    """A cell made by hand may have strengths and no name for them."""
    made = ranking(table(*ends([10]), *ends([30], dropout=0.1)))
    assert list(made["regularizer"]) == ["dropout=0.1"]
    assert list(made["median_delay"]) == [3]


def test_the_one_that_prevents_most_comes_first_then_the_one_that_delays_most():
    rows = ends([10, 10])
    rows += ends([50, 50], regularization="l1", l1=0.1)
    rows += ends([11, 11], regularization="weight_decay", weight_decay=0.1)
    rows += ends([12, None], regularization="dropout", dropout=0.1)
    rows += ends([None, None], regularization="dropout", dropout=0.5)
    made = ranking(table(*rows))
    assert list(made["regularizer"]) == ["dropout=0.5", "dropout=0.1", "l1=0.1", "weight_decay=0.1"]
    assert list(made["median_delay"]) == [math.inf, 1.2, 5, 1.1]
    assert list(made["rank"]) == [1, 2, 3, 4]


def test_twins_share_the_optimizer_which_tells_decoupled_decay_apart():
    rows = ends([10]) + ends([100], optimizer="adamw")
    rows += ends([20], regularization="weight_decay", weight_decay=0.1)
    rows += ends([300], regularization="weight_decay", weight_decay=0.1, optimizer="adamw")
    made = ranking(table(*rows)).set_index("regularizer")
    assert made["median_delay"].to_dict() == {
        "weight_decay=0.1, optimizer=adamw": 3,
        "weight_decay=0.1": 2,
    }


def test_samples_that_are_only_watched_keep_no_cell_from_its_twin_and_two_equal_twins_are_one():
    rows = ends([10]) + ends([10], n_val=100) + ends([None], n_val=50, regularization="early_stopping", patience=3)
    (row,) = ranking(table(*rows)).to_dict("records")
    assert (row["regularizer"], row["n_pairs"], row["n_memorized"]) == ("patience=3", 1, 0)


def test_default_strengths_are_marked():
    rows = ends([10]) + ends([20], regularization="dropout", dropout=0.1) + ends([30], regularization="dropout", dropout=0.2)
    rows += ends([15], regularization="mine", dropout=0.1, weight_decay=0.5)
    made = ranking(table(*rows))
    assert list(made.loc[made["at_default"], "regularizer"]) == ["dropout=0.1"]


@pytest.mark.parametrize("path", sorted((config_dir() / "regularization").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_default_strengths_are_those_that_conf_ships(path):
    for name, strength in OmegaConf.load(path).items():
        assert DEFAULT_STRENGTHS[name] == strength


def test_a_run_without_plain_twins_has_no_ranking():
    assert ranking(table(*ends([10], regularization="dropout", dropout=0.1))).empty
    assert ranking(table(*ends([10]))).empty


def test_one_seed_is_one_pair_however_many_networks_share_it_and_so_is_each_seed_where_all_agree():
    """Then there is no spread to see."""
    assert effective_number(np.ones(50), np.zeros(50)) == 1
    assert effective_number(np.ones(50), np.arange(50) % 5) == 5
    assert effective_number(np.arange(50) % 2, np.zeros(50)) == 1


def simulated(rng, *, clusters: int, size: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Log-normal delays with a common factor in each cluster; the median over all is 1."""
    common = rng.normal(0, spread, clusters).repeat(size)
    return np.exp(common + rng.normal(0, 1, clusters * size)), np.arange(clusters).repeat(size)


@pytest.mark.parametrize(
    ("clusters", "size", "spread"),
    [
        (20, 9, 0.7),
        (3, 9, 0.7),
        *(
            pytest.param(*design, marks=pytest.mark.exhaustive)
            for design in ((200, 1, 0.0), (20, 9, 0.0), (10, 9, 0.7), (5, 9, 0.7))
        ),
    ],
)
def test_the_interval_of_the_median_covers_it_as_often_as_it_says_also_when_pairs_share_seeds(clusters, size, spread):
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(1000):
        low, median, high = median_interval(*simulated(rng, clusters=clusters, size=size, spread=spread))
        assert low <= median <= high
        covered += low <= 1 <= high
    assert covered / 1000 > 0.93


def test_the_interval_of_the_fraction_covers_it_when_pairs_share_seeds():
    """Half of the delays are beyond 1; counted as independent, their interval would cover that in 81 % of runs only."""
    rng = np.random.default_rng(2)
    naive = robust = 0
    for _ in range(1000):
        delays, clusters = simulated(rng, clusters=20, size=9, spread=0.7)
        hits = delays < 1
        n = effective_number(hits, clusters)
        low, high = wilson_interval(hits.mean() * n, n)
        robust += low <= 0.5 <= high
        low, high = wilson_interval(int(hits.sum()), len(hits))
        naive += low <= 0.5 <= high
    assert 0.92 < robust / 1000 < 0.985
    assert naive / 1000 < 0.85


def test_where_all_pairs_agree_they_are_worth_as_many_as_the_others_spread_allows():
    """Ten seeds on nine networks: one regularizer that 89 of 90 memorize under is no surer than one that all do."""
    rows = []
    for width in range(8, 17):
        rows += ends([10] * 10, width=width)
        rows += ends([10] * 10, width=width, regularization="weight_decay", weight_decay=0.1)
        rows += ends([10] * 9 + [None if width == 8 else 10], width=width, regularization="dropout", dropout=0.1)
    made = ranking(table(*rows)).set_index("regularizer")
    assert made.loc["weight_decay=0.1", "n_memorized"] == 90
    assert made.loc["dropout=0.1", "fraction_low"] < made.loc["weight_decay=0.1", "fraction_low"]
    alone = [row for row in rows if row.get("regularization") != "dropout"]
    assert ranking(table(*alone))["fraction_low"].tolist() == [pytest.approx(wilson_interval(10, 10)[0])]


def test_one_seed_has_a_delay_and_no_interval_of_it():
    low, median, high = median_interval(np.array([1.0, 2.0, 3.0]), np.zeros(3))
    assert (median, math.isnan(low), math.isnan(high)) == (2, True, True)


def test_infinite_delays_are_values_like_others():
    low, median, high = median_interval(np.array([1.0, 2.0, math.inf, math.inf, math.inf]), np.arange(5))
    assert (low, median, high) == (1, math.inf, math.inf)
