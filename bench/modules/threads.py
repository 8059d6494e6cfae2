"""How many threads work on a network: to wake others takes longer than a small one's work, all the more on a busy machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Numbers that a CPU's caches hold: parameters with gradients and the optimizer's state, and what layers give, forward and back.
CACHED = 2**22
OF_PARAMETERS, OF_OUTPUTS = 6, 4


@contextmanager
def as_many_as_pay(numbers: int) -> Iterator[None]:
    """Within, one thread for networks of so few numbers that they stay in the caches; else as many as torch has."""
    before = torch.get_num_threads()
    if numbers < CACHED:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
