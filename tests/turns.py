"""Which tests of several workers may run at once: all, but for those that measure time, or use the one GPU, and then run alone."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

ALONE = ("clock", "gpu")

# Folders can be locked, and leave no file behind.
GATE, ROOM = Path(__file__).parent, Path(__file__).parents[1]


@contextmanager
def turn(*, alone: bool) -> Iterator[None]:
    """Held while a test runs: by many at once, or by one `alone`. Without workers (pytest's -n) there is nothing to wait for."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        yield
        return
    with _opened(GATE) as gate, _opened(ROOM) as room:
        # Whoever waits to be alone holds the gate, so that nobody enters before.
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        yield


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    with ExitStack() as stack:
        descriptor = os.open(folder, os.O_RDONLY)
        stack.callback(os.close, descriptor)
        yield descriptor
