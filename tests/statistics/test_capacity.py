"""Capacities: N50 and its interval cover the truth, and bounds stay bounds."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr

from bench.protocol.cells import Cell
from bench.protocol.networks import samples_at_ceiling
from bench.protocol.theory import dimension_name
from bench.report.findings import findings
from bench.report.holds import held
from bench.report.map_cells import ceiling
from bench.statistics.capacity import capacities, spell, what_is_known
from bench.statistics.clusters import clusters, kinds
from bench.statistics.dimensions import samples_at_ceiling as samples_of_rows
from bench.statistics.frontier import SHARPNESS, Frontier, design_effect, fit
from bench.statistics.incidence import incidence, log_rank
from bench.statistics.ranking import ranking
from bench.statistics.survival import groups, searched
from tests.statistics import tables

COUNTS = np.array([32, 48, 64, 96, 128, 192, 256, 384, 512])


def draws(rng: np.random.Generator, seeds: int, together: float) -> np.ndarray:
    """Uniform numbers [seed, count]; those of one seed correlate: 0 not at all, 1 they are one."""
    shared, own = rng.standard_normal((seeds, 1)), rng.standard_normal((seeds, len(COUNTS)))
    return ndtr(math.sqrt(together) * shared + math.sqrt(1 - together) * own)


def fitted(success: np.ndarray) -> Frontier:
    seeds = len(success)
    return fit(np.tile(COUNTS, seeds), success.ravel(), np.repeat(np.arange(seeds), len(COUNTS)))


# How alike the cells of a seed are.
INDEPENDENT, HALF, NESTED = 0.0, 0.5, 1.0
# Few seeds and many, and every likeness; each design with each likeness for `make test-all`.
SOME = {(3, 8, HALF), (5, 20, INDEPENDENT), (10, 8, NESTED)}


@pytest.mark.parametrize(
    ("seeds", "sharpness", "together"),
    [
        pytest.param(*design, together, marks=() if (*design, together) in SOME else pytest.mark.exhaustive)
        for design in ((3, 8), (5, 4), (5, 20), (10, 8))
        for together in (INDEPENDENT, HALF, NESTED)
    ],
)
def test_the_interval_of_n50_covers_the_truth_about_as_often_as_it_says(seeds, sharpness, together):
    """Success curves whose N50 is known, between and on the counts; 150 grids each."""
    rng = np.random.default_rng(int(100 * together) + seeds)
    covered, errors = [], []
    for _ in range(150):
        middle = rng.uniform(90, 200)
        found = fitted(draws(rng, seeds, together) < 1 / (1 + (COUNTS / middle) ** sharpness))
        covered.append(found.low <= middle <= found.high)
        errors.append(math.log(found.n50 / middle))
    # 95 % less three standard errors of 150 draws; above, steps between counts leave more room than they take.
    assert np.mean(covered) >= 0.895
    assert abs(np.nanmean(errors)) < 0.08


# Of each design the larger share, which pulls the more; the smaller one for `make test-all`.
@pytest.mark.parametrize("share", [pytest.param(0.1, marks=pytest.mark.exhaustive), 0.3])
@pytest.mark.parametrize(("seeds", "sharpness"), [pytest.param(5, 20, marks=pytest.mark.exhaustive), (10, 6), (20, 20)])
def test_cells_that_are_stuck_at_every_count_do_not_pull_n50_down(seeds, sharpness, share):
    """Success that falls from 1 - share, to one half at N50. A curve from 1 would cover 5 to 82 % of these where share is 0.3."""
    rng = np.random.default_rng(seeds)
    covered, errors = [], []
    for _ in range(100):
        middle = rng.uniform(90, 200)
        success = (1 - share) / (1 + (COUNTS / middle) ** sharpness)
        n50 = middle * (1 - 2 * share) ** (1 / sharpness)
        found = fitted(draws(rng, seeds, 0.0) < success)
        covered.append(found.low <= n50 <= found.high)
        errors.append(math.log(found.n50 / n50))
    # 95 % less three standard errors of 100 draws.
    assert np.mean(covered) >= 0.885
    assert abs(np.nanmean(errors)) < 0.08


def test_the_design_effect_keeps_intervals_honest_that_without_it_are_not():
    """Ten seeds that succeed together on all counts: as if each were nine."""
    rng = np.random.default_rng(0)
    covered = {"clusters": 0, "cells": 0}
    for _ in range(100):
        middle = rng.uniform(90, 200)
        success = draws(rng, 10, 1.0) < 1 / (1 + (COUNTS / middle) ** 3)
        alone = fit(np.tile(COUNTS, 10), success.ravel(), np.arange(success.size) // 2)
        for name, found in (("clusters", fitted(success)), ("cells", alone)):
            covered[name] += found.low <= middle <= found.high
    assert covered["clusters"] >= 88
    assert covered["cells"] <= 84


@pytest.mark.parametrize(
    ("alike_data", "alike_init"), [(0.3, 0.3), pytest.param(0.1, 0.5, marks=pytest.mark.exhaustive), (0.5, 0.1)]
)
def test_the_variances_of_crossed_seeds_of_data_and_weights_add(alike_data, alike_init):
    """Ten data sets by five initialisations. With the data's variance alone the truth is covered in 73, 59 and 90 of 100."""
    rng = np.random.default_rng(3)
    data, init, count = (axis.ravel() for axis in np.meshgrid(np.arange(10), np.arange(5), COUNTS, indexing="ij"))
    covered, runs = 0, 120
    for _ in range(runs):
        middle = rng.uniform(90, 200)
        parts = (rng.standard_normal(shape) for shape in ((10, 1, 1), (1, 5, 1), (10, 5, len(COUNTS))))
        weights = (alike_data, alike_init, 1 - alike_data - alike_init)
        latent = sum(math.sqrt(weight) * part for weight, part in zip(weights, parts, strict=True))
        success = ndtr(latent).ravel() < 1 / (1 + (count / middle) ** 8)
        found = fit(count, success, np.column_stack([data, init]))
        covered += found.low <= middle <= found.high
    # 95 % less three standard errors.
    assert covered / runs >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / runs)


