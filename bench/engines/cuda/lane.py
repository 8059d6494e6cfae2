"""The cells of one device: those that wait, the longest first, and those in its memory, which train in slices of time."""

from __future__ import annotations

import ctypes
import heapq
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bench.engines.api import TrainReport
from bench.engines.cuda.device import Device, Launch, Memory
from bench.engines.cuda.fits import Fit, Fits
from bench.engines.cuda.tiles import Kernel, threads_for
from bench.engines.packs import epoch_flops
from bench.engines.record import Record
from bench.engines.task import ENDED, Prepared, Task, layers_of, prepare
from bench.protocol.cells import Cell, Outcome, Status
from bench.protocol.networks import Layer, n_params

# Cells in a device's memory at once, and the epochs of each that it can note in a slice.
SLOTS = 4096
ROOM = 4096

# How long cells are prepared before the next look at the device, which works meanwhile.
ADMIT_S = 0.2

# Share of the free memory that cells may take.
MEMORY_SHARE = 0.8

# The core takes and gives float64, whatever a cell's own precision.
NUMBER_BYTES = 8

# Every array in a cell's memory begins on such a boundary, in bytes.
ALIGNMENT = 64


class _Running:
    """A cell in the device's memory."""

    def __init__(self, cell: Cell, fit: Fit, prepared: Prepared, memory: Memory, count: int):
        self.cell = cell
        self.fit = fit
        self.record = Record(cell, prepared.spec.variance)
        self.targets = prepared.targets[:count].astype(cell.storage)
        self.memory = memory

    def final_layers(self) -> list[Layer]:
        """Weights and biases of the ended cell: the memory begins with the parameters, and the core puts them back there."""
        return layers_of(self.cell, self.memory.read(n_params(self.cell) * NUMBER_BYTES).view(np.float64))


class Records:
    """What the tasks of a slice write, a row for each slot: measures of its epochs, and predictions of cells that end."""

    def __init__(self, slots: int, n_predictions: int, *, validated: bool, device: Device):
        self._columns = {"tau": ROOM, "val_mse": ROOM if validated else 0, "predictions": n_predictions}
        self._memory = {name: device.memory(slots * count * NUMBER_BYTES) for name, count in self._columns.items()}

    def point(self, task: Task, slot: int) -> None:
        """Have a task write into its row."""
        for name, count in self._columns.items():
            setattr(task, name, self._memory[name].address + slot * count * NUMBER_BYTES)

    def read(self, name: str, rows: int) -> Float[np.ndarray, "slot number"]:
        """The first rows of a record."""
        count = self._columns[name]
        return self._memory[name].read(rows * count * NUMBER_BYTES).view(np.float64).reshape(rows, count)


class Slice(NamedTuple):
    """What a device noted in a slice of time: the tasks that took part, where they wrote, and how long it took."""

    tasks: dict[int, Task]
    records: Records
    time_s: float


