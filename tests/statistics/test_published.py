"""Published claims beside the cells of a run: what agrees, what disagrees, what cannot be told."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.protocol.cells import DEFAULTS, Cell
from bench.protocol.networks import functional_dim
from bench.statistics.agreement import agreement, holm_correction, mean_interval, p_outside, ratio_interval
from bench.statistics.by_lm import by_lm
from bench.statistics.capacity import capacities
from bench.statistics.published import DEPTH_MARGIN, against_literature, published
from bench.statistics.settings import label_settings
from bench.statistics.survival import Z95
from tests.protocol.test_grid import compose
from tests.statistics.tables import table


def claims(*rows: dict) -> pd.DataFrame:
    cells = table(*rows)
    return published(cells, capacities(cells.assign(setting="all cells")))


def claim(name: str, *rows: dict) -> dict:
    found = claims(*rows)
    (row,) = found[found["claim"] == name].to_dict("records")
    return row


def curve(counts: list[int], most: float, n_seeds: int = 5, **fields) -> list[dict]:
    """Cells that memorize up to `most` samples."""
    return [
        {"n_samples": n, "data_seed": s, "init_seed": s, **fields}
        | ({"status": "memorized", "epoch_to_tau": 10} if n <= most else {"status": "censored"})
        for n in counts
        for s in range(n_seeds)
    ]


EXACT = {"tau": 1e-4, "dtype": "float64"}


@pytest.mark.parametrize(
    ("low", "high", "within", "holm", "expected"),
    [
        (2.9, 3.1, (2.8, 3.3), 1.0, "yes"),
        (2.8, 3.3, (2.8, 3.3), 1.0, "yes"),
        (2.5, 2.9, (2.8, 3.3), 1.0, "undecided"),
        (1.0, 2.79, (2.8, 3.3), 0.04, "no"),
        (1.0, 2.79, (2.8, 3.3), 0.06, "undecided"),
        (3.31, 9.0, (2.8, 3.3), 0.04, "no"),
        (2.0, 4.0, (2.8, 3.3), 0.04, "undecided"),
        (-0.9, -0.2, (-math.inf, 0), 1.0, "yes"),
        (-0.9, 0.2, (-math.inf, 0), 1.0, "undecided"),
        (0.1, 0.2, (-math.inf, 0), 0.01, "no"),
        (0, math.inf, (1, 1), 1.0, "undecided"),
        (math.nan, math.nan, (1, 1), math.nan, "undecided"),
    ],
)
def test_an_interval_agrees_disagrees_or_is_too_wide_to_tell(low, high, within, holm, expected):
    assert agreement(low, high, within, holm) == expected


@pytest.mark.parametrize(("times", "most"), [(0.8, 0.03), (0.85, 0.03), (0.9, 0.05), (1.0, 1.0)])
@pytest.mark.parametrize("error", [0.02, 0.08])
def test_a_true_ratio_beyond_the_margin_is_hardly_ever_called_equal(times, most, error):
    """Log-normal errors as N50s have. Overlap within a factor of 1.5 called a ratio of .8 to .9 equal in 40 to 73 % of runs."""
    rng = np.random.default_rng(0)
    yes = 0
    for _ in range(1000):
        value = times * math.exp(error * rng.standard_normal())
        low, high = value * math.exp(-Z95 * error), value * math.exp(Z95 * error)
        yes += agreement(low, high, (1 / DEPTH_MARGIN, DEPTH_MARGIN), 1.0) == "yes"
    assert yes / 1000 <= most
    assert (yes > 900) == (times == 1.0 and error == 0.02)


def test_a_page_of_claims_that_all_hold_says_no_as_often_as_its_level_says():
    """Twelve claims at the very end of their margins, five to fifty seeds each: a "no" on at most one page of twenty."""
    rng = np.random.default_rng(1)
    pages, alone = 0, 0
    for _ in range(1000):
        p_values, intervals = [], []
        for n in (5, 5, 5, 8, 8, 8, 10, 10, 10, 50, 50, 50):
            intervals.append(mean_interval(1.1 + 0.3 * rng.standard_normal(n)))
            p_values.append(p_outside(intervals[-1], (0.9, 1.1), n, ratio=False))
        holm = holm_correction(np.array(p_values))
        said = [agreement(low, high, (0.9, 1.1), p) for (_, low, high), p in zip(intervals, holm, strict=True)]
        pages += "no" in said
        alone += any(low > 1.1 for _, low, _ in intervals)
    # A page without the correction would say "no" in 26 of 100.
    assert alone > 200
    # Three standard errors of 1000 draws.
    assert pages / 1000 <= 0.05 + 0.021


def test_the_p_value_of_a_mean_is_students_at_the_nearest_end():
    values = np.array([1.3, 1.5, 1.2, 1.6, 1.45])
    p = p_outside(mean_interval(values), (0.9, 1.1), 5, ratio=False)
    assert p == pytest.approx(stats.ttest_1samp(values, 1.1).pvalue)
    logs = np.log(values)
    interval = tuple(map(math.exp, mean_interval(logs)))
    assert p_outside(interval, (0.9, 1.1), 5, ratio=True) == pytest.approx(stats.ttest_1samp(logs, math.log(1.1)).pvalue)


def test_holms_correction_is_that_of_its_definition():
    p = np.array([0.01, 0.3, 0.004, 0.02])
    assert holm_correction(p) == pytest.approx([0.03, 0.3, 0.016, 0.04])


def test_every_line_says_its_margin_and_why():
    rows = curve([14, 15, 16, 17, 18], 16, depth=1, width=15, trainable="readout", **EXACT)
    found = claims(*rows, *least_squares(5), *curve([100, 120, 140, 160], 120, depth=1, width=16, **EXACT))
    judged = found[found["agree"] != "for orientation"]
    assert (judged["margin"].str.len() > 10).all()
    assert (judged["margin_low"] <= judged["theirs_low"]).all() and (judged["theirs_high"] <= judged["margin_high"]).all()
    assert found.loc[found["agree"] == "for orientation", "p_holm"].isna().all()


def test_the_interval_of_a_ratio_covers_the_truth_about_as_often_as_it_says():
    """Two geometric means of ten log-normal numbers each, truly three apart."""
    rng = np.random.default_rng(0)

    def geometric(middle: float, spread: float) -> tuple[float, float, float]:
        mean, low, high = mean_interval(math.log(middle) + spread * rng.standard_normal(10))
        return math.exp(mean), math.exp(low), math.exp(high)

    covered = 0
    for _ in range(1000):
        ratio, low, high = ratio_interval(geometric(6, 0.2), geometric(2, 0.4))
        assert low < ratio < high
        covered += low <= 3 <= high
    assert 0.93 < covered / 1000 < 0.98


def least_squares(n_seeds: int, *, times: float = 1.0, d_in: int = 4, **fields) -> list[dict]:
    """Cells of linear regression as numpy solves it; `times` what a trainer leaves that stops before the minimum."""
    rows = []
    for seed in range(n_seeds):
        rng = np.random.default_rng(seed)
        inputs, targets = rng.standard_normal((40, d_in)), rng.standard_normal(40)
        for n in (8, 16, 40):
            design = np.column_stack([np.ones(n), inputs[:n]])
            residuals = targets[:n] - design @ np.linalg.lstsq(design, targets[:n], rcond=None)[0]
            tau = times * float(residuals @ residuals) / n / np.var(targets[:n])
            rows.append({"n_samples": n, "data_seed": seed, "init_seed": seed, "status": "censored", "final_tau": tau})
    return [row | {"depth": 0, "d_in": d_in, "tau": 1e-6} | fields for row in rows]


LEFT = "linear networks leave the least-squares error"


def test_least_squares_by_numpy_obeys_the_law_and_a_trainer_that_stops_early_does_not():
    exact, early = claim(LEFT, *least_squares(60)), claim(LEFT, *least_squares(60, times=1.2))
    assert (exact["agree"], early["agree"]) == ("yes", "no")
    assert exact["low"] < 1 < exact["high"] < 1.1
    assert early["value"] == pytest.approx(1.2 * exact["value"])
    assert exact["n_cells"] == 180
    assert exact["here"].endswith(" times that, N = 8 to 40, 60 seeds")


def test_the_interval_of_the_law_covers_it_about_as_often_as_it_says():
    """Beta draws in place of fits of 8 and 20 samples by 5 parameters, eight seeds a run."""
    rng = np.random.default_rng(1)
    cells = table(
        *(
            {"n_samples": n, "data_seed": s, "init_seed": s, "status": "censored", "depth": 0, "d_in": 4, "tau": 1e-6}
            for s in range(8)
            for n in (8, 20)
        )
    )
    covered = 0
    for _ in range(100):
        drawn = cells.assign(final_tau=rng.beta((cells["n_samples"] - 5) / 2, 2))
        (row,) = published(drawn, pd.DataFrame()).to_dict("records")
        covered += row["low"] <= 1 <= row["high"]
    assert 0.88 <= covered / 100 < 1


def test_one_seed_decides_nothing():
    row = claim(LEFT, *least_squares(1))
    assert row["agree"] == "undecided"
    assert row["here"].endswith(" (no interval) times that, N = 8 to 40, 1 seed")


def test_the_law_is_not_asked_where_cells_stop_at_their_threshold():
    """At a threshold of 0.5 a fit of 8 samples often stops before it has ended, one of 40 samples never does."""
    row = claim(LEFT, *least_squares(20, tau=0.5))
    assert row["n_cells"] == 20
    assert "N = 40," in row["here"]


def test_regression_and_frozen_features_are_two_claims():
    found = claims(*least_squares(5), *least_squares(5, depth=1, width=4, trainable="readout"))
    assert found[found["claim"] == LEFT]["about"].tolist() == ["linear regression", "a readout of frozen features"]


UP_TO = "linear networks memorize up to N = p"


@pytest.mark.parametrize(
    ("counts", "most", "expected"),
    [
        ([14, 15, 16, 17, 18], 16, "yes"),
        ([12, 13, 14, 15, 16], 13, "no"),
        ([14, 18, 25, 36], 25, "no"),
        ([8, 32], 8, "undecided"),
    ],
)
def test_a_readout_of_15_features_memorizes_16_samples_and_not_17(counts, most, expected):
    row = claim(UP_TO, *curve(counts, most, depth=1, width=15, trainable="readout", **EXACT))
    assert row["agree"] == expected
    assert (row["theirs_low"], row["theirs_high"]) == (16, 17)
    assert row["they"] == "N = 16 is fitted, 17 is not"


CEILING = "no exact fit beyond P - H"


@pytest.mark.parametrize(
    ("counts", "most", "expected"),
    [
        ([100, 120, 140, 160], 120, "yes"),
        ([140, 150, 160, 170], 150, "no"),
        ([120, 140, 160], 140, "undecided"),
        ([160, 200], 0, "undecided"),
    ],
)
def test_the_ceiling_of_145_dimensions_is_kept_broken_or_within_the_interval(counts, most, expected):
    row = claim(CEILING, *curve(counts, most, depth=1, width=16, **EXACT))
    assert row["agree"] == expected


def test_a_ceiling_is_kept_where_all_counts_tried_lie_below_it_and_none_is_memorized():
    row = claim(CEILING, *curve([60, 120], 0, depth=1, width=16, **EXACT))
    assert (row["agree"], row["here"].split(",")[0]) == ("yes", f"< {row['high']:.3g}")
    assert math.isnan(row["value"])


HINGE = {"loss": "hinge", "target": "rademacher", **EXACT}
TRANSITION = "transition of random labels"


@pytest.mark.parametrize(("times", "expected"), [(3.0, "yes"), (2.0, "no"), (4.0, "no")])
def test_the_transition_of_random_labels_is_that_of_geiger_et_al_or_not(times, expected):
    dimension = functional_dim(Cell(depth=2, width=10, d_in=10))
    counts = [round(dimension * times * factor) for factor in (0.92, 0.98, 1.02, 1.08)]
    row = claim(TRANSITION, *curve(counts, times * dimension, depth=2, width=10, d_in=10, **HINGE))
    assert row["agree"] == expected
    assert row["value"] == pytest.approx(times, rel=0.01)


def test_a_transition_between_counts_far_apart_is_undecided():
    row = claim(TRANSITION, *curve([300, 900], 300, depth=2, width=10, d_in=10, **HINGE))
    assert row["agree"] == "undecided"


@pytest.mark.parametrize("change", [{"tau": 0.01}, {"dtype": "float32"}, {"l1": 0.1}, {"activation": "tanh"}])
def test_a_transition_of_another_protocol_is_no_line(change):
    rows = curve([400, 500, 600], 500, depth=2, width=10, d_in=10, **{**HINGE, **change})
    assert TRANSITION not in set(claims(*rows)["claim"])


def by_depth(loads: dict[int, float]) -> list[dict]:
    rows = []
    for depth, load in loads.items():
        dimension = functional_dim(Cell(depth=depth, width=10, d_in=10))
        counts = [round(dimension * load * factor) for factor in (0.9, 0.97, 1.03, 1.1)]
        rows += curve(counts, load * dimension, depth=depth, width=10, d_in=10, **HINGE)
    found = claims(*rows)
    return found[found["claim"] == "independent of depth"].to_dict("records")


def test_a_transition_is_independent_of_depth_where_each_depth_has_that_of_the_shallowest():
    other, same = by_depth({2: 3.0, 3: 2.0, 5: 3.0})
    (falling,) = by_depth({2: 3.0, 5: 2.0})
    assert [row["agree"] for row in (other, same, falling)] == ["no", "yes", "no"]
    assert other["about"] == "depth 3, width 10, d_in 10, over depth 2, width 10, d_in 10"
    assert same["value"] == pytest.approx(1, rel=0.01)
    assert falling["value"] == pytest.approx(2 / 3, rel=0.01)
    assert falling["about"] == "depth 5, width 10, d_in 10, over depth 2, width 10, d_in 10"


def test_depths_are_compared_at_the_most_similar_dimension():
    rows = curve([300, 400], 300, depth=1, width=10, d_in=10, **HINGE) + curve(
        [300, 400], 300, depth=1, width=40, d_in=10, **HINGE
    )
    row = claim("independent of depth", *rows, *curve([300, 400], 300, depth=5, width=10, d_in=10, **HINGE))
    assert row["about"] == "depth 5, width 10, d_in 10, over depth 1, width 40, d_in 10"


def trend(epochs: dict[int, list[int | None]], axis: str) -> dict:
    """One network, its epochs to tau at each size for seed 0, 1, ...; None never got there."""
    rows = [
        {axis: size, "data_seed": s, "init_seed": s, "epoch_to_tau": e, "status": "memorized" if e else "censored"}
        for size, values in epochs.items()
        for s, e in enumerate(values)
    ]
    return claim({"width": "wider networks memorize sooner", "n_samples": "more samples take longer"}[axis], *rows)


def test_epochs_that_fall_with_the_width_agree_and_those_that_grow_do_not():
    falls = trend({8: [None, 900, 800], 16: [300, 200, 400], 32: [100, 90, 110]}, "width")
    assert (falls["agree"], falls["value"], falls["high"]) == ("yes", -1, -1)
    assert falls["here"] == "rank correlation -1 (-1 to -1), 3 seeds; median epoch 900 at width=8, 100 at width=32"
    assert trend({8: [10, 20, 30], 16: [40, 50, 60], 32: [70, 80, None]}, "width")["agree"] == "no"
    assert trend({8: [10, 200, 30], 16: [40, 50, 60], 32: [70, 5, 9]}, "width")["agree"] == "undecided"
    assert trend({8: [30], 16: [20], 32: [10]}, "width")["agree"] == "undecided"


def test_epochs_that_grow_with_the_samples_agree_and_those_that_fall_do_not():
    grows = trend({32: [10, 12, 9], 64: [40, 50, 60], 128: [70, None, 200]}, "n_samples")
    assert (grows["agree"], grows["value"]) == ("yes", 1)
    assert trend({32: [100, 120], 64: [40, 50], 128: [7, 8]}, "n_samples")["agree"] == "no"


def test_a_trend_is_kendalls_correlation_where_epochs_tie_are_infinite_or_missing():
    first, second = [30, 20, 20, 5], [None, None, 7, 7]
    found = trend({8: [30, None, 40], 16: [20, None, 30], 32: [20, 7, 50], 64: [5, 7]}, "width")
    infinite = [math.inf if epoch is None else epoch for epoch in second]
    expected = [stats.kendalltau(range(len(y)), y)[0] for y in (first, infinite, [40, 30, 50])]
    assert found["value"] == pytest.approx(np.mean(expected))


def test_two_sizes_or_networks_that_never_memorize_make_no_trend():
    rows = curve([32, 64, 128], 0, width=8) + curve([32, 64], 32, width=16)
    assert claims(*rows).empty or not set(claims(*rows)["claim"]) & {
        "more samples take longer",
        "wider networks memorize sooner",
    }


def test_bits_are_those_of_the_best_network_for_orientation():
    """Width 16 at depth 1 and d_in 8 has 161 parameters, width 32 has 321; at tau 0.01 a sample is worth 3.32 bits."""
    rows = curve([64, 128], 64, depth=1, width=16) + curve([64, 128], 64, depth=1, width=32)
    row = claim("bits for each parameter", *rows)
    assert row["agree"] == "for orientation"
    assert row["value"] == pytest.approx(math.sqrt(64 * 128) * 3.3219281 / 161, rel=0.02)
    assert (row["theirs_low"], row["theirs_high"], row["they"]) == (2, 5, "2 / 3.6 / 5")
    assert row["low"] < row["value"] < row["high"]
    assert row["about"] == "depth 1, width 16, d_in 8: the most among 2 N50"


def test_one_sentence_counts_agreements_and_names_what_does_not_agree():
    agrees = curve([100, 120], 100, depth=1, width=16, **EXACT)
    apart = curve([300, 350], 300, depth=2, width=10, d_in=10, **HINGE)
    assert against_literature(claims(*agrees, *apart)) == [
        "Against the literature 1 of 2 claims agree within their margins; disagree, with Holm's correction for 2 claims: transition of"
        " random labels (depth 2, width 10, d_in 10)."
    ]
    assert against_literature(claims(*agrees)) == ["Against the literature 1 of 1 claim agrees within its margin."]
    assert against_literature(claims(*least_squares(1))) == [
        "Against the literature 0 of 1 claim agrees within its margin; undecided: linear networks leave the least-squares error (linear"
        " regression)."
    ]
    assert against_literature(claims(*curve([64, 128], 64, depth=1, width=16))) == []


def test_failed_and_regularized_cells_enter_nothing():
    rows = least_squares(5) + curve([100, 120, 140], 120, depth=1, width=16, **EXACT)
    spoilt = [{**row, "status": "failed", "epoch_to_tau": None, "final_tau": math.nan, "data_seed": 99} for row in rows]
    others = [{**row, "weight_decay": 0.1, "regularization": "weight_decay"} for row in rows]
    pd.testing.assert_frame_equal(claims(*rows), claims(*rows, *spoilt, *others))


LM = {"optimizer": "lm", "learning_rate": 0.003, "max_epochs": 500}


def test_the_number_by_lm_stands_beside_each_n50_with_how_many_times_as_much_it_is_and_decides_nothing():
    fields = {"depth": 1, "width": 16, "d_in": 8, **EXACT}
    counts = [102, 116, 123, 130, 137, 145, 152]
    adam = [row for seed in range(5) for row in curve(counts, 116 + 7 * (seed > 1), 1, **fields, learning_rate=0.01)]
    adam = [row | {"data_seed": n // 7, "init_seed": n // 7} for n, row in enumerate(adam)]
    lm = [row | LM | {"status": "memorized" if row["n_samples"] <= 145 else "censored"} for row in adam]
    cells = table(*adam, *(row | {"epoch_to_tau": 10 if row["status"] == "memorized" else None} for row in lm))
    cells = cells.assign(setting=label_settings(cells))
    capacity = capacities(cells)
    solved = by_lm(capacity, cells)
    beside = published(cells, capacity, solved=solved).set_index("claim").loc[CEILING]
    alone = published(table(*adam), capacities(table(*adam).assign(setting="all cells"))).set_index("claim").loc[CEILING]
    (ratio,) = solved.to_dict("records")
    assert beside["value_lm"] == pytest.approx(ratio["n50_lm"] / 145) and beside["ratio_lm"] == ratio["ratio"]
    assert (beside["ratio_lm_low"], beside["ratio_lm_high"]) == (ratio["ratio_low"], ratio["ratio_high"])
    assert beside["low_lm"] < beside["value_lm"] < beside["high_lm"] and beside["value_lm"] > 1.1 * beside["value"]
    numbers = (beside[name] for name in ("value_lm", "low_lm", "high_lm", "ratio_lm", "ratio_lm_low", "ratio_lm_high"))
    assert beside["by_lm"] == "{:.3g} ({:.3g} to {:.3g}), {:.3g} ({:.3g} to {:.3g}) times".format(*numbers)
    same = ["here", "value", "low", "high", "p_value", "p_holm", "agree", "n_cells"]
    assert list(beside[same]) == list(alone[same]) and pd.isna(alone["by_lm"])
    assert set(published(cells, capacity, solved=solved)["claim"]) == set(published(table(*adam), capacity)["claim"])


def test_a_bound_by_lm_is_told_as_one_and_has_no_ratio():
    fields = {"depth": 1, "width": 16, "d_in": 8, **EXACT}
    rows = curve([102, 116, 130], 116, **fields) + curve([102, 116, 130], 999, **fields | LM)
    cells = table(*rows)
    cells = cells.assign(setting=label_settings(cells))
    capacity = capacities(cells)
    row = published(cells, capacity, solved=by_lm(capacity, cells)).set_index("claim").loc[CEILING]
    assert row["by_lm"] == f"> {row['low_lm']:.3g}" and pd.isna(row["value_lm"]) and pd.isna(row["ratio_lm"])


def test_cells_that_speak_to_no_claim_give_an_empty_table():
    assert claims({"status": "memorized", "epoch_to_tau": 3}).empty


def test_the_shipped_grid_has_cells_for_every_claim_and_is_a_grid():
    chosen = compose("grid=published")
    assert not chosen.variants
    rows = []
    for cell in chosen.cells:
        values = {name: getattr(cell, name) for name in DEFAULTS}
        reached = cell.n_samples <= functional_dim(cell) * (2.2 if cell.loss == "hinge" else 0.9)
        rows.append(
            values | {"status": "memorized" if reached else "censored", "epoch_to_tau": cell.n_samples if reached else None}
        )
    found = claims(*(row | {"final_tau": 0.5} for row in rows))
    assert found["claim"].value_counts().to_dict() == {
        LEFT: 2,
        UP_TO: 2,
        CEILING: 2,
        TRANSITION: 3,
        "independent of depth": 2,
        "wider networks memorize sooner": 1,
        "more samples take longer": 1,
        "bits for each parameter": 2,
        "bits for each parameter grow with exposures": 1,
    }


def test_bits_at_tenfold_exposures_stand_beside_those_of_language_models_for_orientation():
    """Three networks that hold 24 samples after 100 epochs and 96 after 1000; of a fourth only bounds are known."""
    held = {8: (32, 128), 16: (32, 128), 32: (32, 128), 4: (8, 8)}
    rows = [
        {"width": width, "depth": 1, "max_epochs": 2000, "n_samples": n, "data_seed": seed, "init_seed": seed}
        | ({"status": "censored"} if n > many else {"status": "memorized", "epoch_to_tau": 90 if n <= few else 900})
        for width, (few, many) in held.items()
        for n in (16, 32, 64, 128, 256)
        for seed in range(5)
    ]
    claim = "bits for each parameter grow with exposures"
    made = claims(*rows)
    (row,) = made[made["claim"] == claim].to_dict("records")
    assert row["value"] == pytest.approx(4, rel=0.02) and row["low"] < 4 < row["high"]
    assert (row["about"], row["agree"]) == ("3 of 4 networks", "for orientation")
    assert math.isnan(row["p_holm"]) and math.isnan(row["theirs_low"])
    assert row["they"] == "at least 1 after 100 exposures, at least 2 after 1000"
    assert row["here"].startswith("N50 after 1000 epochs is 4.01 (") and "times that after 100, tau 0.01" in row["here"]
    # Fewer epochs, dropout or a schedule say nothing of it, and neither do bounds alone.
    for fields in ({"max_epochs": 999}, {"dropout": 0.1, "regularization": "dropout"}, {"lr_schedule": "cosine"}):
        assert not (claims(*[row | fields for row in rows])["claim"] == claim).any()
    assert not (claims(*[row for row in rows if row["width"] == 4])["claim"] == claim).any()
