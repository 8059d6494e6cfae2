"""What stands for the default grid in benchmarks is that grid, or has its mix; and its line in the README is as measured."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import bench
from bench.engines.packs import budget_flops
from tests.conftest import ROOT
from tests.engines.training import NOT_BUILT
from tests.perf import default_grid, gated, grid_part
from tests.perf.default_grid import KEPT, LINE, Measured, default_cells, measured, with_line
from tests.perf.grid_part import PART, STRENGTHS, drawn, spent

GROUPS = ROOT / "results" / "reference" / "default" / "tables" / "groups.csv"


def test_each_stratum_has_its_share_and_its_settings_their_part_of_it():
    """Of 1000: 900 to a stratum of settings 6 and 3 long, of which nine picks find 6 and 3; 100 to one of 1."""
    fields = {"regularization": ["dropout", "dropout", "none"], "width": 4, "depth": [1, 2, 1], "n_samples": 32}
    picks = drawn(pd.DataFrame({**fields, "flops": [6.0, 3.0, 1.0]}), picks=10, flops=1e12)
    assert [(pick.regularization, pick.depth, pick.gflop) for pick in picks] == [
        *[("dropout", 1, 100.0)] * 6,
        *[("dropout", 2, 100.0)] * 3,
        ("none", 1, 100.0),
    ]


def test_epochs_of_a_setting_are_those_of_all_its_cells():
    """Two of five seeds memorize, and success costs 2000 epochs each: 4000; where none does, five budgets."""
    groups = pd.DataFrame(
        {"regularization": "none", "width": 4, "depth": [1, 2], "n_samples": 32, "n_seeds": 5, "max_epochs": 5000}
        | {"n_memorized": [2, 0], "expected_running_time": [2000.0, np.inf]}
    )
    # 8 inputs: 8 * 4 + 4 multiply-accumulates, and 16 more of a second layer.
    assert spent(groups)["flops"].tolist() == [6 * 32 * 36 * 4000, 6 * 32 * 52 * 25_000]


@pytest.mark.parametrize("fields", [["width"], ["regularization"], ["width", "regularization"]])
def test_the_part_of_the_default_grid_has_its_mix_of_flops(fields):
    whole = spent(pd.read_csv(GROUPS)).groupby(fields)["flops"].sum()
    part = pd.DataFrame([pick._asdict() | {"flops": budget_flops(pick.cell())} for pick in PART]).groupby(fields)["flops"].sum()
    shares = pd.DataFrame({"whole": whole / whole.sum(), "part": part / part.sum()})
    assert shares.notna().all(axis=None)
    assert (shares["part"] - shares["whole"]).abs().max() < 0.005


def test_the_settings_of_the_part_are_settings_of_the_default_grid():
    grid = {pick_of(cell) for cell in default_cells()}
    assert {pick_of(pick.cell()) for pick in PART} <= grid
    for name, strengths in STRENGTHS.items():
        of_grid = {
            tuple(getattr(cell, field) for field in strengths) for cell in default_cells() if cell.regularization == name
        }
        assert of_grid == {tuple(strengths.values())}


def pick_of(cell: bench.Cell) -> tuple:
    fields = (cell.weight_decay, cell.dropout, cell.input_noise, cell.learning_rate, cell.optimizer, cell.d_in)
    return (cell.width, cell.depth, cell.n_samples, *fields)


def test_a_check_of_speed_judges_at_most_eight_groups_and_the_grid_is_one():
    """Levels are shared by all groups: each more makes all intervals wider."""
    marks = [mark for value in vars(gated).values() for mark in getattr(value, "pytestmark", []) if mark.name == "benchmark"]
    groups = {*gated.GATED, *(mark.kwargs["group"] for mark in marks)}
    assert "default grid" in groups and len(groups) <= 8


def test_a_grid_is_measured_by_all_that_its_cells_did(monkeypatch):
    pytest.importorskip("bench.engines._native", reason=NOT_BUILT)
    peaks = iter([100.0, 300.0])
    monkeypatch.setattr(default_grid, "peak_gflops", lambda device, threads: next(peaks))
    cells = bench.expand(depth=1, width=4, n_samples=8, seed=range(3), max_epochs=50, tau=grid_part.NO_TAU)
    done = measured(cells)
    assert done.n_cells == 3 and done.peak_gflops == 200
    assert done.gflops * done.time_s * 1e9 == pytest.approx(sum(map(budget_flops, cells)))
    assert done.of_peak == pytest.approx(done.gflops / 200)


DONE = Measured(2880, 2, "avx2", 144.6, 46.93, "fma", 217.0, 0.2163)


def test_the_line_of_the_grid_is_the_first_of_the_table_and_replaces_a_former_one():
    readme = (ROOT / "README.md").read_text()
    once = with_line(readme, DONE)
    line = "| memcap, the default grid: 2880 networks in 145 s, 46.9 GFLOP/s | 22 % | |"
    lines = once.splitlines()
    assert lines.count(line) == 1 and lines[lines.index(line) - 1] == "| --- | --- | --- |"
    assert with_line(once, DONE) == once
    assert with_line(once, DONE._replace(time_s=99.0)) == once.replace("145 s", "99 s")


def test_the_readme_has_the_line_of_what_was_measured():
    """Both are written by one command."""
    readme = (ROOT / "README.md").read_text()
    assert KEPT.exists() == (LINE in readme)
    if KEPT.exists():
        assert with_line(readme, Measured(**json.loads(KEPT.read_text()))) == readme
