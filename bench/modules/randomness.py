"""Draws under a seed that leave the global random state as it was."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def stream(purpose: str, *numbers: int) -> int:
    """A seed of its own for each purpose, by a hash, as in `bench.protocol.streams`; of 32 bits, as Mersenne Twisters take.

    The initial weights alone are drawn under the seed itself, so that whoever calls `torch.manual_seed` has the same.

    >>> stream("order", 0, 1) == stream("order", 0, 2) or stream("inputs", 0) == stream("targets", 0)
    False
    """
    return int.from_bytes(hashlib.sha256(repr((purpose, *numbers)).encode()).digest()[:4], "little")


@contextmanager
def drawn(seed: int) -> Iterator[None]:
    """Within, torch, numpy and `random` draw under this seed; afterwards they go on where they were.

    CUDA is left alone until it is used: `torch.manual_seed` would replace the seed that waits for its first use.

    >>> torch.manual_seed(7).initial_seed(), float(torch.rand(()))
    (7, 0.5349...)
    >>> with drawn(0):
    ...     inside = torch.rand(())
    >>> with drawn(0):
    ...     bool(inside == torch.rand(()))
    True
    """
    # The generators that a user's own code may draw from, numpy's old global one too.
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(list(devices)):
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)  # noqa: NPY002
