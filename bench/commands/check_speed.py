"""`memcap check speed`: is this checkout slower than a base, another commit or another environment?"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from bench.commands.config import dump
from bench.commands.exits import NO, UsageError, exit_status
from bench.commands.line import composed
from bench.protocol.grid import GridError
from bench.store import provenance
from bench.store.atomic import write_atomically

if TYPE_CHECKING:
    import pandas as pd

    from bench.gates.counts import Count

SETTINGS = ("base", "base_python", "run_dir", "margin", "limit_s", "no_skips", "bisect")
LISTED = "memcap check --help lists the settings"
# The program itself is not installed in an environment, but beside it.
PACKAGES = tuple(name for name in provenance.PACKAGES if name != "memcap")


def main(arguments: Sequence[str]) -> int:
    """Build both sides, run rounds of benchmarks, judge; the exit status is 0, 1 where a group is slower, or 2."""

    def check() -> int:
        ConfigStore.instance().store(name="schema", node=dict.fromkeys(SETTINGS))
        quoted = [_quoted(argument) for argument in arguments]
        passed = [_speed(_checked(OmegaConf.to_container(config))) for config, _ in composed("check_speed", quoted)]
        return 0 if all(passed) else NO

    return exit_status(check, SETTINGS, stopped="nothing was checked")


def _quoted(argument: str) -> str:
    """A name of git's or a path as Hydra takes any text: HEAD~1 and HEAD^1 are none of its words, and 7e12345 is a number.

    >>> _quoted("base=HEAD~1"), _quoted("base=null"), _quoted("margin=0.1")
    ("base='HEAD~1'", 'base=null', 'margin=0.1')
    """
    name, _, value = argument.partition("=")
    if name not in ("base", "base_python") or value in ("", "null") or value[0] in "'\"":
        return argument
    escaped = value.replace("'", "\\'")
    return f"{name}='{escaped}'"


def _checked(values: Any) -> dict[str, Any]:
    for name in ("base", "base_python"):
        if not isinstance(values[name], str | None) or values[name] == "":
            raise GridError(name, values[name], "must be a text, or null", LISTED)
    if not isinstance(values["run_dir"], str) or not values["run_dir"]:
        raise GridError("run_dir", values["run_dir"], "must be a text", LISTED)
    for name in ("margin", "limit_s"):
        value = values[name]
        if type(value) not in (int, float) or not (0 < value < math.inf):
            raise GridError(name, value, "must be a positive number", LISTED)
    for name in ("no_skips", "bisect"):
        if type(values[name]) is not bool:
            raise GridError(name, values[name], "must be true or false", LISTED)
    return cast("dict[str, Any]", values)


def _speed(values: dict[str, Any]) -> bool:
    """Measure, say what was found, and keep it; whether no group is slower.

    Raises:
        UsageError: too little is known to say so.
    """
    from bench.gates import counts
    from bench.gates.benchmarks import benchmarks
    from bench.gates.check import Check, Verdict
    from bench.gates.folder import begun, keep
    from bench.gates.speed import findings, judged, log_ratios

    started, started_at = time.perf_counter(), datetime.now(UTC)
    folder = Path(values["run_dir"])
    with begun(folder, "speed", str(values["base"] or values["base_python"] or "the usual base")):
        sides, counted, since, times = _measured(values)
        groups = judged(log_ratios(times), margin=values["margin"])
        found = [one._replace(said=one.said + since.get(one.test, "")) for one in counts.findings(counted)]
        found += findings(groups, margin=values["margin"])
        check = Check("speed", sides["base"]["what"], sides["head"]["what"], found, no_skips=values["no_skips"])
        write_atomically(folder / "config.yaml", lambda partial: partial.write_text(dump(values), encoding="utf-8"))
        wall_time_s = round(time.perf_counter() - started, 3)
        run = {"started_at": started_at.isoformat(timespec="seconds"), "wall_time_s": wall_time_s, **sides, "config": values}
        tables = {"check_counts": counted, "check_groups": groups, "check_benchmarks": benchmarks(times), "check_times": times}
        keep(folder, check, tables, run, times)
    print(f"\n{check.text()}\n\nmemcap: {check.outcome}; what was found is in {folder}, for readers in report.html")
    if check.outcome is Verdict.UNDECIDED:
        unknown = sum(finding.verdict is Verdict.UNDECIDED for finding in check.findings)
        known = f"{unknown} of {len(groups)} groups are not known well enough"
        raise UsageError(f"{known}; raise limit_s, or quiet the machine")
    return check.passed


def _since(root: Path, kept: Path, base: str, counted: pd.DataFrame, before: Mapping[str, Count]) -> dict[str, str]:
    """Of each count that grew, since which commit, in words."""
    from bench.gates.bisection import blamed
    from bench.gates.counts import counted as count
    from bench.gates.sides import commits_since, of_commit, subject_of

    def tried(commit: str) -> Mapping[str, Count]:
        print(f"memcap: counting commit {commit[:12]}", flush=True)
        return count(root, [of_commit(root, commit, kept)])[0]

    grown = list(counted.loc[counted["worse"], "count"])
    found = blamed(grown, before, commits_since(root, base), tried)
    since = {
        name: f"commit {commit[:12]}, {subject_of(root, commit)}" if commit else "what is not committed yet"
        for name, commit in found.items()
    }
    return {name: f"; since {what}" for name, what in since.items()}


def _measured(values: dict[str, Any]) -> tuple[dict[str, dict[str, Any]], pd.DataFrame, dict[str, str], pd.DataFrame]:
    """What base and head are and what ran them, as provenance.json has it, their counts, since when these grew, and times.

    Raises:
        GridError: one of them cannot be built or measured.
    """
    from bench.engines.cuda.compiler import cache_folder
    from bench.gates import counts
    from bench.gates.rounds import CannotRun, rounds
    from bench.gates.sides import commit_of, environment_of, has_history, is_dirty, of_commit, of_working_tree, usual_base
    from bench.machine.cores import available_cores

    # Another environment runs the code that is here, unless another commit is asked for too.
    same = values["base_python"] is not None and values["base"] is None
    root, kept = _checkout(), cache_folder() / "sides"
    if not same and not has_history(root):
        rule = "needs the history of a checkout, to build another commit"
        raise GridError("check", "speed", rule, "run it from a clone, by make perf-check, or name base_python alone")
    base_python = values["base_python"] or sys.executable
    asked = "base_python" if same else "base"
    with _blamed("base_python", values["base_python"], "name the interpreter of another environment"):
        _has_all(root, "base_python", base_python)
    _has_all(root, "python", sys.executable)
    with _blamed("head", "this checkout", "install git, and commit something"):
        own, dirty = (commit_of(root, "HEAD"), is_dirty(root)) if has_history(root) else (None, None)
    with _blamed(asked, values[asked], f"name another {asked}"):
        other = None if same else commit_of(root, values["base"]) if values["base"] else usual_base(root)
        print("memcap: building both sides, which takes some minutes the first time", flush=True)
        base = of_commit(root, other, kept, base_python) if other else of_working_tree(root, kept, base_python)
    with _blamed("head", "this checkout", "mend it first"):
        head = of_working_tree(root, kept)
    print(f"memcap: {head.what} against {base.what}", flush=True)
    if base == head:
        print("memcap: both are the same, so this shows how far the times of one program lie apart")
    print("memcap: counting what both do", flush=True)
    before, now = counts.counted(root, [base, head])
    counted = counts.judged(before, now)
    since = _since(root, kept, other, counted, before) if values["bisect"] and other else {}
    limits = {"margin": values["margin"], "limit_s": values["limit_s"]}
    try:
        times = rounds(root, base, head, **limits, said=lambda line: print(f"memcap: {line}", flush=True))
    except CannotRun as error:
        if str(error).startswith(f"{head.what} "):
            raise GridError("head", "this checkout", str(error), "mend it first") from error
        raise GridError(asked, values[asked], str(error), f"name another {asked}") from error
    facts = provenance.collect(engine="all", device="cpu", threads=available_cores(), packages=PACKAGES)
    sides = {
        "base": {**facts, "commit": other or own, "dirty": False if other else dirty, **environment_of(base_python, PACKAGES)},
        "head": {**facts, "commit": own, "dirty": dirty},
    }
    return {name: {"what": side.what, **sides[name]} for name, side in (("base", base), ("head", head))}, counted, since, times


@contextmanager
def _blamed(setting: str, value: object, remedy: str) -> Iterator[None]:
    """Of a side that cannot be built the setting is told that names it."""
    from bench.gates.sides import CannotBuild

    try:
        yield
    except CannotBuild as error:
        raise GridError(setting, value, str(error), remedy) from error


def _has_all(root: Path, setting: str, python: str) -> None:
    """Whether an interpreter has what the build and the benchmarks need."""
    from bench.gates.sides import lacking

    lacks = lacking(root, python)
    if lacks:
        remedy = "install them there"
        raise GridError(setting, python, f"lacks {', '.join(lacks)}", remedy)


def _checkout() -> Path:
    """The checkout, or an archive of one, that this program is of: its suite is run, and its files or commits are built."""
    root = Path(__file__).resolve().parents[2]
    if not (root / "tests" / "perf").is_dir():
        rule = "needs a checkout of memcap, with its tests"
        raise GridError("check", "speed", rule, "run it from a clone, by make perf-check")
    return root
