"""Activation functions on tensors, in place, with the derivative that back-propagation needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

# torch.nn.LeakyReLU's default.
LEAKY_SLOPE = 0.01

_aten = torch.ops.aten


class Activation(NamedTuple):
    """`forward(z, out)` writes the outputs; `backward(delta, saved)` turns dLoss/d output into dLoss/d z, in place.

    `saved` is the output, or the pre-activation z where `needs_input`. `nonzero_at_zero` says whether f(0) differs
    from 0, so that units
    that exist only as padding have to be masked.
    """

    forward: Callable[[Tensor, Tensor], object]
    backward: Callable[[Tensor, Tensor], object]
    needs_input: bool = False
    nonzero_at_zero: bool = False


ACTIVATIONS = {
    "relu": Activation(
        lambda z, out: torch.clamp_min(z, 0, out=out),
        lambda delta, out: _aten.threshold_backward.grad_input(delta, out, 0, grad_input=delta),
    ),
    "leaky_relu": Activation(
        lambda z, out: _aten.leaky_relu.out(z, LEAKY_SLOPE, out=out),
        lambda delta, out: _aten.leaky_relu_backward.grad_input(delta, out, LEAKY_SLOPE, True, grad_input=delta),
    ),
    "tanh": Activation(
        lambda z, out: torch.tanh(z, out=out),
        lambda delta, out: _aten.tanh_backward.grad_input(delta, out, grad_input=delta),
    ),
    "sigmoid": Activation(
        lambda z, out: torch.sigmoid(z, out=out),
        lambda delta, out: _aten.sigmoid_backward.grad_input(delta, out, grad_input=delta),
        nonzero_at_zero=True,
    ),
    "gelu": Activation(
        lambda z, out: _aten.gelu.out(z, out=out),
        lambda delta, z: _aten.gelu_backward.grad_input(delta, z, grad_input=delta),
        needs_input=True,
    ),
    "silu": Activation(
        lambda z, out: _aten.silu.out(z, out=out),
        lambda delta, z: _aten.silu_backward.grad_input(delta, z, grad_input=delta),
        needs_input=True,
    ),
}
