"""The native engine: the fused C++ core (`fused/`) on CPU threads, each of which trains one cell to its end and takes the next.

No cell sees another: on one machine a result depends on the cell alone, bit for bit, whatever trains beside it and on however
many threads. Another instruction set orders sums otherwise, and rounds differently.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from bench.engines import api
from bench.engines._native import Queue, instruction_sets
from bench.engines.ahead import Ahead, Batch, Image, batches
from bench.engines.api import NONE_BEGUN, TrainReport, goes_on_from
from bench.engines.images import Families
from bench.engines.packs import Pack
from bench.engines.record import RecordTable
from bench.engines.task import OPTIMIZERS, is_state_of, layers_of, packed_state, predicted, set_draws, unpacked_state
from bench.protocol.cells import Cell, Checkpoint, Outcome, Status

# Cells handed over ahead for each thread: enough that none waits, and that many are taken in at once where they end at once.
AHEAD = 64

# Beyond this only as many wait as there are threads.
BYTES_AHEAD = 1 << 30

# How often the caller hears of progress, and can stop.
REPORT_S = 0.1


class NativeEngine:
    """Trains packs on CPU threads; see `bench.engines.api.Engine`."""

    name = "native"
    threaded = True

    def __init__(self, threads: int = 1, instruction_set: str | None = None):
        """`instruction_set` is one of `_native.instruction_sets()`; None takes the fastest of them."""
        self.threads = threads
        self.instruction_set = instruction_set or instruction_sets()[0]

    def device_name(self) -> str:
        """What the table says in its `device` column: results depend on the instruction set in their last digits."""
        return f"cpu {self.instruction_set}"

    def supports(self, cell: Cell) -> bool:
        """Every valid cell of the core's optimizers: of all but lm and muon."""
        return cell.optimizer in OPTIMIZERS

    def kind(self, cell: Cell) -> None:
        """Cells of all kinds train together."""

    def slots(self, cell: Cell) -> int:
        """Any number: the queue is the engine's own."""
        return sys.maxsize

    def train(
        self,
        pack: Pack,
        *,
        n_predictions: int = 0,
        jacobian_rank: bool = False,
        begun: Mapping[Cell, Checkpoint] = NONE_BEGUN,
    ) -> Iterator[TrainReport]:
        """Train every cell of the pack to its end; see `bench.engines.api.Engine.train`."""
        families = Families()
        cells, numbers, refused = families.of(pack.cells)
        failed = [self._failed(cell, error) for cell, error in refused]
        if failed:
            yield TrainReport(failed, 0.0)
        if not cells:
            return
        table = families.table()
        epoch_flops = table["epoch_flops"][numbers].tolist()
        records: dict[int, bytes] = {}  # of what was measured of cells before they were saved last
        # Cells are taken in when they have ended, all epochs at once, and all together that ended since the last look.
        record = RecordTable(AHEAD * self.threads)
        pushed = 0
        with contextlib.ExitStack() as closing:
            # The threads are busy with training; one in two may lend its core to what there is to draw.
            ahead = Ahead(batches(cells, numbers, table), self.threads // 2)
            closing.callback(ahead.close)
            queue = _Queue(Queue(min(self.threads, len(cells)), self.instruction_set), table, n_predictions, jacobian_rank)
            closing.callback(queue.close)
            while ahead.batches or queue.running:
                outcomes = []
                while ahead.batches and queue.has_room(self.threads):
                    batch = ahead.batches[0]
                    number = pushed + batch.first
                    try:
                        # Nobody waits for what is drawn while cells train.
                        image = ahead.image(wait=not queue.running)
                        if image is None:
                            break
                        before = self._before(begun, batch.cells[batch.first])
                        queue.push(number, batch, image, before)
                        if before:
                            records[number] = before.record
                    except (MemoryError, TypeError, ValueError) as error:  # Too large; the cells beside it can train.
                        outcomes.append(self._failed(batch.cells[batch.first], error))
                    batch.first += 1
                    if batch.first == len(batch.cells):
                        pushed += len(batch.cells)
                        ahead.done()
                ended, progress, saved = queue.poll()
                flops = sum(epochs * epoch_flops[number] for number, epochs in progress)
                checkpoints = []
                for number, *own in saved:
                    checkpoint = self._checkpoint(cells[number], queue.running[number], records.get(number), own)
                    records[number] = checkpoint.record
                    checkpoints.append(checkpoint)
                over = [(cells[number], queue.take(number), records.pop(number, None), own) for number, *own in ended]
                outcomes += [
                    self._failed(cell, MemoryError("no memory for its arrays"))
                    for cell, *_, (trained, *_) in over
                    if not trained
                ]
                outcomes += self._outcomes(record, [one for one in over if one[-1][0]], jacobian_rank)
                yield TrainReport(outcomes, flops, checkpoints=checkpoints)

    def _before(self, begun: Mapping[Cell, Checkpoint], cell: Cell) -> Checkpoint | None:
        """What a cell goes on from, if it had begun."""
        before = goes_on_from(begun, cell, self.name, self.device_name()) if begun else None
        return before if before and is_state_of(cell, before.state) else None

    def _checkpoint(self, cell: Cell, running: _Running, record: bytes | None, own: list[Any]) -> Checkpoint:
        """Of a cell that was saved, from its record until it was before, and what the queue says since."""
        progress, time_s, tau, val_mse, right, saved = own
        table = RecordTable(1)
        row = np.zeros(1, dtype=np.int64)
        table.begin(row, [cell], np.array([running.variance]))
        if record is not None:
            table.restore(0, record)
        if tau:
            measures = np.array(tau), np.array(val_mse), np.array([time_s]), np.array(right, dtype=np.int64)
            table.absorb(row, np.array([len(tau)]), row > 0, *measures)
        state = packed_state(cell, progress, np.frombuffer(saved))
        return Checkpoint(cell, int(table.epoch[0]), self.name, self.device_name(), table.saved(0), state)

    def _outcomes(
        self, table: RecordTable, trained: list[tuple[Cell, _Running, bytes | None, list[Any]]], jacobian_rank: bool
    ) -> list[Outcome]:
        """The outcomes of cells that have ended, from what the queue says of each."""
        if not trained:
            return []
        cells, begun, records, own = zip(*trained, strict=True)
        _, _, time_s, tau, val_mse, right, predictions, params = zip(*own, strict=True)
        rows = np.arange(len(cells))
        table.begin(rows, cells, np.array([one.variance for one in begun]))
        for row, record in enumerate(records):
            if record is not None:
                table.restore(row, record)
        taus, val_mses = (np.array(list(chain.from_iterable(lists)), dtype=np.float64) for lists in (tau, val_mse))
        rights = np.array(list(chain.from_iterable(right)), dtype=np.int64)
        table.absorb(rows, np.array(list(map(len, tau))), rows >= 0, taus, val_mses, np.array(time_s), rights)
        pairs = [
            tuple(zip(one.targets.tolist(), predicted(cell, made), strict=True))
            for cell, one, made in zip(cells, begun, predictions, strict=True)
        ]
        layers = [layers_of(cell, np.array(flat)) if flat else None for cell, flat in zip(cells, params, strict=True)]
        return table.outcomes(rows, self.name, self.device_name(), pairs, layers, ranks=jacobian_rank)

    def _failed(self, cell: Cell, error: Exception) -> Outcome:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return Outcome(cell, Status.FAILED, reason=reason, engine=self.name, device=self.device_name())


class _Running(NamedTuple):
    """Of a cell in the queue the variance of its targets, those of its predictions, and the bytes handed over.

    Of several outputs the targets of the first.
    """

    variance: float
    targets: Float[np.ndarray, " sample"]
    n_bytes: int


class _Queue:
    """The core's queue, and what is needed of its cells, by number, to read their results."""

    def __init__(self, queue: Queue, table: Shaped[np.ndarray, " family"], n_predictions: int, gives_params: bool):
        """`table`: of the families of the batches whose cells come."""
        self.running: dict[int, _Running] = {}
        self._n_bytes = 0
        self._queue, self._table = queue, table
        self._n_predictions, self._gives_params = n_predictions, gives_params
        self._ready: _Ready | None = None

    def has_room(self, threads: int) -> bool:
        """Whether to hand over another cell: for every thread, and ahead while they take little memory."""
        if len(self.running) < threads:
            return True
        return len(self.running) < AHEAD * threads and self._n_bytes < BYTES_AHEAD

    def push(self, number: int, batch: Batch, image: Image, before: Checkpoint | None) -> None:
        """Hand the next cell of a batch to the threads, as it was `before` if it had begun."""
        ready = self._ready
        if ready is None or ready.batch is not batch:
            ready = self._ready = _Ready(batch, image, self._table)
        place = batch.first
        params, inputs, targets, val_inputs, val_targets, rates = [
            image.numbers[begin:end] for begin, end in zip(ready.begins[place], ready.ends[place], strict=True)
        ]
        cell = batch.cells[place]
        count = min(self._n_predictions, cell.n_samples)
        progress, saved = unpacked_state(cell, before.state) if before else _NOTHING
        arrays = params, inputs, targets, val_inputs, val_targets, rates
        # What labels store is told from the final weights.
        gives_params = self._gives_params or cell.has_labels
        self._queue.push(number, ready.specs[place], count, gives_params, *arrays, progress, saved)
        told = targets[:: cell.n_outputs][:count].astype(cell.storage) if count else _NONE
        n_bytes = ready.n_bytes[place]
        self.running[number] = _Running(ready.variances[place], told, n_bytes)
        self._n_bytes += n_bytes

    def poll(self) -> tuple[list[tuple[Any, ...]], list[tuple[int, int]], list[tuple[Any, ...]]]:
        """What has ended, how far the others are, and what was saved; nothing where no cell is there."""
        return self._queue.poll(REPORT_S, api.CHECKPOINT_S) if self.running else ([], [], [])

    def take(self, number: int) -> _Running:
        """A cell that has ended leaves."""
        own = self.running.pop(number)
        self._n_bytes -= own.n_bytes
        return own

    def close(self) -> None:
        """Nobody waits for what still trains."""
        self._queue.close()


_NONE = np.zeros(0)
_NOTHING = (b"", _NONE)


class _Ready:
    """A batch as the core takes it, cell by cell: all that is made for many at once."""

    def __init__(self, batch: Batch, image: Image, table: Shaped[np.ndarray, " family"]):
        self.batch = batch
        own = table[batch.families]
        specs = own["spec"]
        set_draws(specs, batch.cells, image.variances)
        self.specs = [spec.tobytes() for spec in specs]
        self.variances: list[float] = image.variances.tolist()
        self.begins: list[list[int]] = batch.arrays_at.tolist()
        self.ends: list[list[int]] = (batch.arrays_at + own["counts"]).tolist()
        self.n_bytes: list[int] = own["image_bytes"].tolist()
