"""Which engine trains, and on which device. torch is imported only when one is asked for."""

from __future__ import annotations

import importlib.util
from typing import NamedTuple

from bench.engines.api import Engine, TrainReport
from bench.grid import GridError

__all__ = ["ENGINES", "Engine", "EngineSpec", "TrainReport", "make_engine", "resolve"]

ENGINES = ("auto", "native", "torch")

# The engines that train on a CPU alone.
CPU_ENGINES = ("native",)


class EngineSpec(NamedTuple):
    """An engine by name, and the torch device it trains on: what a worker process needs to make its own."""

    name: str
    device: str


def resolve(engine: str, device: str) -> EngineSpec:
    """The engine and device that `auto` stand for here: on a CPU the native engine where it is built, else torch.

    One engine for all cells: `make perf` (test_engines) measures both beside each other, and the native one is the faster at
    every shape and protocol there, from width 16 to 2048.

    `device` is auto (CUDA where there is one, else the CPU), cpu, cuda, or cuda:<index>.

    Raises:
        GridError: an unknown engine, a device that is not here or not the engine's, or an engine that is not built.
    """
    if engine not in ENGINES:
        raise GridError("engine", engine, "is not an engine", f"choose from: {', '.join(ENGINES)}")
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        device = "cuda" if count else "cpu"
    if device != "cpu":
        kind, _, index = device.partition(":")
        if kind != "cuda" or (index and not index.isdigit()):
            raise GridError("device", device, "is not a device", "choose auto, cpu, cuda or cuda:<index>")
        if int(index or 0) >= count:
            raise GridError(
                "device", device, f"is not here: PyTorch sees {count} CUDA devices", "use device=auto or device=cpu"
            )
        device = f"cuda:{index or 0}"
    if engine == "auto":
        engine = "native" if device == "cpu" and native_is_built() else "torch"
    if engine in CPU_ENGINES and device != "cpu":
        raise GridError(
            "device", device, f"cannot be had with engine={engine}, which trains on a CPU", "use device=cpu, or engine=torch"
        )
    if engine == "native" and not native_is_built():
        raise GridError("engine", engine, "is not built", "install a C++ compiler, then memcap again; or use engine=torch")
    return EngineSpec(engine, device)


def native_is_built() -> bool:
    """Whether the installation found a C++ compiler."""
    return importlib.util.find_spec("bench.engines._native") is not None


def make_engine(spec: EngineSpec, threads: int = 1) -> Engine:
    """The engine itself; `threads` is for engines that run them themselves."""
    if spec.name == "native":
        from bench.engines.native_engine import NativeEngine

        return NativeEngine(threads)
    from bench.engines.torch_engine import TorchEngine

    return TorchEngine(spec.device)
