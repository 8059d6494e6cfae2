"""N50 under one setting over N50 under the first: the ratio and its interval, in a table and in words."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pandas as pd
import pytest

from bench.protocol.cells import Cell
from bench.statistics.agreement import mean_interval, ratio_interval
from bench.statistics.capacity import CURVE_FIELDS, capacities
from bench.statistics.ratios import in_words, ratios, shared_seeds
from bench.statistics.survival import Z95
from tests.statistics.tables import table

FIELDS = {name: getattr(Cell(), name) for name in CURVE_FIELDS}
NO_CELLS = table({"status": "failed"})


def known(rows: list[tuple[str, int, float, float]], rates: str = "as asked") -> pd.DataFrame:
    """Capacities: rows of (setting, width, n50, standard error of its logarithm)."""
    made = pd.DataFrame(rows, columns=["setting", "width", "n50", "error"]).assign(rates=rates, depth=2, d_in=8)
    for name in CURVE_FIELDS:
        made[name] = made[name] if name in made else [FIELDS[name]] * len(made)
    reach = np.exp(Z95 * made["error"])
    made = made.assign(n50_low=made["n50"] / reach, n50_high=made["n50"] * reach)
    return made.astype({name: NO_CELLS[name].dtype for name in CURVE_FIELDS})


def test_the_ratio_of_two_independent_n50s_covers_the_truth_about_as_often_as_it_says():
    """tanh truly holds 1.4 times what relu does; the one N50 is known thrice as well as the other."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        relu, tanh = 200 * math.exp(0.1 * rng.standard_normal()), 280 * math.exp(0.03 * rng.standard_normal())
        (row,) = ratios(known([("relu", 8, relu, 0.1), ("tanh", 8, tanh, 0.03)]), NO_CELLS).to_dict("records")
        assert (row["setting"], row["over"], row["width"], row["n_shared"]) == ("tanh", "relu", 8, 0)
        assert row["ratio"] == pytest.approx(tanh / relu)
        covered += row["ratio_low"] <= 1.4 <= row["ratio_high"]
    # Three standard errors of 300 draws.
    assert covered / 300 == pytest.approx(0.95, abs=0.038)


COUNTS = np.unique(np.round(np.geomspace(60, 800, 9)).astype(int))


@cache
def without_results(n_seeds: int, shared: bool) -> pd.DataFrame:
    """Cells of relu and tanh at all counts; those of tanh have the same seeds, or others."""
    sides = [("relu", 0), ("tanh", 0 if shared else 100)]
    rows = [
        {"activation": name, "n_samples": int(n), "data_seed": first + seed, "init_seed": first + seed, "status": "censored"}
        for name, first in sides
        for seed in range(n_seeds)
        for n in COUNTS
    ]
    return table(*rows)


def cells_of_seeds(rng: np.random.Generator, n_seeds: int, alike: float, spread: float = 0.25, shared: bool = True):
    """tanh holds 1.4 times as much as relu; the two frontiers of a seed have a correlation of `alike`."""
    cells = without_results(n_seeds, shared)
    mixed = rng.standard_normal((n_seeds, 2)) @ np.linalg.cholesky([[1, alike], [alike, 1]]).T
    frontiers = np.log([200, 280]) + spread * mixed
    place = (cells["activation"] == "tanh").to_numpy().astype(int)
    hit = np.log(cells["n_samples"].to_numpy(float)) <= frontiers[cells["data_seed"] % 100, place]
    epochs = pd.array(np.where(hit, 9, 0), dtype="Int64")
    epochs[~hit] = pd.NA
    return cells.assign(status=np.where(hit, "memorized", "censored"), epoch_to_tau=epochs)


@pytest.mark.parametrize(("n_seeds", "alike"), [(5, 0.9), (5, 0.0), (8, 0.9)])
def test_with_shared_seeds_the_ratio_covers_and_is_known_better_the_more_alike_they_are(n_seeds, alike):
    rng, covered, shorter = np.random.default_rng(1), 0, []
    runs = 60
    for _ in range(runs):
        cells = cells_of_seeds(rng, n_seeds, alike)
        made = capacities(cells)
        for row, apart in zip(ratios(made, cells).to_dict("records"), ratios(made, NO_CELLS).to_dict("records"), strict=True):
            assert (row["n_shared"], apart["n_shared"], apart["correlation"]) == (n_seeds, 0, 0)
            covered += row["ratio_low"] <= 1.4 <= row["ratio_high"]
            lengths = [math.log(one["ratio_high"] / one["ratio_low"]) for one in (row, apart)]
            shorter.append(lengths[0] / lengths[1])
    # At .95 fewer than 52 of 60 come in one of two hundred tests.
    assert len(shorter) > 0.9 * runs
    assert covered / len(shorter) >= 52 / 60, covered
    assert np.median(shorter) < 0.75 if alike else 0.8 < np.median(shorter) < 1.2, np.median(shorter)


