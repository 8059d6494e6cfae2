"""Cells prepared for the core, many in one piece of memory; ahead of need, by worker processes, where there is much to draw.

Processes, because a small cell's draws are mostly Python, which threads would take from the one that feeds the core. They
write into memory that they share with it, and end when their pipe does.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
from collections import deque
from collections.abc import Sequence
from multiprocessing.connection import Pipe
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int, Shaped

from bench.engines.draws import NUMBER_BYTES, Draws, n_draws
from bench.engines.images import ARRAYS_ALONE
from bench.engines.task import rates_of
from bench.machine.child import start
from bench.protocol.cells import FIELDS, Cell

# Cells that are prepared together and go into one piece of memory, while they are no more than so many bytes.
BATCH = 128
BATCH_BYTES = 1 << 23

# A worker takes half a second to start, in which it would draw about so often.
DRAWS_WORTH_A_WORKER = 5000

# With so many the thread that feeds the core is the slower side.
MOST_WORKERS = 8

# Batches that a worker may be ahead, all that it prepares in a slice of time, while they take no more than so many bytes. And
# batches in the beginning that none prepares, so that there is work before workers have started.
AHEAD = 24
AHEAD_BYTES = 1 << 26
BEGINNING = 8

_values = attrgetter(*FIELDS)


class Batch:
    """Cells that are prepared together, and those of them that still wait: from `first` on."""

    def __init__(self, cells: Sequence[Cell], families: Int[np.ndarray, " cell"], table: Shaped[np.ndarray, " family"]):
        self.cells, self.families = cells, families
        own = table[families]
        ends = np.cumsum(own["image_bytes"] // NUMBER_BYTES)
        # Where each cell's image and its arrays begin in that of all, in numbers.
        self.begins = np.concatenate([[0], ends])
        self.arrays_at = self.begins[:-1, None] + own["arrays_at"]
        self.n_bytes = own["image_bytes"] + own["memory_bytes"]
        self.first = 0


def batches(cells: Sequence[Cell], families: Int[np.ndarray, " cell"], table: Shaped[np.ndarray, " family"]) -> list[Batch]:
    """The cells in their order, `families` being rows of the `table`."""
    sizes = table["image_bytes"][families].tolist()
    firsts, n_bytes = [0], 0
    for i, size in enumerate(sizes):
        n_bytes += size
        if i > firsts[-1] and (n_bytes > BATCH_BYTES or i - firsts[-1] == BATCH):
            firsts.append(i)
            n_bytes = size
    parts = [slice(*ends) for ends in zip(firsts, [*firsts[1:], len(cells)], strict=True)] if cells else []
    return [Batch(cells[part], families[part], table) for part in parts]


class Image(NamedTuple):
    """Cells as the core reads them: their arrays in one piece; and the variances of their targets."""

    numbers: Float64[np.ndarray, " number"]
    variances: Float64[np.ndarray, " cell"]


def write_image(
    numbers: Float64[np.ndarray, " number"],
    cells: Sequence[Cell],
    arrays_at: Int[np.ndarray, "cell array"],
    draws: Draws,
) -> Image:
    """Prepare cells into a piece of memory, each array where `arrays_at` says."""
    variances = np.empty(len(cells))
    for i, (cell, (params_at, samples_at, *_, rates_at)) in enumerate(zip(cells, arrays_at.tolist(), strict=True)):
        params, (samples, variances[i]) = draws.weights(cell), draws.samples(cell)
        numbers[params_at : params_at + len(params)] = params
        numbers[samples_at : samples_at + len(samples)] = samples
        if cell.lr_schedule == "constant":
            numbers[rates_at] = cell.learning_rate
        else:
            rates = rates_of(cell)
            numbers[rates_at : rates_at + len(rates)] = rates
    return Image(numbers, variances)


class Ahead:
    """Gives the images of batches, one after the other."""

    def __init__(self, batches: Sequence[Batch], cores: int):
        """`cores` are free for workers, which start only where there is enough to draw."""
        self.batches = deque(batches)
        self._draws = Draws()
        self._image: Image | None = None
        later = [batch for batch in batches[BEGINNING:] if batch.begins[-1] * NUMBER_BYTES <= BATCH_BYTES]
        enough = sys.platform == "linux" and len(later) * BATCH >= DRAWS_WORTH_A_WORKER
        most = min(cores, MOST_WORKERS)
        cells = [cell for batch in later for cell in batch.cells] if enough and most else []
        count = n_draws(cells, most * DRAWS_WORTH_A_WORKER) // DRAWS_WORTH_A_WORKER
        self._workers = [_Worker(later[i::count]) for i in range(count)]
        self._makers = {id(batch): worker for i, worker in enumerate(self._workers) for batch in later[i::count]}
        # Images of batches that were taken back from workers, by the batch's id.
        self._drawn: dict[int, Image] = {}

    def image(self, *, wait: bool) -> Image | None:
        """Of the first batch; None where a worker is not ready with it and nobody shall wait. The same until `done`.

        While this waits for a worker, it draws batches that the worker would have come to later.

        Raises:
            MemoryError: this machine has not so much.
        """
        if self._image is None:
            batch = self.batches[0]
            worker = self._makers.get(id(batch))
            if worker and worker.works:
                self._image = worker.image(wait=False)
                while wait and self._image is None and worker.works:
                    helped = self._draw_for(worker)
                    self._image = worker.image(wait=not helped)
            if self._image is None and not (worker and worker.works):
                self._image = self._drawn.pop(id(batch), None) or self._draw(batch)
        return self._image

    def done(self) -> None:
        """The image of the first batch has been copied, or is not wanted; the next is the first."""
        if worker := self._makers.get(id(self.batches.popleft())):
            worker.done()
        self._image = None

    def _draw(self, batch: Batch) -> Image:
        return write_image(np.empty(batch.begins[-1]), batch.cells, batch.arrays_at, self._draws)

    def _draw_for(self, worker: _Worker) -> bool:
        """Draw the next batch that the worker was not sent yet, unless there is none or much was drawn so; whether it was."""
        if not worker.to_send or sum(image.numbers.nbytes for image in self._drawn.values()) > AHEAD_BYTES:
            return False
        batch = worker.to_send.popleft()
        del self._makers[id(batch)]
        try:
            self._drawn[id(batch)] = self._draw(batch)
        except (MemoryError, TypeError, ValueError):
            return False  # It fails again at its turn, and then the error is its own.
        return True

    def close(self) -> None:
        """No more is wanted."""
        for worker in self._workers:
            worker.stop()


class _Worker:
    """A process that prepares batches in their order, each in one of a few rooms of memory. If it ends, it `works` no more."""

    def __init__(self, batches: Sequence[Batch]):
        self.to_send = deque(batches)  # what it is not asked for yet
        self._sent: deque[int] = deque()  # the rooms of what it is asked for, in their order
        self.works = True
        room_bytes = max(int(batch.begins[-1]) for batch in batches) * NUMBER_BYTES
        count = min(AHEAD, len(batches), AHEAD_BYTES // room_bytes)
        memory = os.memfd_create("memcap")
        os.ftruncate(memory, count * room_bytes)
        self._rooms = rooms_in(memory, count)
        self._pipe, theirs = Pipe()
        given = (theirs.fileno(), memory)
        self._process = start("bench.engines.preparer", *map(str, (*given, count)), pass_fds=given)
        theirs.close()
        os.close(memory)
        for room in range(count):
            self._send(room)

    def image(self, *, wait: bool) -> Image | None:
        """Of the first batch that is not done; None where it is not ready and nobody shall wait, or will not come."""
        try:
            if not wait and not self._pipe.poll():
                return None
            variances = np.frombuffer(self._pipe.recv_bytes())
        except (EOFError, OSError):
            self.works = False
            return None
        return Image(self._rooms[self._sent[0]], variances)

    def done(self) -> None:
        """The first batch's room is free."""
        if self.works:
            self._send(self._sent.popleft())

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._pipe.close()

    def _send(self, room: int) -> None:
        if self.to_send:
            self._sent.append(room)
            # A worker that has ended is noticed when its pipe is read.
            with contextlib.suppress(BrokenPipeError):
                self._pipe.send((room, job_of(self.to_send.popleft())))