def test_seeds_that_are_crossed_are_known_as_such_and_paired_ones_are_one_kind():
    pairs = [(data, init) for data in range(4) for init in range(3)]
    crossed = pd.DataFrame(pairs, columns=["data_seed", "init_seed"])
    assert kinds(crossed).tolist() == [list(pair) for pair in pairs]
    for one in ([(0, 0), (1, 1), (2, 2)], [(0, 5), (0, 6), (1, 7), (1, 8)], [(3, 0), (3, 1)]):
        assert kinds(pd.DataFrame(one, columns=["data_seed", "init_seed"])).shape[1] == 1


@cache
def ten_seeds() -> pd.DataFrame:
    return pd.concat([table(*curve(COUNTS.tolist(), 0))] * 2, ignore_index=True).assign(
        data_seed=np.repeat(np.arange(10), len(COUNTS)), init_seed=0, n_samples=np.tile(COUNTS, 10)
    )


def rows_of(success: np.ndarray) -> pd.DataFrame:
    """Cells [seed, count] of ten seeds that memorized or not."""
    hits = success.ravel()
    status = np.where(hits, "memorized", "censored")
    return ten_seeds().assign(status=status, epoch_to_tau=pd.array(np.where(hits, 9, None), dtype="Int64"))


def test_an_n50_that_is_not_marked_is_hardly_ever_on_the_other_side_of_the_counts_tried():
    """N50 from 26 to 40 where the least count is 32: the likeliest of the curve alone is wrong about the side in a tenth and more."""
    rng = np.random.default_rng(0)
    wrong, unmarked, runs, values = 0, 0, 120, 0
    for run in range(runs):
        middle = math.exp(rng.uniform(math.log(26), math.log(40)))
        success = draws(rng, 10, 0.0) < 1 / (1 + (COUNTS / middle) ** 6)
        wrong += fitted(success).side == "inside" and middle < 32
        if run % 4 == 0:
            (row,) = capacities(rows_of(success)).to_dict("records")
            values += row["n50"] > 0
            unmarked += row["n50"] > 0 and middle < 32 and not row["at_edge"]
    assert wrong > runs / 10
    assert values > 3
    assert unmarked == 0
    (inner,) = capacities(rows_of(np.tile(COUNTS <= 128, (10, 1)))).to_dict("records")
    assert not inner["at_edge"]


