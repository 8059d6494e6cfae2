"""The CUDA engine on this machine's GPUs, its kernels compiled before the first of them is wanted."""

from __future__ import annotations

from collections.abc import Collection

from bench.engines.cuda.compiler import compile_ahead
from bench.engines.cuda.engine import CudaEngine
from bench.engines.cuda.gpu import gpus
from bench.engines.cuda.tiles import KERNELS
from bench.engines.cuda.ways import Products, Way


def engine_on(device: str, *, products: Products = "auto", distrusted: Collection[Way] = ()) -> CudaEngine:
    """An engine on the GPUs that a device name stands for; see `engine.CudaEngine`.

    Kernels take seconds each to compile, once, and are compiled on all cores at once: one after the other, as cells ask for
    them, they would keep the chip waiting.

    Raises:
        ImportError, RuntimeError: a kernel of a way that is trusted cannot be compiled.
    """
    devices = gpus(device)
    wanted = [kernel for kernel in KERNELS if kernel.way not in distrusted]
    for arch in dict.fromkeys(gpu.arch for gpu in devices):
        compile_ahead(wanted, arch)
    return CudaEngine(devices, products=products, distrusted=distrusted)
