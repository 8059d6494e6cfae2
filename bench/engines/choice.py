"""Which engine trains, and on which device. torch is imported only when one is asked for."""

from __future__ import annotations

import importlib.util
from typing import NamedTuple

from bench.engines.api import Engine, TrainReport
from bench.engines.cuda.ways import WAYS, Way
from bench.machine import gpus
from bench.machine.child import one_line
from bench.machine.cuda_core import why_no_cuda_core
from bench.protocol.grid import GridError

__all__ = ["ENGINES", "Engine", "EngineSpec", "TrainReport", "make_engine", "resolve"]

ENGINES = ("auto", "native", "cuda", "torch")

# What each engine trains on: kinds of torch devices.
DEVICES_OF = {"native": ("cpu",), "cuda": ("cuda",), "torch": ("cpu", "cuda")}

# What happens to cells whose way the CUDA engine gets wrong.
INSTEAD_OF: dict[Way, str] = {
    "float32": "the torch engine trains cells of that dtype",
    "3xtf32": "float32 is multiplied without tensor cores",
    "float64": "the torch engine trains cells of that dtype",
    "tf32": "the torch engine trains cells of that dtype",
}

NOT_BUILT = "the native engine is not built in this installation (pip install -e . builds it, where there is a C++ compiler)"


class EngineSpec(NamedTuple):
    """An engine by name, and where it trains: what a worker process needs to make its own.

    `device` is cpu, cuda:<index>, or, for the CUDA engine, cuda: all that are here. `notice` says why `auto` took no
    faster engine or device. `by_cost` leaves to torch the cells that it trains faster (`bench.engines.cost`). By the
    `distrusted` ways to make products, which the CUDA engine gets wrong here (`cuda.ways`), it trains no cell.
    """

    name: str
    device: str
    notice: str | None = None
    by_cost: bool = False
    distrusted: tuple[Way, ...] = ()


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
    asked = device
    device, idle = _resolve_device(device)
    kind = device.partition(":")[0]
    if engine == "cuda" and (asked, kind) == ("auto", "cpu"):
        raise GridError("engine", engine, f"needs an NVIDIA GPU, and {idle or 'PyTorch sees none'}", "use engine=auto")
    notice = f"{idle}; training on {'the CPU' if kind == 'cpu' else device}" if idle else None
    if engine not in ("auto", "cuda"):
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
        return EngineSpec(engine, _first(device) if engine == "torch" else device, notice)
    if kind == "cpu":
        if engine == "cuda":
            raise GridError("device", device, "does not work with engine=cuda", "use device=cuda, or engine=torch")
        if native_is_built():
            return EngineSpec("native", device, notice, by_cost=True)
        return EngineSpec("torch", device, _joined(notice, f"{NOT_BUILT}; the torch engine trains, several times slower"))
    against = _against_cuda(device)
    if set(against) == set(WAYS):
        reason = "; ".join(dict.fromkeys(against.values()))
        if engine == "cuda":
            raise GridError("engine", engine, f"cannot be used: {reason}", "use engine=torch")
        said = f"the CUDA engine cannot be used: {reason}; the torch engine trains, slower"
        return EngineSpec("torch", _first(device), _joined(notice, said))
    said = [f"the CUDA engine gets {way} wrong, {reason}; {INSTEAD_OF[way]}" for way, reason in against.items()]
    return EngineSpec("cuda", device, _joined(notice, *said), distrusted=tuple(against))


def _joined(*notices: str | None) -> str | None:
    """What there is to say, in one line."""
    return "; ".join(filter(None, notices)) or None


def _resolve_device(device: str) -> tuple[str, str | None]:
    """What `auto` stands for here, else the device itself; and why a GPU is left idle, if `auto` does so."""
    kind, _, index = device.partition(":")
    if device == "cpu":
        return device, None
    if device != "auto" and (kind != "cuda" or (index and not index.isdigit())):
        raise GridError("device", device, "is not a device", "choose auto, cpu, cuda or cuda:<index>")
    found = gpus.find(int(index) if index else None)
    if device == "auto":
        return _auto_device(found)
    if int(index or 0) >= found.count:
        rule = f"is not on this machine: PyTorch sees {found.count} CUDA devices{_because(found.why_none)}"
        raise GridError("device", device, rule, "use device=auto or device=cpu")
    troubles = [found.troubles.get(number) for number in ([int(index)] if index else range(found.count))]
    if trouble := next(filter(None, troubles), None):
        raise GridError("device", device, f"cannot be used: {trouble}", "use device=auto or device=cpu")
    return device, None


def _auto_device(found: gpus.Gpus) -> tuple[str, str | None]:
    """All GPUs, or the first that can be used, else the CPU; where a GPU is left idle, why."""
    if found.usable and not found.troubles:
        return "cuda", None
    idle = "; ".join(f"cuda:{index} cannot be used: {trouble}" for index, trouble in found.troubles.items())
    if found.why_none:
        idle = f"the NVIDIA GPU here cannot be used: {found.why_none}"
    if len(found.usable) > 1:
        idle += f"; one of the {len(found.usable)} others is taken, name another by device=cuda:{found.usable[1]}"
    return (f"cuda:{found.usable[0]}" if found.usable else "cpu"), idle or None


def _because(reason: str | None) -> str:
    return f" ({reason})" if reason else ""


def _first(device: str) -> str:
    """For an engine that trains on one device."""
    return "cuda:0" if device == "cuda" else device


def native_is_built() -> bool:
    """Whether the installation found a C++ compiler."""
    return importlib.util.find_spec("bench.engines._native") is not None


def cuda_is_usable(device: str) -> bool:
    """Whether the CUDA engine is installed, and right on this device for float32."""
    return "float32" not in _against_cuda(device)


def _against_cuda(device: str) -> dict[Way, str]:
    """What speaks against each way of the CUDA engine that cannot be used on this device, in one line."""
    reason = why_no_cuda_core()
    if reason is None:
        try:
            from bench.engines.cuda.verdicts import verdicts

            return verdicts(device)
        except Exception as error:
            # Any error: drivers and compilers refuse in ways of their own, and what they raise is not ours to list. None may
            # cost more than the speed: with engine=auto torch trains instead and the reason is printed, with engine=cuda the
            # reason is the error. What ends a process ends that of the trial.
            reason = one_line(error)
    return dict.fromkeys(WAYS, reason)


def make_engine(spec: EngineSpec, threads: int = 1) -> Engine:
    """The engine itself; `threads` is for engines that run them themselves."""
    if spec.name == "native":
        from bench.engines.native_engine import NativeEngine

        return NativeEngine(threads)
    if spec.name == "lm":
        from bench.engines.lm_engine import LmEngine

        return LmEngine(spec.device)
    if spec.name == "cuda":
        from bench.engines.cuda.on_gpus import engine_on

        return engine_on(spec.device, distrusted=spec.distrusted)
    from bench.engines.torch_engine import TorchEngine

    return TorchEngine(spec.device)


def for_the_rest(spec: EngineSpec) -> EngineSpec:
    """Who trains the cells that an engine does not support: torch, which supports all but optimizer=lm, on the same device."""
    return EngineSpec("torch", _first(spec.device))


def for_second_order(spec: EngineSpec) -> EngineSpec:
    """Who trains the cells of optimizer=lm, whichever engine trains the others."""
    return EngineSpec("lm", _first(spec.device))
