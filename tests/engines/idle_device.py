"""A device for the CUDA engine that trains nothing: what is left of a run is the host's part, which is timed here."""

from __future__ import annotations

import ctypes
import gc
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np

from bench.engines.cuda.device import Launch
from bench.engines.cuda.tiles import Kernel, Sizes
from bench.engines.packs import Pack
from bench.engines.task import ENDED, PAUSED, Spec, Task
from bench.protocol.cells import Cell

NUMBER_BYTES = 8

# Parts of `host_part` that are not the host's: draws, which workers make or which are kept; what stands in for a device; and copies
# of bytes to and from it, which a device makes by itself.
NOT_THE_HOSTS = ("draws", "device", "copies")


class IdleMemory:
    """Pieces are used again, as a GPU's are, so that none costs the system's first touch of its pages."""

    def __init__(self, device: IdleDevice, n_bytes: int):
        pool = self._pool = device.pool
        self._device, size = device, 1 << max(12, (n_bytes + 64).bit_length())
        self._piece = pool[size].pop() if pool[size] else np.zeros(size, dtype=np.uint8)
        self.address = self._piece.ctypes.data + -self._piece.ctypes.data % 64
        self._bytes = self._piece[self.address - self._piece.ctypes.data :]

    def __del__(self) -> None:
        self._pool[len(self._piece)].append(self._piece)

    def write(self, values: np.ndarray) -> None:
        flat = values.reshape(-1).view(np.uint8)
        self._bytes[: len(flat)] = flat

    def read(self, n_bytes: int, at: int = 0) -> np.ndarray:
        return self._bytes[at : at + n_bytes]

    def gathered(self, starts: np.ndarray, counts: np.ndarray) -> IdleMemory:
        copy, at = IdleMemory(self._device, NUMBER_BYTES * int(counts.sum())), 0
        self._device.numbers_read += int(counts.sum())
        for start, n_bytes in zip((starts * NUMBER_BYTES).tolist(), (counts * NUMBER_BYTES).tolist(), strict=True):
            ctypes.memmove(copy.address + at, self.address + start, n_bytes)
            at += n_bytes
        return copy


class IdleDevice:
    """Cells go on by so many epochs in a slice, and their tau falls as 1 / (1 + epoch / `halved`), whatever they are."""

    name, arch = "idle", "sm_90"
    scratch_bytes = 1 << 30

    def __init__(self, *, epochs: int, halved: float, places: int = 792, slice_s: float = 0.0):
        self._epochs, self._halved, self._places, self._slice_s = epochs, halved, places, slice_s
        self._started: tuple[int, np.ndarray] | None = None
        self.pool: dict[int, list[np.ndarray]] = defaultdict(list)
        self.slices = self.numbers_read = 0
        self.launches: list[Launch] = []

    def measure(self, kernel: Kernel, specs: Sequence[Spec]) -> list[Sizes]:
        return [Sizes(1 << 12, 1 << 12, 1) for _ in specs]

    def teams(self, kernel: Kernel, threads: int, scratch_bytes: int, team: int) -> int:
        return self._places // team

    def most_team(self) -> int:
        return 1

    def free_bytes(self) -> int:
        return 1 << 40

    def memory(self, n_bytes: int) -> IdleMemory:
        return IdleMemory(self, n_bytes)

    def start(self, tasks: IdleMemory, launches: Sequence[Launch], length_s: float) -> None:
        assert self._started is None, "a slice was started beside another"
        self.slices += 1
        self.launches = list(launches)
        self._started = tasks.address, np.concatenate([launch.order for launch in launches])

    def wait(self) -> None:
        if self._started is None:
            return
        address, order = self._started
        self._started = None
        time.sleep(self._slice_s)
        for slot in order.tolist():
            task = Task.from_address(address + slot * ctypes.sizeof(Task))
            at, last = task.progress, last_epoch(self._halved, task.spec.tau, task.spec.max_epochs)
            count = min(self._epochs, task.room, last + 1 - at.epoch)
            taus = falling(self._halved, task.spec.max_epochs)
            for to in (task.tau, task.val_mse if task.spec.n_val else 0):
                if to:
                    ctypes.memmove(to, taus.ctypes.data + NUMBER_BYTES * at.epoch, NUMBER_BYTES * count)
            at.epoch += count
            at.state = PAUSED
            if at.epoch > last:
                at.epoch, at.state = last, ENDED
                ctypes.memset(task.predictions, 0, NUMBER_BYTES * task.n_predictions)


@cache
def falling(halved: float, max_epochs: int) -> np.ndarray:
    return (1 / (1 + np.arange(max_epochs + 1) / halved)).astype(np.float32).astype(np.float64)


@cache
def last_epoch(halved: float, tau: float, max_epochs: int) -> int:
    """The epoch whose measure ends a cell."""
    below = np.flatnonzero(falling(halved, max_epochs) <= np.float32(tau))
    return int(below[0]) if len(below) else max_epochs


class Clock:
    """CPU time of this thread by part; a part that is called within another is no part of that."""

    def __init__(self):
        self.time_s: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._since = 0.0

    def timed(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            self._turn(self._open[-1] if self._open else None)
            self._open.append(part)
            try:
                return call(*arguments, **named)
            finally:
                self._turn(self._open.pop())

        return run

    def _turn(self, part: str | None) -> None:
        now = time.thread_time()
        if part is not None:
            self.time_s[part] += now - self._since
        self._since = now


def host_part(cells: Iterable[Cell], device: IdleDevice, **wanted: Any) -> tuple[dict[str, float], int]:
    """Microseconds of the feeding thread for a cell, by part, and how many outcomes there were."""
    from bench.engines import ahead, draws, record
    from bench.engines.cuda import engine, lane

    parts = {
        "draws": [(draws, "training_data"), (draws, "validation_data"), (draws, "initial_layers")],
        "prepare": [(ahead.Ahead, "image")],
        "hold": [(lane.Lane, "admit"), (lane.Lane, "__init__")],
        "launch": [(lane.Lane, "start")],
        "fetch": [(lane.Lane, "fetch")],
        "absorb": [(lane.Lane, "absorb")],
        "outcome": [(record.RecordTable, "outcomes")],
        "device": [(IdleDevice, "start"), (IdleDevice, "wait")],
        "copies": [(IdleMemory, "gathered"), (IdleMemory, "read"), (IdleMemory, "write")],
    }
    clock = Clock()
    replaced = [(owner, name, getattr(owner, name), part) for part, names in parts.items() for owner, name in names]
    cells = tuple(cells)
    n_outcomes = 0
    gc.collect()
    try:
        for owner, name, call, part in replaced:
            setattr(owner, name, clock.timed(part, call))

        def run() -> None:
            nonlocal n_outcomes
            for report in engine.CudaEngine([device]).train(Pack(cells, 1), **wanted):
                n_outcomes += len(report.outcomes)

        clock.timed("engine", run)()
    finally:
        for owner, name, call, _ in replaced:
            setattr(owner, name, call)
    return {part: 1e6 * time_s / len(cells) for part, time_s in clock.time_s.items()}, n_outcomes
