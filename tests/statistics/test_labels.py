"""Bits of random labels, and what the literature says of them: tables that are as the claims have it, and as they have it not."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from bench.protocol import theory
from bench.protocol.cells import NO_TAU, Cell
from bench.statistics.capacity import capacities
from bench.statistics.labels import cover, in_words, on_labels, on_samples, separable, share_margin
from bench.statistics.settings import label_settings
from bench.statistics.thresholds import thresholds
from tests.statistics.tables import table

ASKED = {"target": "labels", "loss": "cross_entropy", "criterion": "recall", "activation": "relu"}


def by_recall(network: dict, memorized: dict[int, int], n_seeds: int = 10, tau: float = 0.3) -> list[dict]:
    """Cells of a network: at each sample count the first so many seeds recall everything."""
    return [
        {**ASKED, **network, "n_samples": n, "data_seed": seed, "init_seed": seed, "final_tau": tau}
        | ({"status": "memorized", "epoch_to_tau": 100} if seed < hits else {"status": "censored"})
        for n, hits in memorized.items()
        for seed in range(n_seeds)
    ]


def around(n50: float) -> dict[int, int]:
    return {round(n50 * factor): hits for factor, hits in ((0.6, 10), (0.8, 9), (1.0, 5), (1.25, 1), (1.6, 0))}


def lines(cells: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(on_labels(cells, capacities(cells)))


def test_n50_by_recall_is_in_bits_of_the_classes_and_no_rung_of_the_ladder_is_told():
    cells = table(*by_recall({"n_classes": 8, "depth": 1, "width": 52, "d_in": 10}, around(600)))
    (row,) = capacities(cells).to_dict("records")
    assert row["n50"] == pytest.approx(600, rel=0.05)
    assert row["bits_per_param"] == pytest.approx(row["n50"] * 3 / row["n_params"])
    from bench.statistics.survival import groups

    grouped = groups(cells)
    made = thresholds(cells, grouped.assign(setting=label_settings(grouped)))
    assert len(made) == 5 and made["threshold"].isna().all()
    assert made["n_memorized"].tolist() == [10, 9, 5, 1, 0]


def test_the_capacity_of_numbers_counts_every_output():
    own = {
        "n_outputs": 3,
        "depth": 1,
        "width": 16,
        "d_in": 8,
        "target": "normal",
        "loss": "mse",
        "criterion": "tau",
        "tau": 0.01,
    }
    (row,) = capacities(table(*by_recall(own, around(60)))).to_dict("records")
    assert row["bits_per_param"] == pytest.approx(row["n50"] * 3 * math.log2(100) / 2 / row["n_params"])


@pytest.mark.parametrize(("law", "agrees", "disagrees"), [(math.log2, "bits", "constraints"), (float, "constraints", "bits")])
def test_bits_or_constraints_are_told_apart(law, agrees, disagrees):
    """Of the same number of parameters N50 goes as one over the bits of a label, or over the classes."""
    widths = {2: 77, 8: 52, 32: 23}
    rows = []
    for classes, width in widths.items():
        own = {"n_classes": classes, "depth": 1, "width": width, "d_in": 10}
        rows += by_recall(own, around(6000 / law(classes)))
    made = lines(table(*rows)).set_index("claim")
    for words, inside in ((agrees, True), (disagrees, False)):
        (row,) = [own for claim, own in made.iterrows() if words in str(claim)]
        assert (row["margin_low"] <= row["low"] and row["high"] <= row["margin_high"]) == inside
    assert "2, 8, 32" in made["here"].iloc[0]


@pytest.mark.parametrize("bound", [12, 11])
def test_networks_whose_n50_is_a_bound_are_named_and_enter_no_ratio(bound):
    """Nor do they say which networks have as many parameters: that of width 11 has 0.89 times as many as the least of the others."""
    rows = []
    for classes, width in {2: 77, 8: 52, 32: 23, 64: bound}.items():
        own = {"n_classes": classes, "depth": 1, "width": width, "d_in": 10}
        rows += by_recall(own, around(6000 / math.log2(classes)) if classes < 64 else {500: 10, 1000: 10})
    told = [row["here"] for row in lines(table(*rows)).to_dict("records") if row["claim"].startswith("as many")]
    assert len(told) == 2
    for here in told:
        assert "at C = 2, 8, 32:" in here
        assert here.endswith("; left out: at C 64 N50 is > 1e+03" if bound == 12 else "from the first to the last")


def test_bits_that_follow_the_width_have_its_exponent():
    rows = []
    for width in (8, 16, 32):
        rows += by_recall({"n_classes": 10, "depth": 2, "width": width, "d_in": 10}, around(12 * width))
    (row,) = [own for own in lines(table(*rows)).to_dict("records") if "follow the width" in own["claim"]]
    assert row["value"] == pytest.approx(row["theirs_low"], abs=0.06) and row["low"] < row["theirs_low"] < row["high"]
    assert row["agree"] == "for orientation"


def to_the_end(bits: dict[int, float], recalled: dict[int, float]) -> list[dict]:
    """Cells that train to the end of their budget: what they store, give or take a per cent by seed."""
    network = {"n_classes": 10, "depth": 1, "width": 16, "d_in": 10, "criterion": "tau", "tau": NO_TAU}
    return [
        {**ASKED, **network, "n_samples": n, "data_seed": seed, "init_seed": seed, "status": "censored", "final_tau": 0.5}
        | {"calibrated_bits": bits[n] * (1 + 0.01 * (seed - 2)), "memorized_bits": bits[n], "recalled": recalled[n] + seed - 2}
        for n in bits
        for seed in range(5)
    ]


@pytest.mark.parametrize(("last", "stays"), [(600.0, True), (300.0, False)])
def test_whether_bits_stay_or_fall_beyond_capacity(last, stays):
    cells = table(*to_the_end({64: 212.0, 256: 620.0, 4096: last}, {64: 64.0, 256: 170.0, 4096: 500.0}))
    made = lines(cells).set_index("claim")
    bits = made.loc["beyond capacity bits stay"]
    assert bits["value"] == pytest.approx(last / 620)
    assert (bits["margin_low"] <= bits["low"] and bits["high"] <= bits["margin_high"]) == stays
    # Of 500 right of 4096 most were guessed: 100.4 are known, and of 170 of 256 more, 160.4.
    recalled = made.loc["beyond capacity fewer are recalled"]
    assert recalled["value"] == pytest.approx((500 - 3596 / 9) / (170 - 86 / 9))
    assert recalled["high"] < 1
    told = on_samples(cells.assign(setting="all cells"))
    assert told["learned"].iloc[-1] == pytest.approx(500 - 3596 / 9)
    assert told["whole_bits"].tolist() == pytest.approx([n * math.log2(10) for n in (64, 256, 4096)])
    (sentence,) = in_words(told)
    assert f"of the most samples, 4096, {last / 346:.2f}" in sentence


def test_cells_that_diverged_are_counted_and_enter_no_mean():
    own = to_the_end({64: 212.0, 256: 620.0, 4096: 300.0}, {64: 64.0, 256: 170.0, 4096: 500.0})
    lost = own[-1] | {"status": "diverged", "final_tau": math.inf, "calibrated_bits": math.nan, "recalled": 0.0}
    told = on_samples(table(*own[:-1], lost).assign(setting="all cells"))
    assert told["n_cells"].tolist() == [5, 5, 4] == told["n_seeds"].tolist() and told["n_diverged"].tolist() == [0, 0, 1]
    assert told["recalled"].iloc[-1] == pytest.approx(np.mean([498, 499, 500, 501]))
    made = lines(table(*own[:-1], lost))
    assert made["here"].str.endswith("; 1 cell that diverged left out").all() and len(made)


def test_a_group_whose_cells_all_diverged_is_counted_and_has_no_mean():
    own = to_the_end({64: 212.0, 256: 620.0, 1024: 400.0, 4096: 300.0}, {64: 64.0, 256: 170.0, 1024: 300.0, 4096: 500.0})
    lost = {"status": "diverged", "final_tau": math.inf, "calibrated_bits": math.nan, "recalled": 0.0}
    cells = table(*(row | lost if row["n_samples"] == 4096 else row for row in own))
    told = on_samples(cells.assign(setting="all cells"))
    assert told["n_diverged"].tolist() == [0, 0, 0, 5] and told["n_cells"].tolist() == [5, 5, 5, 0]
    assert told["bits"].iloc[-1:].isna().all() and told["n_seeds"].iloc[-1] == 0
    made = lines(cells)
    assert made["here"].str.contains("N to 1024").sum() == 0 and made["about"].str.endswith("N to 1024").all()
    assert made["here"].str.endswith("; 5 cells that diverged left out").all() and len(made)
    assert "1024" in in_words(told)[0]


def test_ratios_of_labels_known_beyond_guesses_do_not_end_below_zero():
    recalled = {64: 64.0, 256: 170.0, 4096: 380.0}
    made = lines(table(*to_the_end({64: 212.0, 256: 620.0, 4096: 300.0}, recalled))).set_index("claim")
    row = made.loc["beyond capacity fewer are recalled"]
    assert row["value"] == row["low"] == 0 == row["high"]


def test_rates_are_no_observations_of_their_own_of_what_is_separable():
    """Whether labels are depends on the data alone; of recall the best setting counts."""
    rows = by_recall({"n_classes": 2, "depth": 0, "d_in": 10, "learning_rate": 0.1}, {18: 30, 22: 18}, n_seeds=40)
    worse = by_recall({"n_classes": 2, "depth": 0, "d_in": 10, "learning_rate": 0.01}, {18: 3, 22: 1}, n_seeds=40)
    one, both = (lines(table(*own)) for own in (rows, rows + worse))
    one, both = (own[own["claim"] == "labels that a plane separates"] for own in (one, both))
    assert len(one) == len(both) == 2
    assert one["p_value"].tolist() == both["p_value"].tolist() and (one["low"].to_numpy() == both["low"].to_numpy()).all()
    assert both["here"].str.contains("recalled by the best of 2 settings").all()
    assert "0.750 recalled," in one["here"].iloc[0] and "0.750 recalled by" in both["here"].iloc[0]


def test_labels_known_are_none_in_the_mean_where_all_are_guessed():
    """Also where some cells recall fewer than guesses would: their means take no side."""
    recalled = {64: 64.0, 256: 170.0, 4096: 4096 / 10}
    told = on_samples(table(*to_the_end({64: 212.0, 256: 620.0, 4096: 1.0}, recalled)).assign(setting="all cells"))
    assert told["learned"].iloc[-1] == pytest.approx(0, abs=1e-6)
    assert told["learned_low"].iloc[-1] < 0 < told["learned_high"].iloc[-1]


def test_shares_of_separable_labellings_are_covers():
    law = cover(22, 10)
    assert law == pytest.approx(0.5) and cover(21, 10) - law == pytest.approx(share_margin(10))
    own = {"n_classes": 2, "depth": 0, "d_in": 10}
    cells = table(*by_recall(own, {18: 30, 22: 18, 26: 6}, n_seeds=40))
    hits = separable(cells)
    for n in (18, 22, 26):
        low, high = binom.ppf([0.001, 0.999], 40, cover(n, 10))
        assert low <= hits[cells["n_samples"] == n].sum() <= high
    made = lines(cells)
    shares = made[made["claim"] == "labels that a plane separates"]
    assert shares["theirs_low"].tolist() == pytest.approx([cover(n, 10) for n in (18, 22, 26)])
    assert shares["value"].tolist() == [hits[cells["n_samples"] == n].mean() for n in (18, 22, 26)]
    assert "0.450 recalled" in shares["here"].iloc[1]
    (n50,) = made[made["claim"].str.contains("half of the labellings")].to_dict("records")
    assert n50["theirs_low"] == 22


def test_numbers_have_no_line_on_labels_and_labels_none_on_numbers():
    cells = table(*by_recall({"target": "normal", "loss": "mse", "criterion": "tau", "depth": 1, "width": 8}, around(60)))
    assert lines(cells).empty and on_samples(cells.assign(setting="all cells")).empty and in_words(pd.DataFrame()) == []


def test_lines_of_theory_for_labels_are_those_of_cover_constraints_and_bits():
    linear = Cell(depth=0, d_in=10, target="labels", n_classes=2, loss="cross_entropy")
    assert [(own.line, own.n_samples) for own in theory.lines(linear, [0.1])][:2] == [("Cover", 22), ("constraints", 11)]
    deep = Cell(depth=1, width=16, d_in=10, target="labels", n_classes=10, loss="cross_entropy")
    found = {own.line: own.n_samples for own in theory.lines(deep, [0.1])}
    assert found["constraints"] == 34.6 and found["2 bits for each parameter"] == pytest.approx(2 * 346 / math.log2(10))
    assert not any(own.kind == "ceiling" for own in theory.lines(deep, [0.1]))
    several = {own.line: own for own in theory.lines(Cell(depth=1, width=16, d_in=8, n_outputs=3), [])}
    assert several["functional dimension"].n_samples == pytest.approx((16 * 9 + 3 * 17 - 16) / 3)
    assert np.isclose(several["parameters"].n_samples, (16 * 9 + 3 * 17) / 3)
