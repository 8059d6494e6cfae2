"""Progress of a long run: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from types import TracebackType

from tqdm import tqdm

from bench.protocol.cells import Outcome, Status

LINE_EVERY_S = 15.0

# Of cells as they are planned: of all of a run, or of a round of a search. The time left supposes that all spend their budgets
# at the speed of those before: it falls as cells memorize sooner, and may rise where what comes is slower.
_BAR = "{percentage:3.0f}%|{bar:24}| {postfix} [{elapsed} elapsed, {remaining} left at this speed]"


class Progress:
    """Counts ended cells by status and useful FLOPs, over the FLOPs of all budgets. A context manager; does nothing where it
    is not `shown`.
    """

    def __init__(self, cells: int, budget_flops: float, *, shown: bool):
        self._cells, self._budget = cells, max(budget_flops, 1)
        self._counts: Counter[Status] = Counter()
        self._flops = self._spent = 0.0
        self._started = self._last_line = time.monotonic()
        self._lines = shown and not sys.stderr.isatty()
        self._bar = tqdm(total=100, bar_format=_BAR, disable=not shown or self._lines, leave=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._show(force=True)
        self._bar.close()

    def update(self, outcomes: list[Outcome], flops: float, budget_freed: float) -> None:
        """Ended cells, useful FLOPs done since the last call, and FLOPs of budget that the ended cells no longer need."""
        self._counts.update(outcome.status for outcome in outcomes)
        self._flops += flops
        self._spent += flops + budget_freed
        self._show(force=False)

    def _show(self, *, force: bool) -> None:
        now = time.monotonic()
        elapsed = max(now - self._started, 1e-9)
        done = sum(self._counts.values())
        counts = ", ".join(f"{self._counts[status]} {status.replace('_', ' ')}" for status in Status if self._counts[status])
        text = f"{done}/{self._cells} cells{': ' if counts else ''}{counts}; {self._flops / elapsed / 1e9:.1f} useful GFLOP/s"
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(100 * self._spent / self._budget - self._bar.n)
        if self._lines and (force or now - self._last_line >= LINE_EVERY_S):
            self._last_line = now
            share = self._spent / self._budget
            left = f", {elapsed * (1 / share - 1):.0f} s left at this speed" if 0 < share < 1 and not force else ""
            print(f"{100 * share:.0f} %: {text}; {elapsed:.0f} s elapsed{left}", file=sys.stderr, flush=True)
