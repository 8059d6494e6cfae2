"""What the CUDA engine asks of a device. `gpu.py` is one; the tests have another, of the same kernels on the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Int, Int32, UInt8

from bench.engines.cuda.tiles import Kernel, Sizes
from bench.engines.task import Spec


class Memory(Protocol):
    """A piece of a device's memory, given back with its last reference."""

    address: int

    def write(self, values: np.ndarray) -> None:
        """Copy an array to its beginning; work started afterwards sees it."""
        ...

    def read(self, n_bytes: int, at: int = 0) -> UInt8[np.ndarray, " byte"]:
        """Bytes from `at` on, as they are now: of what a slice writes only after `Device.wait`."""
        ...

    def gathered(self, starts: Int[np.ndarray, " range"], counts: Int[np.ndarray, " range"]) -> Memory:
        """A copy on the device of these ranges of 8-byte numbers as they are now, range behind range: all that need be read.

        The device makes it by itself, so not while a slice runs.
        """
        ...


class Launch(NamedTuple):
    """Tasks that one kernel trains in a slice.

    Each team of blocks takes the next of `order`, indices of tasks, until none is left or the slice is over.
    """

    kernel: Kernel
    order: Int32[np.ndarray, " place"]
    teams: int
    team: int
    threads: int
    scratch_bytes: int


class Device(Protocol):
    """A device that trains tasks in slices of time."""

    # As the table's `device` column names it.
    name: str

    # The chip's kind, which decides how products are made: "sm_90".
    arch: str

    # Scratch that a block of threads can have on chip, in bytes.
    scratch_bytes: int

    def measure(self, kernel: Kernel, specs: Sequence[Spec]) -> list[Sizes]:
        """What cells take under a kernel."""
        ...

    def teams(self, kernel: Kernel, threads: int, scratch_bytes: int, team: int) -> int:
        """Teams of so many blocks that an empty chip runs at once; 0 where none fits."""
        ...

    def most_team(self) -> int:
        """Blocks that can train one cell together."""
        ...

    def free_bytes(self) -> int:
        """Memory that can still be had."""
        ...

    def memory(self, n_bytes: int) -> Memory:
        """A piece of memory with anything in it."""
        ...

    def start(self, tasks: Memory, launches: Sequence[Launch], length_s: float) -> None:
        """Train for so long; returns at once. The launches run beside one another as there are places, in their order."""
        ...

    def wait(self) -> None:
        """Until what was started has ended."""
        ...