@pytest.mark.parametrize(("n_stuck", "known"), [(0, "value"), (2, "value"), (3, "less")])
def test_where_more_than_a_fifth_of_the_seeds_are_stuck_everywhere_n50_has_no_value(n_stuck, known):
    success = np.tile(COUNTS <= 128, (10, 1)) & (np.arange(10) >= n_stuck)[:, None]
    (row,) = capacities(rows_of(success)).to_dict("records")
    assert row["stuck"] == n_stuck / 10
    assert what_is_known(row) == known
    assert row["n50_high"] < 256
    said = [text for text in findings(tables.tables(rows_of(success).drop(columns="setting"))) if "N50" in text]
    assert ("ore than a fifth of the seeds memorize at none of the" in said[0]) == (known == "less")


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_a_bound_or_value_beside_seeds_that_are_stuck_everywhere_covers_the_truth(share):
    rng = np.random.default_rng(1)
    covered, runs = 0, 25
    for _ in range(runs):
        middle = rng.uniform(90, 200)
        success = (draws(rng, 10, 0.0) < 1 / (1 + (COUNTS / middle) ** 8)) & (rng.random(10) >= share)[:, None]
        (row,) = capacities(rows_of(success)).to_dict("records")
        covered += row["n50_low"] <= middle * (1 - 2 * share) ** (1 / 8) <= row["n50_high"]
    assert covered / runs >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / runs)


def test_a_step_between_two_counts_puts_n50_at_their_geometric_mean_and_between_them():
    found = fitted(np.tile(COUNTS <= 128, (5, 1)))
    assert found.n50 == pytest.approx(math.sqrt(128 * 192), rel=0.02)
    assert (found.low, found.high) == pytest.approx((128, 192), rel=0.02)
    assert math.isinf(found.sharpness)


def test_a_frontier_outside_the_counts_is_a_bound():
    above, below = fitted(np.full((5, 9), True)), fitted(np.full((5, 9), False))
    assert math.isnan(above.n50)
    assert math.isnan(below.n50)
    assert 384 < above.low <= 512
    assert math.isinf(above.high)
    assert (below.low, 32 <= below.high < 48) == (0, True)


def test_one_seed_bounds_nothing():
    found = fitted((COUNTS <= 128)[None, :])
    assert found.n50 == pytest.approx(math.sqrt(128 * 192), rel=0.02)
    assert (found.low, found.high) == (0, math.inf)


def test_residuals_that_cancel_within_seeds_do_not_make_the_interval_narrower():
    assert design_effect(np.array([1.0, -1.0, 1.0, -1.0]), np.array([0, 0, 1, 1])) == 1


def table(*rows: dict) -> pd.DataFrame:
    return tables.table(*rows).assign(setting="all cells")


def curve(counts: list[int], most: float, **fields) -> list[dict]:
    """Cells of five seeds that memorize up to `most` samples."""
    return [
        {"n_samples": n, "data_seed": s, "init_seed": s, **fields}
        | ({"status": "memorized", "epoch_to_tau": 10} if n <= most else {"status": "censored"})
        for n in counts
        for s in range(5)
    ]


def test_each_network_has_its_capacity_over_parameters_dimensions_and_bits():
    """d_in 8, depth 1, width 16: 161 parameters, 145 dimensions; at tau 0.01 a sample is worth 3.32 bits."""
    rows = curve([32, 64, 128], 64, width=16, depth=1) + curve([32, 64, 128], 999, width=32, depth=1)
    made = capacities(table(*rows))
    inside, above = made.to_dict("records")
    assert inside["n50"] == pytest.approx(math.sqrt(64 * 128), rel=0.02)
    assert inside["n50_per_param"] == pytest.approx(inside["n50"] / 161)
    assert inside["n50_per_dim"] == pytest.approx(inside["n50"] / 145)
    assert inside["bits_per_param"] == pytest.approx(inside["n50"] * 3.3219281 / 161)
    assert (inside["n_cells"], inside["n_seeds"], inside["rates"]) == (15, 5, "as asked")
    assert math.isnan(above["n50"])
    assert math.isnan(above["bits_per_param"])
    assert spell(pd.Series(above)).startswith("> 1")
    assert spell(pd.Series(inside)) == f"{inside['n50']:.0f} ({inside['n50_low']:.0f} to {inside['n50_high']:.0f})"


