"""The folder of a run: what it may hold, whose it is, who may write what there, and how it is cleared."""

from __future__ import annotations

import contextlib
import errno
import math
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.protocol.grid import GridError
from bench.store.claims import Claim, claim
from bench.store.parts import CONTENTS, PART_NAME, SHARDS

# What a report writes; all else is the run's.
REPORTED = ("tables", "figures", "findings.md", "report.html")

# What `write_atomically` leaves of a file where its process is ended.
_PARTIAL = re.compile(r"\.(.+)\.[0-9a-f]{8}\.partial")

# No part takes longer to write.
LONGEST_WRITE_S = 3600.0

# Errors that are no fault of the folder's name.
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


@contextmanager
def held(folder: Path, *, fresh: bool) -> Iterator[Claim]:
    """A run's folder, held while this lasts: no other process changes its plan, deals out its cells or writes their results.

    Args:
        folder: where a run keeps its results; is made if it is not there.
        fresh: forget what a run has left there; other files stay.

    Yields:
        The claim: `check` it before writing.

    Raises:
        bench.GridError: it cannot be written to, or holds files by the names of a run's that are of none.
        bench.store.claims.Claimed: another run holds it.
    """
    if left := not_of_a_run(folder):
        reason = f"holds {', '.join(left)}, but no run that they belong to"
        raise GridError("run_dir", str(folder), reason, "name a new folder, or the folder of a run")
    writable(folder)
    with claim(folder, "run") as own:
        if fresh:
            with claim(folder, "report", waits=True):
                forget(folder, CONTENTS)
        forget_partials(folder, [name for name in CONTENTS if name not in REPORTED])
        yield own


@contextmanager
def held_for_report(folder: Path) -> Iterator[None]:
    """The tables, figures and page of a run's folder, held while this lasts: another report waits, a run may train on.

    Raises:
        OSError: the folder cannot be written to.
    """
    with claim(folder, "report", waits=True):
        forget_partials(folder, REPORTED)
        yield


def not_of_a_run(folder: Path) -> list[str]:
    """What has the names of a run's files and is of none; parts tell a run that has lost its plan."""
    try:
        left = [name for name in CONTENTS if (folder / name).exists()]
    except OSError:  # `writable` says why.
        return []
    return [] if "plan.parquet" in left or has_parts(folder) else left


def has_parts(folder: Path) -> bool:
    """Whether cells of a run are there, whatever became of its plan."""
    cells = folder / "cells"
    return cells.is_dir() and any(PART_NAME.fullmatch(path.name) for path in cells.iterdir())


def forget_partials(folder: Path, names: Iterable[str]) -> None:
    """Remove what ended processes had begun to write of these files, and in these folders; whoever calls holds the claim.

    Where cells are dealt out to shards, which may be at work, only what nobody has written to for long.
    """
    names = tuple(names)
    before = time.time() - LONGEST_WRITE_S if (folder / SHARDS).exists() else math.inf
    for path in [*folder.glob(".*.partial"), *(path for name in names for path in (folder / name).glob(".*.partial"))]:
        match = _PARTIAL.fullmatch(path.name)
        if match and (path.parent != folder or match[1] in names):
            # A shard at work may have given it its name by now.
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()


def writable(folder: Path) -> Path:
    """The folder, made if it is not there.

    Raises:
        bench.GridError: it cannot be written to.
        OSError: its disk is full, or fails.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if error.errno in _OF_THE_DISK:
            raise
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
