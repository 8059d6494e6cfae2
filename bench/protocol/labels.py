"""What a network stores of random labels, in bits: from its outputs, as they are and at the best temperature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bench.protocol.activations import ACTIVATIONS
from bench.protocol.cells import Cell
from bench.protocol.networks import Layer
from bench.protocol.noise import training_data

# Halvings of the interval that holds the inverse temperature: float64 tells no more apart.
HALVINGS = 60

# Doublings of it before the loss is taken to fall for ever.
DOUBLINGS = 200


class Stored(NamedTuple):
    """Bits that the outputs save a reader of the labels who knows the inputs: n_samples * log2(n_classes), less what the labels
    still cost; 0 where that is more. `calibrated_bits` are those after one temperature for all outputs is chosen for the
    training set, at which the labels cost least.
    """

    label_bits: float
    calibrated_bits: float


def outputs(
    cell: Cell, layers: Sequence[Layer], inputs: Float[np.ndarray, "sample feature"]
) -> Float[np.ndarray, "sample output"]:
    """What a network says, in evaluation mode, in float64."""
    for weight, bias in layers[:-1]:
        inputs = ACTIVATIONS[cell.activation].value(inputs @ weight.T + bias)
    return inputs @ layers[-1].weight.T + layers[-1].bias


def stored(cell: Cell, layers: Sequence[Layer]) -> Stored:
    """Of the cell's training set, by the weights and biases in which training ended."""
    data = training_data(cell)
    # The inputs as the cell's own precision holds them.
    said = outputs(cell, layers, data.inputs.astype(cell.storage).astype(np.float64))
    return stored_by(said, data.targets.astype(np.int64))


def stored_by(said: Float[np.ndarray, "sample class"], labels: np.ndarray) -> Stored:
    """Of these labels, by these outputs.

    Where each label's output is the largest, alone, the labels cost nothing as the temperature goes to 0, and the calibrated
    bits are all there are. NaN for outputs that are not finite.

    >>> stored_by(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 1])).calibrated_bits
    2.0
    >>> stored_by(np.array([[0.0, 0.0], [0.0, 0.0]]), np.array([0, 1]))
    Stored(label_bits=0.0, calibrated_bits=0.0)
    """
    if not np.isfinite(said).all():
        return Stored(math.nan, math.nan)
    lags = said - np.take_along_axis(said, labels[:, None], 1)
    whole = len(labels) * math.log2(said.shape[1])
    return Stored(*(max(0.0, whole - cost / math.log(2)) for cost in (_cost(lags, 1.0), _least_cost(lags))))


def _cost(lags: Float[np.ndarray, "sample class"], inverse_temperature: float) -> float:
    """Sum over the samples of -ln p(label), from the outputs less that of the label."""
    scaled = inverse_temperature * lags
    most = scaled.max(axis=1)
    return float(np.sum(most + np.log(np.exp(scaled - most[:, None]).sum(axis=1))))


def _slope(lags: Float[np.ndarray, "sample class"], inverse_temperature: float) -> float:
    """The derivative of `_cost`, which only rises: the cost is convex."""
    scaled = inverse_temperature * lags
    shares = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return float(np.sum((shares * lags).sum(axis=1) / shares.sum(axis=1)))


def _least_cost(lags: Float[np.ndarray, "sample class"]) -> float:
    """Over all temperatures, the limit at 0 too, in which a label that is right costs the logarithm of its equals."""
    if _slope(lags, 0.0) >= 0:
        return _cost(lags, 0.0)
    if lags.max() <= 0:
        return float(np.sum(np.log((lags == 0).sum(axis=1))))
    # In units of what differs.
    low, high = 0.0, 1 / np.abs(lags).max()
    for _ in range(DOUBLINGS):
        if _slope(lags, high) >= 0:
            break
        low, high = high, 2 * high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _slope(lags, middle) < 0 else (low, middle)
    return _cost(lags, (low + high) / 2)
