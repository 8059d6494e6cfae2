"""What is drawn for cells before they train, data and initial weights: kept, since many cells share them."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float64, Int

from bench.protocol.cells import Cell
from bench.protocol.networks import INIT_FIELDS, OUTPUT_FIELDS, initial_layers
from bench.protocol.noise import INPUT_FIELDS, TARGET_FIELDS, VALIDATION_FIELDS, training_data, validation_data

# What draws take in memory at most; the oldest make room.
KEPT_BYTES = 1 << 26

NUMBER_BYTES = 8

# Cells whose draws are counted before the next look whether they are enough.
COUNTED = 512

# Where arrays lie side by side, each begins on a boundary of 64 bytes.
ALIGNMENT = 64 // NUMBER_BYTES

_Drawn = TypeVar("_Drawn")
_weights_key = attrgetter(*INIT_FIELDS, *OUTPUT_FIELDS)
_data_key = attrgetter("data_seed", "n_samples")
_samples_key = attrgetter(*dict.fromkeys((*INPUT_FIELDS, *TARGET_FIELDS, *VALIDATION_FIELDS)))


class Samples(NamedTuple):
    """A cell's data in one piece: inputs, targets, validation inputs and targets; and the variance that tau divides by."""

    piece: Float64[np.ndarray, " number"]
    target_variance: float

    def arrays(self, cell: Cell) -> list[Float64[np.ndarray, " number"]]:
        """The four, flat."""
        counts = sample_counts(cell)
        return [self.piece[at : at + count] for at, count in zip(_places(counts), counts, strict=False)]


class Draws:
    """Draws of cells, the same arrays for cells that share them: nobody may write to these."""

    def __init__(self, kept_bytes: int = KEPT_BYTES):
        self._room = kept_bytes
        # An OrderedDict, since the first of a dict is behind the places of all that were before it.
        self._kept: OrderedDict[tuple[object, ...], tuple[object, int]] = OrderedDict()

    def weights(self, cell: Cell) -> Float64[np.ndarray, " param"]:
        """Initial weights and biases, layer behind layer."""
        return self._get(_weights_key(cell), cell, _weights)

    def samples(self, cell: Cell) -> Samples:
        """The training set and the validation set."""
        return self._get(_samples_key(cell), cell, _samples)

    def _get(self, key: tuple[object, ...], cell: Cell, draw: Callable[[Cell], tuple[_Drawn, int]]) -> _Drawn:
        # Where keys of weights have the name of an initialisation, those of samples have the classes.
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = draw(cell)
            self._room -= found[1]
            while self._room < 0:
                self._room += self._kept.popitem(last=False)[1][1]
        return found[0]  # pyright: ignore[reportReturnType]: the key says who drew it


def n_draws(cells: Sequence[Cell], most: int) -> int:
    """About how many different draws these cells take, counted until they are so many."""
    drawn: set[tuple[object, ...]] = set()
    for first in range(0, len(cells), COUNTED):
        drawn.update(map(_weights_key, cells[first : first + COUNTED]))
        drawn.update(map(_data_key, cells[first : first + COUNTED]))
        if len(drawn) >= most:
            break
    return min(most, len(drawn))


def sample_counts(cell: Cell) -> tuple[int, int, int, int]:
    """Numbers in each array of a cell's data: of targets, one for each sample and output; a label is one number."""
    targets = cell.n_outputs
    return cell.n_samples * cell.d_in, cell.n_samples * targets, cell.n_val * cell.d_in, cell.n_val * targets


def side_by_side(counts: tuple[int, ...]) -> Int[np.ndarray, " place"]:
    """Where arrays of so many numbers begin in one piece, and where it ends.

    >>> side_by_side((1, 20, 8)).tolist()
    [0, 8, 32, 40]
    """
    return np.cumsum([0, *(-(-count // ALIGNMENT) * ALIGNMENT for count in counts)])


@functools.lru_cache
def _places(counts: tuple[int, ...]) -> list[int]:
    """The same as a list, since most cells have the counts of others."""
    return side_by_side(counts).tolist()


def _weights(cell: Cell) -> tuple[Float64[np.ndarray, " param"], int]:
    params = np.concatenate([part for layer in initial_layers(cell) for part in layer], axis=None)
    return params, params.nbytes


def _samples(cell: Cell) -> tuple[Samples, int]:
    sets = [training_data(cell), *([validation_data(cell)] if cell.n_val else [])]
    arrays = [array.ravel() for data in sets for array in data[:2]]
    places = _places(sample_counts(cell))
    piece = np.zeros(places[-1])
    for at, array in zip(places, arrays, strict=False):
        piece[at : at + len(array)] = array
    return Samples(piece, sets[0].target_variance), piece.nbytes