class Job(NamedTuple):
    """What a worker needs of a batch, a tenth of its size: so a pipe holds all that is asked for, and nobody waits for it.

    One cell's values, and the columns of those fields that others may have otherwise; where each cell's image begins, and where
    in that its arrays do. What is the same for all is there once.
    """

    first: tuple[object, ...]
    names: tuple[str, ...]
    columns: list[Sequence[object]]
    begins: Int[np.ndarray, " cell"]
    arrays_at: Int[np.ndarray, "alike array"]


def job_of(batch: Batch) -> Job:
    """The job to prepare a batch."""
    alike = bool((batch.families == batch.families[0]).all())
    names = ARRAYS_ALONE if alike else FIELDS
    columns: list[Sequence[object]] = [
        column[:1] if column.count(column[0]) == len(column) else column
        for column in zip(*map(attrgetter(*names), batch.cells), strict=True)
    ]
    arrays_at = batch.arrays_at - batch.begins[:-1, None]
    return Job(_values(batch.cells[0]), names, columns, batch.begins[:-1], arrays_at[:1] if alike else arrays_at)


def restored(job: Job) -> tuple[list[Cell], Int[np.ndarray, "cell array"]]:
    """The cells of a job, and where their arrays begin."""
    common = dict(zip(FIELDS, job.first, strict=True))
    columns = [column if len(column) > 1 else len(job.begins) * [column[0]] for column in job.columns]
    values: list[dict[str, Any]] = [common | dict(zip(job.names, own, strict=True)) for own in zip(*columns, strict=True)]
    return [Cell(**own) for own in values], job.begins[:, None] + job.arrays_at


def rooms_in(memory: int, count: int) -> Float64[np.ndarray, "room number"]:
    """So many rooms in all of the shared memory with this file descriptor."""
    return np.frombuffer(mmap.mmap(memory, 0), dtype=np.float64).reshape(count, -1)
