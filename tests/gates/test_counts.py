"""Counts: what grew is named, what cannot be counted is said, and instructions are the kernel's own."""

from __future__ import annotations

import importlib
import itertools
import math
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from bench.engines import torch_engine
from bench.engines.native_engine import instruction_sets
from bench.gates import counts as counts_module
from bench.gates.bisection import blamed, first_worse
from bench.gates.check import Verdict
from bench.gates.counts import INSTRUCTIONS, MARGIN, Count, findings, instructions_in, judged
from bench.gates.launch import environment
from tests.conftest import ROOT
from tests.perf import counted as suite
from tests.perf import one_kernel

# A function of the kernel that calls memcpy and one of its own, beside Python's.
PROFILE = """version: 1
events: Ir
ob=/usr/lib/libpython3.so
fn=PyObject_Call
10 700
cob=/site/bench/engines/_native.so
cfn=train
calls=1 30
11 3000
ob=/site/bench/engines/_native.so
fn=train
30 500
cob=/usr/lib/libc.so
cfn=memcpy
calls=2 0
31 90
32 400
cfn=update
calls=7 50
33 2000
fn=update
50 2000
summary: 3690
""".splitlines()


def test_instructions_are_those_of_the_library_without_what_it_calls():
    assert instructions_in(PROFILE, "_native.so") == 500 + 400 + 2000
    assert instructions_in(PROFILE, "libpython3.so") == 700
    assert instructions_in(PROFILE, "other.so") == 0


def counted(**values: float) -> dict[str, Count]:
    return {name: Count("calls", value) for name, value in values.items()}


def test_what_grew_by_more_than_the_margin_is_worse_and_comes_first():
    base = counted(alike=100, grew=100, within=100, fell=100, none=0, came=0)
    head = counted(alike=100, grew=103, within=100 * (1 + MARGIN), fell=50, none=0, came=1)
    table = judged(base, head)
    assert list(table["count"]) == ["came", "grew", "within", "alike", "none", "fell"]
    assert list(table.loc[table["worse"], "count"]) == ["came", "grew"]
    said = {finding.test: finding for finding in findings(table)}
    assert said["grew"].verdict is Verdict.FAILED
    assert said["grew"].said == "103 calls, in the base 100: 1.0300 times, more by more than 2%"
    assert {said[name].verdict for name in ("within", "alike", "none", "fell")} == {Verdict.PASSED}


def test_what_cannot_be_counted_is_skipped_with_its_reason():
    table = judged(counted(old=1, both=1), counted(new=1, both=1) | {"old": Count("calls", missing="fails: no such module")})
    said = {finding.test: finding for finding in findings(table)}
    assert said["both"].verdict is Verdict.PASSED
    assert (said["new"].verdict, said["new"].said) == (Verdict.SKIPPED, "not counted: base is not counted")
    assert (said["old"].verdict, said["old"].said) == (Verdict.SKIPPED, "not counted: head fails: no such module")
    assert table["count"].iloc[0] == "both" and math.isnan(table["ratio"].iloc[-1])


@pytest.fixture
def checkout(tmp_path):
    """A suite that counts by two programs, of which the second does more, and cannot do something."""
    perf = tmp_path / "checkout" / "tests" / "perf"
    perf.mkdir(parents=True)
    (perf.parent / "__init__.py").touch()
    (perf / "__init__.py").touch()
    (perf / "counted.py").write_text(
        "import json, bench\n"
        'print(json.dumps({"name": "calls", "unit": "calls", "value": bench.calls}))\n'
        'print(json.dumps({"name": "bytes", "error": "no bytes"} if bench.calls > 5 else {"name": "bytes", "unit": "B", "value": 1}))\n'
    )
    (perf / "one_kernel.py").write_text("import os, bench\nprint('width 1, depth 1, 1 samples', 1000, os.getpid())\n")
    (tmp_path / "checkout" / "pyproject.toml").touch()
    sides = []
    for name, calls in (("base", 5), ("head", 7)):
        (tmp_path / name / "bench").mkdir(parents=True)
        (tmp_path / name / "bench" / "__init__.py").write_text(f"calls = {calls}\n")
        sides.append(counts_module.Side(name, sys.executable, tmp_path / name))
    return tmp_path / "checkout", sides


