"""The best of the swept learning rates beside the default rate, on literal tables."""

from __future__ import annotations

import math

from bench.statistics.rates import at_default_rate, best_over_rates, compare_rates
from bench.statistics.survival import groups
from tests.statistics.tables import seeds, table


def cells_at(**ends: list[int | None]):
    """Three rates of two networks; each with the epochs of its seeds, None for those that never got there."""
    rows = []
    for width, rates in ends.items():
        for rate, epochs in rates.items():
            statuses = ["memorized" if epoch is not None else "censored" for epoch in epochs]
            rows += seeds(statuses, epochs, width=int(width[1:]), learning_rate=rate)
    return table(*rows)


def test_the_best_rate_memorizes_most_seeds_and_among_those_first():
    made = groups(
        cells_at(
            w4={0.001: [500, None], 0.003: [400, None], 0.01: [900, 950]},
            w8={0.001: [50, 60], 0.003: [20, 30], 0.01: [20, 30]},
            w16={0.003: [10, 10]},
        )
    )
    best = best_over_rates(made)
    assert list(zip(best["width"], best["learning_rate"], strict=True)) == [(4, 0.01), (8, 0.003)]
    assert list(at_default_rate(made)["width"]) == [4, 8, 16]


def test_where_no_rate_memorizes_the_best_leaves_least_and_a_diverged_one_is_never_best():
    rows = [
        *seeds(["censored"], [None], learning_rate=0.001),
        *seeds(["diverged"], [None], learning_rate=0.003),
        *seeds(["censored"], [None], learning_rate=0.01),
    ]
    for row, left in zip(rows, (0.7, math.nan, 0.4), strict=True):
        row["final_tau"] = left
    (row,) = compare_rates(groups(table(*rows))).to_dict("records")
    assert (row["best_learning_rate"], row["best_median_final_tau"], row["best_n_memorized"]) == (0.01, 0.4, 0)
    assert row["best_at_edge"]
    assert (row["default_learning_rate"], row["default_n_seeds"]) == (0.003, 1)
    assert math.isinf(row["default_median_epoch_to_tau"])


def test_a_row_holds_both_rates_and_the_span_of_the_sweep():
    made = compare_rates(groups(cells_at(w8={0.001: [50, None], 0.003: [70, None], 0.01: [20, 30], 0.03: [None, None]})))
    (row,) = made.to_dict("records")
    assert (row["n_rates"], row["lowest_rate"], row["highest_rate"]) == (4, 0.001, 0.03)
    assert (row["best_learning_rate"], row["best_fraction_memorized"], row["best_median_epoch_to_tau"]) == (0.01, 1, 20)
    assert (row["default_learning_rate"], row["default_fraction_memorized"]) == (0.003, 0.5)
    assert not row["best_at_edge"]


def test_without_the_default_rate_in_the_sweep_its_columns_are_empty():
    (row,) = compare_rates(groups(cells_at(w8={0.001: [50], 0.01: [20]}))).to_dict("records")
    assert row["best_learning_rate"] == 0.01
    assert math.isnan(row["default_learning_rate"])
    assert math.isnan(row["default_fraction_memorized"])


def test_failed_and_pending_cells_choose_no_rate():
    rows = seeds(["failed"], [None], learning_rate=0.001) + seeds(["pending"], [None], learning_rate=0.003)
    assert compare_rates(groups(table(*rows))).empty
    assert len(compare_rates(groups(table(*rows, *seeds(["censored"], [None], learning_rate=0.01))))) == 0


def test_the_placeholder_rate_of_lm_is_no_default_rate():
    lm = {"optimizer": "lm", "dtype": "float64", "max_epochs": 500}
    made = groups(table(*seeds(["memorized"], [9], **lm), *seeds(["memorized"], [9], learning_rate=0.01)))
    assert len(at_default_rate(made)) == 0
