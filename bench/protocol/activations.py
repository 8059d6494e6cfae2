"""Activation functions and their slopes in numpy float64, for what is measured outside training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Map = Callable[[Float[np.ndarray, "..."]], Float[np.ndarray, "..."]]

# What torch.nn.LeakyReLU multiplies negative numbers by.
LEAK = 0.01

# erf, for exact gelu, without a dependency on scipy.
_erf = np.vectorize(math.erf, otypes=[float])


def _logistic(z: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    return (1 + np.tanh(z / 2)) / 2


def _normal_share(z: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    return (1 + _erf(z / math.sqrt(2))) / 2


class Activation(NamedTuple):
    """An activation and its derivative, both of the pre-activation z; at a kink the one from the left, as torch takes it."""

    value: Map
    slope: Map


ACTIVATIONS: Mapping[str, Activation] = MappingProxyType(
    {
        "relu": Activation(lambda z: np.maximum(z, 0), lambda z: np.where(z > 0, 1.0, 0.0)),
        "leaky_relu": Activation(lambda z: np.where(z > 0, z, LEAK * z), lambda z: np.where(z > 0, 1.0, LEAK)),
        "tanh": Activation(np.tanh, lambda z: 1 - np.tanh(z) ** 2),
        "gelu": Activation(
            lambda z: z * _normal_share(z), lambda z: _normal_share(z) + z * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
        ),
        "silu": Activation(lambda z: z * _logistic(z), lambda z: _logistic(z) * (1 + z * (1 - _logistic(z)))),
        "sigmoid": Activation(_logistic, lambda z: _logistic(z) * (1 - _logistic(z))),
    }
)
