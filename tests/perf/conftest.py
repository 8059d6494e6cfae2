"""Timed calls in turn with those of another process, where there is one: bench/gates/turns.py says whose turn it is.

Imports nothing of the program, which may be an older one.
"""

from __future__ import annotations

import os
import socket

import pytest


class Turns:
    """What comes before a timed call and after it."""

    def __init__(self, line: socket.socket | None):
        self._line = line

    def take(self) -> None:
        """Wait until the other process is in no timed call, nor in anything else.

        Raises:
            ConnectionError: whoever tells whose turn it is has gone.
        """
        if self._line:
            self._line.sendall(b"a")
            if not self._line.recv(1):
                raise ConnectionError("nobody tells whose turn it is")

    def over(self) -> None:
        if self._line:
            self._line.sendall(b"o")


@pytest.fixture(scope="session")
def turns():
    descriptor = os.environ.get("MEMCAP_TURNS")
    if descriptor is None:
        yield Turns(None)
        return
    with socket.socket(fileno=int(descriptor)) as line:
        yield Turns(line)


@pytest.fixture
def timed(benchmark, turns):
    """Runs a function so many times, each in a turn of its own, after one call that is not counted; what it returned last."""

    def run(function, calls: int):
        return benchmark.pedantic(function, setup=turns.take, teardown=turns.over, rounds=calls, warmup_rounds=1)

    return run
