"""Claims: the right to write certain files of a folder, of one process at a time, also where machines share a file system.

A claim is a file that only one process can make, with a random id and no name of a host. Its holder locks it and touches it
every BEAT_S. On the same machine (since the same boot) the lock tells whether the holder lives; from another one, whose
processes cannot be seen and whose clock may differ, the file is watched: a claim that nobody touches for EXPIRY_S has expired.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

# Clients of a network file system may look at a file's times no more often than every few seconds.
BEAT_S, EXPIRY_S = 2.0, 15.0
# How often a claim of another is looked at while one waits for it.
LOOK_EVERY_S = 0.2

# Changes when a machine starts, and is the same for all its processes.
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Claimed(Exception):
    """Another process holds the claim, or has taken it. The message is one line: what, since when, what to do."""


class Claim:
    """A claim that this process holds. `check` it before writing."""

    def __init__(self, path: Path, descriptor: int):
        self.path, self._descriptor = path, descriptor
        self._ended = threading.Event()
        self._beats = threading.Thread(target=self._beat, daemon=True)
        self._beats.start()

    def holds(self) -> bool:
        """Whether it is still this process's."""
        with contextlib.suppress(OSError):
            return _same(os.stat(self.path), os.fstat(self._descriptor))
        return False

    def check(self) -> None:
        """That it is still this process's.

        Raises:
            Claimed: its file was removed, or is another's.
        """
        if not self.holds():
            folder = self.path.parent
            what = "was taken over by another process" if folder.exists() else "was removed while this process wrote into it"
            raise Claimed(f"{folder}: {what}, so this one has stopped")

    def release(self) -> None:
        """Give the claim up; others may take it."""
        self._ended.set()
        self._beats.join()
        if self.holds():
            with contextlib.suppress(OSError):
                os.unlink(self.path)
        os.close(self._descriptor)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            with contextlib.suppress(OSError):  # On a full or absent disk it expires.
                os.utime(self._descriptor)


class _Held(NamedTuple):
    """What a claim's file says: who holds it (a random id, marked by the machine's boot), since when, and its last beat."""

    id: str
    boot: str | None
    since: str
    beat_ns: int


@contextmanager
def claim(folder: Path, name: str, *, waits: bool = False) -> Iterator[Claim]:
    """Hold a claim while this lasts.

    Args:
        folder: whose files are claimed; it is there.
        name: of the claim, as a reader of the folder would call its holder: "run", "report".
        waits: for the end of another that holds it, in place of raising.

    Raises:
        Claimed: another process holds it.
        OSError: the folder cannot be written to.
    """
    path = folder / f".{name}.claim"
    held = _acquired(path, name, waits=waits)
    try:
        yield held
    finally:
        held.release()


def _acquired(path: Path, name: str, *, waits: bool) -> Claim:
    told = False
    while (made := _make(path)) is None:
        other = _read(path)
        if other is None:  # It has just gone.
            continue
        here = _is_here(other)
        if not told and (waits or not here):
            told = True
            end = "its end" if here else f"its end, or for {EXPIRY_S:g} s without a sign of life from it"
            print(f"memcap: another {name} of {path.parent} began at {other.since}; waiting for {end}", flush=True)
        if _removed(path) if here else _expired(path, other):
            continue
        if not waits:
            remedy = f"wait for its end, or stop it; should it hang, rm {path} takes the folder over"
            raise Claimed(f"{path.parent}: another {name} has written into it since {other.since}; {remedy}")
        time.sleep(LOOK_EVERY_S)
    return made


def _make(path: Path) -> Claim | None:
    """The claim, if there was none."""
    own = secrets.token_hex(16)
    # Locked and filled before it has its name: nobody sees a claim that is half made.
    partial = path.with_name(f"{path.name}.{own[:8]}.partial")
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        try:
            # Where nothing can be locked, it is watched by all.
            boot = _boot(own) if _lock(descriptor) else None
            about = {"id": own, "boot": boot, "since": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")}
            os.write(descriptor, json.dumps(about).encode())
            os.link(partial, path)
        finally:
            os.unlink(partial)
        return Claim(path, descriptor)
    except FileExistsError:
        os.close(descriptor)
        return None
    except BaseException:
        # Without its lock it is no claim any more.
        os.close(descriptor)
        raise


def _read(path: Path) -> _Held | None:
    """What a claim says; None where there is none. One that cannot be read is of nobody here."""
    try:
        with path.open("rb") as file:
            text, beat_ns = file.read(), os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None
    try:
        about = json.loads(text)
        return _Held(str(about["id"]), about["boot"], str(about["since"]), beat_ns)
    except (ValueError, LookupError, TypeError):
        return _Held(hashlib.sha256(text).hexdigest(), None, "an unknown time", beat_ns)


def _removed(path: Path) -> bool:
    """Whether the holder of a claim of this machine's does not live any more; the claim is then removed, or was by another."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        if not _lock(descriptor):
            return False
        # Who removes one holds its lock; so it is still the one that was opened, or another process was first.
        with contextlib.suppress(FileNotFoundError):
            if _same(os.stat(path), os.fstat(descriptor)):
                path.unlink()
        return True
    finally:
        os.close(descriptor)


def _expired(path: Path, other: _Held) -> bool:
    """Whether nobody touched a claim for EXPIRY_S, by this process's own clock; it is then removed, or was by another."""
    deadline = time.monotonic() + EXPIRY_S
    while time.monotonic() < deadline:
        time.sleep(LOOK_EVERY_S)
        if (now := _read(path)) != other:
            return now is None
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, aside)
        found = _read(aside)
        if found is not None and found.id != other.id:
            # Another process was first, and has claimed it since.
            with contextlib.suppress(FileExistsError):
                os.link(aside, path)
        aside.unlink(missing_ok=True)
    return True


def _is_here(other: _Held) -> bool:
    """Whether a claim was made since this machine started, so that a lock tells whether its holder lives."""
    return other.boot is not None and other.boot == _boot(other.id)


def _boot(own: str) -> str | None:
    """The boot of this machine as a mark that only it can make again, with the id that is marked."""
    try:
        boot = BOOT_ID.read_text()
    except OSError:
        return None
    return hashlib.sha256(f"{boot} {own}".encode()).hexdigest()[:16]


def _lock(descriptor: int) -> bool:
    """Lock a file for this process, if no other has."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
