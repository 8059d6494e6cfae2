"""Which tests of several workers may run at once: all, but for those that measure time, or use the one GPU, and then run alone."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ALONE = ("clock", "gpu")


@contextmanager
def turn(*, alone: bool) -> Iterator[None]:
    """Held while a test runs: by many at once, or by one `alone`. Without workers (pytest's -n) there is nothing to wait for."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if run is None:
        yield
        return
    with open(_path(run, "gate"), "w") as gate, open(_path(run, "room"), "w") as room:
        # Whoever waits to be alone holds the gate, so that nobody enters before.
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        yield


def _path(run: str, name: str) -> Path:
    return Path(tempfile.gettempdir()) / f"memcap-tests-{run}-{name}"
