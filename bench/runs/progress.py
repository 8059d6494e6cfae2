"""Progress of training: cells by how they ended, and the share of the time that is gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from types import TracebackType

from bench.engines.packs import budget_flops, epoch_flops
from bench.machine.bar import Bar
from bench.protocol.cells import Cell, Outcome, Status

# A cell takes about its budget in FLOPs to this power: large networks train faster, and end before their budget more often.
# The share of it that has ended is within 0.12 of the share of the time for the default grid, and within 0.16 for that of
# precision, at any moment; of the FLOPs themselves 0.95 are gone after half of the default grid's time.
POWER = 0.6


class Progress:
    """Counts ended cells by status and useful FLOPs. A context manager; does nothing where it is not `shown`."""

    def __init__(self, cells: Sequence[Cell], *, shown: bool, begun: float = 0.0):
        """`begun`: useful FLOPs that were done of these cells before."""
        self._cells, self._weight = len(cells), max(sum(map(_weight, cells)), 1e-9)
        self._budget = float(sum(map(budget_flops, cells)))
        self._counts: Counter[Status] = Counter()
        self._ended = self._flops = 0.0
        self._running = begun
        self._bar = Bar(shown=shown, stays=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._show(last=True)
        self._bar.__exit__(kind, error, trace)

    def update(self, outcomes: Sequence[Outcome], flops: float) -> None:
        """Ended cells, and useful FLOPs done since the last call."""
        self._flops += flops
        self._running += flops
        for outcome in outcomes:
            self._counts[outcome.status] += 1
            self._ended += _weight(outcome.cell)
            self._budget -= budget_flops(outcome.cell)
            self._running -= (outcome.epochs_run or 0) * epoch_flops(outcome.cell)
        self._show(last=False)

    def _show(self, *, last: bool) -> None:
        done = self._ended / self._weight
        # Of cells that train still, so much of their budgets as is spent.
        begun = min(max(self._running / self._budget, 0.0), 1.0) if self._budget > 0 else 0.0
        counts = ", ".join(f"{self._counts[status]} {status.replace('_', ' ')}" for status in Status if self._counts[status])
        speed = f"{self._flops / self._bar.elapsed_s / 1e9:.1f} useful GFLOP/s"
        told = [f"{sum(self._counts.values())}/{self._cells} cells", *([counts] if counts else []), speed]
        self._bar.show(done + (1 - done) * begun, told, last=last)


def _weight(cell: Cell) -> float:
    return float(budget_flops(cell)) ** POWER