def test_samples_of_several_targets_have_as_many_equations_over_the_dimensions():
    """d_in 8, depth 1, width 16, three outputs: 195 parameters, 179 dimensions, which are enough for 59 samples of three."""
    rows = curve([16, 32, 64, 128], 32, width=16, depth=1, n_outputs=3)
    made = tables.tables(table(*rows).drop(columns="setting"))
    (row,) = made.capacity.to_dict("records")
    assert row["n_outputs"] == 3 and row["functional_dim"] == 179
    assert row["n50_per_dim"] == pytest.approx(3 * row["n50"] / 179)
    # And so many cells are on either side of half of it and of all of it.
    assert made.bands[["per_dim_high", "n_cells"]].to_numpy().tolist() == [[0.5, 5], [1, 5], [math.inf, 10]]
    assert [samples_at_ceiling(Cell(width=16, depth=1, n_outputs=n)) for n in (1, 2, 3)] == [145, 162 / 2, 179 / 3]
    assert dimension_name(made.groups) == "(P - depth*width) / n_outputs"
    (line,) = made.theory.loc[made.theory["kind"] == "ceiling", "n_samples"]
    assert line == samples_of_rows(made.capacity.iloc[0]) == samples_of_rows(made.capacity).iloc[0] == 179 / 3
    said = (
        f"{row['n50_per_dim']:.2f} (95 %: {row['n50_low'] * 3 / 179:.2f} to {row['n50_high'] * 3 / 179:.2f}) times the ceiling"
    )
    assert said in held(made.capacity, "ceiling")[0]
    # A map's border runs between 32 and 64 samples.
    rows_of_map = enumerate(made.groups.sort_values("n_samples").to_dict("records"))
    assert ceiling({(i, 0): group for i, group in rows_of_map}, (4, 1)) == [((0, 2), (1, 2))]


def test_failed_and_pending_cells_count_neither_as_successes_nor_as_failures():
    rows = curve([32, 64, 128], 64)
    spoilt = [{**row, "status": status, "epoch_to_tau": None} for row in rows[:5] for status in ("failed", "pending")]
    (clean,), (other,) = (capacities(table(*r)).to_dict("records") for r in (rows, rows + spoilt))
    assert (clean["n50"], clean["n50_low"], clean["n_cells"]) == (other["n50"], other["n50_low"], other["n_cells"])


def test_cells_that_stopped_early_or_diverged_did_not_memorize():
    rows = curve([32, 64, 128], 64)
    ended = [
        {**row, "status": "diverged" if row["data_seed"] % 2 else "early_stopped"} if row["n_samples"] > 64 else row
        for row in rows
    ]
    assert capacities(table(*ended))["n50"].equals(capacities(table(*rows))["n50"])


def test_targets_that_are_not_normal_have_no_bits():
    (row,) = capacities(table(*curve([32, 64], 32, target="rademacher"))).to_dict("records")
    assert math.isnan(row["bits_per_param"])


def test_a_single_sample_count_is_no_curve():
    assert capacities(table(*curve([32], 32))).empty


def test_swept_rates_give_a_capacity_at_each_one_at_the_default_and_one_at_the_best():
    rows = curve([32, 64, 128], 32, learning_rate=0.003) + curve([32, 64, 128], 64, learning_rate=0.01)
    made = capacities(table(*rows))
    by_rates = made.set_index("rates")
    assert by_rates.loc["default", "n50"] == pytest.approx(math.sqrt(32 * 64), rel=0.02)
    assert by_rates.loc["best", "n50"] == pytest.approx(math.sqrt(64 * 128), rel=0.02)
    assert math.isnan(by_rates.loc["best", "learning_rate"])
    each = made[made["rates"] == "swept"].set_index("learning_rate")["n50"]
    assert each.to_dict() == {
        0.003: pytest.approx(math.sqrt(32 * 64), rel=0.02),
        0.01: pytest.approx(math.sqrt(64 * 128), rel=0.02),
    }
    assert len(made) == 4
    # What is said and drawn is at the default and at the best.
    assert not [text for text in findings(tables.tables(tables.table(*rows))) if "swept learning rate" in text]


