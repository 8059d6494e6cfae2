"""Curves of who had memorized by when, and log-rank tests, against published numbers, scipy and each other."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.protocol.cells import STRENGTHS
from bench.report.findings import findings
from bench.statistics.incidence import incidence, log_rank, log_rank_residuals
from bench.statistics.paired import pairs_needed
from tests.protocol.test_grid import compose
from tests.statistics.tables import seeds, table, tables

# Weeks in remission of 21 patients on 6-mercaptopurine (with + censored) and 21 on placebo: Freireich et al. 1963, Blood 21,
# 699-716, the example of most textbooks, with a Kaplan-Meier median of 23 weeks against 8.
DRUG = [6, 6, 6, 7, 10, 13, 16, 22, 23]
DRUG_CENSORED = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]


def cells(statuses, epochs, setting, **fields):
    return table(*seeds(statuses, epochs, **fields)).assign(setting=setting)


def test_the_published_log_rank_of_freireich_is_found_again():
    """Observed 9 and expected 19.25 with the drug, chi-squared 16.79 (Kleinbaum and Klein, Survival Analysis, 2.IV)."""
    times = np.array(DRUG + DRUG_CENSORED + PLACEBO, float)
    event = np.array([True] * len(DRUG) + [False] * len(DRUG_CENSORED) + [True] * len(PLACEBO))
    treated = np.arange(len(times)) < len(DRUG) + len(DRUG_CENSORED)
    residuals, expected = log_rank_residuals(times, event, treated)
    assert expected == pytest.approx(19.25, abs=0.005)
    assert residuals.sum() == pytest.approx(9 - 19.25, abs=0.005)
    groups = [stats.CensoredData.right_censored(times[own], ~event[own]) for own in (treated, ~treated)]
    theirs = stats.logrank(*groups)
    assert theirs.statistic**2 == pytest.approx(16.79, abs=0.005)


def test_the_published_median_of_freireich_is_that_of_the_curve():
    """Weeks as epochs; each patient's own censoring time as a budget."""
    rows = []
    for i, (week, reached) in enumerate([(w, True) for w in DRUG] + [(w, False) for w in DRUG_CENSORED]):
        status, epoch = ("memorized", week) if reached else ("censored", None)
        rows += seeds([status], [epoch], max_epochs=35 if reached else week, width=i + 1)
    made = incidence(table(*rows).assign(setting="drug"))
    assert made.loc[made["memorized"] > 0.5, "epoch"].min() in range(23, 26)
    assert made.loc[made["epoch"] < 22, "memorized"].max() < 0.5
    # 1 less the textbook's estimate of survival at 10 weeks, 0.753.
    assert made.loc[made["epoch"].between(10, 12), "memorized"].iloc[0] == pytest.approx(0.247, abs=0.001)


def test_whoever_stopped_or_diverged_never_memorizes_and_is_not_censored():
    made = incidence(
        cells(["memorized", "early_stopped", "diverged", "censored"], [10, None, None, None], "a", max_epochs=100).assign(
            epochs_run=[10, 5, 20, 100]
        )
    )
    by = made.set_index("epoch")
    assert by.loc[100, ["memorized", "early_stopped", "diverged"]].tolist() == [0.25, 0.25, 0.25]
    assert by.loc[4, ["memorized", "early_stopped", "diverged"]].tolist() == [0, 0, 0]
    assert by.loc[6, ["memorized", "early_stopped", "diverged"]].tolist() == [0, 0.25, 0]
    assert set(made["n_cells"]) == {4}


def test_a_budget_that_ends_earlier_is_no_evidence_of_what_comes_later():
    """Two that were given up at epoch 10 leave, of the others, half memorized by 100: Kaplan-Meier's 3/4 of those at risk, not 2/6."""
    early = table(*seeds(["memorized", "censored", "censored"], [5, None, None], max_epochs=10))
    late = table(*seeds(["memorized", "censored", "memorized"], [50, None, 60], max_epochs=100, width=8))
    made = incidence(pd.concat([early, late]).assign(setting="a")).set_index("epoch")
    assert made.loc[10, "memorized"] == pytest.approx(1 / 6)
    assert made.loc[100, "memorized"] == pytest.approx(1 - (5 / 6) * (1 / 3))


def test_failed_cells_are_in_no_curve_and_no_test():
    made = incidence(cells(["memorized", "failed", "pending"], [10, None, None], "a"))
    assert set(made["n_cells"]) == {1}
    assert made["memorized"].iloc[-1] == 1


def test_the_interval_knows_that_seeds_share_their_data():
    """Twenty networks of two seeds that differ: two observations, not forty."""
    rows = [row for width in range(1, 21) for row in seeds(["memorized", "censored"], [10, None], width=width)]
    last = incidence(table(*rows).assign(setting="a")).iloc[-1]
    assert last["memorized"] == 0.5
    assert last["memorized_low"] < 0.1
    assert last["memorized_high"] > 0.9


N_SEEDS = 8


def twins(n_seeds: int = N_SEEDS) -> pd.DataFrame:
    """Three networks, each with and without dropout."""
    rows = []
    for width in (4, 8, 16):
        for fields in ({"regularization": "none"}, {"regularization": "dropout", "dropout": 0.1}):
            rows += seeds(["memorized"] * n_seeds, [1] * n_seeds, width=width, max_epochs=300, **fields)
    made = table(*rows)
    return made.assign(setting=made["regularization"])


