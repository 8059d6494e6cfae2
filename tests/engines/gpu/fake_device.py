"""A device that trains nothing, in place of `bench.engines.cuda.gpu`, to rehearse on a machine without a GPU all that is not a kernel.

Every network memorizes as 1 / epochs ** (weights / samples), about. Whoever judges results must find that out.
With MEMCAP_DEVICE=host the kernels compiled for this host train in place of it.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence

import numpy as np

from bench.engines.cuda.device import Launch, Memory
from bench.engines.cuda.tiles import Kernel, Sizes
from bench.engines.task import ENDED, PAUSED, Spec, Task

STATIC_BYTES = 1 << 10

# Of a slice.
EPOCHS = 1000


class FakeMemory:
    def __init__(self, n_bytes: int):
        self._bytes = np.empty(n_bytes + 64, dtype=np.uint8)
        self._skip = -self._bytes.ctypes.data % 64
        self.address = self._bytes.ctypes.data + self._skip

    def write(self, values: np.ndarray) -> None:
        flat = values.reshape(-1).view(np.uint8)
        self._bytes[self._skip : self._skip + len(flat)] = flat

    def read(self, n_bytes: int) -> np.ndarray:
        return self._bytes[self._skip : self._skip + n_bytes].copy()


class FakeDevice:
    name, arch, torch_device = "no GPU", "sm_90", "cuda:0"
    scratch_bytes = (227 << 10) - STATIC_BYTES

    def __init__(self):
        self._started: list[tuple[Memory, Sequence[Launch]]] = []

    def measure(self, kernel: Kernel, specs: Sequence[Spec]) -> list[Sizes]:
        return [Sizes(1 << 12, 1 << 15, max(1, spec.batch_size // kernel.block)) for spec in specs]

    def places(self, kernel: Kernel, threads: int, scratch_bytes: int) -> int:
        return 3 * 132

    def most_team(self) -> int:
        return 8

    def free_bytes(self) -> int:
        return 8 << 30

    def memory(self, n_bytes: int) -> FakeMemory:
        return FakeMemory(n_bytes)

    def multiply_adds(self, dtype: str) -> float:
        return 1000.0

    def start(self, tasks: Memory, launches: Sequence[Launch], length_s: float) -> None:
        self._started.append((tasks, launches))

    def wait(self) -> None:
        for tasks, launches in self._started:
            for slot in (slot for launch in launches for slot in launch.order.tolist()):
                go_on(Task.from_address(tasks.address + slot * ctypes.sizeof(Task)))
        self._started = []


def go_on(task: Task) -> None:
    """A slice of a cell: losses as the formula has them, and no predictions but zero."""
    spec, progress = task.spec, task.progress
    last = min(progress.epoch + min(EPOCHS, task.room - 1), spec.max_epochs)
    power = min(1.0, spec.width * spec.width * spec.depth / (8 * spec.n_samples))
    # Between two decimal numbers, so that no tau is met by rounding.
    tau = (1.5 + np.arange(progress.epoch, last + 1)) ** -power
    met = np.flatnonzero(tau <= spec.tau)
    if len(met):
        tau = tau[: met[0] + 1]
    ended = bool(len(met)) or last == spec.max_epochs
    tau = tau if ended else tau[:-1]
    ctypes.memmove(task.tau, tau.ctypes.data, tau.nbytes)
    if spec.n_val:
        ctypes.memmove(task.val_mse, tau.ctypes.data, tau.nbytes)
    progress.epoch += len(tau) - ended
    progress.state = ENDED if ended else PAUSED
    if ended and task.n_predictions:
        ctypes.memset(task.predictions, 0, 8 * task.n_predictions)


def gpus(device: str) -> list:
    """The one that is here, whatever its name."""
    if os.environ.get("MEMCAP_DEVICE") != "host":
        return [FakeDevice()]
    from tests.engines.host_device import HostDevice

    class Host(HostDevice):
        arch, torch_device, multiply_adds = FakeDevice.arch, FakeDevice.torch_device, FakeDevice.multiply_adds

    return [Host(epochs=(50,), places=2)]


def driver_version() -> str:
    return "none"