def test_cells_that_stand_there_twice_count_once():
    rows = curve([32, 64, 128], 64)
    once, twice = (capacities(table(*own)) for own in (rows, rows + rows))
    pd.testing.assert_frame_equal(once, twice)
    pd.testing.assert_frame_equal(groups(table(*rows)), groups(table(*rows, *rows)))


def test_of_a_cell_that_stands_there_twice_the_row_with_a_result_counts():
    rows = curve([32, 64, 128], 64)
    pending = [row | {"status": "pending", "epoch_to_tau": None} for row in rows]
    failed = [row | {"status": "failed", "epoch_to_tau": None} for row in rows]
    for others in (pending, failed):
        for both in (rows + others, others + rows):
            made = groups(table(*both)).sort_values("n_samples", ignore_index=True)
            pd.testing.assert_frame_equal(made, groups(table(*rows)))


def test_two_runs_put_together_by_hand_are_no_more_cells_and_no_narrower_intervals_in_any_table():
    """With the same index labels too, as pandas.concat leaves them."""
    twin = dict(dropout=0.1, regularization="dropout")
    rows = [*curve([32, 64, 128], 64), *curve([32, 64, 128], 48, **twin)]
    once, twice = tables.table(*rows), pd.concat([tables.table(*rows), tables.table(*rows[:20])])
    one, two = (tables.tables(cells) for cells in (once, twice))
    for name, made in one.named().items():
        if name != "cells":
            pd.testing.assert_frame_equal(made, two.named()[name])
    assert len(one.regularizers) == len(one.log_rank) == 1
    hand = groups(twice.drop(columns="cell_id"))
    pd.testing.assert_frame_equal(hand, groups(once))


def test_a_frontier_is_above_or_below_the_counts_tried_whatever_its_interval_bounds():
    """One seed bounds nothing, and yet it is above; four of ten at the least count are below, or may be the half that is not stuck."""
    one = capacities(table(*[row for row in curve([32, 64], 999) if row["data_seed"] == 0])).iloc[0]
    assert (one["side"], one["n50_low"], spell(one)) == ("above", 0, "unknown")
    rows = [{"n_samples": n, "data_seed": s, "init_seed": s} for n in (100, 200, 400) for s in range(10)]
    ended = [
        row
        | (
            {"status": "memorized", "epoch_to_tau": 9}
            if row["n_samples"] == 100 and row["data_seed"] < 4
            else {"status": "censored"}
        )
        for row in rows
    ]
    few = capacities(table(*ended)).iloc[0]
    assert few["side"] == "below"
    assert few["n50_low"] < 100 < few["n50_high"] < 400
    assert spell(few) == f"< {few['n50_high']:.0f}"
    (sentence,) = [text for text in findings(tables.tables(tables.table(*ended))) if "N50" in text]
    assert sentence.endswith(
        "no network's N50 is known (5000 epochs to tau 0.01). Only an upper bound is known. More than a fifth of the seeds memorize at"
        " none of the sample counts tried."
    )


def test_inputs_at_the_same_parameters_have_a_law_though_each_number_of_inputs_is_a_setting():
    rows = []
    for d_in, width, most in ((2, 24, 64), (4, 16, 64), (8, 10, 48), (4, 32, 128), (8, 20, 96), (2, 48, 128)):
        rows += curve([24, 32, 48, 64, 96, 128, 192], most, d_in=d_in, width=width, depth=1)
    made = tables.tables(tables.table(*rows)).scaling
    (row,) = made[made["term"] == "d_in"].to_dict("records")
    assert (row["setting"], row["n_networks"]) == ("all cells", 6)


def search_of(counts: list[int], most: float, **fields) -> list[dict]:
    """The cells that a search tries: each has seeds of its own."""
    return [row | {"data_seed": 7 + k, "init_seed": 3 + k} for k, row in enumerate(curve(counts, most, **fields))]


