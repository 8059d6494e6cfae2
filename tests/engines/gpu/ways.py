"""A way to make products, forced: with the kernels that the engine would choose, or with one of them."""

from __future__ import annotations

from bench.engines.cuda.device import Device
from bench.engines.cuda.engine import CudaEngine
from bench.engines.cuda.fits import Fit, Fits
from bench.engines.cuda.tiles import KERNELS, Kernel
from bench.engines.cuda.ways import Way
from bench.engines.task import spec_of
from bench.protocol.cells import Cell, Dtype


def dtype_of(way: Way) -> Dtype:
    """Of the cells that take it."""
    return "float32" if way == "3xtf32" else way


def kernels_of(way: Way) -> list[Kernel]:
    """Those that make products in this way."""
    return [kernel for kernel in KERNELS if kernel.way == way]


def fits_of(way: Way, device: Device) -> Fits:
    """What says which of them trains a cell."""
    return Fits(device, products="3xtf32" if way == "3xtf32" else "fma")


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