def test_each_side_counts_its_own_program(checkout, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    base, head = counts_module.counted(*checkout)
    assert (base["calls"], head["calls"]) == (Count("calls", 5), Count("calls", 7))
    assert head["bytes"].missing == "no bytes"
    said = {finding.test: finding for finding in findings(judged(base, head))}
    assert said["calls"].verdict is Verdict.FAILED
    assert said[INSTRUCTIONS].said == "not counted: base has no valgrind here; head has no valgrind here"


def test_a_program_without_a_kernel_has_no_instructions_of_it(checkout, tmp_path, monkeypatch):
    """Under what runs its command, as valgrind does, and counts nothing."""
    stand_in = tmp_path / "tools" / "valgrind"
    stand_in.parent.mkdir()
    stand_in.write_text('#!/bin/sh\nwhile [ "${1#-}" != "$1" ]; do shift; done\nexec "$@"\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", str(stand_in.parent), prepend=os.pathsep)
    root, sides = checkout
    (root / "tests" / "perf" / "one_kernel.py").write_text("raise SystemExit('no kernel here')\n")
    base, _ = counts_module.counted(root, sides)
    assert base[INSTRUCTIONS].missing == "fails: no kernel here"


def test_a_count_does_not_depend_on_how_fast_the_machine_is(monkeypatch):
    """Where chunks seem to take no time, and where each seems to take hours."""
    for name, constants in suite.BY_THE_CLOCK.items():
        for constant in constants:
            module = importlib.import_module(name)
            monkeypatch.setattr(module, constant, getattr(module, constant))
    monkeypatch.setattr(suite, "TRIES", 1)
    monkeypatch.setattr(suite, "FEW", 20)
    monkeypatch.setattr(suite, "MANY", 60)

    def counted_where_a_look_at_the_clock_takes(seconds: float) -> float:
        clock = itertools.count(step=seconds)
        monkeypatch.setattr(torch_engine, "time", SimpleNamespace(perf_counter=lambda: next(clock), monotonic=lambda: 0.0))
        return suite.python_calls("torch")

    by_the_clock = [counted_where_a_look_at_the_clock_takes(seconds) for seconds in (0, 10)]
    assert by_the_clock[1] > 1.05 * by_the_clock[0]
    suite.stop_the_clock()
    without = [counted_where_a_look_at_the_clock_takes(seconds) for seconds in (0, 10)]
    assert without[1] == pytest.approx(without[0], rel=0.002)


# Instructions are counted of that build alone, since valgrind knows no AVX-512.
@pytest.mark.skipif("avx2" not in instruction_sets(), reason="this processor has no AVX2")
def test_the_kernel_that_instructions_are_counted_of_trains_each_shape_in_a_process_of_its_own():
    code = "from tests.perf import one_kernel; one_kernel.FLOPS = 1e6; one_kernel.main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=environment(), check=True)
    lines = [line.rsplit(maxsplit=2) for line in done.stdout.splitlines()]
    assert len({process for *_, process in lines}) == len(one_kernel.SHAPES)
    assert all(int(flops) > 1e5 for _, flops, _ in lines)


def test_bisection_finds_the_commit_and_builds_few():
    for length in range(1, 20):
        commits = [str(number) for number in range(length)]
        for culprit in range(length):
            asked = itertools.count()

            def is_worse(commit: str, culprit: int = culprit, asked: itertools.count = asked) -> bool:
                next(asked)
                return int(commit) >= culprit

            assert first_worse(commits, is_worse) == str(culprit)
            assert next(asked) <= math.ceil(math.log2(length)) if length > 1 else True


def test_each_count_is_blamed_on_the_commit_that_made_it_grow():
    values = {"a": (1, 1), "b": (1, 3), "c": (2, 3)}
    asked = []

    def count(commit: str) -> dict[str, Count]:
        asked.append(commit)
        return counted(first=values[commit][0], second=values[commit][1])

    found = blamed(["first", "second"], counted(first=1, second=1), list(values), count)
    assert found == {"first": "c", "second": "b"}
    assert sorted(asked) == ["a", "b", "c"]
    assert blamed(["first"], counted(first=2), list(values), count) == {"first": None}
    assert blamed(["first"], counted(first=1), [], count) == {"first": None}
