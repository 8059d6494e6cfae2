"""What an engine is: something that trains packs of cells and reports as it goes."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import NamedTuple, Protocol, runtime_checkable

from bench.engines.packs import Pack
from bench.protocol.cells import Cell, Outcome


class TrainReport(NamedTuple):
    """What happened since the last report: the cells that ended, and the useful FLOPs of all epochs trained.

    `error` is what broke the engine, where that is how these cells ended.
    """

    outcomes: list[Outcome]
    flops: float
    error: str | None = None


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

    def train(self, pack: Pack, *, n_predictions: int = 0, jacobian_rank: bool = False) -> Iterator[TrainReport]:
        """Train every cell of the pack to its end.

        Reports several times a second, so that the caller can show progress, keep what is finished, and stop by
        closing the iterator.
        Each outcome carries (target, prediction) pairs of its first `n_predictions` training samples in the final state,
        and, if `jacobian_rank`, the rank of its Jacobian there (`bench.protocol.jacobian.rank`).
        """
        ...
