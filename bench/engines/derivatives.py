"""The Jacobians of networks of one shape, in factors: what a layer is fed, and what its outputs add to the prediction.

A weight's derivative for a sample is the product of two numbers, so a Jacobian times its transpose is a sum over layers of
element-wise products of two small Gram matrices, and is never formed where there are fewer samples than parameters.

The slopes of relu and leaky relu can be smoothed: within a width of the kink they go from one side's to the other's in a
straight line, as if the activation were averaged over that width (Chen and Mangasarian 1996, doi 10.1007/BF00249052).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from bench.engines.activations import ACTIVATIONS, LEAKY_SLOPE
from bench.protocol.cells import Cell
from bench.protocol.networks import HOMOGENEOUS, layer_sizes, n_out


class Shape(NamedTuple):
    """What networks and tasks share that train in one batch. `trainable` and `activation` are those that have an effect."""

    n_samples: int
    d_in: int
    n_val: int
    depth: int
    width: int
    activation: str
    trainable: str
    loss: str
    n_out: int

    @property
    def kinked(self) -> bool:
        """Whether the slope of the activation jumps."""
        return self.depth > 0 and self.activation in HOMOGENEOUS

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(fan_out, fan_in) of every layer."""
        return layer_sizes(Cell(d_in=self.d_in, depth=self.depth, width=self.width, n_outputs=self.n_out))

    @property
    def lowest(self) -> int:
        """The first layer that trains."""
        return self.depth if self.trainable == "readout" else 0

    @property
    def n_residuals(self) -> int:
        """One for each output of each sample."""
        return self.n_samples * self.n_out

    @property
    def n_trained(self) -> int:
        """Parameters that train, P."""
        return sum(out * (fan_in + 1) for out, fan_in in self.sizes[self.lowest :])


def shape_of(cell: Cell) -> Shape:
    """The shape of a cell."""
    hidden = cell.depth > 0
    return Shape(
        cell.n_samples,
        cell.d_in,
        cell.n_val,
        cell.depth,
        cell.width if hidden else 1,
        cell.activation if hidden else "relu",
        cell.trainable if hidden else "all",
        cell.loss,
        n_out(cell),
    )


class Layers:
    """Views of flat parameters as the weights [network, out, in] and biases [network, 1, out] of each layer, weights first."""

    def __init__(self, flat: Float[Tensor, "network param"], shape: Shape):
        sizes = shape.sizes
        parts = flat.split([size for out, fan_in in sizes for size in (out * fan_in, out)], dim=1)
        self.of = [
            (weight.unflatten(1, (out, fan_in)), bias.unsqueeze(1))
            for weight, bias, (out, fan_in) in zip(parts[::2], parts[1::2], sizes, strict=True)
        ]


def outputs(
    flat: Float[Tensor, "network param"], inputs: Float[Tensor, "network sample feature"], shape: Shape
) -> Float[Tensor, "network output"]:
    """What the networks say of these inputs: all outputs of a sample, then those of the next."""
    layers = Layers(flat, shape).of
    for weight, bias in layers[:-1]:
        inputs = torch.baddbmm(bias, inputs, weight.mT)
        ACTIVATIONS[shape.activation].forward(inputs, inputs)
    weight, bias = layers[-1]
    return torch.baddbmm(bias, inputs, weight.mT).flatten(1)


def smoothed_slopes(
    before: Float[Tensor, "network sample unit"], smoothing: Float[Tensor, " network"], activation: str
) -> Float[Tensor, "network sample unit"]:
    """Slopes of relu or leaky relu at these pre-activations, smoothed as `Jacobian` says."""
    width = (smoothing * before.square().mean((1, 2)).sqrt())[:, None, None]
    share = torch.where(width > 0, (before / (2 * width) + 1 / 2).clamp(0, 1), (before > 0).to(before.dtype))
    return share if activation == "relu" else LEAKY_SLOPE + (1 - LEAKY_SLOPE) * share


class Jacobian:
    """Derivatives of each network's residuals by its trained parameters, in the order of `bench.protocol.jacobian`.

    A sample has a row for each output, and what it is fed stands once for each of them.
    """

    def __init__(
        self,
        flat: Float[Tensor, "network param"],
        inputs: Float[Tensor, "network sample feature"],
        weights: Float[Tensor, "network row out"],
        smoothing: Float[Tensor, " network"],
        shape: Shape,
    ):
        """`weights`: what the outputs of a row's sample add to it (`bench.engines.squares.weights`).

        `smoothing`: the width of smoothed slopes over the root mean square of the layer's pre-activations; 0: none.
        """
        activation = ACTIVATIONS[shape.activation]
        layers = Layers(flat, shape).of
        fed, saved = [inputs], []
        for weight, bias in layers[:-1]:
            before = torch.baddbmm(bias, fed[-1], weight.mT)
            output = torch.empty_like(before)
            activation.forward(before, output)
            saved.append(
                smoothed_slopes(before, smoothing, shape.activation)
                if shape.kinked
                else before
                if activation.needs_input
                else output
            )
            fed.append(output)
        if shape.n_out > 1:
            fed, saved = ([each.repeat_interleave(shape.n_out, 1) for each in every] for every in (fed, saved))
        delta = weights
        self.factors: list[tuple[Float[Tensor, "network row out"], Float[Tensor, "network row in"]]] = []
        for layer in range(shape.depth, shape.lowest - 1, -1):
            self.factors.insert(0, (delta, fed[layer]))
            if layer > shape.lowest:
                delta = delta @ layers[layer][0]
                if shape.kinked:
                    delta *= saved[layer - 1]
                else:
                    activation.backward(delta, saved[layer - 1])

    def of(self, which: Tensor) -> Jacobian:
        """Those of some of the networks."""
        chosen = Jacobian.__new__(Jacobian)
        chosen.factors = [(delta[which], fed[which]) for delta, fed in self.factors]
        return chosen

    def gram(self) -> Float[Tensor, "network row row"]:
        """J J'."""
        return sum((delta @ delta.mT).mul_((fed @ fed.mT).add_(1)) for delta, fed in self.factors)  # pyright: ignore[reportReturnType]

    def squares(self) -> Float[Tensor, "network param"]:
        """The squared length of each column: the diagonal of J' J."""
        return self._by_layer([(delta.square(), fed.square()) for delta, fed in self.factors])

    def transposed_times(self, vector: Float[Tensor, "network row"]) -> Float[Tensor, "network param"]:
        """J' v."""
        return self._by_layer([(delta * vector.unsqueeze(2), fed) for delta, fed in self.factors])

    def full(self) -> Float[Tensor, "network row param"]:
        """J itself."""
        columns = []
        for delta, fed in self.factors:
            columns += [(delta.unsqueeze(3) * fed.unsqueeze(2)).flatten(2), delta]
        return torch.cat(columns, dim=2)

    @staticmethod
    def _by_layer(factors: list[tuple[Tensor, Tensor]]) -> Float[Tensor, "network param"]:
        """Sums over samples of the products of two factors, and of the first alone for the biases."""
        return torch.cat([part for d, a in factors for part in ((d.mT @ a).flatten(1), d.sum(1))], dim=1)
