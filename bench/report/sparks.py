"""Learning curves -> a short text for each cell, thinned and quantised, which the page's table draws as a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

# One character for a tau: steps of a log scale from MOST_TAU, "A", down to LEAST_TAU, "_".
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
MOST_TAU, LEAST_TAU = 10.0, 1e-7

# Epochs at which a curve is told, evenly on a log scale up to the largest budget.
POINTS = 24


def depth(tau: Any) -> Any:
    """How far below MOST_TAU taus are drawn, in letters of the alphabet.

    >>> depth(10.0), depth(1e-7), round(depth(1.0), 2)
    (0.0, 63.0, 7.88)
    """
    steps = np.log(MOST_TAU / np.clip(tau, LEAST_TAU, MOST_TAU)) / np.log(MOST_TAU / LEAST_TAU)
    return steps * (len(ALPHABET) - 1) if isinstance(tau, np.ndarray) else float(steps * (len(ALPHABET) - 1))


def sparks(curves: pd.DataFrame, cell_ids: Sequence[str], max_epochs: int) -> list[str]:
    """For each cell the tau that it had reached at each of POINTS epochs until its end, and last the one at its end.

    Args:
        curves: `bench.store.parts.Store.read_curves`; a cell that has none gets an empty text.
        max_epochs: the last of the epochs that curves are told at.

    >>> curves = pd.DataFrame({"cell_id": ["a"] * 3, "epoch": [0, 1, 3], "tau": [1.0, 1.0, 1e-7]})
    >>> sparks(curves, ["a", "b"], 10**6)
    ['HHH_', '']
    """
    at = np.unique(np.geomspace(1, max(max_epochs, 2), POINTS).round())
    codes = depth(curves["tau"].to_numpy(float, na_value=np.inf)).round().astype(int)
    epochs = curves["epoch"].to_numpy()
    letters = np.array(list(ALPHABET))[codes] if len(codes) else np.array([], dtype=str)
    told = {}
    for cell_id, rows in curves.groupby("cell_id", sort=False).indices.items():
        own = epochs[rows]
        # The last tau known by each epoch.
        seen = np.searchsorted(own, at[at < own[-1]], side="right") - 1
        told[cell_id] = "".join(letters[rows[seen[seen >= 0]]]) + str(letters[rows[-1]])
    return [told.get(cell_id, "") for cell_id in cell_ids]
