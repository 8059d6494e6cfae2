"""N50 at smaller budgets is that of shorter trainings, to the digit; its growth at the budget's end covers the truth."""

from __future__ import annotations

import dataclasses
import math
from functools import cache

import numpy as np
import pandas as pd
import pytest

import bench
from bench.protocol.cells import SEEDS, Cell, Status
from bench.protocol.noise import training_data
from bench.statistics.budgets import capacity_by_budget, growth, halved, tied
from bench.statistics.capacity import CURVE_FIELDS, capacities, curves
from bench.statistics.clusters import kinds, pairs
from bench.statistics.frontier import fit
from tests.statistics.tables import table, tables

# Gradient descent from w = 0: its epochs to tau are known.
DESCENT = Cell(
    depth=0, d_in=12, optimizer="sgd", learning_rate=0.05, init_scale=1e-9, dtype="float64", tau=0.05, max_epochs=200
)
COUNTS = (3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16)

# What the table says as `capacity` does.
SAME = ["setting", "rates", "depth", "width", "n_cells", "n50", "n50_low", "n50_high", "side", "at_edge", "stuck"]


def exact_epoch(cell: Cell) -> int | None:
    """By the singular values of the inputs: residuals along u_i shrink by 1 - 2 eta s_i**2 / N an epoch."""
    data = training_data(cell)
    u, s, _ = np.linalg.svd(np.hstack([data.inputs, np.ones((cell.n_samples, 1))]), full_matrices=False)
    parts = (u.T @ data.targets) ** 2
    rest = data.targets @ data.targets - parts.sum()
    factors = (1 - 2 * cell.learning_rate * s**2 / cell.n_samples) ** 2
    tau = [(parts @ factors**t + rest) / cell.n_samples / data.target_variance for t in range(cell.max_epochs + 1)]
    below = np.flatnonzero(np.array(tau) <= cell.tau)
    return int(below[0]) if len(below) else None


def descents(**fields) -> list[Cell]:
    return [
        dataclasses.replace(DESCENT, n_samples=n, data_seed=seed, init_seed=seed, **fields) for n in COUNTS for seed in range(8)
    ]


def as_rows(cells: list[Cell], epoch_of) -> pd.DataFrame:
    """A table of cells that memorized at the epoch that a function gives, or were censored where it gives None."""
    rows = []
    for cell in cells:
        epoch = epoch_of(cell)
        fields = {name: getattr(cell, name) for name in (*CURVE_FIELDS, "n_samples", *SEEDS)}
        rows.append(fields | {"status": "censored" if epoch is None else "memorized", "epoch_to_tau": epoch})
    return table(*rows)


def whole(made: pd.DataFrame) -> pd.DataFrame:
    return made[made["budget"] == made["max_epochs"]][SAME].reset_index(drop=True)


def test_n50_at_each_budget_is_that_of_exact_epochs_and_of_trainings_that_ended_there(tmp_path):
    cells = descents()
    made = capacity_by_budget(bench.run(cells, run_dir=tmp_path / "whole"))
    assert made["budget"].tolist() == [1, 3, 6, 12, 25, 50, 100, 200]
    exact = as_rows(cells, exact_epoch)
    epochs = exact["epoch_to_tau"].to_numpy(float, na_value=math.inf)
    n_samples = exact["n_samples"].to_numpy()
    for row in made.to_dict("records"):
        hits = epochs <= row["budget"]
        assert row["n_memorized"] == hits.sum()
        found = fit(n_samples, hits, kinds(exact))
        if not math.isnan(row["n50"]):
            assert (row["n50"], row["n50_low"], row["n50_high"], row["side"]) == (found.n50, found.low, found.high, found.side)
    assert made["n50"].notna().sum() >= 3 and made["n50"].dropna().is_monotonic_increasing
    # And a training that had ended there says the same.
    for budget in (25, 100):
        shorter = capacities(bench.run(descents(max_epochs=budget), run_dir=tmp_path / f"{budget}"))
        (own,) = made[made["budget"] == budget].to_dict("records")
        (other,) = shorter.to_dict("records")
        assert {name: own[name] for name in SAME} == {name: other[name] for name in SAME}


