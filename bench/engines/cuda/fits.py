"""Which kernel trains a cell on a device, and what it takes there."""

from __future__ import annotations

from typing import NamedTuple

from bench.engines.cuda.device import Device
from bench.engines.cuda.tiles import Kernel, Sizes, kernels_for
from bench.engines.task import spec_of
from bench.protocol.cells import Cell

# What the sizes of a cell depend on.
SIZE_FIELDS = (
    *("n_samples", "d_in", "depth", "width", "n_val", "batch_size", "shuffle", "activation", "dropout", "input_noise"),
    *("optimizer", "amsgrad", "dtype"),
)


class Fit(NamedTuple):
    """The kernel that trains a cell, and what it takes."""

    kernel: Kernel
    sizes: Sizes


class Fits:
    """The answers of one device, each asked for once."""

    def __init__(self, device: Device, *, tensor_cores: bool = False):
        """`tensor_cores`: see `tiles.kernels_for`."""
        self.device = device
        self._tensor_cores = tensor_cores
        self._known: dict[tuple[object, ...], Fit | None] = {}

    def fit(self, cell: Cell) -> Fit | None:
        """The kernel for a cell, or None where the scratch of none fits on chip."""
        key = tuple(getattr(cell, name) for name in SIZE_FIELDS)
        if key not in self._known:
            spec = spec_of(cell, variance=1.0)
            fits = (
                Fit(kernel, self.device.measure(kernel, [spec])[0])
                for kernel in kernels_for(cell, tensor_cores=self._tensor_cores)
            )
            self._known[key] = next((fit for fit in fits if fit.sizes.scratch <= self.device.scratch_bytes), None)
        return self._known[key]
