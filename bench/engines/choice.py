"""Which engine trains, and on which device. torch is imported only when one is asked for."""

from __future__ import annotations

import importlib.util
from typing import NamedTuple

from bench.engines.api import Engine, TrainReport
from bench.protocol.grid import GridError

__all__ = ["ENGINES", "Engine", "EngineSpec", "TrainReport", "make_engine", "resolve"]

ENGINES = ("auto", "native", "cuda", "torch")

# What each engine trains on: kinds of torch devices.
DEVICES_OF = {"native": ("cpu",), "cuda": ("cuda",), "torch": ("cpu", "cuda")}

NOT_BUILT = "the native engine is not built in this installation (pip install -e . builds it, where there is a C++ compiler)"


class EngineSpec(NamedTuple):
    """An engine by name, and where it trains: what a worker process needs to make its own.

    `device` is cpu, cuda:<index>, or, for the CUDA engine, cuda: all that are here. `notice` says why `auto` took no
    faster engine. `by_cost` leaves to torch the cells that it trains faster (`bench.engines.cost`).
    """

    name: str
    device: str
    notice: str | None = None
    by_cost: bool = False


def resolve(engine: str, device: str) -> EngineSpec:
    """The engine and device that `auto` stand for here: the native engine on a CPU, the CUDA engine on GPUs, else torch.

    On a CPU the cells that torch trains faster go to it all the same: the very wide ones (`bench.engines.cost`).
    On GPUs the CUDA engine, where it is to be trusted (`cuda.trust`); the cells that it does not support go to torch.

    `device` is auto (all CUDA devices where there are any, else the CPU), cpu, cuda (all of them), or cuda:<index>.

    Raises:
        GridError: an unknown engine, a device that is not here or not the engine's, an engine that is not built or not trusted.
    """
    if engine not in ENGINES:
        raise GridError("engine", engine, "is not an engine", f"choose from: {', '.join(ENGINES)}")
    asked, device = device, _resolve_device(device)
    kind = device.partition(":")[0]
    if engine == "cuda" and (asked, kind) == ("auto", "cpu"):
        raise GridError("engine", engine, "needs an NVIDIA GPU, and PyTorch sees none", "use engine=auto")
    if engine != "auto":
        if kind not in DEVICES_OF[engine]:
            remedy = f"use device={DEVICES_OF[engine][0]}, or engine=torch"
            raise GridError("device", device, f"does not work with engine={engine}", remedy)
        if engine == "native" and not native_is_built():
            raise GridError(
                "engine",
                engine,
                "is not built in this installation",
                "pip install -e . where there is a C++ compiler, or use engine=torch",
            )
        if engine == "cuda" and (reason := _why_not_cuda(device)):
            raise GridError("engine", engine, f"cannot be used: {reason}", "use engine=torch")
        return EngineSpec(engine, _first(device) if engine == "torch" else device)
    if kind == "cpu":
        if native_is_built():
            return EngineSpec("native", device, by_cost=True)
        return EngineSpec(
            "torch",
            device,
            f"{NOT_BUILT}; the torch engine trains, several times slower",
        )
    reason = _why_not_cuda(device)
    if reason is None:
        return EngineSpec("cuda", device)
    return EngineSpec("torch", _first(device), f"the CUDA engine cannot be used: {reason}; the torch engine trains, slower")


def _resolve_device(device: str) -> str:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "cuda" if count else "cpu"
    if device == "cpu":
        return device
    kind, _, index = device.partition(":")
    if kind != "cuda" or (index and not index.isdigit()):
        raise GridError("device", device, "is not a device", "choose auto, cpu, cuda or cuda:<index>")
    if int(index or 0) >= count:
        raise GridError(
            "device", device, f"is not on this machine: PyTorch sees {count} CUDA devices", "use device=auto or device=cpu"
        )
    return device


def _first(device: str) -> str:
    """For an engine that trains on one device."""
    return "cuda:0" if device == "cuda" else device


def native_is_built() -> bool:
    """Whether the installation found a C++ compiler."""
    return importlib.util.find_spec("bench.engines._native") is not None


def cuda_is_installed() -> bool:
    """Whether there is what compiles and launches kernels."""
    return all(importlib.util.find_spec(name) is not None for name in ("cuda", "cuda.core", "cuda.bindings"))


def cuda_is_usable(device: str) -> bool:
    """Whether the CUDA engine is installed and right on this device."""
    return _why_not_cuda(device) is None


def _why_not_cuda(device: str) -> str | None:
    """What speaks against the CUDA engine on this device, in one line, or None."""
    if not cuda_is_installed():
        return "cuda-core is not installed (pip install 'memcap[cuda]')"
    try:
        from bench.engines.cuda.gpu import why_not

        return why_not(device)
    except Exception as error:
        # Any error: drivers and compilers refuse in ways of their own, and what they raise is not ours to list. None may
        # cost more than the speed: with engine=auto torch trains instead and the reason is printed, with engine=cuda the reason
        # is the error. What ends a process ends that of the trial.
        return " ".join(f"{type(error).__name__}: {error}".split())


def make_engine(spec: EngineSpec, threads: int = 1) -> Engine:
    """The engine itself; `threads` is for engines that run them themselves."""
    if spec.name == "native":
        from bench.engines.native_engine import NativeEngine

        return NativeEngine(threads)
    if spec.name == "cuda":
        from bench.engines.cuda.engine import CudaEngine
        from bench.engines.cuda.gpu import gpus

        return CudaEngine(gpus(spec.device))
    from bench.engines.torch_engine import TorchEngine

    return TorchEngine(spec.device)


def for_the_rest(spec: EngineSpec) -> EngineSpec:
    """Who trains the cells that an engine does not support: torch, which supports every cell, on the same device."""
    return EngineSpec("torch", _first(spec.device))
