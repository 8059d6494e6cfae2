"""Censored statistics and the words made of them, on literal tables."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import bench
from bench.protocol.cells import DEFAULTS, SEEDS
from bench.report.budgets import untold
from bench.report.findings import findings, terms
from bench.report.scope import scope
from bench.report.words import settings_in_words
from bench.statistics.clusters import clusters
from bench.statistics.survival import groups, median_with_censoring, wilson_interval
from bench.statistics.wording import UNTESTED
from tests.statistics.tables import labelled, seeds, table, tables


def test_the_median_counts_cells_that_never_got_there_as_infinite():
    assert median_with_censoring(np.array([5.0, np.nan, np.nan])) == math.inf
    assert median_with_censoring(np.array([5.0, 7.0, np.nan])) == 7
    assert median_with_censoring(np.array([5.0, np.nan])) == 5
    assert math.isnan(median_with_censoring(np.array([])))


@pytest.mark.parametrize(("successes", "trials"), [(0, 5), (1, 5), (3, 5), (5, 5), (17, 40), (0, 1)])
def test_the_wilson_interval_is_that_of_scipy(successes, trials):
    theirs = stats.binomtest(successes, trials).proportion_ci(method="wilson")
    assert wilson_interval(successes, trials) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_the_wilson_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    draws = rng.binomial(20, 0.7, size=4000)
    covered = np.mean([low <= 0.7 <= high for low, high in (wilson_interval(int(k), 20) for k in draws)])
    assert 0.93 < covered < 0.98


def test_groups_count_every_end_and_fold_no_failure_into_a_number():
    statuses = ["memorized", "memorized", "censored", "diverged", "failed", "pending"]
    (row,) = groups(table(*seeds(statuses, [10, 30, None, None, None, None]))).to_dict("records")
    assert {name: row[name] for name in ("n_seeds", "n_memorized", "n_censored", "n_diverged", "n_failed", "n_pending")} == {
        "n_seeds": 4,
        "n_memorized": 2,
        "n_censored": 1,
        "n_diverged": 1,
        "n_failed": 1,
        "n_pending": 1,
    }
    assert row["fraction_memorized"] == 0.5
    assert (row["fraction_low"], row["fraction_high"]) == wilson_interval(2, 4)
    assert row["median_epoch_to_tau"] == 30


@pytest.mark.parametrize("decides", SEEDS)
def test_cells_that_share_a_seed_that_decides_are_no_independent_tries(decides):
    """Ten seeds of one kind on each of two of the other, one of which is always memorized and one never: two tries, no twenty."""
    (other,) = set(SEEDS) - {decides}
    crossed = [
        {decides: one, other: two, "status": "memorized" if one else "censored", "epoch_to_tau": 10 if one else None}
        for one in range(2)
        for two in range(10)
    ]
    apart = [row | {"data_seed": number, "init_seed": number} for number, row in enumerate(crossed)]
    shared, alone = (groups(table(*rows)).iloc[0] for rows in (crossed, apart))
    assert (shared["n_seeds"], shared["fraction_memorized"]) == (alone["n_seeds"], alone["fraction_memorized"]) == (20, 0.5)
    assert (alone["fraction_low"], alone["fraction_high"]) == wilson_interval(10, 20)
    low, high = wilson_interval(1, 2)
    assert shared["fraction_low"] <= low
    assert shared["fraction_high"] >= high


def test_agreeing_cells_of_two_sets_of_data_are_two_tries():
    rows = [
        {"data_seed": data, "init_seed": init, "status": "memorized", "epoch_to_tau": 10}
        for data in range(2)
        for init in range(10)
    ]
    agreeing = groups(table(*rows)).iloc[0]
    assert (agreeing["fraction_low"], agreeing["fraction_high"]) == wilson_interval(2, 2)


@pytest.mark.parametrize("varied", SEEDS)
def test_a_seed_that_all_cells_share_is_a_condition_and_takes_nothing_from_the_other(varied):
    rows = [{"data_seed": 0, "init_seed": 0, "status": "memorized" if n < 5 else "censored"} | {varied: n} for n in range(10)]
    row = groups(table(*rows)).iloc[0]
    assert (row["fraction_low"], row["fraction_high"]) == wilson_interval(5, 10)
    assert len(np.unique(clusters(table(*rows)))) == 10


def test_a_group_that_only_failed_has_no_fraction_and_no_median():
    (row,) = groups(table(*seeds(["failed", "failed"], [None, None]))).to_dict("records")
    assert row["n_seeds"] == 0
    assert all(
        math.isnan(row[name])
        for name in ("fraction_memorized", "fraction_low", "fraction_high", "median_epoch_to_tau", "median_final_tau")
    )


def test_the_expected_running_time_counts_the_epochs_of_those_that_never_got_there():
    """30 + 50 + 100 + 20 epochs for two successes; none, where nothing was measured; infinite without a success."""
    cells = table(*seeds(["memorized", "memorized", "censored", "diverged", "failed"], [30, 50, None, None, None]))
    (row,) = groups(cells.assign(epochs_run=pd.array([30, 50, 100, 20, None], dtype="Int64"))).to_dict("records")
    assert row["expected_running_time"] == 100
    assert groups(table(*seeds(["censored"] * 2, [None] * 2)))["expected_running_time"].tolist() == [math.inf]
    assert groups(table(*seeds(["failed"], [None])))["expected_running_time"].isna().all()


def test_groups_keep_apart_cells_that_differ_in_more_than_their_seeds():
    made = groups(
        table(
            *seeds(["memorized"], [5], max_norm=None),
            *seeds(["memorized"], [6], max_norm=2.0),
            *seeds(["memorized"], [7], batch_size=10),
        )
    )
    assert list(made["median_epoch_to_tau"]) == [5, 6, 7]


def settings_of(cells, *, variants=False):
    made = table(*[{"status": "censored", **{name: getattr(cell, name) for name in DEFAULTS}} for cell in cells])
    return list(dict.fromkeys(labelled(made, variants=variants)["setting"]))


def test_settings_are_named_by_what_varies_beside_the_axes_of_the_maps():
    assert settings_of(bench.expand(depth=[1, 2], width=[4, 8])) == ["all cells"]
    assert settings_of(bench.expand(depth=[1, 2], regularization=["none", "dropout"])) == ["no regularization", "dropout"]
    assert settings_of(bench.expand(regularization={"none": {}, "dropout": {"dropout": [0.1, 0.2]}})) == [
        "no regularization",
        "dropout=0.1",
        "dropout=0.2",
    ]
    assert settings_of(bench.expand(regularization={"none": {}, "mine": {"l1": [0.1, 0.2], "dropout": 0.5}})) == [
        "no regularization",
        "mine, l1=0.1",
        "mine, l1=0.2",
    ]
    assert settings_of(bench.expand(learning_rate=[0.001, 0.01], n_samples=[8, 16])) == [
        "learning_rate=0.001",
        "learning_rate=0.01",
    ]


def test_cells_of_lm_leave_the_names_of_other_settings_as_they_are_and_tell_no_rate():
    """Their rate is a placeholder, and precision and iterations go with the optimizer."""
    ends, decay = {"statuses": ["memorized"], "epochs": [9]}, {"weight_decay": 0.1, "regularization": "weight_decay"}
    adam = [*seeds(**ends, learning_rate=0.001), *seeds(**ends, learning_rate=0.01, **decay)]
    lm = seeds(**ends, optimizer="lm", dtype="float64", max_epochs=500)
    alone, beside = (list(labelled(table(*rows))["setting"]) for rows in (adam, [*adam, *lm]))
    assert beside == [*alone, "optimizer=lm, no regularization"] and "learning_rate=0.01" in alone[1]
    words = settings_in_words(labelled(table(*adam, *lm)))
    assert list(words.values()) == [*settings_in_words(labelled(table(*adam))).values(), "no regularization, optimizer lm"]
    # Where nothing else is left, each goes by its optimizer; and what varies of lm's own training is told.
    longer = [row | {"max_epochs": 100} for row in lm]
    names = ["optimizer=adam", "optimizer=lm, max_epochs=500", "optimizer=lm, max_epochs=100"]
    assert list(labelled(table(*seeds(**ends), *lm, *longer))["setting"]) == names


def test_a_headline_over_both_optimizers_with_swept_rates_is_not_that_of_lm():
    lm = seeds(["censored"] * 3, [None] * 3, optimizer="lm", dtype="float64", max_epochs=500, n_samples=16)
    swept = [row for rate in (0.001, 0.01) for row in seeds(["memorized"] * 3, [9] * 3, learning_rate=rate, n_samples=16)]
    found = findings(tables(table(*swept, *lm)))
    assert found[0].startswith(
        "Given at most half as many samples as their ceiling, networks with learning rate 0.001 memorized in 3 of 3"
    )
    made = tables(table(*swept, *lm))
    said = scope(made.cells, made.groups, design=made.design)
    assert "learning rate 0.001 to 0.01 (2 values)" in said and "0.003" not in said


def test_settings_without_smaller_budgets_are_counted_once_whatever_their_rates():
    """Rows at the best and the default of swept rates are of the same trainings as those at each rate."""
    cells = [
        row
        for schedule, rate in (("constant", 0.003), ("cosine", 0.001), ("cosine", 0.003))
        for n in (8, 16)
        for row in seeds(["memorized"] * 3, [9] * 3, n_samples=n, learning_rate=rate, lr_schedule=schedule)
    ]
    (sentence,) = untold(tables(table(*cells)).capacity)
    assert sentence.startswith("N50 at smaller budgets is not told for 2 of 3 settings: ")


def test_variants_are_named_by_what_each_changes():
    cells = bench.expand(
        variants=[{}, {"learning_rate": 0.1}, {"width": 8, "batch_size": 10}, {"n_samples": 7, "amsgrad": True}]
    )
    assert settings_of(cells, variants=True) == [
        "as asked",
        "learning_rate=0.1",
        "width=8, batch_size=10",
        "n_samples=7, amsgrad=true",
    ]
    regularized = bench.expand(variants=[{"dropout": 0.1}, {}, {"weight_decay": 0.1}])
    assert settings_of(regularized, variants=True) == ["as asked", "dropout=0", "weight_decay=0.1, dropout=0"]


def test_findings_say_how_far_up_the_load_each_setting_got():
    rows = []
    for regularization, dropout, reached in (("none", 0.0, 64), ("dropout", 0.1, 0)):
        for n in (32, 64, 128):
            hit = n <= reached
            rows += seeds(
                ["memorized" if hit else "censored"] * 5,
                [n if hit else None] * 5,
                n_samples=n,
                depth=1,
                width=8,
                regularization=regularization,
                dropout=dropout,
            )
    said = findings(tables(table(*rows)))
    # Of 73 dimensions: 32 samples are at most half, 64 between half and all, 128 above.
    assert said[:2] == [
        "Given at most half as many samples as their ceiling, networks without regularization memorized in 5 of 5 trainings;"
        " between half and all of it in 5 of 5.",
        "Above the ceiling 0 of 5 trainings memorized; over all settings 0 of 10.",
    ]
    # N50 by interpolation is 1.24 ceilings, where nothing above the ceiling memorized: no more than about 1 is said.
    assert (
        "No regularization: N50, the sample count that half of the seeds memorize, is about 1 (95 %: 0.87 to 1.76) times the"
        " ceiling, 3.7 bits for each parameter (5000 epochs to tau 0.01). It lies near the edge of the counts tried, and perhaps"
        " beyond."
    ) in said
    assert "Dropout 0.1: no network's N50 is known (5000 epochs to tau 0.01). Only an upper bound is known." in said
    assert "10 of 30 trainings memorized targets that are pure noise (20 spent their epochs first)." in said


def test_what_is_said_of_the_ceiling_counts_the_cells_of_its_table():
    """Seven of eight below a half, one of four up to it, and one that is looser than exact above."""
    hits = {(16, s): s < 7 for s in range(8)} | {(64, s): s < 1 for s in range(4)} | {(128, s): s < 1 for s in range(3)}
    rows = [
        {"n_samples": n, "data_seed": s, "init_seed": s, "depth": 1, "width": 8, "status": "memorized" if hit else "censored"}
        for (n, s), hit in hits.items()
    ]
    made = tables(table(*rows))
    assert made.bands[["per_dim_high", "n_memorized", "n_cells"]].to_numpy().tolist() == [
        [0.5, 7, 8],
        [1, 1, 4],
        [math.inf, 1, 3],
    ]
    first, second = findings(made)[:2]
    low, high = (f"{100 * end:.0f}" for end in wilson_interval(7, 8))
    assert (
        f"networks memorized in 7 of 8 trainings (95 %: {low} to {high} %); between half and all of it in 1 of 4 (95 %:"
        in first
    )
    assert second.startswith("Above the ceiling 1 of 3 trainings (95 %: ")


def test_networks_that_no_theory_bounds_have_no_ceiling():
    rows = seeds(["memorized"] * 3, [9] * 3, n_samples=64, depth=1, width=8, target="rademacher", loss="hinge")
    made = tables(table(*rows))
    assert not any("ceiling" in sentence for sentence in findings(made))
    assert [term for term, _ in terms(made)] == ["Memorized", "Functional dimension"]


def test_sentences_come_by_what_they_say_whatever_the_order_they_were_found_in():
    """A regularizer that stops all but one of ten is an effect, and stands before numbers; what cannot be told comes last."""
    said = regularized(dropout={0.1: (1, None)}, weight_decay={0.001: (10, 100)})
    places = [
        next(k for k, text in enumerate(said) if start in text)
        for start in ("Given at", "Dropout 0.1 hinders", "such trainings")
    ]
    assert places == sorted(places) == list(dict.fromkeys(places))
    accounts = [k for k, text in enumerate(said) if "memorized targets that are pure noise" in text]
    assert accounts and accounts[0] > places[-1]


def test_no_sentence_of_a_grid_holds_a_name_of_the_program_or_a_hyphen_for_a_minus():
    rows = []
    for name, strength, most in (("none", 0.0, 128), ("weight_decay", 0.001, 64)):
        for width in (4, 8, 16):
            for n in (16, 32, 64, 128, 256):
                hit = n <= most * width / 16
                fields = {"depth": 1, "width": width, "regularization": name, "weight_decay": strength, "n_samples": n}
                rows += seeds(["memorized" if hit else "censored"] * 6, [n if hit else None] * 6, **fields)
    said = findings(tables(table(*rows)))
    assert len(said) > 6
    for sentence in said:
        assert not re.search(r"\w_\w|\w=\w|(?<![\w.])-\d", sentence), sentence
        # Every interval says that it is one.
        assert not re.search(r"\((?!95 %: )[\d.]+ to [\d.]+\)", sentence), sentence


def test_findings_of_a_run_without_results_say_so():
    assert findings(tables(table(*seeds(["failed"], [None])))) == ["No cell has a result yet."]


def test_findings_compare_the_lowest_validation_error_with_the_variance_of_its_targets():
    validation = pd.DataFrame(
        {"best_over_variance": [1.02, 0.99], "final_over_variance": [2.0, 3.0], "n_val": [200, 200], "target": "normal"}
    )
    cells = table(*seeds(["memorized"] * 2, [10, 20], n_val=200))
    (said,) = [text for text in findings(tables(cells, validation=validation)) if "generalizes" in text]
    assert said == (
        "Nothing generalizes: at the end of training the validation MSE is 2.5 times the variance of the validation targets, in the"
        " median of 2 cells. The lowest of any cell at any epoch is 0.990 times; a mean square of 200 samples scatters by 10 %."
    )


def test_findings_of_variants_answer_for_the_first_and_give_the_verdict():
    asked = seeds(["censored"] * 5, [None] * 5, learning_rate=0.01)
    rescued = seeds(["memorized"] * 5, [30, 40, 40, 50, 50], learning_rate=0.001)
    assert findings(tables(table(*asked, *rescued), variants=True)) == [
        "As asked, no: 0 of 5 seeds (95 %: 0 to 43 %) memorized 128 samples in 5000 epochs; in the median 50 % of the variance is left"
        " unexplained, where predicting the mean leaves 100 %.",
        "Held back by the learning rate.",
        "The smallest change confirmed, of 1 tried: learning_rate=0.001 (5 of 5 seeds, 95 %: 57 to 100 %, median epoch 40; as asked"
        " 0 of 5).",
        UNTESTED,
        "Unlike torch.nn.Linear under torch.optim.Adam as they come: init=he_normal (torch_default), learning_rate=0.01 (0.001).",
    ]


def test_findings_say_yes_only_clearly_above_a_half_and_when_training_was_stopped_early():
    half = seeds(["memorized"] * 5 + ["censored"] * 5, [30] * 5 + [None] * 5)
    assert findings(tables(table(*half), variants=True))[0].startswith(
        "As asked, now and then: 5 of 10 seeds (95 %: 24 to 76 %)"
    )
    early = seeds(["early_stopped"] * 3, [None] * 3, n_val=8, patience=1, max_epochs=1000)
    for row in early:
        row["epochs_run"] = 2
    assert findings(tables(table(*early), variants=True))[0].startswith(
        "As asked, no: 0 of 3 seeds (95 %: 0 to 56 %) memorized 128 samples in 1000 epochs, of which early stopping left 2 to 3 seeds in"
        " the median; "
    )


def test_findings_say_what_an_untuned_rate_hides():
    rows = []
    for n, found in ((32, {0.001: 90, 0.003: 60, 0.01: 20}), (64, {0.001: None, 0.003: None, 0.01: 50})):
        for rate, epoch in found.items():
            rows += seeds(["memorized" if epoch else "censored"] * 2, [epoch] * 2, n_samples=n, learning_rate=rate)
    assert [text for text in findings(tables(table(*rows))) if text.startswith("Learning rates")] == [
        "Learning rates 0.001 to 0.01: in 2 combinations most seeds memorized in 1 at the default rate, in 2 at the best of the"
        " swept rates (chosen on the same seeds, so a little too good); where both do, the best takes 33 % of the epochs in"
        " the median. Of 2 best rates at which most seeds memorize, 2 are at an end of the sweep: a rate beyond it may be better.",
    ]


def test_findings_say_that_the_default_rate_was_not_swept():
    rows = [row for rate in (0.001, 0.01) for row in seeds(["memorized"] * 2, [50] * 2, learning_rate=rate)]
    assert next(text for text in findings(tables(table(*rows))) if text.startswith("Learning")).startswith(
        "Learning rates 0.001 to 0.01, without the default: in 1 combinations most seeds memorized in 1 at the best of the swept"
    )


def test_findings_say_that_all_seeds_diverged():
    rows = seeds(["diverged"] * 2, [None] * 2)
    for row in rows:
        row["final_tau"] = math.nan
    assert findings(tables(table(*rows), variants=True))[0] == "As asked, no: 2 of 2 seeds diverged."


def regularized(**hits: tuple[int, ...]) -> list[str]:
    """What findings say of ten cells without regularization, and of so many of them that memorize under each strength."""
    rows = seeds(["memorized"] * 10, [100] * 10)
    for name, strengths in hits.items():
        for strength, (count, epoch) in strengths.items():
            statuses = ["memorized"] * count + ["censored"] * (10 - count)
            rows += seeds(statuses, [epoch] * count + [None] * (10 - count), regularization=name, **{name: strength})
    return findings(tables(table(*rows)))


def test_findings_hold_the_published_claim_about_regularizers_against_the_run():
    (claim,) = [
        sentence
        for sentence in regularized(dropout={0.1: (0, None)}, weight_decay={0.001: (10, 105)}, l1={0.0001: (10, 150)})
        if sentence.startswith("Arpit")
    ]
    assert claim == (
        "Arpit et al. (ICML 2017) report that dropout hinders fitting noise most, and weight decay little. At the strengths that"
        " conf/regularization ships this run agrees on dropout, among what hinders training rather than ends it, and agrees on weight decay."
    )


def test_findings_disagree_with_the_claim_or_leave_it_open_as_the_intervals_say():
    against = " ".join(regularized(dropout={0.1: (10, 100)}, weight_decay={0.001: (0, None)}))
    assert "this run disagrees on dropout" in against
    assert "and disagrees on weight decay" in against
    later = " ".join(regularized(dropout={0.1: (8, 900)}, weight_decay={0.001: (9, 100)}))
    assert "this run agrees on dropout" in later
    between = " ".join(regularized(dropout={0.1: (6, 100)}, weight_decay={0.001: (8, 100)}))
    assert "this run is undecided (the intervals overlap) on dropout" in between


def test_findings_make_no_claim_without_both_default_strengths():
    for others in ({"dropout": {0.3: (0, None)}, "weight_decay": {0.001: (9, 100)}}, {"dropout": {0.1: (5, 100)}}):
        assert not any(sentence.startswith("Arpit") for sentence in regularized(**others))


def test_findings_say_that_strengths_overlap_where_they_do():
    said = regularized(dropout={0.01: (9, 120), 0.1: (2, 900)}, weight_decay={0.001: (10, 100), 0.1: (4, 500)})
    assert any(text.startswith("The strength decides more than the kind: weight decay 0.1: 40 % memorize") for text in said)
