"""Rounds of benchmarks for real: two programs under one interpreter that has a third installed, and the slower is found."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from bench.gates import rounds as rounds_module
from bench.gates.rounds import CannotRun, rounds
from bench.gates.sides import Side
from bench.gates.speed import judged, log_ratios

ROOT = Path(__file__).parents[2]

BENCHMARKS = """
import time
import pytest
from bench import pause_s

@pytest.mark.benchmark(group="pauses")
def test_pause(timed):
    timed(lambda: time.sleep(pause_s), 3)
"""


@pytest.fixture
def checkout(tmp_path):
    """A suite of one benchmark that counts, and programs by the name of this one, which pause for so long."""
    perf = tmp_path / "checkout" / "tests" / "perf"
    perf.mkdir(parents=True)
    (perf / "gated.py").write_text(BENCHMARKS)
    shutil.copy(ROOT / "tests" / "perf" / "conftest.py", perf)
    (tmp_path / "checkout" / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")

    def side(name: str, code: str) -> Side:
        (tmp_path / name / "bench").mkdir(parents=True)
        (tmp_path / name / "bench" / "__init__.py").write_text(code)
        return Side(name, sys.executable, tmp_path / name)

    return tmp_path / "checkout", side


def test_each_side_runs_its_own_program_in_turn_and_the_slower_is_found(checkout, monkeypatch):
    root, side = checkout
    monkeypatch.setattr(rounds_module, "LOOKS", (2,))
    monkeypatch.setattr("bench.gates.speed.LOOKS", (2,))
    lines: list[str] = []
    times = rounds(
        root, side("fast", "pause_s = 0.01"), side("slow", "pause_s = 0.03"), margin=0.05, limit_s=100, said=lines.append
    )
    assert times.groupby(["round", "side"])["turn"].agg(list).tolist() == [[0, 1, 2]] * 4
    assert set(times["group"]) == {"pauses"}
    assert 2.5 < judged(log_ratios(times))["ratio"][0] < 3.6
    assert [line.partition(",")[0] for line in lines] == ["round 1 of at most 2", "round 2 of at most 2"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("", "^old does not run the suite of the head: .*cannot import name 'pause_s' from 'bench'.*$"),
        ("raise OSError('no driver')", "^old does not run the suite of the head: E OSError: no driver$"),
        (
            "pause_s = 0.0\n__file__ = '/elsewhere/bench/__init__.py'",
            "^old does not run .*: ERROR /elsewhere/bench/__init__.py was measured in place of .*$",
        ),
    ],
    ids=["lacks what the suite asks for", "does not load", "is another"],
)
def test_a_side_that_does_not_run_the_suite_is_a_line(checkout, code, said):
    root, side = checkout
    with pytest.raises(CannotRun, match=said):
        rounds(root, side("old", code), side("new", "pause_s = 0.0"), margin=0.05, limit_s=1, said=lambda line: None)
