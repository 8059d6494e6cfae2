"""Rounds of benchmarks: the same suite on both sides in turn, each time in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from bench.gates.sides import Side
from bench.gates.speed import LOOKS, finished, interleaved
from bench.machine.child import essence

# The benchmarks that a check runs.
GATED = "tests/perf/gated.py"

# Of a checkout what the suite needs beside the program.
SUITE = ("tests", "pyproject.toml")

# An editable installation of the interpreter would bring its own program before any path. Where another than the side's is
# loaded all the same, nothing is measured.
LAUNCH = """
import sys
from pathlib import Path
site = Path(sys.argv.pop(1)).resolve()
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in type(finder).__module__]
sys.path[:0] = [str(site), "."]
import pytest
status = pytest.main(sys.argv[1:])
loaded = [Path(m.__file__) for n, m in list(sys.modules.items()) if n.split(".")[0] == "bench" and getattr(m, "__file__", None)]
others = [str(path) for path in loaded if not path.resolve().is_relative_to(site)]
sys.exit(f"ERROR {others[0]} was measured in place of {site}" if others else int(status))
"""

COLUMNS = ["round", "side", "group", "benchmark", "time_s"]


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
        A row for each round, side and benchmark: `round`, `side`, `group`, `benchmark`, and `time_s`, the least of its repeats:
        what else runs on the machine only adds.

    Raises:
        CannotRun: a side does not run the suite.
    """
    sides = {"base": base, "head": head}
    tables: list[pd.DataFrame] = []
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="memcap-") as folder:
        suite = _suite(root, Path(folder))
        for number, pair in enumerate(_pairs()):
            for side in pair:
                tables.append(_measured(suite, sides[side]).assign(round=number, side=side))
            times = pd.concat(tables, ignore_index=True)[COLUMNS]
            elapsed_s = time.monotonic() - started
            said(f"round {number + 1} of at most {LOOKS[-1]}, {elapsed_s:.0f} s")
            late = number + 1 >= LOOKS[0] and elapsed_s * (number + 2) / (number + 1) > limit_s
            if late or finished(times, margin=margin):
                return times
    raise AssertionError("the last look ends the rounds")


def _pairs() -> Iterator[tuple[str, str]]:
    """The sides of each round in their order."""
    order = [side for _, side in interleaved(LOOKS[-1])]
    yield from zip(order[::2], order[1::2], strict=True)


def _suite(root: Path, folder: Path) -> Path:
    """The head's suite without its program, so that each side's is found."""
    for name in SUITE:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / name)
    return folder


def _measured(suite: Path, side: Side) -> pd.DataFrame:
    """One run of the suite: group, benchmark, time_s."""
    kept = suite / "measured.json"
    kept.unlink(missing_ok=True)
    # Warnings of an older program, or of newer libraries, are not what is asked.
    options = ["-q", "-W", "default", "-p", "no:cacheprovider", "--benchmark-only", "--benchmark-disable-gc"]
    command = [side.python, "-c", LAUNCH, str(side.site), *options, f"--benchmark-json={kept}", GATED]
    # What a pytest around this one tells its children is not for this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(command, cwd=suite, env=environment, capture_output=True, text=True)
    if done.returncode or not kept.exists():
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("E  ", "ERROR", "FAILED"))]
        reason = " ".join(lines[0].split()) if lines else essence(done.stdout + done.stderr)
        raise CannotRun(f"{side.what} does not run the suite of the head: {reason}")
    found = json.loads(kept.read_text())["benchmarks"]
    return pd.DataFrame(
        [{"group": one["group"], "benchmark": one["name"], "time_s": one["stats"]["min"]} for one in found],
    )
