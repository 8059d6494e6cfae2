"""Signals that ask a command to end: all take the way of Ctrl-C, and what the first begins no other cuts short."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# A terminal that closes sends the last one; Windows has none.
ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

# What a shell adds to the number of the signal that ended a program.
BY_SIGNAL = 128

AT_ONCE = b"\nmemcap: stopping\n"


class Stopped(KeyboardInterrupt):
    """A signal has asked this process to end; `status` is the exit status that says so."""

    def __init__(self, number: int):
        super().__init__(number)
        self.status = BY_SIGNAL + number


class _Asked:
    """The signal that came first; whether what runs now shall come to its end before; whether the process is about to end."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.held = 0
        self.answered = False

    def take(self, number: int, frame: FrameType | None) -> None:
        """The handler: says at once that it stops, and raises. While the first is dealt with, others do nothing."""
        if self.answered or self.number is not None:
            return
        self.number = number
        say_at_once(AT_ONCE)
        if not self.held:
            raise Stopped(self.number)

    def lost(self, unraisable: Any) -> None:
        """The hook for what was raised in a destructor, where nothing can be: if a stop was lost there, the next counts."""
        if isinstance(unraisable.exc_value, Stopped):
            self.number = None
        else:
            sys.__unraisablehook__(unraisable)


_asked = _Asked()


def listen() -> None:
    """From now on each of ENDING raises `Stopped` in the main thread, once. One that was ignored stays ignored."""
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _asked.take)
    sys.unraisablehook = _asked.lost


def answered() -> None:
    """From now on signals do nothing: this process is about to end because of one."""
    _asked.answered = True
    # As the interpreter ends it gives up handlers, but not that a signal is ignored.
    for number in ENDING:
        if signal.getsignal(number) == _asked.take:
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def unbroken() -> Iterator[None]:
    """What is written here is written to its end: a signal that comes meanwhile stops the command after it."""
    before = _asked.number
    _asked.held += 1
    try:
        yield
    finally:
        _asked.held -= 1
    if _asked.number is not None and before is None and not _asked.held:
        raise Stopped(_asked.number)


def say_at_once(text: bytes) -> None:
    """Write to the standard error stream, past all buffers. From a closed terminal on, all output goes nowhere."""
    try:
        os.write(2, text)
    except OSError:
        nowhere(1, 2)


def nowhere(*streams: int) -> None:
    """Let what is written to these file descriptors go nowhere, instead of failing."""
    sink = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        with contextlib.suppress(OSError):
            os.dup2(sink, stream)
    os.close(sink)
