"""Activation functions as a network calls them, as parts or as functions: watched, and the last one left out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class Activation(NamedTuple):
    """Its name, and the least and largest value that it can give."""

    name: str
    low: float
    high: float


_INF = math.inf
_OF: dict[Activation, tuple[Any, ...]] = {
    Activation("relu", 0, _INF): (functional.relu, functional.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_),
    Activation("relu6", 0, 6): (functional.relu6,),
    Activation("leaky_relu", -_INF, _INF): (functional.leaky_relu, functional.leaky_relu_),
    Activation("sigmoid", 0, 1): (functional.sigmoid, torch.sigmoid, Tensor.sigmoid, Tensor.sigmoid_, torch.special.expit),
    Activation("hardsigmoid", 0, 1): (functional.hardsigmoid,),
    Activation("tanh", -1, 1): (functional.tanh, torch.tanh, Tensor.tanh, Tensor.tanh_),
    Activation("hardtanh", -1, 1): (functional.hardtanh,),
    Activation("softsign", -1, 1): (functional.softsign,),
    Activation("softmax", 0, 1): (functional.softmax, torch.softmax, Tensor.softmax),
    Activation("log_softmax", -_INF, 0): (functional.log_softmax, torch.log_softmax, Tensor.log_softmax),
    Activation("softplus", 0, _INF): (functional.softplus,),
    Activation("logsigmoid", -_INF, 0): (functional.logsigmoid,),
    Activation("elu", -1, _INF): (functional.elu,),
    Activation("gelu", -0.17, _INF): (functional.gelu,),
    Activation("silu", -0.279, _INF): (functional.silu,),
}
FUNCTIONS: dict[Any, Activation] = {function: activation for activation, own in _OF.items() for function in own}


class Watched(NamedTuple):
    """A call of an activation: which, and what it was given and gave."""

    activation: Activation
    given: Tensor
    gave: Tensor


class Watch(TorchFunctionMode):
    """Within, every call of an activation is noted."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Watched] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by torch in place of each of its functions."""
        activation = FUNCTIONS.get(function)
        given = args[0].detach() if activation and args and isinstance(args[0], Tensor) else None
        # What writes over its input would else show its output twice.
        given = given.clone() if given is not None and getattr(function, "__name__", "").endswith("_") else given
        gave = function(*args, **(kwargs or {}))
        if activation is not None and given is not None and isinstance(gave, Tensor):
            self.calls.append(Watched(activation, given, gave))
        return gave


class Without(TorchFunctionMode):
    """Within, the activation that is called as number `call`, from 0, gives what it is given."""

    def __init__(self, call: int) -> None:
        super().__init__()
        self._left = call

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by torch in place of each of its functions."""
        if function in FUNCTIONS and args and isinstance(args[0], Tensor):
            self._left -= 1
            if self._left == -1:
                return args[0]
        return function(*args, **(kwargs or {}))


# What only shows the same numbers in another shape.
_VIEWS = (
    "View",
    "Squeeze",
    "Unsqueeze",
    "Reshape",
    "UnsafeView",
    "Select",
    "Slice",
    "Transpose",
    "TBackward",
    "Permute",
    "Alias",
)


def last_of(calls: list[Watched], output: Tensor) -> int | None:
    """The number of the call whose result, in whatever shape, is the output; None where something follows the last one."""
    if not calls:
        return None
    gave = calls[-1].gave
    if gave is output or (output._base is not None and output._base is gave):
        return len(calls) - 1
    node = output.grad_fn
    while node is not None:
        if gave.grad_fn is not None and node is gave.grad_fn:
            return len(calls) - 1
        if not type(node).__name__.startswith(_VIEWS):
            return None
        node = node.next_functions[0][0]
    return None


def applied(call: int | None, function: Callable[[], Any]) -> Any:
    """What a function gives, with the activation of this number left out."""
    if call is None:
        return function()
    with Without(call):
        return function()
