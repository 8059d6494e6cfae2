"""Signal propagation at initialisation: what reaches each layer, and how much of it still tells inputs apart."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pandas as pd

from bench.protocol.activations import ACTIVATIONS
from bench.protocol.cells import MAX_SEED, SEEDS, Cell
from bench.protocol.columns import columns_of
from bench.protocol.networks import initial_layers, n_params
from bench.protocol.noise import training_data

# Samples to measure on: the relative error of a second moment is about 1 / sqrt(this many).
MOST_SAMPLES = 2000

# Draws that look for dead layers: so many tell a rare one, so few that there is hardly any, and no more arithmetic than this.
MOST_DRAWS, FEW_DRAWS, DRAW_MACS = 100, 10, 2 * 10**9

# Of the table of a run, those that are measured here.
COLUMNS = [
    "cell_id",
    *(name for name, column in columns_of("signal_propagation").items() if column.source == "protocol/signal.py"),
]


def propagation(cells: Iterable[Cell]) -> pd.DataFrame:
    """Statistics of every layer of each cell's untrained network on its own training inputs, one row for a layer.

    Returns:
        `cell_id` and the columns of `signal_propagation` (`bench.protocol.columns`) from `layer` to `dead_units`.
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
            # A layer that passes nothing on has no gain after it.
            rows.append(row | {"gain": second_moment / before if before else math.nan, "dead_units": dead})
            before = second_moment
    return pd.DataFrame(rows, columns=COLUMNS)


def dead_layers(cell: Cell) -> pd.DataFrame:
    """How often a hidden layer passes nothing on: all of its units answer the same to all inputs of the untrained network.

    Fresh draws of data and weights: MOST_DRAWS where any of the first FEW_DRAWS has such a layer, as many as DRAW_MACS allow.

    Returns:
        `layer`, and the columns `dead_draws` and `n_draws` of `signal_propagation`; no rows where there is one sample, which
        tells no inputs apart, or no hidden layer.
    """
    if cell.n_samples < 2 or not cell.depth:
        return pd.DataFrame({"layer": [], "dead_draws": [], "n_draws": []})
    macs = min(cell.n_samples, MOST_SAMPLES) * n_params(cell)
    dead = np.zeros(cell.depth, int)
    n_draws = 0
    for draw in range(max(1, min(MOST_DRAWS, DRAW_MACS // macs))):
        if draw == FEW_DRAWS and not dead.any():
            break
        drawn = replace(cell, **{name: (getattr(cell, name) + draw) % (MAX_SEED + 1) for name in SEEDS})
        signal = training_data(drawn).inputs[:MOST_SAMPLES]
        for number, (weight, bias) in enumerate(initial_layers(drawn)[:-1]):
            signal = ACTIVATIONS[cell.activation].value(signal @ weight.T + bias)
            dead[number] += bool(np.all(np.ptp(signal, axis=0) == 0))
        n_draws += 1
    return pd.DataFrame({"layer": range(1, cell.depth + 1), "dead_draws": dead, "n_draws": n_draws})


def uniform_gain(width: int, half_width: float) -> float:
    """Factor on the second moment in each layer of a wide relu network with weights U(-a, a): width * a**2 / 6.

    The variance of a weight is a**2 / 3, and relu passes half of the second moment (He et al. 2015, arXiv 1502.01852).

    >>> round(uniform_gain(25, 0.25), 2)
    0.26
    """
    return width * half_width**2 / 6
