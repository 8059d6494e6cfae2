"""Rounds of benchmarks: the same suite on both sides, each time in two new processes, which take turns call by call."""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from bench.gates.launch import command, complaint, copy_suite, environment
from bench.gates.sides import Side
from bench.gates.speed import LOOKS, finished, log_ratios
from bench.gates.turns import VARIABLE, take_turns
from bench.machine.child import essence

# The benchmarks that a check runs.
GATED = "tests/perf/gated.py"

COLUMNS = ["round", "turn", "side", "group", "benchmark", "time_s"]


class CannotRun(Exception):
    """A side that does not run the suite. The message is one line: which, and what it said."""


def rounds(root: Path, base: Side, head: Side, *, margin: float, limit_s: float, said: Callable[[str], None]) -> pd.DataFrame:
    """Times of both sides, until they are known well enough or no other round fits into the limit.

    Args:
        root: the checkout whose suite both sides run, that of the head.
        base, head: what is measured.
        margin: see `speed.judged`.
        limit_s: seconds for all rounds; so many as the first look needs are run in any case.
        said: what to do with a line of progress.

    Returns:
        A row for each call, of a round, turn, side and benchmark: `round`, `turn`, `side`, `group`, `benchmark`, `time_s`.

    Raises:
        CannotRun: a side does not run the suite.
    """
    sides = {"base": base, "head": head}
    tables: list[pd.DataFrame] = []
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="memcap-") as folder:
        suite = copy_suite(root, Path(folder))
        for number in range(LOOKS[-1]):
            tables += [
                table.assign(round=number, side=side) for side, table in _measured(suite, sides, first=number % 2).items()
            ]
            times = pd.concat(tables, ignore_index=True)[COLUMNS]
            elapsed_s = time.monotonic() - started
            said(f"round {number + 1} of at most {LOOKS[-1]}, {elapsed_s:.0f} s")
            late = number + 1 >= LOOKS[0] and elapsed_s * (number + 2) / (number + 1) > limit_s
            if late or finished(log_ratios(times), margin=margin):
                return times
    raise AssertionError("the last look ends the rounds")


def _measured(suite: Path, sides: dict[str, Side], *, first: int) -> dict[str, pd.DataFrame]:
    """One run of the suite by each side: group, benchmark, turn, time_s."""
    running, lines = {}, []
    with tempfile.TemporaryDirectory(prefix="memcap-") as folder:
        kept = {name: Path(folder) / name for name in sides}
        try:
            for name, side in sides.items():
                mine, its = socket.socketpair()
                lines.append(mine)
                with its:
                    running[name] = _started(suite, side, kept[name], its)
            take_turns(lines, first=first)
        finally:
            # Who waits for a turn then ends.
            for line in lines:
                line.close()
        failed = {name: bool(process.wait()) for name, process in running.items()}
        return {name: _read(side, kept[name], failed[name]) for name, side in sides.items()}


def _started(suite: Path, side: Side, kept: Path, line: socket.socket) -> subprocess.Popen[bytes]:
    # Warnings of an older program, or of newer libraries, are not what is asked.
    options = ["-q", "-W", "default", "-p", "no:cacheprovider", "-p", "no:memcap", "--benchmark-only", "--benchmark-disable-gc"]
    pytest = command(side, "pytest", *options, f"--benchmark-json={kept.with_suffix('.json')}", GATED)
    own = environment(**{VARIABLE: str(line.fileno())})
    with kept.with_suffix(".txt").open("wb") as output:
        return subprocess.Popen(
            pytest, cwd=suite, env=own, pass_fds=[line.fileno()], stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT,
        )  # fmt: skip


def _read(side: Side, kept: Path, failed: bool) -> pd.DataFrame:
    if failed or not kept.with_suffix(".json").exists():
        printed = kept.with_suffix(".txt").read_text(errors="replace")
        # Who lost its turn fails because the other did.
        said = complaint(printed, but=["ConnectionError"]) or essence(printed)
        raise CannotRun(f"{side.what} does not run the suite of the head: {said}")
    rows = [
        {"group": one["group"], "benchmark": one["name"], "turn": turn, "time_s": time_s}
        for one in json.loads(kept.with_suffix(".json").read_text())["benchmarks"]
        for turn, time_s in enumerate(one["stats"]["data"])
    ]
    return pd.DataFrame(rows)
