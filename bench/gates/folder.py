"""The folder of a check: whose it is, what a check leaves there, and that nothing old stays green in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from bench.gates.benchmarks import as_pytest_benchmark
from bench.gates.check import Check, Finding, Verdict
from bench.protocol.grid import GridError
from bench.report.check_page import FOUND, build_check
from bench.store import provenance
from bench.store.atomic import write_atomically
from bench.store.claims import claim
from bench.store.folder import forget, writable
from bench.store.tables import write_tables

# What a check leaves; where FOUND is not among it, what has these names is another's.
CONTENTS = (
    FOUND,
    "check.md",
    "check.xml",
    "benchmark_base.json",
    "benchmark_head.json",
    "tables",
    "figures",
    "report.html",
    "provenance.json",
    "config.yaml",
)

# Of a run's folder.
PLAN = "plan.parquet"


@contextmanager
def begun(folder: Path, name: str, base: str) -> Iterator[None]:
    """While a check is held its folder says that it has not come to its end; where it cannot be held, it goes on to say why.

    So what a later step of a workflow finds there is never of an earlier check.

    Args:
        folder: of the check; is made if it is not there.
        name: of the check, speed or capacity.
        base: what is held against, as it was asked for.

    Raises:
        bench.GridError: the folder is another's, or cannot be written to.
        bench.store.claims.Claimed: another check is held there.
    """
    _owned(folder, name)
    writable(folder)
    with claim(folder, "check"):
        forget(folder, CONTENTS)
        _unfinished(folder, name, base, "did not come to its end")
        try:
            yield
        except Exception as error:  # Whatever it was, it is raised again.
            if json.loads((folder / FOUND).read_text(encoding="utf-8"))["findings"][0]["test"] == name:
                _unfinished(folder, name, base, " ".join(str(error).split()))
            raise


def keep(
    folder: Path, check: Check, tables: Mapping[str, pd.DataFrame], run: Mapping[str, Any], times: pd.DataFrame | None = None
) -> None:
    """Leave all of a check in its folder: findings in every form, tables, the page, and of speeds what pytest-benchmark writes.

    Args:
        folder: that `begun` has prepared.
        check: what was found.
        tables: as of `bench.store.tables.write_tables`.
        run: the entry of provenance.json: `config`, `started_at`, `wall_time_s`, and under `base` and `head` what ran where.
        times: of a check of speed, a row for each round, side and benchmark.
    """
    write_tables(folder / "tables", tables)
    provenance.append(folder, dict(run))
    if times is not None:
        for side in ("base", "head"):
            made = as_pytest_benchmark(times, side, {"started_at": run["started_at"], **run[side]})
            _write(folder / f"benchmark_{side}.json", json.dumps(made, indent=2) + "\n")
    check.write(folder)
    build_check(folder)


def _owned(folder: Path, name: str) -> None:
    """Whether the folder is empty, new, or of this kind of check."""
    held = [own for own in (*CONTENTS, PLAN) if (folder / own).exists()]
    remedy = "name a new folder, or that of such a check"
    if held and (FOUND not in held or PLAN in held):
        of = "of a run" if PLAN in held else "but no check that they belong to"
        raise GridError("run_dir", str(folder), f"holds {', '.join(held[:3])}, {of}", remedy)
    if held:
        try:
            kind = json.loads((folder / FOUND).read_text(encoding="utf-8"))["check"]
        except (ValueError, KeyError, TypeError) as error:
            raise GridError("run_dir", str(folder), f"holds a {FOUND} that is no check's", remedy) from error
        if kind != name:
            raise GridError("run_dir", str(folder), f"holds a check of {kind}", remedy)


def _unfinished(folder: Path, name: str, base: str, reason: str) -> None:
    Check(name, base, "this program", [Finding(name, Verdict.UNDECIDED, reason)]).write(folder)


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))
