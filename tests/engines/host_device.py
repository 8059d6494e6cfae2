"""A device for the CUDA engine that is this host: the same kernels, compiled for it, with threads in place of a GPU's."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from bench.engines import _native
from bench.engines.cuda.device import Launch
from bench.engines.cuda.tiles import Kernel, Sizes
from bench.engines.task import DTYPES, Spec


class HostMemory:
    def __init__(self, device: HostDevice, n_bytes: int):
        self._device = device
        # What a device's memory holds before it is written to is anything.
        self._bytes = np.full(n_bytes + 64, 0xFF, dtype=np.uint8)
        self._skip = -self._bytes.ctypes.data % 64
        self.address = self._bytes.ctypes.data + self._skip

    def write(self, values: np.ndarray) -> None:
        flat = values.reshape(-1).view(np.uint8)
        self._bytes[self._skip : self._skip + len(flat)] = flat

    def read(self, n_bytes: int, at: int = 0) -> np.ndarray:
        return self._bytes[self._skip + at : self._skip + at + n_bytes].copy()

    def gathered(self, starts: np.ndarray, counts: np.ndarray) -> HostMemory:
        assert not self._device._started, "a GPU would gather after the slice"
        numbers = self._bytes[self._skip :][: 8 * ((len(self._bytes) - self._skip) // 8)].view(np.float64)
        ranges = [numbers[start : start + count] for start, count in zip(starts.tolist(), counts.tolist(), strict=True)]
        copy = HostMemory(self._device, 8 * int(counts.sum()))
        copy.write(np.concatenate([*ranges, numbers[:0]]))
        return copy


class HostDevice:
    """Slices are counts of epochs, the next of `epochs` each time, so that cells pause at many places."""

    def __init__(
        self,
        *,
        threads: int = 1,
        places: int = 1,
        team: int = 1,
        epochs: Sequence[int] = (1000,),
        scratch_bytes: int = 1 << 30,
        free_bytes: int = 1 << 40,
        descending: bool = False,
    ):
        self.name = self.arch = "host"
        self.scratch_bytes = scratch_bytes
        self.launches: list[Launch] = []
        self._threads, self._places, self._team = threads, places, team
        self._free_bytes = free_bytes
        self._descending = descending
        self._started: list[tuple[HostMemory, Launch, int]] = []
        self._epochs = itertools.cycle(epochs)

    def measure(self, kernel: Kernel, specs: Sequence[Spec]) -> list[Sizes]:
        return [Sizes(*_native.block_measure(*self._which(kernel), bytes(spec))) for spec in specs]

    def teams(self, kernel: Kernel, threads: int, scratch_bytes: int, team: int) -> int:
        return self._places // team

    def most_team(self) -> int:
        return self._team

    def free_bytes(self) -> int:
        return self._free_bytes

    def memory(self, n_bytes: int) -> HostMemory:
        return HostMemory(self, n_bytes)

    def start(self, tasks: HostMemory, launches: Sequence[Launch], length_s: float) -> None:
        assert not self._started, "a slice was started beside another"
        epochs = next(self._epochs)
        self.launches += launches
        self._started = [(tasks, launch, epochs) for launch in launches]

    def wait(self) -> None:
        """As late as can be: whoever reads too early reads what was there before."""
        started, self._started = self._started, []
        for tasks, launch, epochs in started:
            which = self._which(launch.kernel)
            shape = (launch.teams, launch.team, self._threads, epochs, launch.scratch_bytes, self._descending)
            _native.block_train(*which, tasks.address, launch.order, *shape)

    @staticmethod
    def _which(kernel: Kernel) -> tuple[int, int, int, bool]:
        return DTYPES.index(kernel.dtype), kernel.block, kernel.rows, kernel.tensor_cores