@cache
def several() -> pd.DataFrame:
    """Two widths, two depths, two regularizations, three rates, two kinds of seeds: all that capacities tell apart."""
    rng = np.random.default_rng(5)
    fields = {"width": [8, 16], "regularization": ["none", "dropout"], "n_samples": [16, 32, 64, 128], "max_epochs": 1000}
    plain = bench.expand(**fields, depth=1, seed=range(6))
    swept = bench.expand(**fields, depth=2, seed=range(3), learning_rate=[0.001, 0.003, 0.01])
    crossed = bench.expand(**fields, depth=3, data_seed=range(2), init_seed=range(3))

    def epoch(cell: Cell) -> int | None:
        slow = (
            4 * cell.n_samples**1.4 / cell.width * (0.003 / cell.learning_rate) ** 0.5 * math.exp(0.5 * rng.standard_normal())
        )
        return math.ceil(slow) if slow <= cell.max_epochs else None

    return as_rows([*plain, *swept, *crossed], epoch)


def test_at_the_whole_budget_the_rows_are_those_of_the_capacities():
    cells = several()
    made, capacity = capacity_by_budget(cells), capacities(cells)
    assert set(capacity["rates"]) == {"as asked", "default", "best", "swept"}
    pd.testing.assert_frame_equal(whole(made), capacity[SAME], check_exact=True)
    assert len(made) == len(halved(1000)) * len(capacity)


@pytest.mark.parametrize("halvings", [1, 3])
def test_at_each_budget_the_rows_are_those_of_the_capacities_of_cells_that_ended_there(halvings):
    """Clusters, stuck seeds, edges and the best rate too."""
    cells, budget = several(), 1000 >> halvings
    late = (cells["epoch_to_tau"] > budget).fillna(False).astype(bool)
    fewer = cells.assign(
        status=cells["status"].mask(late, "censored"), epoch_to_tau=cells["epoch_to_tau"].mask(late), max_epochs=budget
    )
    made = capacity_by_budget(cells)
    own = made[made["budget"] == budget][SAME].reset_index(drop=True)
    pd.testing.assert_frame_equal(own, capacities(fewer)[SAME], check_exact=False, rtol=1e-12)


def test_the_cells_of_a_search_are_those_of_a_search_at_each_budget():
    rows = [
        {"width": 8, "depth": 1, "max_epochs": 1000, "n_samples": n, "data_seed": seed, "init_seed": seed}
        | ({"status": "memorized", "epoch_to_tau": 5 * n} if n * (1 + seed % 3 / 4) < 150 else {"status": "censored"})
        for seed, n in enumerate(np.repeat([40, 60, 80, 100, 120, 140, 160, 200, 240], 3).tolist())
    ]
    cells = table(*rows)
    made = capacity_by_budget(cells)
    pd.testing.assert_frame_equal(whole(made), capacities(cells)[SAME])
    # Of cells of a grid, with as many successes, the interval would be narrower.
    (row,) = made[made["budget"] == 500].to_dict("records")
    found = fit(cells["n_samples"].to_numpy(), (cells["epoch_to_tau"] <= 500).fillna(False).to_numpy(bool), pairs(cells))
    assert row["n50"] == pytest.approx(found.n50) and row["n50_low"] < found.low < found.high < row["n50_high"]


def small(most_by_epoch: dict[int, int], n_seeds: int = 5, **fields) -> list[dict]:
    """Cells of one network: by each epoch, all seeds memorize so many samples at most."""
    rows = []
    for n in (16, 32, 64, 128, 256):
        epochs = [epoch for epoch, most in sorted(most_by_epoch.items()) if n <= most]
        for seed in range(n_seeds):
            ended = {"status": "memorized", "epoch_to_tau": epochs[0]} if epochs else {"status": "censored"}
            rows.append(
                {"n_samples": n, "data_seed": seed, "init_seed": seed, "max_epochs": 1000, "depth": 1, **fields} | ended
            )
    return rows


def at(made: pd.DataFrame, budget: int) -> dict:
    (row,) = made[made["budget"] == budget].to_dict("records")
    return row


