"""A command that is asked to end does so once, and its children with it, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.machine.child import environment


def run(code: str) -> subprocess.CompletedProcess[str]:
    # A shell that runs the tests in the background has its children ignore the signal.
    code = f"import os, signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n{code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), timeout=60)


def test_signals_that_come_while_the_first_is_dealt_with_do_nothing():
    done = run("""
from bench.machine.signals import Stopped, listen
listen()
try:
    try:
        signal.raise_signal(signal.SIGTERM)
    finally:
        for other in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.raise_signal(other)
        try:
            open("/no/such/file")
        except OSError:
            signal.raise_signal(signal.SIGINT)
        print("cleaned up")
except Stopped as stopped:
    print(stopped.status)
""")
    assert (done.returncode, done.stdout, done.stderr) == (0, "cleaned up\n143\n", "\nmemcap: stopping\n")


def test_what_is_being_written_is_written_to_its_end():
    done = run("""
from bench.machine.signals import Stopped, listen, unbroken
listen()
try:
    with unbroken():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        print("written")
    print("gone on")
except Stopped as stopped:
    print(stopped.status)
""")
    assert (done.stdout, done.stderr) == ("written\n143\n", "\nmemcap: stopping\n")


def test_a_stop_that_was_lost_is_asked_for_again_by_the_next_signal():
    done = run("""
from bench.machine.signals import Stopped, listen
listen()
class Dies:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
        for _ in range(3): pass
try:
    died = Dies()
    del died
    signal.raise_signal(signal.SIGINT)
except Stopped as stopped:
    print(stopped.status)
""")
    assert (done.stdout, done.stderr) == ("130\n", "\nmemcap: stopping\n" * 2)


def test_a_signal_that_is_ignored_from_the_start_stays_ignored():
    """As under nohup."""
    done = run("""
from bench.machine.signals import listen
signal.signal(signal.SIGHUP, signal.SIG_IGN)
listen()
signal.raise_signal(signal.SIGHUP)
print("goes on")
""")
    assert (done.returncode, done.stdout, done.stderr) == (0, "goes on\n", "")


@pytest.mark.parametrize("ended_by", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_ends_within_a_second_of_its_parent_however_that_ends(ended_by):
    code = """
import time
from bench.machine.child import start
child = start("timeit", "-n1", "-r1", "import time; print(flush=True); time.sleep(60)", stdout=-1)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment())
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.send_signal(ended_by)
    parent.wait()
    deadline = time.monotonic() + 1
    while lives(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    parent.stdout.close()


def lives(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be collected does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
