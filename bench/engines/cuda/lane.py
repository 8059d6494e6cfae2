"""The cells of one device: those that wait, the longest first, and those in its memory, which train in slices of time."""

from __future__ import annotations

import ctypes
import heapq
import time
from collections import defaultdict, deque
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bench.cells import Cell, Outcome, Status
from bench.engines.api import TrainReport
from bench.engines.cuda.device import Launch, Memory
from bench.engines.cuda.fits import Fit, Fits
from bench.engines.cuda.tiles import Kernel, threads_for
from bench.engines.record import Record
from bench.engines.task import ENDED, Prepared, Task, prepare
from bench.packs import epoch_flops

# Cells in a device's memory at once, and the epochs of each that it can note in a slice.
SLOTS = 4096
ROOM = 4096

# Cells prepared before the first slice begins; the others are while the device works.
FIRST_CELLS = 256

# Share of the free memory that cells may take.
MEMORY_SHARE = 0.8

# Every array in a cell's memory begins on such a boundary, in bytes.
ALIGNMENT = 64


class _Running:
    """A cell in the device's memory."""

    def __init__(self, cell: Cell, fit: Fit, prepared: Prepared, memory: Memory, predictions_at: int, count: int):
        self.cell = cell
        self.fit = fit
        self.record = Record(cell, prepared.spec.variance)
        self.targets = prepared.targets[:count].astype(cell.dtype)
        self.memory = memory
        self.predictions_at = predictions_at


class Slice(NamedTuple):
    """What a device noted in a slice of time: the tasks that took part, rows of measures by slot, and how long it took."""

    tasks: dict[int, Task]
    tau: Float[np.ndarray, "slot epoch"]
    val_mse: Float[np.ndarray, "slot epoch"]
    time_s: float


