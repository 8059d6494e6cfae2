"""A folder of runs and checks -> index.html, a page that leads to their reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.report.blocks import image, render
from bench.report.build import DRAWN, FINDINGS
from bench.report.check_page import FOUND, MARKS
from bench.report.module_page import FOUND as DIAGNOSED
from bench.report.network_figures import MAP
from bench.report.network_page import FOUND as NETWORKS
from bench.store import provenance
from bench.store.atomic import write_atomically
from bench.store.parts import PENDING, Design, Store

# Findings of a run that the index tells.
TOLD = 3

KINDS = {Design.PRODUCT: "grid", Design.SEARCH: "search for frontiers", Design.VARIANTS: "diagnosis"}


def runs_in(folder: Path) -> list[Path]:
    """The runs and checks right below a folder, by name."""
    marks = ("plan.parquet", FOUND, DIAGNOSED, NETWORKS)
    return sorted(own for own in folder.iterdir() if any((own / mark).exists() for mark in marks))


def build_index(folder: Path) -> Path:
    """Write index.html of the runs and checks below a folder, the latest first; returns the page's path.

    It shows what their reports say: `memcap report` of a run brings it up to date.
    """
    entries = [_entry(own) for own in runs_in(folder)]
    entries.sort(key=lambda entry: entry["started"], reverse=True)
    text = render("index.html", title="Runs", name=folder.resolve().name, entries=entries)
    write_atomically(folder / "index.html", lambda partial: partial.write_text(text, encoding="utf-8"))
    return folder / "index.html"


def _entry(folder: Path) -> dict[str, Any]:
    if (folder / FOUND).exists():
        return _check(folder)
    if (folder / NETWORKS).exists():
        return _networks(folder)
    return _module(folder) if (folder / DIAGNOSED).exists() else _run(folder)


def _module(folder: Path) -> dict[str, Any]:
    """What the index tells of a diagnosis of somebody's own network: its verdict."""
    found = json.loads((folder / DIAGNOSED).read_text(encoding="utf-8"))
    return {
        **_about(folder),
        "kind": f"diagnosis of {found['network']['name']}",
        "cells": "",
        "verdict": found["verdict"]["cause"],
        "findings": found["verdict"]["sentences"][:TOLD],
        "picture": None,
    }


def _networks(folder: Path) -> dict[str, Any]:
    """What the index tells of networks of one's own on noise."""
    found = json.loads((folder / NETWORKS).read_text(encoding="utf-8"))
    drawn = folder / "figures" / f"{MAP}.png"
    return {
        **_about(folder),
        "kind": f"networks of {found['model']} on noise",
        "cells": "",
        "verdict": "",
        "findings": _told(folder),
        "picture": {**image(drawn), "alt": "A map of networks by sample counts."} if drawn.exists() else None,
    }


def _told(folder: Path) -> list[str]:
    """The first findings of a report; none without one."""
    findings = folder / FINDINGS
    lines = findings.read_text(encoding="utf-8").splitlines() if findings.exists() else []
    return [line.removeprefix("- ") for line in lines[:TOLD]]


def _run(folder: Path) -> dict[str, Any]:
    """What the index tells of a run; without a report nothing of its findings."""
    store = Store(folder)
    status = store.read_cells()["status"]
    pending = int((status == PENDING).sum())
    return {
        **_about(folder),
        "kind": KINDS[store.design()[0]],
        "cells": f"{len(status):,} cells" + (f", {pending:,} of them without a result yet" if pending else ""),
        "verdict": "",
        "findings": _told(folder),
        "picture": _first_picture(folder / "figures"),
    }


def _check(folder: Path) -> dict[str, Any]:
    """What the index tells of a check: its verdict."""
    found = json.loads((folder / FOUND).read_text(encoding="utf-8"))
    if found.get("outcome") not in MARKS:
        return {
            **_about(folder),
            "kind": "check",
            "cells": "",
            "verdict": "of another version",
            "findings": [],
            "picture": None,
        }
    return {
        **_about(folder),
        "kind": f"check of {found['check']}",
        "cells": "",
        "verdict": f"{MARKS[found['outcome']]} {found['outcome']}",
        "findings": [f"{found['head']} against {found['base']}."],
        "picture": None,
    }


def _about(folder: Path) -> dict[str, Any]:
    """Name, when it was last run, on what, and whether it has a report."""
    run = next(reversed(provenance.read(folder)), {})
    return {
        "name": folder.name,
        "started": str(run.get("started_at") or "").replace("T", " ").replace("+00:00", " UTC"),
        "device": str(run.get("device") or ""),
        "report": (folder / "report.html").exists(),
    }


def _first_picture(figures: Path) -> dict[str, str | int] | None:
    """The first figure of a report, with the text that says what it shows."""
    try:
        first = json.loads((figures / DRAWN).read_text(encoding="utf-8"))["pictures"][0]
        # Within the page: its Content-Security-Policy shows no other image.
        return {**image(figures / f"{first['name']}.png"), "alt": first["alt"]}
    except (OSError, ValueError, LookupError):  # The run has no report, or one without figures.
        return None
