"""Tests that measure time run alone, and are not kept waiting by the others."""

from __future__ import annotations

import threading

from tests import turns
from tests.turns import turn


class Visitor(threading.Thread):
    """Enters a room in a thread of its own, and stays until told to leave."""

    def __init__(self, *, alone: bool):
        super().__init__(daemon=True)
        self._alone = alone
        self.inside, self.leave = threading.Event(), threading.Event()
        self.start()

    def run(self):
        with turn(alone=self._alone):
            self.inside.set()
            self.leave.wait(20)


def test_one_that_runs_alone_waits_for_those_inside_and_lets_nobody_in_before(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    for name in ("GATE", "ROOM"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(turns, name, tmp_path / name)
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


def test_without_workers_nobody_waits(monkeypatch):
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    with turn(alone=True), turn(alone=True):
        pass