def test_a_cell_that_was_censored_or_diverged_has_memorized_within_no_budget():
    rows = small({100: 32, 400: 64, 900: 128})
    censored, diverged = (
        [row | ({} if "epoch_to_tau" in row else {"status": status}) for row in rows] for status in ("censored", "diverged")
    )
    made = capacity_by_budget(table(*censored))
    pd.testing.assert_frame_equal(made, capacity_by_budget(table(*diverged)))
    assert [at(made, budget)["n_memorized"] for budget in (62, 125, 250, 500, 1000)] == [0, 10, 10, 15, 20]
    assert [round(at(made, budget)["n50"], -1) for budget in (125, 500, 1000)] == [50, 90, 180]
    assert at(made, 62)["side"] == "below" and math.isnan(at(made, 62)["n50"])


def test_cells_without_a_result_count_at_no_budget():
    rows = small({100: 32, 900: 128})
    spoilt = [
        row | {"status": status, "epoch_to_tau": None, "data_seed": 9} for row in rows for status in ("failed", "pending")
    ]
    pd.testing.assert_frame_equal(capacity_by_budget(table(*rows)), capacity_by_budget(table(*rows, *spoilt)))


def test_one_seed_has_no_n50_and_no_growth():
    made = capacity_by_budget(table(*small({100: 32, 400: 64, 900: 128}, n_seeds=1)))
    assert len(made) == 8 and made[["n50", "growth"]].isna().all(axis=None)
    assert growth(made).empty


@pytest.mark.parametrize("fields", [{"lr_schedule": "cosine"}, {"lr_schedule": "step"}, {"patience": 50, "n_val": 16}])
def test_what_hangs_on_its_budget_has_no_rows_and_the_reason_is_told(fields):
    rows = small({100: 32, 900: 128})
    other = small({100: 32, 900: 128}, **fields)
    alone, beside = capacity_by_budget(table(*other)), capacity_by_budget(table(*rows, *other))
    assert alone.empty and growth(alone).empty
    assert list(alone.columns) == list(beside.columns)
    assert len(beside) == 8
    numbers = [name for name in beside if name != "setting"]
    pd.testing.assert_frame_equal(beside[numbers], capacity_by_budget(table(*rows))[numbers])
    assert tied(table(*other)).unique().tolist() == [
        "early stopping" if "patience" in fields else "a schedule of the learning rate"
    ]
    assert tied(table(*rows)).unique().tolist() == [""]


def test_a_budget_of_one_epoch_has_no_half():
    rows = [row | {"max_epochs": 1} for row in small({1: 64})]
    made = capacity_by_budget(table(*rows))
    assert made["budget"].tolist() == [1] and growth(made).empty


def test_growth_is_for_each_doubling_where_a_budget_is_odd():
    made = capacity_by_budget(table(*[row | {"max_epochs": 5} for row in small({2: 32, 5: 128})]))
    ratio = at(made, 5)["n50"] / at(made, 2)["n50"]
    assert at(made, 5)["growth"] == pytest.approx(ratio ** (1 / math.log2(5 / 2)))


def networks(growths: list[tuple[int, int]], **fields) -> pd.DataFrame:
    """Tables by budget of networks that hold so many samples at half of the budget and at its end."""
    rows = [
        row for width, (half, end) in enumerate(growths, start=4) for row in small({400: half, 900: end}, width=width, **fields)
    ]
    return capacity_by_budget(table(*rows))


def test_the_growth_of_one_network_is_its_own():
    made = networks([(64, 128)])
    (row,) = growth(made).to_dict("records")
    assert (row["half"], row["budget"], row["n_networks"]) == (500, 1000, 1)
    assert [row[name] for name in ("growth", "growth_low", "growth_high")] == pytest.approx(
        [at(made, 1000)[name] for name in ("growth", "growth_low", "growth_high")]
    )
    assert row["growth"] == pytest.approx(2, rel=0.02)


