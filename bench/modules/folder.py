"""A diagnosis as a folder: verdict, tables and the page. What stands there is read again, never run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from bench.modules.causes import Finding
from bench.modules.verdict import Verdict
from bench.protocol.grid import GridError
from bench.report.module_page import FOUND, MOST_DRAWN, build_module, in_order
from bench.store import provenance
from bench.store.atomic import write_atomically
from bench.store.claims import claim
from bench.store.folder import forget, writable
from bench.store.tables import write_tables

# What a diagnosis leaves; where FOUND is not among it, what has these names is another's.
CONTENTS = (FOUND, "tables", "report.html", "provenance.json")

# Of a run's folder.
PLAN = "plan.parquet"


class Found(Protocol):
    """What is kept of a diagnosis; `bench.modules.diagnosis.ModuleDiagnosis` says what each is."""

    @property
    def verdict(self) -> Verdict: ...
    @property
    def findings(self) -> tuple[Finding, ...]: ...
    @property
    def evidence(self) -> pd.DataFrame: ...
    @property
    def curves(self) -> pd.DataFrame: ...
    @property
    def signal(self) -> pd.DataFrame: ...
    @property
    def network(self) -> Mapping[str, Any]: ...
    @property
    def asked(self) -> Mapping[str, Any]: ...
    @property
    def ran(self) -> Mapping[str, Any]: ...
    @property
    def took(self) -> Mapping[str, Any]: ...


def owned(folder: Path) -> Path:
    """The folder, which is new, empty, or that of such a diagnosis, which the next one replaces.

    Raises:
        bench.GridError: it is another's, or cannot be written to.
    """
    held = [name for name in (*CONTENTS, PLAN) if (folder / name).exists()]
    # Tables of a diagnosis without its verdict: somebody stopped it as it was written.
    tables = [path.name for path in (folder / "tables").glob("*.csv")]
    unfinished = bool(tables) and all(name.startswith("module_") for name in tables)
    if held and ((FOUND not in held and not unfinished) or PLAN in held):
        of = "of a run" if PLAN in held else "but no diagnosis that they belong to"
        raise GridError("run_dir", str(folder), f"holds {', '.join(held)}, {of}", "name a new folder, or that of a diagnosis")
    return writable(folder)


def keep(folder: Path, found: Found, config: Mapping[str, Any] | None = None) -> Path:
    """Leave a diagnosis in a folder, in place of the one that was there; returns the page's path.

    Args:
        folder: is made if it is not there.
        found: the diagnosis.
        config: the settings of the command that asked, from which the page says how to ask again.

    Raises:
        bench.GridError: the folder is another's.
        bench.store.claims.Claimed: another diagnosis is written there.
    """
    owned(folder)
    with claim(folder, "diagnosis"):
        forget(folder, CONTENTS)
        made = found.verdict
        said = {
            "verdict": {
                "cause": str(made.cause),
                "together_with": list(map(str, made.together_with)),
                "change": made.change,
                "code": list(made.code),
                "sentences": list(made.sentences),
            },
            "network": {**found.network, "arguments": {name: repr(own) for name, own in found.network["arguments"].items()}},
            "asked": dict(found.asked),
        }
        write_tables(folder / "tables", _tables(found))
        run = {**provenance.collect(**found.ran), **found.took, "config": dict(config or {})}
        provenance.append(folder, run)
        # Last: without it the folder is none of a diagnosis.
        text = json.dumps(said, indent=2) + "\n"
        write_atomically(folder / FOUND, lambda partial: partial.write_text(text, encoding="utf-8"))
        return build_module(folder)


def _tables(found: Found) -> dict[str, pd.DataFrame]:
    looks = [
        {"about": str(own.about or ""), "found": own.text, "value": own.value, "sure": own.sure, "code": own.code}
        for own in found.findings
    ]
    drawn = in_order(found.evidence, found.verdict.change)["change"].head(MOST_DRAWN) if len(found.evidence) else []
    curves = [found.curves[found.curves["change"] == change] for change in drawn]
    return {
        "module_looks": pd.DataFrame(looks, columns=["about", "found", "value", "sure", "code"]),
        "module_evidence": found.evidence,
        "module_signal": found.signal,
        "module_curves": pd.concat(curves, ignore_index=True) if curves else found.curves,
    }
