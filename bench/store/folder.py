"""The folder of a run: what it may hold, whose it is, and how it is cleared."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from bench.protocol.grid import GridError

# What a run folder may hold; `fresh` removes these in this order and nothing else. Where there is no plan, what has these names
# is another's: so the plan is the last to go.
CONTENTS = (
    "cells",
    "curves",
    "predictions",
    "tables",
    "figures",
    "provenance.json",
    "config.yaml",
    "findings.md",
    "report.html",
    "plan.parquet",
)


def prepared(folder: Path, *, fresh: bool) -> Path:
    """The folder, made if it is not there: one that may be written to, and holds a run or nothing that a run would replace.

    Args:
        folder: where a run keeps its results.
        fresh: forget what a run has left there; other files stay.

    Raises:
        bench.GridError: it cannot be written to, or holds files by the names of a run's that are of none.
    """
    held = [name for name in CONTENTS if (folder / name).exists()]
    if held and "plan.parquet" not in held:
        reason = f"holds {', '.join(held)}, but no run that they belong to"
        raise GridError("run_dir", str(folder), reason, "name a new folder, or the folder of a run")
    if fresh:
        forget(folder, CONTENTS)
    return writable(folder)


def writable(folder: Path) -> Path:
    """The folder, made if it is not there.

    Raises:
        bench.GridError: it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = f"cannot be written to ({error.strerror})"
        raise GridError("run_dir", str(folder), reason, "name a folder that you can write to") from error
    return folder


def forget(folder: Path, names: Iterable[str]) -> None:
    """Remove what has these names in a folder, files and folders with all that is in them."""
    for name in names:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
