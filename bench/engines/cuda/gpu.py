"""An NVIDIA GPU as the CUDA engine sees it: kernels by cuda-core, memory and streams shared with torch."""

# cuda-core fills its module when it is imported.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence

import numpy as np
import torch
from cuda import core
from cuda.bindings import driver
from jaxtyping import Int, UInt8

from bench.engines.cuda.compiler import ENTRY, cached_kernel
from bench.engines.cuda.device import Launch, Memory
from bench.engines.cuda.tiles import WARP, Kernel, Sizes
from bench.engines.draws import NUMBER_BYTES
from bench.engines.task import Spec
from bench.machine.gpus import ask_for_queues
from bench.protocol.cells import Dtype

# Shared memory that the kernels have beside their scratch, in bytes, and some more.
STATIC_BYTES = 1 << 10

# Of the memory that a multiprocessor shares between its cache and its blocks, in percent.
WHOLE_CARVEOUT = 100

# Blocks that every chip with clusters runs as one.
MOST_TEAM = 8

# Compute capability from which blocks form clusters.
CLUSTERS_FROM = 9

# Numbers that are gathered at a time: each takes two more to say where it is.
GATHERED = 1 << 21

NS_PER_S = 1e9
FLOPS_PER_GFLOP = 1e9

# The multiply-adds that measure a chip: of one thread in a round (kernels.cu), rounds, blocks for each multiprocessor, and
# repeats, the best of which counts. Tenths of a second in all, so that the clock has risen from idle.
PEAK_ADDS, PEAK_ROUNDS, PEAK_WAVES, PEAK_REPEATS = 16, 200_000, 16, 20


