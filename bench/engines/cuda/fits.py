"""Which kernel trains a cell on a device, and what it takes there."""

from __future__ import annotations

from collections.abc import Collection
from operator import attrgetter
from typing import NamedTuple

from bench.engines.cuda.device import Device
from bench.engines.cuda.tiles import Kernel, Sizes, kernels_for
from bench.engines.cuda.ways import Products, Way, ways_for
from bench.engines.task import spec_of
from bench.protocol.cells import Cell

# What the sizes of a cell depend on.
SIZE_FIELDS = (
    *("n_samples", "d_in", "depth", "width", "n_val", "batch_size", "shuffle", "activation", "dropout", "input_noise"),
    *("optimizer", "amsgrad", "dtype", "loss", "n_classes", "n_outputs"),
)

# Asked for every cell, so by one call for all fields.
_size_key = attrgetter(*SIZE_FIELDS)


class Fit(NamedTuple):
    """The kernel that trains a cell, and what it takes."""

    kernel: Kernel
    sizes: Sizes


class Fits:
    """The answers of one device, each asked for once."""

    def __init__(self, device: Device, *, products: Products = "auto", distrusted: Collection[Way] = ()):
        """`products`: see `ways.ways_for`. No cell takes a `distrusted` way: it takes its next, or has no kernel."""
        self.device = device
        self._products: Products = products
        self._distrusted = distrusted
        self._known: dict[tuple[object, ...], Fit | None] = {}

    def fit(self, cell: Cell) -> Fit | None:
        """The kernel for a cell, or None where it has no way that is trusted, or the scratch of no kernel fits on chip."""
        key = _size_key(cell)
        if key not in self._known:
            self._known[key] = self._asked(cell)
        return self._known[key]

    def _asked(self, cell: Cell) -> Fit | None:
        spec = spec_of(cell, variance=1.0)
        ways = [way for way in ways_for(cell, self.device.arch, self._products) if way not in self._distrusted]
        fits = (
            Fit(kernel, self.device.measure(kernel, [spec])[0])
            for way in ways
            for kernel in kernels_for(cell, tensor_cores=way == "3xtf32")
        )
        return next((fit for fit in fits if fit.sizes.scratch <= self.device.scratch_bytes), None)
