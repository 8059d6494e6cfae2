"""Draws under a seed that leave the global random state as it was."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def drawn(seed: int) -> Iterator[None]:
    """Within, torch, numpy and `random` draw under this seed; afterwards they go on where they were.

    >>> torch.manual_seed(7).initial_seed(), float(torch.rand(()))
    (7, 0.5349...)
    >>> with drawn(0):
    ...     inside = torch.rand(())
    >>> with drawn(0):
    ...     bool(inside == torch.rand(()))
    True
    """
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(list(devices)):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)  # noqa: NPY002