class GpuMemory:
    """A piece of a GPU's memory; see `device.Memory`."""

    def __init__(self, gpu: Gpu, n_bytes: int):
        self._gpu = gpu
        try:
            self._bytes = torch.empty(max(1, n_bytes), dtype=torch.uint8, device=gpu.torch_device)
        except torch.OutOfMemoryError as error:
            raise MemoryError(f"the device has no {n_bytes} bytes") from error
        self.address = self._bytes.data_ptr()

    def write(self, values: np.ndarray) -> None:
        # Through memory that the device reads by itself. `start` and `measure` wait for it, once for all that was written.
        staged = torch.empty(values.nbytes, dtype=torch.uint8, pin_memory=True)
        staged.numpy()[:] = values.reshape(-1).view(np.uint8)
        self._bytes[: values.nbytes].copy_(staged, non_blocking=True)

    def read(self, n_bytes: int, at: int = 0) -> UInt8[np.ndarray, " byte"]:
        copy = torch.empty(n_bytes, dtype=torch.uint8, pin_memory=True)
        copy.copy_(self._bytes[at : at + n_bytes])
        return copy.numpy()

    def gathered(self, starts: Int[np.ndarray, " range"], counts: Int[np.ndarray, " range"]) -> GpuMemory:
        # By kernels, for which the next slice would leave no place on the chip; the copy is then read beside that slice.
        copy = GpuMemory(self._gpu, int(counts.sum()) * NUMBER_BYTES)
        numbers, copied = (
            memory._bytes[: len(memory._bytes) // NUMBER_BYTES * NUMBER_BYTES].view(torch.float64) for memory in (self, copy)
        )
        ends = np.cumsum(counts)
        for part in np.split(np.arange(len(counts)), np.flatnonzero(np.diff(ends // GATHERED)) + 1):
            total = int(counts[part].sum())
            if total:
                first = int(ends[part[0]] - counts[part[0]])
                shifts = np.stack([starts[part] - (ends[part] - counts[part] - first), counts[part]])
                shift, count = torch.from_numpy(shifts).to(numbers.device)
                places = torch.repeat_interleave(shift, count, output_size=total)
                places += torch.arange(total, device=places.device)
                torch.index_select(numbers, 0, places, out=copied[first : first + total])
        return copy


class Gpu:
    """One GPU; see `device.Device`."""

    def __init__(self, index: int):
        """`index` is CUDA's number of the device."""
        self.torch_device = torch.device("cuda", index)
        ask_for_queues()
        torch.cuda.init()
        self._device = core.Device(index)
        self._device.set_current()
        capability = self._device.compute_capability
        self.arch = f"sm_{capability.major}{capability.minor}"
        self.name = f"{torch.cuda.get_device_name(index)} {self.arch}"
        self.scratch_bytes = self._device.properties.max_shared_memory_per_block_optin - STATIC_BYTES
        self._has_clusters = capability.major >= CLUSTERS_FROM
        self._streams: list[torch.cuda.Stream] = []
        # What was loaded and asked once. Of this object, not of the class: it goes when the engine does.
        self._entries: dict[tuple[Kernel, str], core.Kernel] = {}
        self._teams: dict[tuple[Kernel, int, int, int], int] = {}

    def measure(self, kernel: Kernel, specs: Sequence[Spec]) -> list[Sizes]:
        """See `device.Device.measure`."""
        given = GpuMemory(self, len(specs) * ctypes.sizeof(Spec))
        given.write(np.frombuffer(b"".join(map(bytes, specs)), dtype=np.uint8))
        n_bytes = len(specs) * len(Sizes._fields) * np.dtype(np.int64).itemsize
        sizes = GpuMemory(self, n_bytes)
        config = core.LaunchConfig(grid=1, block=WARP)
        torch.cuda.current_stream(self.torch_device).synchronize()
        self._launch(0, config, self._entry(kernel, "measure"), given.address, sizes.address, ctypes.c_int(len(specs)))
        self.wait()
        table = sizes.read(n_bytes).view(np.int64).reshape(len(specs), -1)
        return [Sizes(*row) for row in table.tolist()]

    def teams(self, kernel: Kernel, threads: int, scratch_bytes: int, team: int) -> int:
        """See `device.Device.teams`."""
        asked = kernel, threads, scratch_bytes, team
        if asked not in self._teams:
            occupancy = self._entry(kernel, ENTRY).occupancy
            blocks = occupancy.max_active_blocks_per_multiprocessor(threads, scratch_bytes)
            blocks *= self._device.properties.multiprocessor_count
            # A cluster lies within a part of the chip, and what is left of each part is lost.
            if team > 1 and blocks >= team and hasattr(occupancy, "max_active_clusters"):
                config = core.LaunchConfig(grid=blocks // team, cluster=team, block=threads, shmem_size=scratch_bytes)
                self._teams[asked] = occupancy.max_active_clusters(config, stream=self._stream(0))
            else:
                self._teams[asked] = blocks // team
        return self._teams[asked]

    def most_team(self) -> int:
        """See `device.Device.most_team`."""
        return MOST_TEAM if self._has_clusters else 1

    def free_bytes(self) -> int:
        """See `device.Device.free_bytes`."""
        free, _ = torch.cuda.mem_get_info(self.torch_device)
        held = torch.cuda.memory_reserved(self.torch_device) - torch.cuda.memory_allocated(self.torch_device)
        return free + held

    def memory(self, n_bytes: int) -> GpuMemory:
        """See `device.Device.memory`."""
        return GpuMemory(self, n_bytes)

    def start(self, tasks: Memory, launches: Sequence[Launch], length_s: float) -> None:
        """See `device.Device.start`."""
        # When the slice began (two words), for each launch how many cells are taken and a word for each team; then orders.
        words = np.zeros(2 + sum(1 + launch.teams for launch in launches), dtype=np.int32)
        self._control = GpuMemory(self, words.nbytes + sum(launch.order.nbytes for launch in launches))
        self._control.write(np.concatenate([words, *(launch.order for launch in launches)]))
        torch.cuda.current_stream(self.torch_device).synchronize()
        at, order_at = self._control.address + 2 * words.itemsize, self._control.address + words.nbytes
        for number, launch in enumerate(launches):
            config = core.LaunchConfig(
                grid=launch.teams,
                cluster=launch.team if launch.team > 1 else None,
                block=launch.threads,
                shmem_size=launch.scratch_bytes,
            )
            arguments = (
                tasks.address, order_at, ctypes.c_int(len(launch.order)), at, at + words.itemsize,
                self._control.address, ctypes.c_uint64(round(length_s * NS_PER_S)),
            )  # fmt: skip
            self._launch(number, config, self._entry(launch.kernel, ENTRY), *arguments)
            at += (1 + launch.teams) * words.itemsize
            order_at += launch.order.nbytes

    def multiply_adds(self, dtype: Dtype) -> float:
        """GFLOP/s of multiply-adds on registers alone: what the chip can do at most, in the kernels' own form of them."""
        kernel = Kernel(dtype, block=64, rows=4)
        blocks = PEAK_WAVES * self._device.properties.multiprocessor_count
        out = GpuMemory(self, blocks * kernel.threads * np.dtype(dtype).itemsize)
        config = core.LaunchConfig(grid=blocks, block=kernel.threads)
        entry = self._entry(kernel, "multiply_adds")
        times = []
        for _ in range(PEAK_REPEATS):
            started = time.perf_counter()
            self._launch(0, config, entry, out.address, ctypes.c_int(PEAK_ROUNDS))
            self.wait()
            times.append(time.perf_counter() - started)
        return 2 * PEAK_ADDS * PEAK_ROUNDS * blocks * kernel.threads / min(times) / FLOPS_PER_GFLOP

    def wait(self) -> None:
        """See `device.Device.wait`."""
        for stream in self._streams:
            stream.synchronize()

    def _entry(self, kernel: Kernel, name: str) -> core.Kernel:
        if (kernel, name) not in self._entries:
            self._entries[kernel, name] = self._loaded(kernel, name)
        return self._entries[kernel, name]

    def _loaded(self, kernel: Kernel, name: str) -> core.Kernel:
        self._device.set_current()
        entry = core.ObjectCode.from_cubin(cached_kernel(kernel, self.arch).tobytes()).get_kernel(name)
        if name == ENTRY:
            # Beyond 48 KB only where it is asked for, and all that there is whatever the kernel, so that kernels of other needs
            # run beside it on a multiprocessor; cuda-core has no way to ask.
            attributes = driver.CUfunction_attribute
            asked = {
                attributes.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: self.scratch_bytes,
                attributes.CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT: WHOLE_CARVEOUT,
            }
            for attribute, value in asked.items():
                (error,) = driver.cuKernelSetAttribute(attribute, value, entry.handle, driver.CUdevice(self._device.device_id))
                if error != driver.CUresult.CUDA_SUCCESS:
                    raise RuntimeError(f"{attribute.name} = {value} was refused: {error}")
        return entry

    def _launch(self, number: int, config: core.LaunchConfig, entry: core.Kernel, *arguments: object) -> None:
        """On the stream of this number: launches of different numbers may run beside one another."""
        self._device.set_current()
        core.launch(self._stream(number), config, entry, *arguments)

    def _stream(self, number: int) -> core.Stream:
        while len(self._streams) <= number:
            self._streams.append(torch.cuda.Stream(self.torch_device))
        return core.Stream.from_handle(self._streams[number].cuda_stream)


def gpus(device: str) -> list[Gpu]:
    """Those that a device name stands for: cuda (all that are here) or cuda:<index>."""
    _, _, index = device.partition(":")
    return [Gpu(int(index))] if index else [Gpu(number) for number in range(torch.cuda.device_count())]


def driver_version() -> str:
    """Of CUDA, as the driver has it."""
    error, version = driver.cuDriverGetVersion()
    if error != driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"the driver does not say its version: {error}")
    return f"{version // 1000}.{version % 1000 // 10}"