class Lane:
    """One device's queue. `start` begins a slice, `fetch` waits for its end and reads it, `absorb` says what came of it."""

    def __init__(self, fits: Fits, engine: str, n_predictions: int):
        self._fits = fits
        device = self.device = fits.device
        self._engine = engine
        self._n_predictions = n_predictions
        self._waiting: deque[Cell] = deque()
        self._running: dict[int, _Running] = {}
        self._free = list(range(SLOTS))
        self._tasks = (Task * SLOTS)()
        self._task_memory = device.memory(ctypes.sizeof(self._tasks))
        self._tau, self._val_mse = (device.memory(SLOTS * ROOM * np.dtype(np.float64).itemsize) for _ in range(2))
        self._launched: list[int] = []
        self._started = 0.0

    @property
    def busy(self) -> bool:
        """Whether cells are left."""
        return bool(self._waiting or self._running)

    def extend(self, cells: Iterable[Cell]) -> None:
        """Cells to train, the longest first."""
        for cell in cells:
            self._waiting.append(cell)
            self._fits.fit(cell)  # now, while the device has nothing else to do

    def admit(self) -> list[Outcome]:
        """Take waiting cells into memory: as there is room, until the device is idle. Those that cannot be held fail."""
        failed = []
        room = int(self.device.free_bytes() * MEMORY_SHARE)
        while self._waiting and self._free:
            if len(self._running) >= FIRST_CELLS and self.device.is_idle():
                break
            cell = self._waiting[0]
            try:
                fit = self._fits.fit(cell)
                if fit is None:
                    raise ValueError("its activations do not fit on the chip; use engine=torch")
                prepared = prepare(cell)
                n_bytes = prepared.n_bytes + fit.sizes.memory
                if n_bytes > room:
                    if self._running:
                        break
                    raise MemoryError("more than the device has free")
                room -= n_bytes
                self._hold(cell, fit, prepared)
            except (MemoryError, ValueError) as error:  # Too large; the cells beside it can train.
                failed.append(self._outcome_failed(cell, error))
            self._waiting.popleft()
        return failed

    def start(self, length_s: float) -> bool:
        """Begin a slice with what is in memory and has not ended; whether there was any."""
        self._launched = [slot for slot in self._running if self._tasks[slot].progress.state != ENDED]
        for slot in self._launched:
            self._tasks[slot].first = self._tasks[slot].progress.epoch
        if self._launched:
            self._task_memory.write(np.frombuffer(memoryview(self._tasks), dtype=np.uint8))
            self._started = time.perf_counter()
            self.device.start(self._task_memory, self._launches(), length_s)
        return bool(self._launched)

    def fetch(self) -> Slice:
        """Wait for the end of the slice, and read what it noted. The next can then begin before `absorb`."""
        tasks = (Task * SLOTS).from_buffer_copy(self._task_memory.read(ctypes.sizeof(self._tasks)).tobytes())
        time_s = time.perf_counter() - self._started
        rows = max(self._launched) + 1
        tau = self._rows(self._tau, rows)
        val_mse = self._rows(self._val_mse, rows if any(self._running[slot].cell.n_val for slot in self._launched) else 0)
        for slot in self._launched:
            self._tasks[slot] = tasks[slot]
        return Slice({slot: tasks[slot] for slot in self._launched}, tau, val_mse, time_s)

    def absorb(self, noted: Slice) -> TrainReport:
        """Take in what a slice noted; cells that ended leave the memory."""
        measured = {slot: _measured(task) for slot, task in noted.tasks.items()}
        work = {slot: count * epoch_flops(self._running[slot].cell) for slot, count in measured.items()}
        total = sum(work.values()) or 1
        outcomes, flops = [], 0
        for slot, count in measured.items():
            if not count:
                continue
            one, ended = self._running[slot], noted.tasks[slot].progress.state == ENDED
            dtype = one.cell.dtype
            active = np.arange(count) < count - ended
            val_mse = noted.val_mse[slot, :count].astype(dtype) if one.cell.n_val else None
            time_s = noted.time_s * work[slot] / total
            trained = one.record.absorb(noted.tau[slot, :count].astype(dtype), val_mse, active, time_s)
            flops += trained * epoch_flops(one.cell)
            if ended:
                outcomes.append(self._outcome(one))
                del self._running[slot]
                heapq.heappush(self._free, slot)
        return TrainReport(outcomes, flops)

    @staticmethod
    def _rows(memory: Memory, rows: int) -> Float[np.ndarray, "slot epoch"]:
        return memory.read(rows * ROOM * np.dtype(np.float64).itemsize).view(np.float64).reshape(rows, ROOM)

    def _hold(self, cell: Cell, fit: Fit, prepared: Prepared) -> None:
        """Copy a cell to the device, all in one piece: what the core reads, room for predictions, the core's own memory."""
        count = min(self._n_predictions, cell.n_samples)
        places = [0]
        for n_bytes in (*(array.nbytes for array in prepared.arrays), count * np.dtype(np.float64).itemsize, fit.sizes.memory):
            places.append(places[-1] + -(-n_bytes // ALIGNMENT) * ALIGNMENT)
        *arrays_at, predictions_at, memory_at, total = places
        memory = self.device.memory(total)
        image = np.zeros(predictions_at, dtype=np.uint8)
        for at, array in zip(arrays_at, prepared.arrays, strict=True):
            image[at : at + array.nbytes] = array.reshape(-1).view(np.uint8)
        memory.write(image)
        slot = heapq.heappop(self._free)
        task = Task(spec=prepared.spec, n_predictions=count, n_rates=len(prepared.rates), room=ROOM)
        names = ("params", "inputs", "targets", "val_inputs", "val_targets", "rates")
        for name, at in zip((*names, "predictions", "memory"), (*arrays_at, predictions_at, memory_at), strict=True):
            setattr(task, name, memory.address + at)
        row = slot * ROOM * np.dtype(np.float64).itemsize
        task.tau, task.val_mse = self._tau.address + row, self._val_mse.address + row
        self._tasks[slot] = task
        self._running[slot] = _Running(cell, fit, prepared, memory, predictions_at, count)

    def _launches(self) -> list[Launch]:
        """The cells in memory by what trains them, the longest first, and the group with the longest first."""
        groups: dict[tuple[Kernel, int, int], list[int]] = defaultdict(list)
        for slot in sorted(self._launched, key=self._work_left, reverse=True):
            one = self._running[slot]
            kernel, sizes = one.fit
            threads = threads_for(one.cell, kernel)
            groups[kernel, threads, self.device.places(kernel, threads, sizes.scratch)].append(slot)
        launches = []
        for (kernel, threads, places), slots in groups.items():
            sizes = [self._running[slot].fit.sizes for slot in slots]
            team, most = 1, min(self.device.most_team(), max(size.shares for size in sizes))
            while 2 * team <= most and 2 * team * len(slots) <= places:
                team *= 2
            order = np.array(slots, dtype=np.int32)
            scratch = max(size.scratch for size in sizes)
            launches.append(Launch(kernel, order, max(1, min(places // team, len(slots))), team, threads, scratch))
        return launches

    def _work_left(self, slot: int) -> int:
        cell = self._running[slot].cell
        return epoch_flops(cell) * (cell.max_epochs - self._tasks[slot].progress.epoch)

    def _outcome(self, one: _Running) -> Outcome:
        pairs = ()
        if len(one.targets):
            n_bytes = len(one.targets) * np.dtype(np.float64).itemsize
            predictions = one.memory.read(one.predictions_at + n_bytes)[one.predictions_at :].view(np.float64)
            pairs = tuple(zip(one.targets.tolist(), predictions.tolist(), strict=True))
        return one.record.outcome(self._engine, self.device.name, pairs)

    def _outcome_failed(self, cell: Cell, error: Exception) -> Outcome:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return Outcome(cell, Status.FAILED, reason=reason, engine=self._engine, device=self.device.name)


def _measured(task: Task) -> int:
    """Epochs that a cell measured in the slice."""
    return task.progress.epoch - task.first + (task.progress.state == ENDED)
