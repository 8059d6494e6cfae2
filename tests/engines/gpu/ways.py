"""The ways in which the CUDA engine makes products, by the names that evidence has for them."""

from __future__ import annotations

from typing import NamedTuple

from bench.engines.cuda.device import Device
from bench.engines.cuda.engine import CudaEngine
from bench.engines.cuda.fits import Fit, Fits
from bench.engines.cuda.tiles import KERNELS, Kernel
from bench.engines.task import spec_of
from bench.protocol.cells import Cell, Dtype


class Way(NamedTuple):
    """A precision, and where its products are made."""

    dtype: Dtype
    tensor_cores: bool

    @property
    def kernels(self) -> list[Kernel]:
        """Those that make products in this way."""
        return [kernel for kernel in KERNELS if (kernel.dtype, kernel.tensor_cores) == self]

    def fits(self, device: Device) -> Fits:
        """What says which of them trains a cell."""
        return Fits(device, tensor_cores=self.tensor_cores and self.dtype == "float32")


WAYS = {
    "fma": Way("float32", False),
    "3xtf32": Way("float32", True),
    "tf32": Way("tf32", True),
    "float64": Way("float64", False),
}


class OneKernel(Fits):
    """Every cell is trained by one kernel, whichever its shape would take."""

    def __init__(self, device: Device, kernel: Kernel):
        super().__init__(device)
        self._kernel = kernel

    def fit(self, cell: Cell) -> Fit:
        return Fit(self._kernel, self.device.measure(self._kernel, [spec_of(cell, variance=1.0)])[0])


def engine_of(fits: Fits) -> CudaEngine:
    """The engine on one device, with kernels chosen by `fits`."""
    engine = CudaEngine([fits.device])
    engine._fits = [fits]
    return engine