def test_bounds_of_n50_bound_the_growth_and_alone_they_claim_nothing():
    """256 is all that was tried, 8 less than that: N50 is beyond."""
    known = [(32, 64), (32, 64), (64, 128), (64, 128)]
    (row,) = growth(networks(known)).to_dict("records")
    (more,) = growth(networks([*known, (64, 256), (8, 128), (256, 256), (8, 8)])).to_dict("records")
    assert [more[name] for name in ("n_networks", "n_above", "n_below", "n_vague")] == [4, 2, 0, 2]
    # Beyond 256 samples and within 32 it had grown four and eightfold.
    assert more["growth"] > row["growth"] == pytest.approx(2, rel=0.02)
    assert growth(networks([(64, 256), (8, 128)])).empty
    # One value of several networks, or fewer than a third, are not those of all.
    assert growth(networks([(32, 64), (256, 256)])).empty
    assert growth(networks([*known[:2], *[(256, 256)] * 5])).empty


def test_settings_have_growths_of_their_own_and_rates_that_were_swept_have_none():
    plain, slow = {400: 64, 900: 64}, {400: 32, 900: 64}
    rows = [
        row
        for most, fields in ((plain, {}), (slow, {"regularization": "dropout", "dropout": 0.1}))
        for rate in (0.003, 0.01)
        for row in small(most, learning_rate=rate, **fields)
    ]
    made = growth(tables(table(*rows)).capacity_by_budget)
    assert [(row["setting"], row["rates"], round(row["growth"], 1)) for row in made.to_dict("records")] == [
        ("no regularization", "default", 1.0),
        ("dropout", "default", 2.0),
        ("no regularization", "best", 1.0),
        ("dropout", "best", 2.0),
    ]


@cache
def untrained(n_networks: int) -> tuple[pd.DataFrame, list[tuple[str, pd.DataFrame]]]:
    """Cells of so many networks, five seeds at nine sample counts, and their curves."""
    counts = np.unique(np.round(np.geomspace(60, 800, 9)).astype(int)).tolist()
    shapes = [(width, seed, n) for width in range(4, 4 + n_networks) for seed in range(5) for n in counts]
    rows = [
        {
            "width": width,
            "depth": 1,
            "max_epochs": 2,
            "n_samples": n,
            "data_seed": seed,
            "init_seed": seed,
            "status": "censored",
        }
        for width, seed, n in shapes
    ]
    cells = table(*rows)
    return cells, list(curves(cells))


def grown(n_networks: int, truth: float, rng: np.random.Generator) -> pd.DataFrame:
    """The growth of networks that hold `truth` times as much in the geometric mean after the second epoch as after the first.

    Networks differ in what they hold and in the growth of it, seeds about their network, cells about their seed.
    """
    cells, known = untrained(n_networks)
    ends = []
    for rates, curve in known:
        own = math.log(truth) * math.exp(0.3 * rng.standard_normal() - 0.045)
        held = math.log(220) + 0.3 * rng.standard_normal() + 0.15 * rng.standard_normal(5)
        gained = own * np.exp(0.4 * rng.standard_normal(5) - 0.08)
        seed, n = curve["data_seed"].to_numpy(), np.log(curve["n_samples"].to_numpy())
        most = held[seed] + 0.1 * rng.standard_normal(len(curve))
        epochs = np.where(n < most - gained[seed], 1, np.where(n < most, 2, 0))
        status = np.where(epochs > 0, Status.MEMORIZED, Status.CENSORED)
        ends.append(
            (rates, curve.assign(status=status, epoch_to_tau=pd.array(np.where(epochs > 0, epochs, None), dtype="Int64")))
        )
    return growth(capacity_by_budget(cells, ends))


@pytest.mark.parametrize(
    ("n_networks", "draws"), [(3, 60), (9, 30), *(pytest.param(n, 1000, marks=pytest.mark.exhaustive) for n in (3, 9))]
)
def test_the_interval_of_growth_covers_the_truth(n_networks, draws):
    rng = np.random.default_rng(n_networks)
    made = pd.concat([grown(n_networks, 1.15, rng) for _ in range(draws)])
    assert len(made) > 0.95 * draws
    assert ((made["growth_low"] <= 1.15) & (made["growth_high"] >= 1.15)).mean() >= 0.93
    assert math.exp(np.log(made["growth"]).mean()) == pytest.approx(1.15, abs=0.03)
    if n_networks == 9:
        assert (made["growth_low"] > 1).mean() > 0.7
