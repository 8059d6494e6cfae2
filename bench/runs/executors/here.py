"""Cells on this machine: the packs of its engine, and what PyTorch trains in its place. A cluster's nodes do this too."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from functools import cached_property

from bench.engines.api import NONE_BEGUN, Engine, TrainReport
from bench.engines.choice import EngineSpec, for_second_order, for_the_rest, make_engine, resolve
from bench.engines.cost import torch_is_faster
from bench.engines.packs import plan
from bench.machine.cores import available_cores
from bench.protocol.cells import ORTHOGONAL, SECOND_ORDER, Cell, Checkpoint
from bench.runs.executors.api import Facts, Wanted
from bench.runs.executors.local import run_local


class Here:
    """Trains cells on this machine; see `bench.runs.executors.api.Executor`. It counts the cells `left_to_torch`."""

    stores = False

    def __init__(self, wanted: Wanted):
        """Raises:
        GridError: an engine or device that is not here.
        """
        self._spec = spec = resolve(wanted.engine, wanted.device)
        self.notice = spec.notice
        self._asked = {"n_predictions": wanted.n_predictions, "jacobian_rank": wanted.jacobian_rank}
        self._workers = (wanted.threads or available_cores()) if spec.device == "cpu" else 1
        self.left_to_torch = 0
        self._broken = False
        # Whether cells were of optimizer=lm, as there were both or either.
        self._trained: set[bool] = set()

    @cached_property
    def _engine(self) -> Engine:
        return make_engine(self._spec)

    def give_up(self) -> None:
        """Nothing trains on once the iterator is closed."""

    def facts(self) -> Facts:
        """Of the engine itself, or of that of optimizer=lm where it trained all; cells that were left to torch are counted."""
        left = {"cells_left_to_torch": self.left_to_torch} if self.left_to_torch else {}
        solved_alone = self._trained == {True}
        spec = for_second_order(self._spec) if solved_alone else self._spec
        engine = make_engine(spec) if solved_alone else self._engine
        return Facts(spec.name, engine.device_name(), self._workers, left)

    def close(self) -> None:
        """Nothing is kept."""

    def train(self, cells: Sequence[Cell], begun: Mapping[Cell, Checkpoint] = NONE_BEGUN) -> Generator[TrainReport]:
        """Train every cell to its end.

        Those that the engine does not support, or loses when its GPU or driver breaks, are trained by PyTorch; with `by_cost`
        those too that it trains faster.
        """
        solved = [cell for cell in cells if cell.optimizer == SECOND_ORDER]
        cells = [cell for cell in cells if cell.optimizer != SECOND_ORDER] if solved else cells
        self._trained |= {*[True] * bool(solved), *[False] * bool(cells)}
        own, rest = [], []
        for cell in cells:
            (own if self._is_own(cell) else rest).append(cell)
        if rest and not self._broken:
            orthogonal = sum(cell.optimizer == ORTHOGONAL for cell in rest)
            if orthogonal:
                why = f"are of optimizer={ORTHOGONAL}, which engine={self._spec.name} does not have"
                print(f"memcap: {orthogonal} cells {why}; engine=torch trains them")
            others = [cell for cell in rest if cell.optimizer != ORTHOGONAL]
            if self._spec.by_cost and others:
                print(f"memcap: engine=torch trains the {len(others)} widest cells, which it is faster for")
            elif others:
                why = f"too large for engine={self._spec.name}" + ", or of a dtype that it gets wrong here" * bool(
                    self._spec.distrusted
                )
                print(f"memcap: {len(others)} cells are {why}; engine=torch trains them")
        if own:
            rest += yield from self._train(own, self._spec, begun)
        if rest:
            self.left_to_torch += len(rest)
            yield from self._train(rest, for_the_rest(self._spec), begun)
        if solved:
            yield from self._train(solved, for_second_order(self._spec), begun)

    def _is_own(self, cell: Cell) -> bool:
        """Whether the engine itself trains the cell."""
        if self._broken or not self._engine.supports(cell):
            return False
        return not (self._spec.by_cost and torch_is_faster(cell, self._engine.device_name().removeprefix("cpu ")))

    def _train(
        self, cells: Sequence[Cell], by: EngineSpec, begun: Mapping[Cell, Checkpoint]
    ) -> Generator[TrainReport, None, list[Cell]]:
        """Train the cells; returns those that a GPU took with it as it broke, which have no outcome yet."""
        engine = self._engine if by is self._spec else make_engine(by)
        at_once = 1 if engine.threaded else self._workers
        packs = plan(cells, kind=engine.kind, slots=engine.slots, workers=at_once)
        asked = {**self._asked, "begun": _of_engine(engine, [begun[cell] for cell in cells if cell in begun])}
        # A process whose GPU has broken cannot reach it any more; a new one may.
        reports = run_local(packs, by, threads=self._workers, apart=self._broken, **asked)
        lost: list[Cell] = []
        try:
            for report in reports:
                if report.error and by.name == "cuda":
                    self._broken = True
                    lost += [outcome.cell for outcome in report.outcomes]
                    print(f"memcap: the CUDA engine failed ({report.error}); engine=torch trains the rest, {len(lost)} cells")
                    continue
                yield report
        finally:
            reports.close()
        return lost


def _of_engine(engine: Engine, begun: Sequence[Checkpoint]) -> dict[Cell, Checkpoint]:
    """Those of the cells that have begun which this engine can go on with, told as the others are."""
    devices = engine.device_name().split(", ")
    own = {one.cell: one for one in begun if one.engine == engine.name and one.device in devices}
    if own:
        print(f"memcap: {len(own)} cells go on from where they were saved", flush=True)
    others = [one for one in begun if one.cell not in own]
    for engine_name, device in sorted({(one.engine, one.device) for one in others}):
        count = sum((one.engine, one.device) == (engine_name, device) for one in others)
        here = f"engine={engine.name} on {engine.device_name()}"
        print(f"memcap: {count} cells had begun on engine={engine_name} on {device}, and begin anew on {here}", flush=True)
    return own
