"""What this machine can do at most, measured now: the yardstick of every speed."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from bench.engines.choice import cuda_is_usable, native_is_built

# A few hundredths of a second each; the best counts.
FMA_ROUNDS, FMA_REPEATS = 7_000_000, 4
GEMM_SIZE, GEMM_REPEATS = 1024, 8


def peak_name(device: str) -> str:
    """What `peak_gflops` measures here: multiply-adds on registers (fma), or a large float32 matrix product (gemm)."""
    return "fma" if (native_is_built() if device == "cpu" else cuda_is_usable(device)) else "gemm"


def peak_gflops(device: str, threads: int) -> float:
    """GFLOP/s of float32 arithmetic, on `threads` CPU threads at once or on a CUDA device."""
    if peak_name(device) == "gemm":
        return _gemm(device, threads)
    return _fma(threads) if device == "cpu" else _fma_of_gpus(device)


def _fma(threads: int) -> float:
    from bench.engines import _native

    fastest = _native.instruction_sets()[0]
    speeds = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(FMA_REPEATS):
            started = time.perf_counter()
            flops = sum(pool.map(lambda _: _native.multiply_adds(fastest, False, FMA_ROUNDS), range(threads)))
            speeds.append(flops / (time.perf_counter() - started) / 1e9)
    return max(speeds)


def _fma_of_gpus(device: str) -> float:
    from bench.engines.cuda.gpu import gpus

    return sum(gpu.multiply_adds("float32") for gpu in gpus(device))


def _gemm(device: str, threads: int) -> float:
    import torch

    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    a, b = (torch.randn(GEMM_SIZE, GEMM_SIZE, device=device) for _ in range(2))
    times = []
    for _ in range(GEMM_REPEATS):
        started = time.perf_counter()
        float((a @ b)[0, 0])  # waits for the device
        times.append(time.perf_counter() - started)
    torch.set_num_threads(threads_before)
    return 2 * GEMM_SIZE**3 / min(times) / 1e9
