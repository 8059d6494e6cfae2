"""A child process ends when its parent does, however that ends. Run by itself: a module of this package, which does so.

kill -9 and a crash leave a parent no time to end its children, and theirs may take hours. Linux sends a signal when the thread
that started a process ends; elsewhere the child looks for its parent now and then.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys
import threading
import time

# prctl(2): the signal that this process gets when its parent ends.
PR_SET_PDEATHSIG = 1

LOOK_EVERY_S = 0.25


def end_with(parent: int) -> None:
    """From now on this process ends when the one with this id does, which has started it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_look, args=(parent,), daemon=True).start()
    # It may have ended before.
    if os.getppid() != parent:
        os._exit(1)


def _look(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY_S)
    os._exit(1)


if __name__ == "__main__":
    # This file, the parent, the module, its arguments.
    end_with(int(sys.argv[1]))
    module = sys.argv[2]
    del sys.argv[1:3]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
