"""The native engine: the fused C++ core (`fused/`) on CPU threads, each of which trains one cell to its end and takes the next.

No cell sees another: on one machine a result depends on the cell alone, bit for bit, whatever trains beside it and on however
many threads. Another instruction set orders sums otherwise, and rounds differently.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from bench.engines._native import Queue, instruction_sets
from bench.engines.api import TrainReport
from bench.engines.draws import Draws
from bench.engines.packs import Pack, epoch_flops
from bench.engines.record import RecordTable
from bench.engines.task import layers_of, prepare
from bench.protocol.cells import Cell, Outcome, Status

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
        """Every valid cell."""
        return True

    def kind(self, cell: Cell) -> None:
        """Cells of all kinds train together."""

    def slots(self, cell: Cell) -> int:
        """Any number: the queue is the engine's own."""
        return sys.maxsize

    def train(self, pack: Pack, *, n_predictions: int = 0, jacobian_rank: bool = False) -> Iterator[TrainReport]:
        """Train every cell of the pack to its end; see `bench.engines.api.Engine.train`."""
        queue = Queue(min(self.threads, len(pack.cells)), self.instruction_set)
        waiting = list(reversed(list(enumerate(pack.cells))))
        running: dict[int, _Running] = {}
        draws = Draws()
        # Cells are taken in when they have ended, all epochs at once, and all together that ended since the last look.
        table = RecordTable(AHEAD * self.threads)
        try:
            while waiting or running:
                outcomes = []
                while waiting and self._has_room(running):
                    number, cell = waiting.pop()
                    try:
                        running[number] = _push(queue, number, cell, draws, n_predictions, jacobian_rank)
                    except (MemoryError, TypeError, ValueError) as error:  # Too large; the cells beside it can train.
                        outcomes.append(self._failed(cell, f"{type(error).__name__}: {error}"))
                ended, progress = queue.poll(REPORT_S) if running else ([], [])
                flops = sum(epochs * epoch_flops(pack.cells[number]) for number, epochs in progress)
                begun = [(pack.cells[number], running.pop(number), own) for number, *own in ended]
                outcomes += [
                    self._failed(cell, "MemoryError: no memory for its arrays")
                    for cell, _, (trained, *_) in begun
                    if not trained
                ]
                outcomes += self._outcomes(table, [one for one in begun if one[2][0]], jacobian_rank)
                yield TrainReport(outcomes, flops)
        finally:
            queue.close()

    def _outcomes(
        self, table: RecordTable, trained: list[tuple[Cell, _Running, list[Any]]], jacobian_rank: bool
    ) -> list[Outcome]:
        """The outcomes of cells that have ended, from what the queue says of each."""
        if not trained:
            return []
        cells, begun, own = zip(*trained, strict=True)
        _, last, time_s, tau, val_mse, predictions, params = zip(*own, strict=True)
        rows = np.arange(len(cells))
        table.begin(rows, cells, np.array([one.variance for one in begun]))
        taus, val_mses = (np.array(list(chain.from_iterable(lists)), dtype=np.float64) for lists in (tau, val_mse))
        table.absorb(rows, np.array(last) + 1, rows >= 0, taus, val_mses, np.array(time_s))
        pairs = [tuple(zip(one.targets.tolist(), made, strict=True)) for one, made in zip(begun, predictions, strict=True)]
        layers = [layers_of(cell, np.array(flat)) for cell, flat in zip(cells, params, strict=True)] if jacobian_rank else None
        return table.outcomes(rows, self.name, self.device_name(), pairs, layers)

    def _has_room(self, running: dict[int, _Running]) -> bool:
        """Whether to prepare another cell: for every thread, and ahead while they take little memory."""
        if len(running) < self.threads:
            return True
        return len(running) < AHEAD * self.threads and sum(one.n_bytes for one in running.values()) < BYTES_AHEAD

    def _failed(self, cell: Cell, reason: str) -> Outcome:
        return Outcome(cell, Status.FAILED, reason=" ".join(reason.split()), engine=self.name, device=self.device_name())


class _Running(NamedTuple):
    """Of a cell in the queue the variance of its targets, those of its predictions, and the bytes handed over."""

    variance: float
    targets: Float[np.ndarray, " sample"]
    n_bytes: int


def _push(queue: Queue, number: int, cell: Cell, draws: Draws, n_predictions: int, gives_params: bool) -> _Running:
    """Hand a cell to the threads; what is needed to read its results."""
    prepared = prepare(cell, draws)
    count = min(n_predictions, cell.n_samples)
    queue.push(number, prepared.spec, count, gives_params, *prepared.arrays)
    return _Running(prepared.variance, prepared.targets[:count].astype(cell.storage), prepared.n_bytes)
