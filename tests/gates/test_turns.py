"""Two processes take turns: never at once, each first as often as the other, and one that has gone holds nobody up."""

from __future__ import annotations

import itertools
import socket
import threading
import time

import pytest

from bench.gates.turns import take_turns
from tests.perf.conftest import Turns


def run(calls: list[list[float]], *, first: int = 0) -> tuple[list[tuple[int, float, float]], int]:
    """Threads that make calls of so many seconds in turn: who made each, from when to when; and how many turns there were."""
    made: list[tuple[int, float, float]] = []

    def work(number: int, line: socket.socket) -> None:
        with line:
            turns = Turns(line)
            for length_s in calls[number]:
                turns.take()
                began = time.perf_counter()
                time.sleep(length_s)
                made.append((number, began, time.perf_counter()))
                turns.over()

    pairs = [socket.socketpair() for _ in calls]
    threads = [threading.Thread(target=work, args=(number, its)) for number, (_, its) in enumerate(pairs)]
    for thread in threads:
        thread.start()
    count = take_turns([mine for mine, _ in pairs], first=first)
    for thread, (mine, _) in zip(threads, pairs, strict=True):
        thread.join()
        mine.close()
    return made, count


def test_calls_do_not_overlap_and_the_sides_are_first_by_turns():
    made, count = run([[0.004] * 4, [0.001] * 4])
    assert [number for number, _, _ in made] == [0, 1, 1, 0, 0, 1, 1, 0]
    assert count == 8
    assert all(ended <= began for (_, _, ended), (_, began, _) in itertools.pairwise(made))
    assert [number for number, _, _ in run([[0.001] * 2, [0.001] * 2], first=1)[0]] == [1, 0, 0, 1]


def test_one_that_has_gone_does_not_hold_up_the_other():
    made, _ = run([[0.001], [0.001] * 5])
    assert [number for number, _, _ in made] == [0, 1, 1, 1, 1, 1]


def test_one_that_dies_within_its_turn_gives_it_back():
    mine, its = socket.socketpair()
    other, left = socket.socketpair()

    def dies() -> None:
        Turns(its).take()
        its.close()

    def goes_on() -> None:
        with left:
            for _ in range(3):
                Turns(left).take()

    threads = [threading.Thread(target=dies), threading.Thread(target=goes_on)]
    for thread in threads:
        thread.start()
    # Calls that never say that they are over are, when the next is asked for.
    assert take_turns([mine, other]) == 4
    for thread in threads:
        thread.join()
    mine.close()
    other.close()


def test_a_turn_without_anybody_who_gives_it_is_an_error():
    mine, its = socket.socketpair()
    mine.close()
    with its, pytest.raises((ConnectionError, BrokenPipeError)):
        Turns(its).take()


def test_alone_there_is_nothing_to_wait_for():
    Turns(None).take()
    Turns(None).over()
