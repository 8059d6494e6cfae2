"""What a pass through a module changes in it beside parameters and buffers, which no stack of networks has for each of them."""

from __future__ import annotations

import copy
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.modules.batches import Batch
from bench.modules.networks import forward, set_mode
from bench.modules.randomness import drawn
from bench.modules.trials import EVAL, TRAIN

# What every module has.
_OWN = frozenset(vars(nn.Module()))


def changed_by_a_pass(network: nn.Module, batch: Batch) -> str | None:
    """The name of an attribute that a second pass with the same inputs and random numbers changes, None where there is none.

    In the first pass a module may make what it keeps. Parts of torch keep nothing.

    Raises:
        GridError: the network raises.
    """
    for mode in (EVAL, TRAIN) if len(batch) > 1 else (EVAL,):
        own = copy.deepcopy(network)
        set_mode(own, mode)
        states = []
        for _ in range(2):
            with drawn(0), torch.no_grad():
                forward(own, batch.inputs, type(network).__name__)
            states.append(_attributes(own))
        for name in states[0] | states[1]:
            if states[0].get(name) != states[1].get(name):
                return name
    return None


def _attributes(network: nn.Module) -> dict[str, object]:
    return {
        f"{path}.{name}".lstrip("."): _frozen(value, set())
        for path, part in network.named_modules()
        if not type(part).__module__.startswith("torch.")
        for name, value in vars(part).items()
        if name not in _OWN
    }


def _frozen(value: Any, seen: set[int]) -> object:
    """Something to compare that stays as it is when the value changes in place."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, type | FunctionType | MethodType | ModuleType) or id(value) in seen:
        return id(value)
    seen = seen | {id(value)}
    if isinstance(value, Tensor):
        return (
            tuple(value.shape),
            str(value.dtype),
            value.detach().cpu().flatten().contiguous().view(torch.uint8).numpy().tobytes(),
        )
    if isinstance(value, np.ndarray):
        return value.shape, str(value.dtype), repr(value.tolist())
    if isinstance(value, dict):
        return tuple((_frozen(key, seen), _frozen(own, seen)) for key, own in value.items())
    if isinstance(value, list | tuple):
        return tuple(_frozen(own, seen) for own in value)
    try:
        parts = value.__reduce_ex__(2)
    except Exception:
        # What cannot be written down is the same as long as it is the same object.
        return id(value)
    if isinstance(parts, str):
        return parts
    return tuple(_frozen(list(own) if hasattr(own, "__next__") else own, seen) for own in parts)
