"""`memcap check speed`: is this checkout slower than a base, another commit or another environment?"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
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
from bench.store.parts import write_atomically

if TYPE_CHECKING:
    import pandas as pd

    from bench.gates.counts import Count

SETTINGS = ("base", "base_python", "run_dir", "margin", "limit_s", "no_skips", "bisect")
LISTED = "memcap check --help lists the settings"


def main(arguments: Sequence[str]) -> int:
    """Build both sides, run rounds of benchmarks, judge; the exit status is 0, 1 where a group is slower, or 2."""

    def check() -> int:
        ConfigStore.instance().store(name="schema", node=dict.fromkeys(SETTINGS))
        passed = [_speed(_checked(OmegaConf.to_container(config))) for config, _ in composed("check_speed", arguments)]
        return 0 if all(passed) else NO

    return exit_status(check, SETTINGS, stopped="nothing was checked")


def _checked(values: Any) -> dict[str, Any]:
    for name in ("base", "base_python"):
        if values[name] is not None and not str(values[name]):
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
    """Measure, say what was found, and keep it; whether no group is slower."""
    from bench.engines.cuda.compiler import cache_folder
    from bench.gates import counts
    from bench.gates.check import Check, Verdict
    from bench.gates.rounds import CannotRun, rounds
    from bench.gates.sides import CannotBuild, commit_of, of_commit, of_working_tree, usual_base
    from bench.gates.speed import findings, judged, log_ratios
    from bench.machine.cores import available_cores
    from bench.store.tables import write_tables

    started, started_at = time.perf_counter(), datetime.now(UTC)
    root, kept, folder = _checkout(), cache_folder() / "sides", Path(values["run_dir"])
    base_python = values["base_python"] or sys.executable
    try:
        # Another environment runs the code that is here, unless another commit is asked for too.
        same = values["base_python"] is not None and values["base"] is None
        commit = None if same else commit_of(root, str(values["base"])) if values["base"] else usual_base(root)
        print("memcap: building both sides, which takes some minutes the first time", flush=True)
        base = of_working_tree(root, kept, base_python) if commit is None else of_commit(root, commit, kept, base_python)
        head = of_working_tree(root, kept)
        print(f"memcap: {head.what} against {base.what}", flush=True)
        print("memcap: counting what both do", flush=True)
        before, now = counts.counted(root, [base, head])
        counted = counts.judged(before, now)
        since = _blamed(root, kept, commit, counted, before) if values["bisect"] and commit else {}
        limits = {"margin": values["margin"], "limit_s": values["limit_s"]}
        times = rounds(root, base, head, **limits, said=lambda line: print(f"memcap: {line}", flush=True))
    except (CannotBuild, CannotRun) as error:
        name = "base" if values["base"] is not None or values["base_python"] is None else "base_python"
        raise GridError(name, values[name], str(error), "name another base") from error
    groups = judged(log_ratios(times), margin=values["margin"])
    timed = findings(groups, margin=values["margin"])
    found = [*(one._replace(said=one.said + since.get(one.test, "")) for one in counts.findings(counted)), *timed]
    check = Check("speed", base.what, head.what, found, no_skips=values["no_skips"])
    write_tables(folder / "tables", {"check_counts": counted, "check_groups": groups, "check_times": times})
    write_atomically(folder / "config.yaml", lambda partial: partial.write_text(dump(values), encoding="utf-8"))
    facts = provenance.collect(engine="all", device="cpu", threads=available_cores())
    taken = {"started_at": started_at.isoformat(timespec="seconds"), "wall_time_s": round(time.perf_counter() - started, 3)}
    provenance.append(folder, {**taken, **facts, "config": values})
    check.write(folder)
    failed = values["no_skips"] or any(finding.verdict is Verdict.FAILED for finding in found)
    unknown = 0 if failed else sum(finding.verdict is Verdict.SKIPPED for finding in timed)
    outcome = "undecided" if unknown else "passed" if check.passed else "failed"
    print(f"\n{check.text()}\n\nmemcap: {outcome}; what was found is in {folder}")
    if unknown:
        known = f"{unknown} of {len(timed)} groups are not known well enough"
        raise UsageError(f"{known}; raise limit_s, or quiet the machine")
    return check.passed


def _blamed(root: Path, kept: Path, base: str, counted: pd.DataFrame, before: Mapping[str, Count]) -> dict[str, str]:
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


def _checkout() -> Path:
    """The checkout that this program is of: its suite is run, and its commits are built."""
    root = Path(__file__).resolve().parents[2]
    if not (root / "tests" / "perf").is_dir() or not (root / ".git").exists():
        rule = "needs a checkout of memcap, with its tests and its history"
        raise GridError("check", "speed", rule, "run it from a clone, by make perf-check")
    return root
