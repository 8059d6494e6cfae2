"""Named random streams: what is drawn has a name, and depends on the fields named with it and on nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from jaxtyping import UInt64
from numpy.random.bit_generator import ISeedSequence

from bench.protocol.cells import Cell, canonical

# Draws inside training depend on the seed of the training run, not on its data.
KERNEL_FIELDS = ("init_seed",)


def stream_key(cell: Cell, purpose: str, fields: Sequence[str]) -> int:
    """128 bits that name one stream: a hash of the purpose and of the cell's values of `fields`.

    >>> stream_key(Cell(width=8), "targets", ("data_seed",)) == stream_key(Cell(width=9), "targets", ("data_seed",))
    True
    """
    named = [purpose, *((name, canonical(name, getattr(cell, name))) for name in fields)]
    return int.from_bytes(hashlib.sha256(json.dumps(named).encode()).digest()[:16], "little")


def generator(cell: Cell, purpose: str, fields: Sequence[str]) -> np.random.Generator:
    """Numpy's counter-based Philox under the stream's key, at counter 0: for data and initial weights."""
    # numpy takes any ISeedSequence; its types do not say so.
    return np.random.Generator(np.random.Philox(cast(Any, _Key(stream_key(cell, purpose, fields)))))


class _Key(ISeedSequence):
    """A key for Philox as numpy's seeds give it: `Philox(key=...)` is the same, but asks the system for entropy first."""

    def __init__(self, key: int):
        self._bytes = key.to_bytes(16, "little")

    def generate_state(self, n_words: int, dtype: Any = np.uint64) -> UInt64[np.ndarray, " word"]:
        if (n_words, np.dtype(dtype)) != (2, np.dtype(np.uint64)):
            raise ValueError(f"the key of Philox is two words of 64 bits, not {n_words} of {np.dtype(dtype)}")
        return np.frombuffer(self._bytes, dtype="<u8").astype(np.uint64)


def kernel_key(cell: Cell, purpose: str, fields: Sequence[str]) -> tuple[int, int]:
    """Two 32-bit words that name one stream of draws made inside training kernels (`bench.protocol.philox`)."""
    key = stream_key(cell, purpose, fields)
    return key & 0xFFFFFFFF, (key >> 32) & 0xFFFFFFFF
