"""What cells of a device have in common that differ in their draws or learning rates alone: looked up for each, made once."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from bench.engines import images
from bench.engines.cuda.fits import Fits
from bench.engines.cuda.tiles import Kernel, threads_for
from bench.protocol.cells import Cell
from bench.protocol.networks import n_params

# Every cell's own memory begins on such a boundary, in bytes.
ALIGNMENT = 64

FAMILY: list[Any] = [
    *images.FAMILY,
    ("group", np.int64),  # families that one launch can train together
    ("n_saved", np.int64),  # numbers that outlast an epoch: parameters and moments
    ("n_targets", np.int64),  # of a sample
    ("scratch_bytes", np.int64),
    ("shares", np.int64),
]


class Group(NamedTuple):
    """What one launch has in common; blocks with a little more scratch fit as often."""

    kernel: Kernel
    threads: int
    places: int


class Families(images.Families):
    """The families of a device's cells, and the groups that they belong to."""

    dtype = np.dtype(FAMILY)

    def __init__(self, fits: Fits):
        super().__init__()
        self.groups: list[Group] = []
        self._fits = fits

    def _row(self, cell: Cell) -> Shaped[np.ndarray, ""]:
        row = super()._row(cell)
        fit = self._fits.fit(cell)
        if fit is None:
            raise ValueError("its activations do not fit on the chip; use engine=torch")
        threads = threads_for(cell, fit.kernel)
        group = Group(fit.kernel, threads, self._fits.device.teams(fit.kernel, threads, fit.sizes.scratch, 1))
        if group not in self.groups:
            self.groups.append(group)
        row["group"] = self.groups.index(group)
        row["n_saved"] = n_params(cell) * (2 if cell.optimizer == "sgd" else 4 if cell.amsgrad else 3)
        row["n_targets"] = cell.n_outputs
        row["memory_bytes"] = -(-fit.sizes.memory // ALIGNMENT) * ALIGNMENT
        row["scratch_bytes"] = fit.sizes.scratch
        row["shares"] = fit.sizes.shares
        return row
