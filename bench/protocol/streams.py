"""Named random streams: what is drawn has a name, and depends on the fields named with it and on nothing else."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from jaxtyping import UInt64
from numpy.random.bit_generator import ISeedSequence

from bench.protocol.cells import Cell, canonical, field_types

# Draws inside training depend on the seed of the training run, not on its data.
KERNEL_FIELDS = ("init_seed",)


def stream_key(cell: Cell, purpose: str, fields: Sequence[str]) -> int:
    """128 bits that name one stream: a hash of the purpose and of the cell's values of `fields`.

    >>> stream_key(Cell(width=8), "targets", ("data_seed",)) == stream_key(Cell(width=9), "targets", ("data_seed",))
    True
    """
    return int.from_bytes(_key_bytes(cell, purpose, fields), "little")


def generator(cell: Cell, purpose: str, fields: Sequence[str]) -> np.random.Generator:
    """Numpy's counter-based Philox under the stream's key, at counter 0: for data and initial weights."""
    # numpy takes any ISeedSequence; its types do not say so.
    return np.random.Generator(np.random.Philox(cast(Any, _Key(_key_bytes(cell, purpose, fields)))))


class _Key(ISeedSequence):
    """A key for Philox as numpy's seeds give it: `Philox(key=...)` is the same, but asks the system for entropy first."""

    def __init__(self, key: bytes):
        self._words = np.frombuffer(key, dtype="<u8").astype(np.uint64, copy=False)

    def generate_state(self, n_words: int, dtype: Any = np.uint64) -> UInt64[np.ndarray, " word"]:
        if n_words != 2 or dtype is not np.uint64:
            raise ValueError(f"the key of Philox is two words of 64 bits, not {n_words} of {dtype}")
        return self._words


def _key_bytes(cell: Cell, purpose: str, fields: Sequence[str]) -> bytes:
    """The key, its least byte first: of the SHA-256 of [purpose, [field, value], ...] in JSON, as `json.dumps` writes it."""
    # Piece by piece, since most are alike: every cell has three streams or more, and a run may have a million cells.
    pieces = [_in_json(purpose), *[f'["{name}", {_spelled(name, getattr(cell, name))}]' for name in fields]]
    return hashlib.sha256(f"[{', '.join(pieces)}]".encode()).digest()[:16]


def _spelled(name: str, value: object) -> str:
    """A field's value as it enters hashes, in JSON."""
    whole = type(value) is int and name in _whole_fields()
    return str(value) if whole else _in_json(canonical(name, value))


@functools.cache
def _whole_fields() -> frozenset[str]:
    """The fields whose numbers are whole: `canonical` leaves these as they are."""
    return frozenset(name for name, kinds in field_types().items() if int in kinds and float not in kinds)


# Typed, since 1, 1.0 and true are equal.
_in_json = functools.lru_cache(maxsize=1 << 10, typed=True)(json.dumps)


def kernel_key(cell: Cell, purpose: str, fields: Sequence[str]) -> tuple[int, int]:
    """Two 32-bit words that name one stream of draws made inside training kernels (`bench.protocol.philox`)."""
    key = stream_key(cell, purpose, fields)
    return key & 0xFFFFFFFF, (key >> 32) & 0xFFFFFFFF
