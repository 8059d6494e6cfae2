"""Cells -> outcomes in a store: the packs of an engine, what PyTorch trains in its place, progress, and parts on the disk."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from bench.engines.choice import EngineSpec, for_the_rest, make_engine
from bench.engines.cost import torch_is_faster
from bench.engines.packs import plan
from bench.machine.signals import unbroken
from bench.protocol.cells import Cell, Outcome
from bench.runs.executors.choice import EXECUTORS
from bench.runs.progress import Progress
from bench.store.parts import Store

# Outcomes wait this long to share a part; a crash loses at most this much finished work.
FLUSH_EVERY_S = 2.0


class Training:
    """Trains cells into a store, and counts: `asked` and `trained` cells, and those `left_to_torch`."""

    def __init__(
        self,
        store: Store,
        spec: EngineSpec,
        *,
        executor: str,
        threads: int,
        n_predictions: int,
        jacobian_rank: bool,
        progress: bool,
    ):
        self._store, self._spec, self._executor, self._progress = store, spec, executor, progress
        self._wanted = {"n_predictions": n_predictions, "jacobian_rank": jacobian_rank}
        self._engine = make_engine(spec)
        self.workers = threads if spec.device == "cpu" else 1
        self.device_name = self._engine.device_name()
        self.asked = self.trained = self.left_to_torch = 0
        self._broken = False

    def train(self, cells: Sequence[Cell], until: float = math.inf) -> None:
        """Train the cells and write their outcomes, also those that had ended when it is interrupted.

        What has not ended `until` then (of `time.perf_counter`) is stopped, has no outcome, and does not count as asked.

        Those that the engine does not support, or loses when its GPU or driver breaks, are trained by PyTorch; with `by_cost`
        those too that it trains faster.
        """
        own = [cell for cell in cells if self._is_own(cell)]
        held = set(own)
        rest = [cell for cell in cells if cell not in held]
        if rest and not self._broken:
            if self._spec.by_cost:
                print(f"memcap: engine=torch trains the {len(rest)} widest cells, which it is faster for")
            else:
                why = f"too large for engine={self._spec.name}" + ", or of a dtype that it gets wrong here" * bool(
                    self._spec.distrusted
                )
                print(f"memcap: {len(rest)} cells are {why}; engine=torch trains them")
        self.asked += len(cells)
        due = self.trained + len(cells)
        with (
            Progress(cells, shown=self._progress) as shown,
            _Writer(self._store) as writer,
        ):
            if own:
                rest += self._train(own, self._spec, shown, writer, until)
            if rest and time.perf_counter() < until:
                self.left_to_torch += len(rest)
                self._train(rest, for_the_rest(self._spec), shown, writer, until)
        if time.perf_counter() >= until:
            self.asked -= due - self.trained

    def _is_own(self, cell: Cell) -> bool:
        """Whether the engine itself trains the cell."""
        if self._broken or not self._engine.supports(cell):
            return False
        return not (self._spec.by_cost and torch_is_faster(cell, self.device_name.removeprefix("cpu ")))

    def _train(self, cells: Sequence[Cell], by: EngineSpec, shown: Progress, writer: _Writer, until: float) -> list[Cell]:
        """Train the cells; returns those that a GPU took with it as it broke, which have no outcome yet."""
        engine = self._engine if by is self._spec else make_engine(by)
        at_once = 1 if engine.threaded else self.workers
        packs = plan(cells, kind=engine.kind, slots=engine.slots, workers=at_once)
        # A process whose GPU has broken cannot reach it any more; a new one may.
        reports = EXECUTORS[self._executor](packs, by, threads=self.workers, apart=self._broken, **self._wanted)
        lost: list[Cell] = []
        try:
            for report in reports:
                if report.error and by.name == "cuda":
                    self._broken = True
                    lost += [outcome.cell for outcome in report.outcomes]
                    print(f"memcap: the CUDA engine failed ({report.error}); engine=torch trains the rest, {len(lost)} cells")
                    continue
                writer.add(report.outcomes)
                self.trained += len(report.outcomes)
                shown.update(report.outcomes, report.flops)
                if time.perf_counter() >= until:
                    break
        finally:
            reports.close()
        return lost


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
