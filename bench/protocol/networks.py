"""The networks: layout of their parameters, their initial weights, and how many degrees of freedom they have."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bench.protocol.cells import Cell
from bench.protocol.streams import generator

# The fields that the initial weights may depend on.
INIT_FIELDS = ("init_seed", "d_in", "depth", "width", "init", "init_scale")

# And what says how many outputs there are, which leaves the weights below them as they are.
OUTPUT_FIELDS = ("n_classes", "n_outputs")

# relu(a z) = a relu(z) for a > 0: scaling a hidden unit's input and unscaling its output changes nothing, one dimension each.
HOMOGENEOUS = ("relu", "leaky_relu")


# No network wider than this is proposed.
WIDEST = 10**6


class Layer(NamedTuple):
    """Weights [out, in] and biases [out] of one affine layer."""

    weight: Float[np.ndarray, "out in"]
    bias: Float[np.ndarray, " out"]


def n_out(cell: Cell) -> int:
    """Outputs of the last layer: one for each class of labels, else `n_outputs`."""
    return cell.n_classes or cell.n_outputs


def layer_sizes(cell: Cell) -> list[tuple[int, int]]:
    """(fan_out, fan_in) of every affine layer, input to output.

    >>> layer_sizes(Cell(d_in=2, depth=2, width=5))
    [(5, 2), (5, 5), (1, 5)]
    """
    units = [cell.d_in, *[cell.width] * cell.depth, n_out(cell)]
    return list(zip(units[1:], units[:-1], strict=True))


def n_params(cell: Cell) -> int:
    """Number of weights and biases, P.

    >>> n_params(Cell(d_in=2, depth=11, width=25))
    6601
    """
    if cell.depth == 0:
        return n_out(cell) * (cell.d_in + 1)
    # Not layer by layer: depth may be any number that somebody typed.
    hidden = cell.width * (cell.d_in + 1) + (cell.depth - 1) * cell.width * (cell.width + 1)
    return hidden + n_out(cell) * (cell.width + 1)


def n_trained(cell: Cell) -> int:
    """Number of weights and biases that train."""
    return n_out(cell) * (cell.width + 1) if cell.trainable == "readout" and cell.depth > 0 else n_params(cell)


def functional_dim(cell: Cell) -> int:
    """Upper bound on the dimension of the set of functions that the trained parameters reach.

    P minus one for every hidden unit with a homogeneous activation; P itself otherwise. Source: Grigsby, Lindsey, Meyerhoff
    and Wu 2022, arXiv 2209.04036. With a trained readout alone the network is linear in width + 1 parameters for each output.

    Of classes it is the dimension of what the softmax tells: the same added to all outputs changes nothing, which costs one
    dimension for each unit that the outputs see and one for their biases.
    """
    same_for_all = (cell.width if cell.depth else cell.d_in) + 1 if cell.has_labels else 0
    if cell.trainable == "readout" and cell.depth > 0:
        return n_trained(cell) - same_for_all
    return n_params(cell) - same_for_all - (cell.depth * cell.width if cell.activation in HOMOGENEOUS else 0)


def samples_at_ceiling(cell: Cell) -> float:
    """How many samples have as many equations as the network has dimensions: `functional_dim` over `n_outputs`.

    A sample has an equation for each of its targets. That of labels has one, and no dimension bounds their recall.

    >>> samples_at_ceiling(Cell(d_in=8, depth=1, width=16, n_outputs=2))  # 178 parameters less 16, which scale
    81.0
    """
    return functional_dim(cell) / cell.n_outputs


def forward_macs(cell: Cell) -> int:
    """Multiply-accumulates of one forward pass of one sample; a training step does about three times that."""
    return _macs(cell.d_in, cell.depth, cell.width, n_out(cell))


@functools.lru_cache(maxsize=1 << 14)
def _macs(d_in: int, depth: int, width: int, outputs: int) -> int:
    """Planning asks for every cell several times."""
    sizes = layer_sizes(Cell(d_in=d_in, depth=depth, width=width, n_outputs=outputs))
    return sum(out * fan_in for out, fan_in in sizes)


def initial_layers(cell: Cell) -> list[Layer]:
    """Weights and biases at epoch 0, in float64, a function of INIT_FIELDS and of the number of outputs alone.

    Biases are zero except under `torch_default`. `init_scale` is the half-width of `uniform` and a gain on the others.

    Sources: he_* He et al. 2015; xavier_uniform Glorot and Bengio 2010; orthogonal Saxe et al. 2014; torch_default
    the reset_parameters of torch.nn.Linear, U(-1/sqrt(fan_in), 1/sqrt(fan_in)) for weights and biases alike.
    """
    draws = generator(cell, "weights", INIT_FIELDS)
    return [_initial_layer(cell, draws, out, fan_in) for out, fan_in in layer_sizes(cell)]


def _initial_layer(cell: Cell, draws: np.random.Generator, out: int, fan_in: int) -> Layer:
    scale, shape, bias = cell.init_scale, (out, fan_in), np.zeros(out)
    match cell.init:
        case "he_normal":
            weight = draws.standard_normal(shape) * (scale * math.sqrt(2 / fan_in))
        case "he_uniform":
            weight = draws.uniform(-1, 1, shape) * (scale * math.sqrt(6 / fan_in))
        case "xavier_uniform":
            weight = draws.uniform(-1, 1, shape) * (scale * math.sqrt(6 / (fan_in + out)))
        case "orthogonal":
            weight = _orthogonal(draws, out, fan_in) * scale
        case "torch_default":
            bound = scale / math.sqrt(fan_in)
            weight = draws.uniform(-bound, bound, shape)
            bias = draws.uniform(-bound, bound, out)
        case "uniform":
            weight = draws.uniform(-scale, scale, shape)
    return Layer(weight, bias)


def _orthogonal(draws: np.random.Generator, out: int, fan_in: int) -> Float[np.ndarray, "out in"]:
    """A matrix with orthonormal rows or columns, whichever are fewer, uniform over such matrices (Mezzadri 2007)."""
    tall = draws.standard_normal((max(out, fan_in), min(out, fan_in)))
    q, r = np.linalg.qr(tall)
    q = q * np.sign(np.diag(r))
    return q if out >= fan_in else q.T


def width_for(cell: Cell, n_samples: float) -> int | None:
    """The least width at which the network has dimensions for so many samples; None where no width has.

    >>> width_for(Cell(d_in=2, depth=1, width=4), 100)  # of width 33: 4 * 33 + 1 parameters, less 33
    33
    """

    def enough(width: int) -> bool:
        return samples_at_ceiling(replace(cell, width=width)) >= n_samples

    if cell.depth == 0 or not enough(WIDEST):
        return None
    low, high = 0, WIDEST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
