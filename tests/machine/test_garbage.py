"""Collections of garbage are as they were when a run is over."""

import gc

import pytest

import bench
from bench.machine.garbage import YOUNGER, few_full_collections


def test_full_collections_are_few_meanwhile_and_as_many_as_before_afterwards():
    before = gc.get_threshold()
    with few_full_collections():
        assert gc.get_threshold() == (*before[:2], YOUNGER)
    assert gc.get_threshold() == before


def test_a_run_makes_few(monkeypatch):
    seen = []
    monkeypatch.setattr(bench.runs.run, "_store", lambda *given: seen.append(gc.get_threshold()[2]) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        bench.run(bench.Cell(max_epochs=1))
    assert seen == [YOUNGER] and gc.get_threshold()[2] < YOUNGER
