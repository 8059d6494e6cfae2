"""Which engine trains, and on which device. torch is imported only when one is asked for."""

from __future__ import annotations

from typing import NamedTuple

from bench.engines.api import Engine, TrainReport
from bench.grid import GridError

__all__ = ["ENGINES", "Engine", "EngineSpec", "TrainReport", "make_engine", "resolve"]

ENGINES = ("auto", "torch")


class EngineSpec(NamedTuple):
    """An engine by name, and the torch device it trains on: what a worker process needs to make its own."""

    name: str
    device: str


def resolve(engine: str, device: str) -> EngineSpec:
    """The engine and device that `auto` stand for here.

    `device` is auto (CUDA where there is one, else the CPU), cpu, cuda, or cuda:<index>.

    Raises:
        GridError: an unknown engine, or a device that is not here.
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
    return EngineSpec("torch", device)


def make_engine(spec: EngineSpec) -> Engine:
    """The engine itself."""
    from bench.engines.torch_engine import TorchEngine

    return TorchEngine(spec.device)