def test_cells_of_a_search_are_known_by_their_seeds_and_their_interval_pays_for_its_stopping():
    rows = search_of([16, 24, 32, 40, 48, 64], 40)
    (row,) = capacities(table(*rows)).to_dict("records")
    n_samples, hits = (np.array([cell[name] for cell in rows]) for name in ("n_samples", "status"))
    searched, dense = (fit(n_samples, hits == "memorized", np.arange(len(rows)), searched=pays) for pays in (True, False))
    assert (row["n50_low"], row["n50_high"]) == (searched.low, searched.high)
    assert searched.low < dense.low
    (grid,) = capacities(table(*curve([16, 24, 32, 40, 48, 64], 40))).to_dict("records")
    assert grid["n50_low"] > row["n50_low"]


def test_a_search_ranks_no_regularizers_and_has_no_curve_of_who_had_memorized_whoever_asks():
    """Even where the cells of two networks have the same seeds and counts."""
    twin = dict(dropout=0.1, regularization="dropout")
    cells = table(*search_of([16, 32, 64], 32), *search_of([16, 32, 64], 16, **twin)).assign(setting="all cells")
    assert searched(cells).all()
    assert ranking(cells).empty and log_rank(cells).empty and incidence(cells).empty
    grid = table(*curve([16, 32, 64], 32), *curve([16, 32, 64], 16, **twin)).assign(setting="all cells")
    assert not searched(grid).any() and not searched(grid[grid["n_samples"] == 16]).any()
    both = pd.concat([grid, cells.assign(data_seed=cells["data_seed"] + 100, init_seed=cells["init_seed"] + 100, d_in=5)])
    pd.testing.assert_frame_equal(ranking(both), ranking(grid))


def test_rates_of_a_search_are_never_the_best_of_several():
    rows = search_of([16, 32, 64], 32, learning_rate=0.003) + search_of([16, 40, 80], 40, learning_rate=0.01)
    made = capacities(table(*rows))
    assert list(made["rates"]) == ["as asked", "as asked"]
    assert list(made["n_cells"]) == [15, 15]


def test_seeds_of_data_and_of_weights_swept_apart_are_as_many_observations_as_there_are_data():
    """Two sets of data, each with ten initialisations, all of which fail or memorize with it: two observations, and no more known."""
    rows = [
        {"n_samples": n, "data_seed": data, "init_seed": init}
        | ({"status": "memorized", "epoch_to_tau": 9} if n <= (64, 128)[data] else {"status": "censored"})
        for n in (32, 64, 128, 256)
        for data in range(2)
        for init in range(10)
    ]
    (crossed,) = capacities(table(*rows)).to_dict("records")
    assert (crossed["n_seeds"], crossed["n_cells"]) == (2, 80)
    assert (crossed["n50_low"], crossed["n50_high"]) == (0, math.inf)
    assert clusters(pd.DataFrame({"data_seed": [0, 1, 2, 0], "init_seed": [5, 5, 6, 5]})).tolist() == [0, 0, 1, 0]
    assert clusters(pd.DataFrame({"data_seed": [3, 4, 3], "init_seed": [3, 4, 3]})).tolist() == [0, 1, 0]


def test_a_rate_that_was_tried_at_some_counts_alone_does_not_split_the_curve_of_the_default():
    rows = curve([8, 16, 24, 32, 48, 64], 32) + curve([24, 32], 999, learning_rate=0.01)
    made = capacities(table(*rows)).set_index("rates")
    assert made.loc["default", "n_cells"] == 30
    assert 32 <= made.loc["default", "n50"] <= 48


def test_a_table_without_settings_gets_them():
    made = capacities(tables.table(*curve([32, 64], 32), *curve([32, 64], 32, dropout=0.1, regularization="dropout")))
    assert made["setting"].tolist() == ["no regularization", "dropout"]


def test_the_sharpness_of_a_logistic_curve_is_found_between_the_slopes_that_are_tried():
    n = np.repeat(COUNTS, 400)
    success = np.random.default_rng(1).random(len(n)) < 1 / (1 + (n / 128) ** 7.3)
    found = fit(n, success, np.arange(len(n)) // 2)
    assert found.sharpness == pytest.approx(7.3, rel=0.08)
    assert min(abs(found.sharpness - SHARPNESS)) > 1e-6
