"""Signal propagation at initialisation: what reaches each layer, and how much of it still tells inputs apart."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd

from bench.protocol.activations import ACTIVATIONS
from bench.protocol.cells import Cell
from bench.protocol.columns import columns_of
from bench.protocol.networks import initial_layers
from bench.protocol.noise import training_data

# Samples to measure on: the relative error of a second moment is about 1 / sqrt(this many).
MOST_SAMPLES = 2000

# Of the table of a run, those that are measured here.
COLUMNS = ["cell_id", *(name for name, column in columns_of("signal_propagation").items() if "signal" in column.source)]


def propagation(cells: Iterable[Cell]) -> pd.DataFrame:
    """Statistics of every layer of each cell's untrained network on its own training inputs, one row for a layer.

    Returns:
        `cell_id` and the columns of `signal_propagation` (`bench.protocol.columns`) from `layer` on.
    """
    rows = []
    for cell in cells:
        signal = training_data(cell).inputs[:MOST_SAMPLES]
        before = math.nan
        layers = initial_layers(cell)
        for number, (weight, bias) in enumerate(layers, start=1):
            z = signal @ weight.T + bias
            second_moment = float(np.mean(z**2))
            row = {
                "cell_id": cell.cell_id,
                "layer": number,
                "second_moment": second_moment,
                "variance_across_inputs": float(z.var(axis=0).mean()),
            }
            signal = ACTIVATIONS[cell.activation].value(z)
            dead = float(np.mean(np.ptp(signal, axis=0) == 0)) if number < len(layers) else math.nan
            rows.append(row | {"gain": second_moment / before, "dead_units": dead})
            before = second_moment
    return pd.DataFrame(rows, columns=COLUMNS)


def uniform_gain(width: int, half_width: float) -> float:
    """Factor on the second moment in each layer of a wide relu network with weights U(-a, a): width * a**2 / 6.

    The variance of a weight is a**2 / 3, and relu passes half of the second moment (He et al. 2015, arXiv 1502.01852).

    >>> round(uniform_gain(25, 0.25), 2)
    0.26
    """
    return width * half_width**2 / 6