@pytest.mark.parametrize("alike", [-0.9, -0.5, 0.0, 0.25, 0.5, 0.8, 0.95])
def test_a_correlation_that_is_known_from_five_seeds_alone_still_gives_intervals_that_cover(alike):
    """Each N50 a mean over five seeds with Student's interval, and the correlation that of what these seeds hold."""
    rng, covered, runs = np.random.default_rng(11), 0, 2000
    for _ in range(runs):
        held = 300 + 60 * rng.standard_normal((5, 2)) @ np.linalg.cholesky([[1, alike], [alike, 1]]).T
        one, other = (pd.Series(side) for side in held.T)
        n_shared, correlation = shared_seeds(one, other)
        assert n_shared == 5
        sides = [tuple(math.exp(end) for end in mean_interval(side.to_numpy() / 300)) for side in (one, other)]
        _, low, high = ratio_interval(*sides, correlation)
        covered += low <= 1 <= high
    # At .95 it is below .93 in one of twenty thousand tests.
    assert covered / runs >= 0.93


def test_what_is_not_of_the_same_seeds_is_taken_to_be_independent():
    rng = np.random.default_rng(2)
    cells = cells_of_seeds(rng, 6, 0.9, shared=False)
    assert ratios(capacities(cells), cells)["n_shared"].tolist() == [0]
    cells = cells_of_seeds(rng, 6, 0.9)
    some = cells[~((cells["activation"] == "tanh") & (cells["data_seed"] == 5))]
    assert ratios(capacities(some), some)["n_shared"].tolist() == [0]
    crossed = pd.concat([cells, cells.assign(init_seed=cells["init_seed"] + 1)], ignore_index=True)
    assert ratios(capacities(crossed), crossed)["n_shared"].tolist() == [0]


def test_seeds_that_all_agree_within_a_gap_between_counts_make_nothing_known_better():
    """Where each seed's frontier is within its gap is not known, and is the same for all."""
    cells = cells_of_seeds(np.random.default_rng(3), 6, 0.9, spread=1e-6)
    made = capacities(cells)
    (row,), (apart,) = (ratios(made, own).to_dict("records") for own in (cells, NO_CELLS))
    assert (row["n_shared"], row["correlation"]) == (6, 0)
    assert (row["ratio_low"], row["ratio_high"]) == (apart["ratio_low"], apart["ratio_high"])


def test_only_the_same_network_with_both_n50_known_at_the_same_rates_is_compared():
    rows = [("relu", 8, 100.0, 0.1), ("relu", 16, 200.0, 0.1), ("tanh", 8, math.nan, 0.1), ("tanh", 16, 300.0, 0.1)]
    made = ratios(known([*rows, ("tanh", 32, 900.0, 0.1)]), NO_CELLS)
    assert made["width"].tolist() == [16]
    assert ratios(pd.concat([known(rows[:2], "best"), known(rows[2:], "default")]), NO_CELLS).empty
    assert ratios(known(rows[:2]), NO_CELLS).empty
    assert ratios(pd.DataFrame(), NO_CELLS).empty


def test_the_words_give_one_ratio_or_the_geometric_mean_of_several():
    one = known([("relu", 8, 100.0, 0.1), ("tanh", 8, 150.0, 0.1)])
    assert in_words(ratios(one, NO_CELLS), one) == [
        "N50 under tanh is 1.50 (95 %: 1.14 to 1.98) times that under relu: one network."
    ]
    three = [(name, width, width * times, 0.1) for name in ("relu", "tanh") for width, times in ((8, 10), (16, 10), (32, 10))]
    several = known([(name, width, n50 * (1.5 if name == "tanh" else 1), error) for name, width, n50, error in three])
    assert in_words(ratios(several, NO_CELLS), several) == [
        "N50 under tanh is 1.50 (95 %: 1.50 to 1.50) times that under relu: 3 networks in the geometric mean."
    ]
    # Of a network that one side has not, nothing is said; of one with a bound alone, that it is left out.
    ruined = known([("relu", 8, 100.0, 0.1), ("relu", 16, 200.0, 0.1), ("tanh", 8, 100.0, 0.1), ("tanh", 16, math.nan, 0.1)])
    ruined = pd.concat([ruined, known([("tanh", 32, math.nan, 0.1)])], ignore_index=True)
    (said,) = in_words(ratios(ruined, NO_CELLS), ruined)
    assert said.endswith("times that under relu: one network (of 1 more only a bound is known).")
