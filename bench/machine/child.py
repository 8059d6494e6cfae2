"""Child processes of this program: the same interpreter and the same package, wherever they are started from."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

# How a line of a traceback begins that names the exception.
EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Warning)\b")


def command(module: str, *arguments: str) -> list[str]:
    """What runs a module of this package by itself, in `environment()`, until this process ends."""
    # -P: the working directory is the user's, and files there may have the names of modules.
    return [sys.executable, "-P", "-m", "bench.machine.parent", str(os.getpid()), module, *arguments]


def environment() -> dict[str, str]:
    """The variables of the parent, and where this package is."""
    paths = [str(Path(__file__).parents[2]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def start(module: str, *arguments: str, **pipes: Any) -> subprocess.Popen:
    """A process that runs a module, in a session of its own: Ctrl-C reaches only the parent. It ends with the parent.

    Args:
        module: its full name.
        arguments: of its command line.
        pipes: what `subprocess.Popen` gets beside these.
    """
    return subprocess.Popen(command(module, *arguments), env=environment(), start_new_session=True, **pipes)


def essence(text: str) -> str:
    """What a program that failed says, in a line: the last exception's own, since libraries add hints below it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if EXCEPTION.match(line)]
    return next(iter(named[-1:] + lines[-1:]), "nothing was said")


def one_line(error: Exception) -> str:
    """An error's kind and message."""
    return " ".join(f"{type(error).__name__}: {error}".split())
