"""What a long run says of itself where no terminal shows a bar."""

from __future__ import annotations

import bench
from bench.protocol.cells import Outcome, Status
from bench.runs import progress


def test_lines_tell_the_share_of_the_work_and_the_time_left(capsys, monkeypatch):
    """Of ten budgets of 100 FLOPs a cell has spent a fifth, and frees the rest: a tenth of the work is gone after 20 s."""
    clock = iter([0.0, 20.0, 25.0, 60.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.Progress(10, 1000.0, shown=True) as shown:
        shown.update([Outcome(bench.Cell(), Status.MEMORIZED)], flops=20.0, budget_freed=80.0)
        shown.update([Outcome(bench.Cell(), Status.CENSORED)] * 9, flops=900.0, budget_freed=0.0)
    first, last = capsys.readouterr().err.splitlines()
    assert first == "10 %: 1/10 cells: 1 memorized; 0.0 useful GFLOP/s; 20 s elapsed, 180 s left at this speed"
    assert last == "100 %: 10/10 cells: 1 memorized, 9 censored; 0.0 useful GFLOP/s; 60 s elapsed"


def test_what_is_not_shown_prints_nothing(capsys):
    with progress.Progress(1, 1.0, shown=False) as shown:
        shown.update([Outcome(bench.Cell(), Status.CENSORED)], flops=1.0, budget_freed=0.0)
    assert capsys.readouterr().err == ""
