"""Collections of garbage in cycles: fewer full ones, where many values live and few die in cycles."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# A full collection looks at every value there is, and Python makes one whenever there are a quarter more. A million cells and
# outcomes are in no cycle. Between two full ones there are so many collections of younger values, of some thousands each.
YOUNGER = 1000


@contextmanager
def few_full_collections() -> Iterator[None]:
    """Meanwhile."""
    before = gc.get_threshold()
    gc.set_threshold(*before[:2], max(YOUNGER, before[2]))
    try:
        yield
    finally:
        gc.set_threshold(*before)
