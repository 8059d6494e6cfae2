"""How far long work is: a bar on a terminal that fits its width, a line now and then elsewhere."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Sequence
from types import TracebackType

from tqdm import tqdm

LINE_EVERY_S = 15.0

# The speed that the time left supposes is that of about so many seconds before.
SMOOTHED_S = 30.0

# Columns of the bar itself; what is told beside it gets the others.
BAR = 16


class Bar:
    """A context manager that shows a share of work done, and how long the rest takes; does nothing where it is not `shown`.

    The share never falls, and the time left follows a moving average of the speed, weighted by exp(-age / SMOOTHED_S).
    """

    def __init__(self, *, shown: bool, stays: bool):
        """`stays`: what the bar told at last is left on the terminal."""
        self._lines = shown and not sys.stderr.isatty()
        bar_format = f"{{percentage:3.0f}}%|{{bar:{BAR}}}| {{desc}}"
        self._bar = tqdm(
            total=1.0, bar_format=bar_format, disable=not shown or self._lines, leave=stays, dynamic_ncols=True, miniters=0
        )
        self._started = self._last_line = self._last = time.monotonic()
        self._share = self._speed = 0.0

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.close()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the work began, more than 0."""
        return max(time.monotonic() - self._started, 1e-9)

    def show(self, share: float, told: Sequence[str], *, last: bool = False) -> None:
        """Tell how far it is.

        Args:
            share: of the work that is done, from 0 to 1.
            told: what to say beside it, the most important first: a bar leaves out what has no room.
            last: nothing follows; where there is no bar a line is due.
        """
        now = time.monotonic()
        left = self._left(now, min(max(share, self._share), 1.0))
        rest = [f"{left} left"] if left and not last else []
        elapsed = f"{spell_s(now - self._started)} elapsed"
        if self._lines and (last or now - self._last_line >= LINE_EVERY_S):
            self._last_line = now
            print(f"{100 * self._share:.0f} % of the work: {'; '.join([*told, elapsed, *rest])}", file=sys.stderr, flush=True)
        room = shutil.get_terminal_size().columns - BAR - len("100%|| ") - 1
        self._bar.set_description_str(fitting([told[0], *rest, *told[1:], elapsed], room), refresh=False)
        # Added up, shares would pass 1 by rounding, and the bar lose its end.
        self._bar.n = self._share
        self._bar.update(0)

    def clear(self) -> None:
        """Take the bar off the terminal, so that other lines can be printed; what is shown next brings it back."""
        self._bar.clear()

    def _left(self, now: float, share: float) -> str:
        """The time left at the speed of late, in words; nothing where none is known."""
        passed = now - self._last
        if passed > 0:
            weight = 1 - math.exp(-passed / SMOOTHED_S)
            self._speed += weight * ((share - self._share) / passed - self._speed)
            self._last, self._share = now, share
        else:
            self._share = share
        # An average that began at 0 is that much too small.
        known = self._speed / (1 - math.exp(-max(now - self._started, 1e-9) / SMOOTHED_S))
        return spell_s((1 - share) / known) if known > 0 and share < 1 else ""


def fitting(texts: Sequence[str], room: int) -> str:
    """As many of the texts as fit into so many columns, the first in any case.

    >>> fitting(["3/9 cells", "2 memorized", "5 s"], 24)
    '3/9 cells; 2 memorized'
    """
    count = next(n for n in range(len(texts), 0, -1) if n == 1 or len("; ".join(texts[:n])) <= room)
    return "; ".join(texts[:count])


def spell_s(seconds: float) -> str:
    """A duration as somebody says it who waits.

    >>> [spell_s(value) for value in (7.4, 119, 3600, 90000)]
    ['7 s', '2 min', '1.0 h', '25 h']
    """
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.{1 if seconds < 36000 else 0}f} h"
