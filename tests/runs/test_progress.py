"""What a long run says of itself, on a terminal and where none shows a bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pytest

import bench
from bench.engines.packs import budget_flops, epoch_flops
from bench.machine import bar
from bench.protocol.cells import FIELDS, Cell, Outcome, Status, field_types
from bench.runs import progress
from tests.conftest import ROOT
from tests.report.synthetic import outcome


@pytest.fixture
def clock(monkeypatch) -> Callable[[float], None]:
    """Sets the time."""
    now = [0.0]
    monkeypatch.setattr(bar.time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, seconds)


def test_lines_tell_the_share_of_the_work_and_the_time_left(capsys, clock):
    """A tenth of equal cells has ended after 20 s; at that speed the others take 180 s."""
    cells = bench.expand(seed=range(10))
    with progress.Progress(cells, shown=True) as shown:
        clock(20)
        shown.update([Outcome(cells[0], Status.MEMORIZED, epochs_run=7)], flops=7.0 * epoch_flops(cells[0]))
        clock(60)
        shown.update([Outcome(cell, Status.CENSORED, epochs_run=cell.max_epochs) for cell in cells[1:]], flops=1e12)
    first, _, last = capsys.readouterr().err.splitlines()
    assert first == "10 % of the work: 1/10 cells; 1 memorized; 0.0 useful GFLOP/s; 20 s elapsed; 3 min left"
    assert last == "100 % of the work: 10/10 cells; 1 memorized, 9 censored; 16.7 useful GFLOP/s; 60 s elapsed"


def test_what_is_not_shown_prints_nothing(capsys):
    with progress.Progress([bench.Cell()], shown=False) as shown:
        shown.update([Outcome(bench.Cell(), Status.CENSORED)], flops=1.0)
    assert capsys.readouterr().err == ""


def shares(ends: list[tuple[Outcome, float]], monkeypatch) -> Iterator[tuple[float, float]]:
    """(share of the time that is gone, share that the bar shows) after each cell that ended in so many seconds."""
    shown: list[float] = []
    monkeypatch.setattr(bar.Bar, "show", lambda self, share, told, last=False: shown.append(share))
    total, gone = sum(seconds for _, seconds in ends), 0.0
    with progress.Progress([end.cell for end, _ in ends], shown=True) as told:
        for end, seconds in ends:
            gone += seconds
            told.update([end], flops=(end.epochs_run or 0) * epoch_flops(end.cell))
            yield gone / total, shown[-1]


def test_the_bar_of_a_finished_reference_run_was_near_the_share_of_the_time(monkeypatch):
    """1,200 cells whose training was timed one by one, longest first."""
    table = pd.read_csv(ROOT / "results/reference/precision/tables/cells.csv").convert_dtypes()
    ends = []
    for row in table.to_dict("records"):
        # Fields that came after that run are at their defaults.
        known = [name for name in FIELDS if name in row]
        cell = Cell(**{name: None if pd.isna(row[name]) else field_types()[name][0](row[name]) for name in known})
        ends.append((Outcome(cell, Status(row["status"]), epochs_run=int(row["epochs_run"])), row["train_time_s"]))
    ends.sort(key=lambda end: budget_flops(end[0].cell), reverse=True)
    assert max(abs(gone - shown) for gone, shown in shares(ends, monkeypatch)) < 0.17


def test_the_bar_of_a_grid_of_narrow_and_wide_networks_does_not_stand_near_its_end(monkeypatch):
    """The default grid's spans, at the speeds that widths 4 to 32 train at: with the FLOPs alone 0.83 were gone at half the time."""
    cells = bench.expand(
        depth=[1, 2, 3, 4],
        width=[4, 8, 16, 32],
        n_samples=[32, 48, 64, 96, 128, 192, 256, 384, 512],
        regularization=["none", "weight_decay", "dropout", "input_noise"],
        seed=range(3),
    )
    gflops = {4: 8.0, 8: 20.0, 16: 45.0, 32: 70.0}
    ends = [outcome(cell) for cell in sorted(cells, key=budget_flops, reverse=True)]
    timed = [(end, (end.epochs_run or 0) * epoch_flops(end.cell) / gflops[end.cell.width]) for end in ends]
    told = np.array(list(shares(timed, monkeypatch)))
    monkeypatch.setattr(progress, "POWER", 1)
    by_flops = np.array(list(shares(timed, monkeypatch)))
    half, by_half = (np.interp(0.5, own[:, 0], own[:, 1]) for own in (told, by_flops))
    assert half < 0.75 < by_half
    assert (np.diff(told[:, 1]) >= 0).all()


def test_a_cell_that_trains_alone_moves_the_bar(monkeypatch):
    shown: list[float] = []
    monkeypatch.setattr(bar.Bar, "show", lambda self, share, told, last=False: shown.append(share))
    cell = bench.Cell()
    with progress.Progress([cell], shown=True) as told:
        for _ in range(4):
            told.update([], flops=budget_flops(cell) / 5)
    assert shown == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8])


def test_the_time_left_follows_the_speed_of_late_and_not_each_moment(clock):
    """Forty seconds at 1 % a second; then the work stands for a second, then goes on at a tenth of the speed."""
    one, left = bar.Bar(shown=False, stays=False), []
    for second in range(1, 200):
        clock(second)
        share = second / 100 if second <= 40 else 0.4 if second == 41 else 0.4 + (second - 41) / 1000
        left.append(one._left(second, share))
    assert left[39] == "60 s"
    assert left[40] in ("61 s", "62 s", "63 s")
    assert left[198].endswith(" min") and int(left[198].split()[0]) == pytest.approx((1 - 0.558) / 0.001 / 60, abs=1)
