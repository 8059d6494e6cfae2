"""What submitit carries to a node: a command line of this program, and nothing else."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence

from submitit.helpers import DelayedSubmission

from bench.machine.child import command, environment

LOOK_EVERY_S = 0.1

# A process that ends for a signal has a negative status, and only the last byte is passed on.
BY_SIGNAL = 128


class CommandLine:
    """`memcap ARGUMENTS`, to be called on a node. It keeps nothing but the arguments."""

    def __init__(self, arguments: Sequence[str]):
        self.arguments = tuple(arguments)

    def __call__(self) -> None:
        """Run it to its end; where that is a failure, this process ends with its status."""
        self._child = subprocess.Popen(command("bench", *self.arguments), env=environment())
        # In small waits, since `checkpoint` is called by a signal's handler, in the midst of one.
        while (status := self._child.poll()) is None:
            time.sleep(LOOK_EVERY_S)
        if status:
            sys.exit(status if status > 0 else BY_SIGNAL - status)

    def checkpoint(self) -> DelayedSubmission:
        """What submitit calls before the time limit and where it is preempted: the command keeps what had ended, and ends; the
        same line is queued again.
        """
        self._child.terminate()
        # Where it has just ended, `__call__` may have been told so.
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOWAIT)
        return DelayedSubmission(CommandLine(self.arguments))
