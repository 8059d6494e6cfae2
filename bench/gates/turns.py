"""Two processes that run the same benchmarks take turns, call by call: what slows the machine for a while slows both.

Each process asks before a timed call, waits until it is let, and says when the call is over (tests/perf/conftest.py). Nobody is
let before all that still run have asked, so that nothing else of theirs runs beside a timed call.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Sequence

# What a process says, and what it is told.
ASKS, OVER, GO = b"a", b"o", b"g"

# The variable that tells a process which file descriptor it speaks on.
VARIABLE = "MEMCAP_TURNS"


def take_turns(lines: Sequence[socket.socket], *, first: int = 0) -> int:
    """Let the processes at the other ends have their turns until all have hung up; how many turns there were.

    The process that is first in one turn of all is last in the next one.

    Args:
        lines: one for each process, of which nobody else here holds the other end.
        first: which of them begins.
    """
    running = dict.fromkeys(range(len(lines)), False)  # of those that have not hung up: whether they ask
    order: list[int] = []
    turns, busy = 0, None
    with selectors.DefaultSelector() as selector:
        for number, line in enumerate(lines):
            selector.register(line, selectors.EVENT_READ, number)
        while running:
            for key, _ in selector.select():
                number, said = key.data, lines[key.data].recv(1)
                busy = None if busy == number else busy
                if said:
                    running[number] = said == ASKS
                else:
                    selector.unregister(lines[number])
                    del running[number]
            if busy is None and running and all(running.values()):
                order = [number for number in order if number in running] or _order(list(running), first + turns // len(lines))
                busy = order.pop(0)
                running[busy] = False
                turns += 1
                lines[busy].sendall(GO)
    return turns


def _order(numbers: list[int], turn: int) -> list[int]:
    return numbers if turn % 2 == 0 else numbers[::-1]
