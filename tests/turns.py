"""Which tests of several workers may run at once: all, but for those that measure time, or use the one GPU, and then run alone."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.skips import NEED_GPU

ALONE = ("clock", *NEED_GPU)

# Folders can be locked, and leave no file behind.
GATE, ROOM = Path(__file__).parent, Path(__file__).parents[1]

# What the test that runs in this thread holds.
_own = threading.local()


@contextmanager
def turn(*, alone: bool) -> Iterator[None]:
    """Held while a test runs: by many at once, or by one `alone`. Without workers (pytest's -n) there is nothing to wait for."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        yield
        return
    with _opened(GATE) as gate, _opened(ROOM) as room:
        _own.folders = gate, room
        _enter(fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


@contextmanager
def alone() -> Iterator[None]:
    """Held within a test while it measures: when others have ended what they are at, so that they need not wait for its beginning."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        yield
        return
    fcntl.flock(_own.folders[1], fcntl.LOCK_UN)
    _enter(fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(_own.folders[1], fcntl.LOCK_UN)
        _enter(fcntl.LOCK_SH)


def _enter(how: int) -> None:
    gate, room = _own.folders
    # Whoever waits to be alone holds the gate, so that nobody enters before.
    fcntl.flock(gate, fcntl.LOCK_EX)
    fcntl.flock(room, how)
    fcntl.flock(gate, fcntl.LOCK_UN)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    with ExitStack() as stack:
        descriptor = os.open(folder, os.O_RDONLY)
        stack.callback(os.close, descriptor)
        yield descriptor
