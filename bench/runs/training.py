"""Cells -> outcomes in a store, by an executor: progress, parts on the disk, and what cells in training go on from."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing

import pyarrow as pa

from bench.engines.api import NONE_BEGUN, TrainReport
from bench.engines.packs import epoch_flops
from bench.machine.signals import unbroken
from bench.protocol.cells import Cell, Checkpoint, Outcome
from bench.runs.executors.api import Executor, Tally
from bench.runs.progress import Progress
from bench.store.checkpoints import Checkpoints
from bench.store.parts import Store

# Outcomes wait this long to share a part; a crash loses at most this much finished work.
FLUSH_EVERY_S = 2.0

# Checkpoints of cells are written together so far apart. They come every `engines.api.CHECKPOINT_S`: none is a minute old.
KEEP_EVERY_S = 15.0


class Training:
    """Trains cells into a store, and counts those `asked` for and `trained`, and by whom."""

    def __init__(self, store: Store, executor: Executor, *, progress: bool, name: str | None = None):
        """`name`: of this process, where several train into the folder."""
        self._store, self._executor, self._progress = store, executor, progress
        # Who stores outcomes elsewhere keeps checkpoints there.
        self._checkpoints = None if executor.stores else Checkpoints(store.path, name, store.check)
        self.asked = self.trained = 0
        self.tally = Tally()

    def train(self, cells: Sequence[Cell], until: float = math.inf) -> None:
        """Train the cells and write their outcomes, also those that had ended when it is interrupted.

        What has not ended `until` then (of `time.perf_counter`) is stopped, has no outcome, and does not count as asked.

        Those that an earlier process had saved go on.
        """
        self.asked += len(cells)
        due = self.trained + len(cells)
        begun = self._begun(cells)
        done = sum(float(one.epoch * epoch_flops(one.cell)) for one in begun.values())
        with (
            Progress(cells, shown=self._progress, begun=done) as shown,
            _Writer(self._store, self._checkpoints, begun) as writer,
            closing(self._executor.train(cells, begun)) as reports,
        ):
            for report in reports:
                if not self._executor.stores:
                    writer.add(report)
                self.trained += len(report.outcomes)
                self.tally.add(report.outcomes)
                shown.update(report.outcomes, report.flops)
                if time.perf_counter() >= until:
                    self._executor.give_up()
                    break
        if time.perf_counter() >= until:
            self.asked -= due - self.trained
        if self._checkpoints:
            self._checkpoints.forget(cells)

    def _begun(self, cells: Sequence[Cell]) -> Mapping[Cell, Checkpoint]:
        if self._checkpoints is None:
            return NONE_BEGUN
        begun = self._checkpoints.read(cells)
        for name, reason in self._checkpoints.unreadable.items():
            print(f"memcap: {self._store.path / name} {reason}; its cells begin anew", flush=True)
        return begun


class _Writer:
    """Writes outcomes as parts, FLUSH_EVERY_S apart, and checkpoints, KEEP_EVERY_S apart; at the end what is left.

    On a thread of its own: the next report may take long to come.
    """

    def __init__(self, store: Store, checkpoints: Checkpoints | None, begun: Mapping[Cell, Checkpoint]):
        self._store, self._checkpoints = store, checkpoints
        self._outcomes: list[Outcome] = []
        # Also those of cells that have not gone on yet.
        self._begun = dict(begun)
        self._keeps, self._kept_at = False, time.monotonic()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> _Writer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        with unbroken():
            self._over.set()
            self._thread.join()
            if self._error is None:
                self._flush(at_once=kind is not None)
            elif kind is None:
                raise self._error

    def add(self, report: TrainReport) -> None:
        """Take a report in.

        Raises:
            OSError: what came before could not be written.
        """
        if self._error is not None:
            raise self._error
        with self._lock:
            self._outcomes += report.outcomes
            self._begun.update({one.cell: one for one in report.checkpoints})
            self._keeps |= bool(report.checkpoints)
            for outcome in report.outcomes if self._begun else ():
                self._begun.pop(outcome.cell, None)

    def _work(self) -> None:
        while not self._over.wait(FLUSH_EVERY_S):
            try:
                self._flush(at_once=False)
            except BaseException as error:  # Told by the thread that trains.
                self._error = error
                return

    def _flush(self, *, at_once: bool) -> None:
        with self._lock:
            outcomes, begun = list(self._outcomes), list(self._begun.values())
            keeps = self._keeps and (at_once or time.monotonic() - self._kept_at >= KEEP_EVERY_S)
            if keeps:
                self._keeps, self._kept_at = False, time.monotonic()
        if outcomes:
            self._store.write(outcomes)
            with self._lock:
                del self._outcomes[: len(outcomes)]
        if keeps and self._checkpoints:
            self._keep(self._checkpoints, begun)

    def _keep(self, checkpoints: Checkpoints, begun: Sequence[Checkpoint]) -> None:
        """Write checkpoints, without which a run goes on too, where there is no room for them."""
        try:
            checkpoints.write(begun)
        except (OSError, pa.ArrowException) as error:
            print(f"memcap: cells in training are not saved any more: {' '.join(str(error).split())}", flush=True)
            self._checkpoints = None
