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
    """Of width 32 every twin memorized; of width 4 only that of seed 0, which speaks for seed 1 alone; a failed cell makes no pair."""
    plain = ends([10, 20, 40, 50]) + ends([10, None], width=4)
    decayed = ends([30, None, 160, None], regularization="weight_decay", weight_decay=0.001)
    decayed[3]["status"] = "failed"
    decayed += ends([None, None], width=4, regularization="weight_decay", weight_decay=0.001)
    (row,) = ranking(table(*plain, *decayed)).to_dict("records")
    assert row["regularizer"] == "weight_decay=0.001"
    assert (row["n_pairs"], row["n_memorized"], row["rank"]) == (4, 2, 1)
    assert (row["fraction_memorized"], row["fraction_without"]) == (2 / 4, 3 / 4)
    assert row["fraction_low"] < 0.2 and row["fraction_high"] > 0.8
    assert row["median_delay"] == 4  # of 3, 4 and infinity; of the pair in which neither memorized none
    assert (row["n_twins"], row["n_only_without"], row["n_only_with"]) == (5, 2, 0)
    assert math.isinf(row["delay_high"])


def placebo_run(rng: np.random.Generator, effect: float = 0.0, n_seeds: int = 10) -> list[dict]:
    """Twelve networks far from and near to their frontier, without and with what changes a cell's odds by exp(-effect).

    What a seed's data make easy or hard is common to all its cells; epochs are of no interest.
    """
    data = rng.standard_normal(n_seeds)
    rows = []
    for width, logit in enumerate(np.linspace(-1, 5, 12), start=4):
        for fields, less in (({}, 0.0), ({"regularization": "dropout", "dropout": 0.1}, effect)):
            hits = rng.random(n_seeds) < 1 / (1 + np.exp(-(logit - less + data)))
            rows += ends([10 if hit else None for hit in hits], width=width, **fields)
    return rows


def test_a_placebo_takes_nothing_away_from_twins_that_are_not_chosen_for_their_success():
    """Only groups all of whose twins memorized: then a placebo had a share of .98, and in every mean below that of the twins, 1."""
    rng = np.random.default_rng(0)
    n_with, n_without, n_pairs, alarms, draws = 0, 0, 0, 0, 60
    for _ in range(draws):
        (row,) = ranking(table(*placebo_run(rng))).to_dict("records")
        n_with, n_without = n_with + row["n_memorized"], n_without + row["fraction_without"] * row["n_pairs"]
        n_pairs, alarms = n_pairs + row["n_pairs"], alarms + (row["p_value"] < 0.05)
    assert n_pairs > 2000 and n_without < 0.99 * n_pairs
    # Within two standard errors of the difference of two shares of .95.
    assert abs(n_with - n_without) / n_pairs < 2 * math.sqrt(2 * 0.05 * 0.95 / n_pairs)
    # The level and three standard errors of so many draws.
    assert alarms / draws <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / draws)


def test_what_takes_memorization_away_is_found_by_pairs_that_disagree():
    rng = np.random.default_rng(1)
    found = [ranking(table(*placebo_run(rng, effect=2.0))).iloc[0] for _ in range(12)]
    assert np.mean([row["p_value"] < 0.05 for row in found]) >= 0.9
    assert all(row["n_only_without"] > row["n_only_with"] for row in found)
    assert np.mean([row["fraction_memorized"] - row["fraction_without"] for row in found]) < -0.03


def test_the_p_value_of_disagreeing_pairs_is_that_of_exchanged_seeds():
    """Six seeds, of which five lose a cell and one gains one: as extreme are 2 (1 + 6) of 64 exchanges."""
    plain = ends([10, 10, 10, 10, 10, None]) + ends([10] * 6, width=8)
    decayed = ends([None] * 5 + [10], weight_decay=0.1) + ends([10] * 6, width=8, weight_decay=0.1)
    (row,) = ranking(table(*plain, *decayed)).to_dict("records")
    assert (row["n_twins"], row["n_only_without"], row["n_only_with"]) == (12, 5, 1)
    assert row["p_value"] == pytest.approx(14 / 64)


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
