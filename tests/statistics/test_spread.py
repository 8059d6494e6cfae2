"""What was reached on the way, and how curves spread: literal tables, statistics by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

import bench
from bench.report.scope import scope
from bench.statistics.fans import fans
from bench.statistics.survival import groups, wilson_interval
from bench.statistics.thresholds import at_threshold, thresholds
from bench.store.parts import Design
from tests.report.synthetic import outcome
from tests.statistics.tables import labelled, seeds, table

COLUMNS = ["tau_median", "tau_p10", "tau_p90"]


def curves_of(**taus: list[tuple[int, float]]) -> pd.DataFrame:
    return pd.DataFrame(
        [(name, *point) for name, points in taus.items() for point in points], columns=["cell_id", "epoch", "tau"]
    )


def cells_of(n: int, **columns) -> pd.DataFrame:
    about = {"cell_id": list("abcdefghij")[:n], "setting": "s", "n_samples": 8, "functional_dim": 37, "tau": 0.01}
    return pd.DataFrame(about | columns)


def test_a_cell_that_has_ended_keeps_its_last_tau_and_one_that_diverged_is_infinite_from_then_on():
    curves = curves_of(a=[(0, 1.0), (1, 0.5), (10, 0.2)], b=[(0, 2.0), (1, 0.01)], c=[(0, 3.0), (1, 4.0), (3, math.nan)])
    made = fans(curves, cells_of(3)).set_index("epoch")
    assert list(made.index) == [0, 1, 10]
    assert made["n_cells"].unique().tolist() == [3]
    assert made[COLUMNS].to_numpy().tolist() == [[2.0, 1.0, 3.0], [0.5, 0.01, 4.0], [0.2, 0.01, math.inf]]


def test_cells_within_the_functional_dimension_and_beyond_it_have_fans_of_their_own_in_each_setting():
    flat = {name: [(0, float(value)), (5, float(value))] for value, name in enumerate("abcd", start=1)}
    about = cells_of(4, setting=["s", "s", "t", "s"], n_samples=[37, 38, 38, 37])
    made = fans(curves_of(**flat), about)
    last = made[made["epoch"] == 5].set_index(["setting", "samples"])
    assert last["n_cells"].to_dict() == {("s", "below"): 2, ("s", "above"): 1, ("t", "above"): 1}
    assert last["tau_p90"].to_dict() == {("s", "below"): 4, ("s", "above"): 2, ("t", "above"): 3}


@pytest.mark.parametrize("n", [1, 2, 9, 10])
def test_the_band_holds_the_inner_eighty_percent(n):
    """Against numpy's inverted empirical distribution function."""
    taus = np.random.default_rng(n).permutation(n) + 1.0
    curves = curves_of(**{name: [(0, tau)] for name, tau in zip("abcdefghij", taus, strict=False)})
    (row,) = fans(curves, cells_of(n))[COLUMNS].to_numpy().tolist()
    assert row == [np.quantile(taus, share, method="inverted_cdf") for share in (0.5, 0.1, 0.9)]


def test_a_threshold_on_the_way_counts_the_seeds_that_crossed_it_also_where_training_ended_above_tau():
    rows = seeds(["memorized", "censored", "censored", "failed"], [90, None, None, None], tau=0.01)
    reached = {
        "epoch_to_0.5": [5, 7, None, None],
        "epoch_to_0.1": [40, None, None, None],
        "epoch_to_0.01": [90, None, None, None],
    }
    cells = table(*[row | {name: epochs[i] for name, epochs in reached.items()} for i, row in enumerate(rows)])
    grouped = labelled(cells)
    made = thresholds(cells, grouped).set_index("threshold")
    assert list(made.index) == [0.5, 0.1, 0.01]
    assert made["n_seeds"].tolist() == [3, 3, 3]
    assert made["n_memorized"].tolist() == [2, 1, 1]
    assert made["median_epoch_to_tau"].tolist() == [7, math.inf, math.inf]
    assert tuple(made.loc[0.5, ["fraction_low", "fraction_high"]]) == wilson_interval(2, 3)
    assert at_threshold(grouped, made.reset_index(), 0.5)["median_epoch_to_tau"].tolist() == [7]
    assert at_threshold(grouped, made.reset_index(), 0.01).empty


@pytest.mark.parametrize(
    "seeds", [{"seed": range(4)}, {"data_seed": range(3), "init_seed": range(2)}], ids=["together", "apart"]
)
def test_at_a_group_s_own_tau_the_measures_are_those_of_its_group(seeds):
    cells = bench.expand(depth=[1, 2], n_samples=[32, 256], tau=[0.05, 0.2], regularization=["none", "dropout"], **seeds)
    rows = [vars_of(cell) for cell in cells]
    made = table(*rows)
    grouped = labelled(made)
    found = thresholds(made, grouped)
    own = found[found["threshold"] == found["tau"]].reset_index(drop=True)
    for name in ("n_seeds", "n_memorized", "fraction_memorized", "fraction_low", "fraction_high", "median_epoch_to_tau"):
        assert own[name].tolist() == groups(made)[name].tolist(), name
    assert found.groupby("tau")["threshold"].unique().map(sorted).to_dict() == {0.05: [0.05, 0.1, 0.5], 0.2: [0.2, 0.5]}


def vars_of(cell: bench.Cell) -> dict:
    done = outcome(cell)
    return {name: getattr(cell, name) for name in cell.__dataclass_fields__} | {
        "status": str(done.status),
        "epoch_to_tau": done.epoch_to_tau,
        "final_tau": done.final_tau,
        **dict(zip(("epoch_to_0.5", "epoch_to_0.1", "epoch_to_0.01", "epoch_to_0.001"), done.rung_epochs, strict=True)),
    }


def test_the_scope_of_a_run_names_what_was_swept_and_nothing_that_a_name_stands_for():
    made = table(
        *[
            vars_of(cell)
            for cell in bench.expand(width=[4, 8, 64], n_samples=[8, 32], regularization=["none", "dropout"], seed=range(2))
        ]
    )
    assert scope(made, labelled(made), design=Design.PRODUCT) == (
        "24 cells: width 4 to 64 (3 values); samples 8 to 32 (2 values); regularization none, dropout; 2 seeds; at most 5000 epochs to tau 0.01."
    )
