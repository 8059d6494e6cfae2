"""How much time has passed for whom: for somebody who waits, or for this process."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]

# A machine may be this many times too busy before the time that passes counts as well.
MOST_SLOWER = 10.0


def own_time() -> Clock:
    """A clock in seconds that begins now, and that neither a busy machine nor several threads make faster.

    It tells the time that passed, or that in which processors worked for this process where that is less. A network that waits
    for something else than a processor still comes to an end: of what passed at least a share of 1 / MOST_SLOWER counts.
    """
    began, began_own = time.monotonic(), time.process_time()

    def elapsed() -> float:
        passed = time.monotonic() - began
        return max(min(passed, time.process_time() - began_own), passed / MOST_SLOWER)

    return elapsed
