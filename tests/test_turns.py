"""Tests that measure time run alone, and are not kept waiting by the others."""

from __future__ import annotations

import threading

from tests import turns
from tests.turns import turn


class Visitor(threading.Thread):
    """Enters a room in a thread of its own, and stays until told to leave."""

    def __init__(self, *, alone: bool, measures: bool = False):
        super().__init__(daemon=True)
        self._alone, self._measures = alone, measures
        self.inside, self.leave, self.measuring, self.measured = (threading.Event() for _ in range(4))
        self.start()

    def run(self):
        with turn(alone=self._alone):
            self.inside.set()
            if self._measures:
                with turns.alone():
                    self.measuring.set()
                    self.measured.wait(20)
            self.leave.wait(20)


def a_house(monkeypatch, tmp_path) -> None:
    """With several workers, and folders of its own to lock."""
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    for name in ("GATE", "ROOM"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(turns, name, tmp_path / name)


def test_one_that_runs_alone_waits_for_those_inside_and_lets_nobody_in_before(monkeypatch, tmp_path):
    a_house(monkeypatch, tmp_path)
    first, second = Visitor(alone=False), Visitor(alone=False)
    assert first.inside.wait(10) and second.inside.wait(10)
    alone = Visitor(alone=True)
    assert not alone.inside.wait(0.3)
    late = Visitor(alone=False)
    first.leave.set()
    second.leave.set()
    assert alone.inside.wait(10) and not late.inside.wait(0.3)
    alone.leave.set()
    assert late.inside.wait(10)
    late.leave.set()


def test_one_that_measures_waits_for_those_inside_and_lets_them_go_on_after(monkeypatch, tmp_path):
    a_house(monkeypatch, tmp_path)
    other = Visitor(alone=False)
    assert other.inside.wait(10)
    measures = Visitor(alone=False, measures=True)
    assert measures.inside.wait(10) and not measures.measuring.wait(0.3)
    other.leave.set()
    assert measures.measuring.wait(10)
    late = Visitor(alone=False)
    assert not late.inside.wait(0.3)
    measures.measured.set()
    assert late.inside.wait(10)
    measures.leave.set()
    late.leave.set()


def test_without_workers_nobody_waits(monkeypatch):
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    with turn(alone=True), turn(alone=True), turns.alone():
        pass
