"""Cells -> outcomes in a store, by an executor: progress, and parts on the disk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing

from bench.machine.signals import unbroken
from bench.protocol.cells import Cell, Outcome
from bench.runs.executors.api import Executor, Tally
from bench.runs.progress import Progress
from bench.store.parts import Store

# Outcomes wait this long to share a part; a crash loses at most this much finished work.
FLUSH_EVERY_S = 2.0


class Training:
    """Trains cells into a store, and counts those `asked` for and `trained`, and by whom."""

    def __init__(self, store: Store, executor: Executor, *, progress: bool):
        self._store, self._executor, self._progress = store, executor, progress
        self.asked = self.trained = 0
        self.tally = Tally()

    def train(self, cells: Sequence[Cell]) -> None:
        """Train the cells and write their outcomes, also those that had ended when it is interrupted."""
        self.asked += len(cells)
        with (
            Progress(cells, shown=self._progress) as shown,
            _Writer(self._store) as writer,
            closing(self._executor.train(cells)) as reports,
        ):
            for report in reports:
                if not self._executor.stores:
                    writer.add(report.outcomes)
                self.trained += len(report.outcomes)
                self.tally.add(report.outcomes)
                shown.update(report.outcomes, report.flops)


class _Writer:
    """Collects outcomes and writes them as parts, FLUSH_EVERY_S apart and at the end, however the end comes."""

    def __init__(self, store: Store):
        self._store = store
        self._outcomes: list[Outcome] = []
        self._last = time.monotonic()

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *error: object) -> None:
        self._flush()

    def add(self, outcomes: list[Outcome]) -> None:
        self._outcomes += outcomes
        if time.monotonic() - self._last >= FLUSH_EVERY_S:
            self._flush()

    def _flush(self) -> None:
        with unbroken():
            if self._outcomes:
                self._store.write(self._outcomes)
            self._outcomes = []
            self._last = time.monotonic()
