"""A command on a terminal of a given size, as somebody sees it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

from tests.conftest import ROOT, Done

# Colours and moves of the cursor, ECMA-48.
CONTROLS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def on_terminal(columns: int, *arguments: str, folder: Path, **environment: str) -> Done:
    """`memcap` with these arguments in a folder, both streams on a terminal: its exit status, and all that was written there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", *arguments],
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=inherited | {"PYTHONPATH": str(ROOT), "TERM": "xterm"} | environment,
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            read = os.read(ours, 1 << 16)
        except OSError:  # How Linux says that nobody has the other end any more.
            break
        if not read:
            break
        written += read
    os.close(ours)
    return Done(process.wait(), written.decode(), "")


def lines(written: str) -> list[str]:
    """What stood in the lines of the terminal, those of a bar too, one for each time that it was drawn."""
    return re.split(r"[\r\n]+", CONTROLS.sub("", written))