class Lane:
    """One device's queue. `start` begins a slice, `fetch` waits for its end and reads it, `absorb` says what came of it."""

    def __init__(self, fits: Fits, cells: Sequence[Cell], engine: str, n_predictions: int, jacobian_rank: bool):
        """`cells` come the longest first; `fits` says which kernel trains them on the device."""
        self._fits = fits
        device = self.device = fits.device
        self._engine = engine
        self._n_predictions = n_predictions
        self._jacobian_rank = jacobian_rank
        self._running: dict[int, _Running] = {}
        self._waiting = deque(cells)
        for cell in cells:
            fits.fit(cell)  # now, while the device has nothing else to do
        slots = min(SLOTS, len(cells))
        self._free = list(range(slots))
        self._tasks = (Task * slots)()
        self._task_memory = device.memory(ctypes.sizeof(self._tasks))
        validated = any(cell.n_val for cell in cells)
        # Two of each: one is read while the next slice writes the other.
        self._records = [Records(slots, n_predictions, validated=validated, device=device) for _ in range(2)]
        self._prepared: Prepared | None = None  # of the first that waits
        self._launched: list[int] = []
        self._started = 0.0

    @property
    def busy(self) -> bool:
        """Whether cells are left."""
        return bool(self._waiting or self._running)

    def admit(self) -> list[Outcome]:
        """Take waiting cells into memory, as there is room, for a while. Those that cannot be held fail."""
        failed = []
        until = time.perf_counter() + ADMIT_S
        room = int(self.device.free_bytes() * MEMORY_SHARE)
        while self._waiting and self._free:
            cell = self._waiting[0]
            try:
                fit = self._fits.fit(cell)
                if fit is None:
                    raise ValueError("its activations do not fit on the chip; use engine=torch")
                self._prepared = self._prepared or prepare(cell)
                n_bytes = self._prepared.n_bytes + fit.sizes.memory
                if n_bytes > room:
                    raise MemoryError("more than the device has free")
                self._hold(cell, fit, self._prepared)
                room -= n_bytes
            except MemoryError as error:
                if self._running:  # There may be room when others have ended.
                    break
                failed.append(self._outcome_failed(cell, error))
            except ValueError as error:  # Too large; the cells beside it can train.
                failed.append(self._outcome_failed(cell, error))
            self._waiting.popleft()
            self._prepared = None
            if time.perf_counter() > until:
                break
        return failed

    def start(self, length_s: float) -> bool:
        """Begin a slice with what is in memory and has not ended; whether there was any."""
        self._launched = [slot for slot in self._running if self._tasks[slot].progress.state != ENDED]
        self._records.reverse()
        for slot in self._launched:
            task = self._tasks[slot]
            task.first = task.progress.epoch
            self._records[0].point(task, slot)
        if self._launched:
            self._task_memory.write(np.frombuffer(memoryview(self._tasks), dtype=np.uint8))
            self._started = time.perf_counter()
            self.device.start(self._task_memory, self._launches(), length_s)
        return bool(self._launched)

    def fetch(self) -> Slice:
        """Wait for the end of the slice; the next can begin before `absorb` reads what this one wrote."""
        self.device.wait()
        time_s = time.perf_counter() - self._started
        tasks = (Task * len(self._tasks)).from_buffer_copy(self._task_memory.read(ctypes.sizeof(self._tasks)).tobytes())
        for slot in self._launched:
            self._tasks[slot] = tasks[slot]
        return Slice({slot: tasks[slot] for slot in self._launched}, self._records[0], time_s)

    def absorb(self, noted: Slice) -> TrainReport:
        """Take in what a slice noted; cells that ended leave the memory."""
        measured = {slot: count for slot, task in noted.tasks.items() if (count := _measured(task))}
        work = {slot: count * epoch_flops(self._running[slot].cell) for slot, count in measured.items()}
        total = sum(work.values())
        rows = max(measured, default=-1) + 1
        tau, val_mse, predictions = (noted.records.read(name, rows) for name in ("tau", "val_mse", "predictions"))
        outcomes, flops = [], 0
        for slot, count in measured.items():
            one, ended = self._running[slot], noted.tasks[slot].progress.state == ENDED
            dtype = one.cell.storage
            active = np.arange(count) < count - ended
            own_val = val_mse[slot, :count].astype(dtype) if one.cell.n_val else None
            time_s = noted.time_s * work[slot] / total
            trained = one.record.absorb(tau[slot, :count].astype(dtype), own_val, active, time_s)
            flops += trained * epoch_flops(one.cell)
            if ended:
                pairs = tuple(zip(one.targets.tolist(), predictions[slot].tolist(), strict=False))
                layers = one.final_layers() if self._jacobian_rank else None
                outcomes.append(one.record.outcome(self._engine, self.device.name, pairs, layers))
                del self._running[slot]
                heapq.heappush(self._free, slot)
        return TrainReport(outcomes, flops)

    def _hold(self, cell: Cell, fit: Fit, prepared: Prepared) -> None:
        """Copy a cell to the device, all in one piece: what the core reads, then the core's own memory."""
        count = min(self._n_predictions, cell.n_samples)
        places = [0]
        for n_bytes in (*(array.nbytes for array in prepared.arrays), fit.sizes.memory):
            places.append(places[-1] + -(-n_bytes // ALIGNMENT) * ALIGNMENT)
        *arrays_at, memory_at, total = places
        memory = self.device.memory(total)
        image = np.zeros(memory_at, dtype=np.uint8)
        for at, array in zip(arrays_at, prepared.arrays, strict=True):
            image[at : at + array.nbytes] = array.reshape(-1).view(np.uint8)
        memory.write(image)
        slot = heapq.heappop(self._free)
        task = Task(spec=prepared.spec, n_predictions=count, n_rates=len(prepared.rates), room=ROOM)
        names = ("params", "inputs", "targets", "val_inputs", "val_targets", "rates")
        for name, at in zip((*names, "memory"), (*arrays_at, memory_at), strict=True):
            setattr(task, name, memory.address + at)
        self._tasks[slot] = task
        self._running[slot] = _Running(cell, fit, prepared, memory, count)

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

    def _outcome_failed(self, cell: Cell, error: Exception) -> Outcome:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return Outcome(cell, Status.FAILED, reason=reason, engine=self._engine, device=self.device.name)


def _measured(task: Task) -> int:
    """Epochs that a cell measured in the slice."""
    return task.progress.epoch - task.first + (task.progress.state == ENDED)
