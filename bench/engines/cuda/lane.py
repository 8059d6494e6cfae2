"""The cells of one device: those that wait, the longest first, and those in its memory, which train in slices of time."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int, Shaped

from bench.engines import api
from bench.engines.api import NONE_BEGUN, TrainReport, goes_on_from
from bench.engines.cuda import teams
from bench.engines.cuda.ahead import BATCH, BATCH_BYTES, Ahead, Batch
from bench.engines.cuda.device import Launch, Memory
from bench.engines.cuda.families import ARRAYS, Families
from bench.engines.cuda.fits import Fits
from bench.engines.draws import NUMBER_BYTES
from bench.engines.record import RecordTable
from bench.engines.task import (
    ENDED,
    LOSSES,
    PAUSED,
    SAVED,
    TASK,
    is_state_of,
    layers_of,
    packed_state,
    predicted,
    set_draws,
    unpacked_state,
)
from bench.protocol.cells import Cell, Checkpoint, Outcome, Status
from bench.protocol.networks import Layer, n_out

# Cells in a device's memory at once, and the epochs that all of them together can note in a slice: thousands each, and more
# where cells are few. It is room only: what a slice noted is read, and nothing else.
SLOTS = 4096
ROOM = 1 << 24

# How long cells are taken in before the next look at the device, which works meanwhile.
ADMIT_S = 0.2

# Share of the free memory that cells may take.
MEMORY_SHARE = 0.8


class Slice(NamedTuple):
    """What a device noted in a slice of time, and how long it took.

    `numbers` are tau of `counts` epochs of each of these slots, then validation MSE of those that have it, then labels recalled
    of those that have labels, then predictions of those that `ended`. `saved` is what the core saved of these slots, one after
    the other, and how far each was.
    """

    slots: Int[np.ndarray, " slot"]
    counts: Int[np.ndarray, " slot"]
    ended: Bool[np.ndarray, " slot"]
    numbers: Memory
    time_s: float
    saved: Saved


class Saved(NamedTuple):
    """What the core saves of slots in a slice of time: parameters and moments, `counts` numbers of each from `begins` on.

    Their `progress` is known after it, of those that it reached.
    """

    slots: Int[np.ndarray, " slot"]
    begins: Int[np.ndarray, " slot"]
    counts: Int[np.ndarray, " slot"]
    numbers: Memory | None
    progress: tuple[bytes, ...] = ()


_NONE = np.zeros(0, dtype=np.int64)
NOTHING_SAVED = Saved(_NONE, _NONE, _NONE, None)


class Lane:
    """One device's queue. `start` begins a slice, `fetch` waits for its end and reads it, `absorb` says what came of it."""

    def __init__(
        self,
        fits: Fits,
        cells: Sequence[Cell],
        engine: str,
        *,
        n_predictions: int,
        jacobian_rank: bool,
        cores: int,
        begun: Mapping[Cell, Checkpoint] = NONE_BEGUN,
    ):
        """`cells` come the longest first; `fits` says which kernel trains them; `cores` beside this thread may prepare them."""
        device = self.device = fits.device
        self._engine = engine
        self._jacobian_rank = jacobian_rank
        self._begun = begun
        self._saving = NOTHING_SAVED
        self._saved_at = time.monotonic()
        self._families = Families(fits)
        self._failed: list[Outcome] = []
        own, numbers = self._own(cells)
        self._table = self._families.table()
        slots = min(SLOTS, len(cells))
        self._n_predictions = min(n_predictions, max((cell.n_samples for cell in cells), default=0))
        self._tasks = np.zeros(slots, dtype=TASK)
        self._task_memory = device.memory(self._tasks.nbytes)
        self._record = RecordTable(slots)
        self._occupied = np.zeros(slots, dtype=bool)
        self._family = np.zeros(slots, dtype=np.int64)
        self._memory: list[Memory | None] = [None] * slots
        # What cells go on from that were saved, until they have read it.
        self._restored: dict[int, Memory] = {}
        self._targets = np.zeros((slots, self._n_predictions))
        # What a slice notes: tau, validation MSE, labels recalled, predictions. It is gathered before the next slice begins.
        longest = max((cell.max_epochs for cell in cells), default=0)
        self._room = max(slots, min(ROOM, slots * (longest + 1)))
        validated, labelled = any(cell.n_val for cell in cells), any(cell.has_labels for cell in cells)
        self._recalled_at = self._room * (1 + validated)
        self._predictions_at = self._recalled_at + self._room * labelled
        self._numbers_predicted = self._n_predictions * max(map(n_out, cells), default=1)
        record_bytes = (self._predictions_at + slots * self._numbers_predicted) * NUMBER_BYTES
        self._notes = device.memory(record_bytes)
        self._launched = np.zeros(0, dtype=np.int64)
        self._notes_at = np.zeros(0, dtype=np.int64)
        self._started = 0.0
        self._ahead = Ahead(self._batches(own, numbers), cores)

    @property
    def busy(self) -> bool:
        """Whether cells are left."""
        return bool(self._ahead.batches or self._failed or self._occupied.any())

    def admit(self) -> list[Outcome]:
        """Take waiting cells into memory, as there is room, for a while. Those that cannot be held fail."""
        until = time.perf_counter() + ADMIT_S
        room = int(self.device.free_bytes() * MEMORY_SHARE)
        while self._ahead.batches:
            batch = self._ahead.batches[0]
            free = np.flatnonzero(~self._occupied)[: len(batch.cells) - batch.first]
            n_bytes = np.cumsum(batch.n_bytes[batch.first :])[: len(free)]
            count = self._hold(batch, free[: int(np.searchsorted(n_bytes, room, side="right"))]) if len(free) else 0
            if not count:  # There may be room when others have ended.
                break
            room -= int(n_bytes[count - 1]) if self._occupied[free[0]] else 0
            batch.first += count
            if batch.first == len(batch.cells):
                self._ahead.done()
            if time.perf_counter() > until:
                break
        failed, self._failed = self._failed, []
        return failed

    def start(self, length_s: float) -> bool:
        """Begin a slice with what is in memory and has not ended; whether there was any."""
        progress = self._tasks["progress"]
        launched = self._launched = np.flatnonzero(self._occupied & (progress["state"] != ENDED))
        if not len(launched):
            return False
        epoch = progress["epoch"][launched]
        own = self._table[self._family[launched]]
        left = own["spec"]["max_epochs"].astype(np.int64) + 1 - epoch
        rooms = np.minimum(left, _even_room(left, self._room))
        self._notes_at = np.cumsum(rooms) - rooms
        record = self._notes.address
        self._tasks["first"][launched] = epoch
        self._tasks["room"][launched] = rooms
        self._tasks["tau"][launched] = record + NUMBER_BYTES * self._notes_at
        self._tasks["val_mse"][launched] = record + NUMBER_BYTES * (self._room + self._notes_at)
        self._tasks["recalled"][launched] = record + NUMBER_BYTES * (self._recalled_at + self._notes_at)
        self._tasks["predictions"][launched] = record + NUMBER_BYTES * self._predictions_of(launched)
        self._saving = self._to_save(launched)
        self._task_memory.write(self._tasks[: launched[-1] + 1])
        launches = self._launches(launched, own, left * own["epoch_flops"])
        self._started = time.perf_counter()
        self.device.start(self._task_memory, launches, length_s)
        return True

    def fetch(self) -> Slice:
        """Wait for the end of the slice; the next can begin before `absorb` reads what this one wrote."""
        self.device.wait()
        time_s = time.perf_counter() - self._started
        launched = self._launched
        tasks = self._task_memory.read((launched[-1] + 1) * TASK.itemsize).view(TASK)
        progress = tasks["progress"][launched]
        self._tasks["progress"][launched] = progress
        ended = progress["state"] == ENDED
        counts = progress["epoch"] - tasks["first"][launched] + ended
        measured = np.flatnonzero(counts)
        slots, counts, ended, at = (
            launched[measured],
            counts[measured].astype(np.int64),
            ended[measured],
            self._notes_at[measured],
        )
        validated = np.flatnonzero(self._tasks["spec"]["n_val"][slots])
        labelled = np.flatnonzero(self._labelled(slots))
        last = slots[ended]
        numbers = self._notes.gathered(
            np.concatenate([at, self._room + at[validated], self._recalled_at + at[labelled], self._predictions_of(last)]),
            np.concatenate([counts, counts[validated], counts[labelled], self._predicted(last)]),
        )
        # A slice may be over before a cell's turn comes.
        saving = self._saving
        reached = np.flatnonzero(np.isin(saving.slots, slots[~ended]))
        own, begins, sizes = (column[reached] for column in (saving.slots, saving.begins, saving.counts))
        states = tuple(self._tasks["progress"][slot].tobytes() for slot in own.tolist())
        saved = Saved(own, begins, sizes, saving.numbers, states)
        return Slice(slots, counts, ended, numbers, time_s, saved)

    def _to_save(self, launched: Int[np.ndarray, " slot"]) -> Saved:
        """What the core shall save in this slice: now and then the cells that have begun, as far as there is memory."""
        tasks = self._tasks
        # What was saved before this process has been read by those that have begun.
        begun = launched[tasks["progress"]["state"][launched] == PAUSED]
        tasks["saved"][begun] = 0
        for slot in begun.tolist():
            self._restored.pop(slot, None)
        if time.monotonic() - self._saved_at < api.CHECKPOINT_S or not len(begun):
            return NOTHING_SAVED
        own = self._table[self._family[begun]]
        first = np.argsort(-tasks["progress"]["epoch"][begun] * own["epoch_flops"], kind="stable")
        counts = own["n_saved"][first]
        ends = np.cumsum(counts)
        room = min(api.CHECKPOINT_BYTES, int(self.device.free_bytes() * MEMORY_SHARE))
        most = int(np.searchsorted(ends * NUMBER_BYTES, room, side="right"))
        if not most:
            return NOTHING_SAVED
        slots, counts, ends = begun[first[:most]], counts[:most], ends[:most]
        memory = self.device.memory(int(ends[-1]) * NUMBER_BYTES)
        tasks["saved"][slots] = memory.address + NUMBER_BYTES * (ends - counts)
        self._saved_at = time.monotonic()
        return Saved(slots, ends - counts, counts, memory)

    def _checkpoints(self, saved: Saved) -> list[Checkpoint]:
        """Of what a slice saved, once its measures are in the record."""
        if saved.numbers is None or not len(saved.slots):
            return []
        numbers = saved.numbers.read(int((saved.begins + saved.counts).max()) * NUMBER_BYTES).view(np.float64)
        checkpoints = []
        for slot, begin, count, progress in zip(*(column.tolist() for column in saved[:3]), saved.progress, strict=True):
            cell = self._record.cells[slot]
            assert cell is not None
            state = packed_state(cell, progress, numbers[begin : begin + count])
            epoch, record = int(self._record.epoch[slot]), self._record.saved(slot)
            here = self._engine, self.device.name
            checkpoints.append(Checkpoint(cell, epoch, *here, record, state, self._kernel_of(slot)))
        return checkpoints

    def _restore(self, slots: Int[np.ndarray, " slot"]) -> None:
        """Cells that have been taken in go on from where they were saved, if they were."""
        for slot in slots.tolist() if self._begun else ():
            cell = self._record.cells[slot]
            here = self._engine, self.device.name, self._kernel_of(slot)
            before = goes_on_from(self._begun, cell, *here) if cell else None
            if cell is None or before is None or not is_state_of(cell, before.state):
                continue
            progress, saved = unpacked_state(cell, before.state)
            self._record.restore(slot, before.record)
            memory = self._restored[slot] = self.device.memory(saved.nbytes)
            memory.write(saved)
            self._tasks["progress"][slot] = np.frombuffer(progress, dtype=TASK["progress"])[0]
            self._tasks["progress"]["state"][slot] = SAVED
            self._tasks["saved"][slot] = memory.address

    def _kernel_of(self, slot: int) -> str:
        return self._families.groups[self._table["group"][self._family[slot]]].kernel.name

    def absorb(self, noted: Slice) -> TrainReport:
        """Take in what a slice noted; cells that ended leave the memory."""
        slots, counts, ended = noted.slots, noted.counts, noted.ended
        if not len(slots):
            return TrainReport([], 0.0)
        flops = self._table["epoch_flops"][self._family[slots]]
        n_predicted = self._predicted(slots[ended])
        n_tau, n_val = int(counts.sum()), int(counts[self._tasks["spec"]["n_val"][slots] > 0].sum())
        n_right = int(counts[self._labelled(slots)].sum())
        numbers = noted.numbers.read((n_tau + n_val + n_right + int(n_predicted.sum())) * NUMBER_BYTES).view(np.float64)
        tau, val_mse, right, predictions = np.split(numbers, np.cumsum([n_tau, n_val, n_right]))
        work = counts * flops
        time_s = noted.time_s * work / work.sum()
        trained = self._record.absorb(slots, counts, ended, tau, val_mse, time_s, right.astype(np.int64))
        last = slots[ended]
        pairs: list[tuple[tuple[float, float], ...]] = [()] * len(last)
        if self._n_predictions:
            several = [self._record.cells[slot] for slot in last.tolist()]
            ends = np.cumsum(n_predicted).tolist()
            outputs = [
                predicted(cell, predictions[end - count : end].tolist())
                for cell, end, count in zip(several, ends, n_predicted.tolist(), strict=True)
                if cell is not None
            ]
            pairs = [
                tuple(zip(own, said, strict=False)) for own, said in zip(self._targets[last].tolist(), outputs, strict=True)
            ]
        asked = self._labelled(last) | self._jacobian_rank
        layers = [self._final_layers(slot) if own else None for slot, own in zip(last.tolist(), asked.tolist(), strict=True)]
        here = self._engine, self.device.name
        outcomes = self._record.outcomes(last, *here, pairs, layers, ranks=self._jacobian_rank)
        self._occupied[last] = False
        for slot in last.tolist():
            self._memory[slot] = None
            self._restored.pop(slot, None)
        return TrainReport(outcomes, float(trained @ flops), checkpoints=self._checkpoints(noted.saved))

    def close(self) -> None:
        """Nobody may get the memory that a slice still writes to, however training ends."""
        self._ahead.close()
        self.device.wait()

    def _own(self, cells: Sequence[Cell]) -> tuple[list[Cell], Int[np.ndarray, " cell"]]:
        """The cells that the device can train, and their families; the others fail."""
        own, numbers = [], []
        for cell in cells:
            number = self._families.number(cell)
            if isinstance(number, ValueError):
                self._fail(cell, number)
            else:
                own.append(cell)
                numbers.append(number)
        return own, np.array(numbers, dtype=np.int64)

    def _batches(self, cells: list[Cell], families: Int[np.ndarray, " cell"]) -> list[Batch]:
        """The cells in their order."""
        sizes = self._table["image_bytes"][families].tolist()
        firsts, n_bytes = [0], 0
        for i, size in enumerate(sizes):
            n_bytes += size
            if i > firsts[-1] and (n_bytes > BATCH_BYTES or i - firsts[-1] == BATCH):
                firsts.append(i)
                n_bytes = size
        parts = [slice(*ends) for ends in zip(firsts, [*firsts[1:], len(cells)], strict=True)] if cells else []
        return [Batch(cells[part], families[part], self._table) for part in parts]

    def _hold(self, batch: Batch, slots: Int[np.ndarray, " slot"]) -> int:
        """Copy the next cells of a batch to the device; how many of them have left the batch.

        They have one piece of memory: what the core reads, then each cell's own memory.
        """
        running = self._occupied.any()
        while True:
            try:
                if not len(slots):
                    raise MemoryError("more than the device has free")
                return len(slots) if self._copy(batch, slots) else 0
            except MemoryError as error:
                if running:
                    return 0
                if len(slots) < 2:
                    self._fail(batch.cells[batch.first], error)
                    return 1
                slots = slots[: len(slots) // 2]

    def _copy(self, batch: Batch, slots: Int[np.ndarray, " slot"]) -> bool:
        """Whether they were prepared; while others train nobody waits for that."""
        image = self._ahead.image(wait=not self._occupied.any())
        if image is None:
            return False
        part = slice(batch.first, batch.first + len(slots))
        begin, end = int(batch.begins[part.start]), int(batch.begins[part.stop])
        cells, own = batch.cells[part], self._table[batch.families[part]]
        memory_ends = np.cumsum(own["memory_bytes"])
        memory = self.device.memory((end - begin) * NUMBER_BYTES + int(memory_ends[-1]))
        memory.write(image.numbers[begin:end])
        tasks = np.zeros(len(slots), dtype=TASK)
        tasks["spec"] = own["spec"]
        set_draws(tasks["spec"], cells, image.variances[part])
        for column, name in enumerate(ARRAYS):
            tasks[name] = memory.address + (batch.arrays_at[part, column] - begin) * NUMBER_BYTES
        tasks["memory"] = memory.address + (end - begin) * NUMBER_BYTES + memory_ends - own["memory_bytes"]
        tasks["n_rates"] = own["n_rates"]
        tasks["n_predictions"] = np.minimum(own["spec"]["n_samples"], self._n_predictions)
        self._tasks[slots] = tasks
        self._family[slots] = batch.families[part]
        self._occupied[slots] = True
        for slot in slots.tolist():
            self._memory[slot] = memory
        self._record.begin(slots, cells, image.variances[part])
        self._restore(slots)
        if self._n_predictions:
            # As the cells round them; of fewer samples the last again, which nobody reads.
            sample = np.minimum(np.arange(self._n_predictions), own["spec"]["n_samples"][:, None] - 1)
            targets_at = batch.arrays_at[part, ARRAYS.index("targets")][:, None] + sample * own["n_targets"][:, None]
            targets = image.numbers[targets_at]
            self._targets[slots] = np.where(own["is_float32"][:, None], targets.astype(np.float32), targets)
        return True

    def _predictions_of(self, slots: Int[np.ndarray, " slot"]) -> Int[np.ndarray, " slot"]:
        """Where in a slice's record the predictions of these slots begin."""
        return self._predictions_at + self._numbers_predicted * slots

    def _predicted(self, slots: Int[np.ndarray, " slot"]) -> Int[np.ndarray, " slot"]:
        """How many numbers they are."""
        return self._tasks["n_predictions"][slots] * self._tasks["spec"]["n_outputs"][slots].astype(np.int64)

    def _labelled(self, slots: Int[np.ndarray, " slot"]) -> Bool[np.ndarray, " slot"]:
        """Whether their cells have labels."""
        return self._tasks["spec"]["loss"][slots] == LOSSES.index("cross_entropy")

    def _launches(
        self,
        slots: Int[np.ndarray, " slot"],
        families: Shaped[np.ndarray, " slot"],
        work: Float64[np.ndarray, " slot"],
    ) -> list[Launch]:
        """The cells in memory by what trains them, the longest first, and the group with the longest first."""
        longest = np.argsort(-work, kind="stable")
        numbers, firsts = np.unique(families["group"][longest], return_index=True)
        members = [longest[families["group"][longest] == number] for number in numbers[np.argsort(firsts)]]
        groups, launches = [], []
        for number, rows in zip(numbers[np.argsort(firsts)], members, strict=True):
            kernel, threads, _ = self._families.groups[number]
            scratch = int(families["scratch_bytes"][rows].max())
            at_once = functools.partial(self.device.teams, kernel, threads, scratch)
            groups.append(teams.Group(len(rows), float(work[rows].sum()), int(families["shares"][rows].max()), at_once))
            launches.append(Launch(kernel, slots[rows].astype(np.int32), 1, 1, threads, scratch))
        dealt = teams.dealt(groups, self.device.most_team())
        return [launch._replace(teams=teams, team=blocks) for launch, (teams, blocks) in zip(launches, dealt, strict=True)]

    def _final_layers(self, slot: int) -> list[Layer]:
        """Weights and biases of the ended cell, which the core puts back where it had them from."""
        cell, memory = self._record.cells[slot], self._memory[slot]
        assert cell is not None
        assert memory is not None
        n_bytes = int(self._table["n_params"][self._family[slot]]) * NUMBER_BYTES
        params = memory.read(n_bytes, int(self._tasks["params"][slot]) - memory.address)
        return layers_of(cell, params.view(np.float64))

    def _fail(self, cell: Cell, error: Exception) -> None:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        self._failed.append(Outcome(cell, Status.FAILED, reason=reason, engine=self._engine, device=self.device.name))


def _even_room(wanted: Int[np.ndarray, " cell"], room: int) -> int:
    """The most that each cell may have so that all have room: what some do not want is left to the others.

    >>> _even_room(np.array([2, 100, 100]), 20)
    9
    """
    ascending = np.sort(wanted)
    before = np.cumsum(ascending) - ascending
    most = (room - before) // np.arange(len(wanted), 0, -1)
    short = np.flatnonzero(ascending > most)
    return int(most[short[0]]) if len(short) else int(ascending[-1])
