"""What an engine is: something that trains packs of cells and reports as it goes."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol, runtime_checkable

from bench.engines.packs import Pack
from bench.protocol.cells import Cell, Checkpoint, Outcome

# How often a cell in training is saved, at the end of an epoch.
CHECKPOINT_S = 25.0

# Bytes that an engine saves at a time at most, of cells that train by the thousand: those with the most work behind them.
CHECKPOINT_BYTES = 1 << 28

# The checkpoints of a training that goes on from none.
NONE_BEGUN: Mapping[Cell, Checkpoint] = MappingProxyType({})


class TrainReport(NamedTuple):
    """What happened since the last report: the cells that ended, and the useful FLOPs of all epochs trained.

    `error` is what broke the engine, where that is how these cells ended. `checkpoints` are of cells that train on.
    """

    outcomes: list[Outcome]
    flops: float
    error: str | None = None
    checkpoints: Sequence[Checkpoint] = ()

    def joined(self, later: TrainReport) -> TrainReport:
        """What this report and a later one say, as one."""
        checkpoints = [*self.checkpoints, *later.checkpoints]
        return TrainReport(self.outcomes + later.outcomes, self.flops + later.flops, self.error or later.error, checkpoints)


@runtime_checkable
class Engine(Protocol):
    """One conformance suite (tests/engines/test_conformance.py and those beside it) runs over every implementation."""

    name: str

    # Whether `train` itself keeps all threads busy, so that its packs train one after the other, in one process.
    threaded: bool

    def device_name(self) -> str:
        """The device as the table's `device` column names it."""
        ...

    def supports(self, cell: Cell) -> bool:
        """Whether this engine can train the cell."""
        ...

    def kind(self, cell: Cell) -> Hashable:
        """What cells of one pack have in common."""
        ...

    def slots(self, cell: Cell) -> int:
        """How many cells like this one train best at a time."""
        ...

    def train(
        self,
        pack: Pack,
        *,
        n_predictions: int = 0,
        jacobian_rank: bool = False,
        begun: Mapping[Cell, Checkpoint] = NONE_BEGUN,
    ) -> Iterator[TrainReport]:
        """Train every cell of the pack to its end.

        Reports several times a second, so that the caller can show progress, keep what is finished, and stop by
        closing the iterator.
        Each outcome carries (target, prediction) pairs of its first `n_predictions` training samples in the final state,
        and, if `jacobian_rank`, the rank of its Jacobian there (`bench.protocol.jacobian.rank`).
        Cells are saved every CHECKPOINT_S. Those that have `begun` on this engine and device go on from there, and end as if
        they had not stopped; the others begin anew.
        """
        ...


def goes_on_from(begun: Mapping[Cell, Checkpoint], cell: Cell, *here: str) -> Checkpoint | None:
    """The checkpoint of a cell, if it is of this engine, device and, where there are several, kernel."""
    saved = begun.get(cell)
    return saved if saved and (saved.engine, saved.device, saved.kernel)[: len(here)] == here else None
