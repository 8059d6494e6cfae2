"""The native engine: the fused C++ core (`fused/`) on CPU threads, each of which trains one cell to its end and takes the next.

No cell sees another: on one machine a result depends on the cell alone, bit for bit, whatever trains beside it and on however
many threads. Another instruction set orders sums otherwise, and rounds differently.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from bench.engines import api
from bench.engines._native import Queue, instruction_sets
from bench.engines.api import NONE_BEGUN, TrainReport, goes_on_from
from bench.engines.draws import Draws
from bench.engines.packs import Pack, epoch_flops
from bench.engines.record import RecordTable
from bench.engines.task import is_state_of, layers_of, packed_state, predicted, prepare, unpacked_state
from bench.protocol.cells import SECOND_ORDER, Cell, Checkpoint, Outcome, Status

# Cells prepared ahead for each thread: enough that none waits, few enough to hold in memory.
AHEAD = 16

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
        """Every valid cell but those of optimizer=lm."""
        return cell.optimizer != SECOND_ORDER

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
        queue = Queue(min(self.threads, len(pack.cells)), self.instruction_set)
        waiting = list(reversed(list(enumerate(pack.cells))))
        running: dict[int, _Running] = {}
        records: dict[int, bytes] = {}  # of what was measured of cells before they were saved last
        draws = Draws()
        # Cells are taken in when they have ended, all epochs at once, and all together that ended since the last look.
        table = RecordTable(AHEAD * self.threads)
        try:
            while waiting or running:
                outcomes = []
                while waiting and self._has_room(running):
                    number, cell = waiting.pop()
                    before = goes_on_from(begun, cell, self.name, self.device_name())
                    before = before if before and is_state_of(cell, before.state) else None
                    try:
                        running[number] = _push(queue, number, cell, draws, n_predictions, jacobian_rank, before)
                    except (MemoryError, TypeError, ValueError) as error:  # Too large; the cells beside it can train.
                        outcomes.append(self._failed(cell, f"{type(error).__name__}: {error}"))
                        continue
                    if before:
                        records[number] = before.record
                ended, progress, saved = queue.poll(REPORT_S, api.CHECKPOINT_S) if running else ([], [], [])
                flops = sum(epochs * epoch_flops(pack.cells[number]) for number, epochs in progress)
                checkpoints = []
                for number, *own in saved:
                    checkpoint = self._checkpoint(pack.cells[number], running[number], records.get(number), own)
                    records[number] = checkpoint.record
                    checkpoints.append(checkpoint)
                over = [(pack.cells[number], running.pop(number), records.pop(number, None), own) for number, *own in ended]
                outcomes += [
                    self._failed(cell, "MemoryError: no memory for its arrays")
                    for cell, *_, (trained, *_) in over
                    if not trained
                ]
                outcomes += self._outcomes(table, [one for one in over if one[-1][0]], jacobian_rank)
                yield TrainReport(outcomes, flops, checkpoints=checkpoints)
        finally:
            queue.close()

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

    def _has_room(self, running: dict[int, _Running]) -> bool:
        """Whether to prepare another cell: for every thread, and ahead while they take little memory."""
        if len(running) < self.threads:
            return True
        return len(running) < AHEAD * self.threads and sum(one.n_bytes for one in running.values()) < BYTES_AHEAD

    def _failed(self, cell: Cell, reason: str) -> Outcome:
        return Outcome(cell, Status.FAILED, reason=" ".join(reason.split()), engine=self.name, device=self.device_name())


class _Running(NamedTuple):
    """Of a cell in the queue the variance of its targets, those of its predictions, and the bytes handed over.

    Of several outputs the targets of the first.
    """

    variance: float
    targets: Float[np.ndarray, " sample"]
    n_bytes: int


def _push(
    queue: Queue, number: int, cell: Cell, draws: Draws, n_predictions: int, gives_params: bool, before: Checkpoint | None
) -> _Running:
    """Hand a cell to the threads, as it was `before` if it had begun; what is needed to read its results."""
    prepared = prepare(cell, draws)
    count = min(n_predictions, cell.n_samples)
    progress, saved = unpacked_state(cell, before.state) if before else (b"", np.zeros(0))
    arrays = prepared.params, prepared.inputs, prepared.targets, prepared.val_inputs, prepared.val_targets, prepared.rates
    # What labels store is told from the final weights.
    queue.push(number, prepared.spec, count, gives_params or cell.has_labels, *arrays, progress, saved)
    targets = prepared.targets[:: cell.n_outputs][:count]
    return _Running(prepared.variance, targets.astype(cell.storage), prepared.n_bytes)
