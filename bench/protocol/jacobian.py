"""The Jacobian of a network's outputs with respect to its trained parameters, and its rank: how many directions are left to it.

Over enough inputs that rank is the dimension of the functions that small changes of the parameters reach (Grigsby, Lindsey,
Meyerhoff and Wu 2022, arXiv 2209.04036); over the training inputs it is the batch functional dimension (Bona-Pellissier,
Malgouyres and Bachoc 2024, arXiv 2402.08269). `bench.protocol.networks.functional_dim` bounds both from above.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from bench.protocol.activations import ACTIVATIONS
from bench.protocol.cells import Cell
from bench.protocol.networks import Layer, n_out, n_params
from bench.protocol.noise import training_data

# A Jacobian of more entries, a gigabyte, is not taken.
MOST_NUMBERS = 2**27


def jacobian(
    cell: Cell, layers: Sequence[Layer], inputs: Float[np.ndarray, "sample feature"]
) -> Float[np.ndarray, "derivative parameter"]:
    """Derivatives of the outputs for each input by each trained parameter, in evaluation mode, in float64.

    Args:
        cell: says the activation, and which parameters are trained.
        layers: weights and biases, input to output.
        inputs: one row for each sample.

    Returns:
        A row for each output of each sample, sample by sample. Of classes each less the mean over them, since what is added to
        all outputs changes no probability. A column for each parameter, layer by layer, the weights [out, in] before the
        biases; under `trainable=readout` the readout's alone.
    """
    activation = ACTIVATIONS[cell.activation]
    fed, slopes = [inputs], []
    for weight, bias in layers[:-1]:
        z = fed[-1] @ weight.T + bias
        fed.append(activation.value(z))
        slopes.append(activation.slope(z))
    lowest = cell.depth if cell.trainable == "readout" else 0
    outputs = n_out(cell)
    of_each = np.eye(outputs) - (1 / outputs if cell.has_labels else 0)
    delta = np.tile(of_each, (len(inputs), 1))
    columns = []
    for layer in range(cell.depth, lowest - 1, -1):
        own = np.repeat(fed[layer], outputs, axis=0)
        columns += [delta, (delta[:, :, None] * own[:, None, :]).reshape(len(delta), -1)]
        if layer > lowest:
            delta = (delta @ layers[layer].weight) * np.repeat(slopes[layer - 1], outputs, axis=0)
    return np.hstack(columns[::-1])


def rank(cell: Cell, layers: Sequence[Layer]) -> int | None:
    """The rank of the Jacobian over the cell's training inputs, at most `functional_dim`, and n_samples times its outputs.

    Singular values count that exceed numpy's default tolerance: the largest of them times the larger side of the Jacobian times
    2**-52. It takes n_samples * outputs * n_params float64 numbers, several times over; None where these are more than
    MOST_NUMBERS, where a derivative is not finite, or where the singular values do not converge.
    """
    if cell.n_samples * n_out(cell) * n_params(cell) > MOST_NUMBERS:
        return None
    # The inputs as the cell's own precision holds them.
    inputs = training_data(cell).inputs.astype(cell.storage).astype(np.float64)
    derivatives = jacobian(cell, layers, inputs)
    try:
        return int(np.linalg.matrix_rank(derivatives)) if np.isfinite(derivatives).all() else None
    except np.linalg.LinAlgError:
        return None