def compared(cells: pd.DataFrame, rng: np.random.Generator, delay: float, together: float = 0.0) -> dict:
    """The test's row if dropout delays by a factor, and a seed's data make all its cells slower or faster together."""
    data = together * rng.standard_normal(cells["data_seed"].max() + 1)[cells["data_seed"]]
    factor = np.where(cells["regularization"] == "dropout", delay, 1.0)
    epochs = pd.Series(np.ceil(100 * factor * np.exp(data + 0.5 * rng.standard_normal(len(cells)))), index=cells.index)
    reached = epochs <= 300
    status = np.where(reached, "memorized", "censored")
    (row,) = log_rank(cells.assign(epoch_to_tau=epochs.where(reached).astype("Int64"), status=status)).to_dict("records")
    return row


@pytest.mark.parametrize(("draws", "most"), [(60, 9), pytest.param(300, 27, marks=pytest.mark.exhaustive)])
def test_a_regularizer_that_does_nothing_is_rarely_found_guilty(draws, most):
    """False alarms at the 5 % level and three standard errors, also where what is shared makes a seed's cells alike."""
    rng, cells = np.random.default_rng(3), twins()
    for together in (0.0, 1.0):
        assert sum(compared(cells, rng, 1.0, together)["p_value"] < 0.05 for _ in range(draws)) <= most


def test_a_regularizer_that_delays_is_found_and_the_sign_says_which_way():
    row = compared(twins(), np.random.default_rng(4), 2.0)
    assert row["p_value"] < 0.01
    assert row["statistic"] < 0
    assert row["observed"] < row["expected"]
    assert (row["n_pairs"], row["n_strata"], row["n_seeds"]) == (24, 3, 8)
    assert compared(twins(), np.random.default_rng(4), 0.5)["statistic"] > 0


def test_so_few_seeds_have_no_smaller_p_value_than_their_exchanges():
    """Of five seeds 2 of 32 exchanges are as extreme as all on one side."""
    row = compared(twins(5), np.random.default_rng(4), 100.0)
    assert row["p_value"] == pytest.approx(2 / 32) == row["least_p"]
    assert row["seeds_needed"] == 6


def several(n_seeds: int) -> pd.DataFrame:
    """Three regularizers, each of which delays every cell tenfold."""
    rows = seeds(["memorized"] * n_seeds, [10] * n_seeds)
    for name in ("dropout", "weight_decay", "l1"):
        rows += seeds(["memorized"] * n_seeds, [100] * n_seeds, regularization=name, **{name: 0.1})
    made = table(*rows)
    return made.assign(setting=made["regularization"])


def test_the_seeds_that_three_tests_take_are_the_fewest_whose_least_p_is_below_the_level_after_correction():
    six, seven = log_rank(several(6)), log_rank(several(7))
    assert six["seeds_needed"].tolist() == seven["seeds_needed"].tolist() == [7, 7, 7]
    assert six["p_value"].max() < 0.05 < six["p_holm"].min()
    assert seven["p_holm"].max() < 0.05
    assert (six["p_holm"] == 3 * six["p_value"]).all()


def test_a_run_with_too_few_seeds_says_how_many_it_takes_and_one_with_enough_what_it_found():
    (few,) = [text for text in findings(tables(several(5).drop(columns="setting"))) if " seeds show no p" in text]
    assert few == (
        "No test can tell regularizers from none here: whatever a regularizer does, 5 seeds show no p below 0.062, and 3 tests"
        " take 7 seeds to reach 0.05."
    )
    (told,) = [text for text in findings(tables(several(8).drop(columns="setting"))) if "exchange whole seeds" in text]
    assert "3 of 3 regularizers slow memorization (log-rank)" in told
    assert "under 0 of 3 fewer cells memorize" in told


@pytest.mark.parametrize("grid", ["regularization", "learning_rate", "precision"])
def test_grids_whose_point_is_a_comparison_have_enough_seeds_for_it(grid):
    cells = compose(f"grid={grid}").cells
    n_seeds = len({cell.data_seed for cell in cells})
    assert n_seeds >= 8
    plain = {"regularization", *STRENGTHS}
    tests = len(
        {tuple(getattr(cell, name) for name in ("optimizer", *sorted(plain))) for cell in cells}
        if grid == "regularization"
        else [0]
    )
    assert n_seeds >= pairs_needed(tests, 0.05)


def test_one_seed_has_no_p_value():
    assert math.isnan(compared(twins(1), np.random.default_rng(5), 2.0)["p_value"])


def test_a_setting_without_twins_has_no_row():
    made = table(*seeds(["memorized"] * 2, [5, 6], regularization="dropout", dropout=0.1))
    assert log_rank(made.assign(setting="dropout")).empty


def test_the_ends_of_the_interval_never_fall_while_the_share_rises():
    rng = np.random.default_rng(4)
    seeds, epochs = np.repeat(np.arange(6), 8), np.sort(rng.integers(10, 2000, 48))
    rows = [
        {"status": "memorized" if k % 3 else "censored", "epoch_to_tau": int(epoch) if k % 3 else None, "width": 4 + k % 8}
        | {"data_seed": int(seed), "init_seed": int(seed)}
        for k, (seed, epoch) in enumerate(zip(seeds, rng.permutation(epochs), strict=True))
    ]
    made = incidence(table(*rows).assign(setting="a"))
    assert made["memorized"].iloc[0] == 0 < made["memorized"].iloc[-1] < 1
    assert (made[["memorized", "memorized_low", "memorized_high"]].diff().iloc[1:] >= 0).all(axis=None)
    assert (made["memorized_low"] <= made["memorized"]).all() and (made["memorized"] <= made["memorized_high"]).all()
