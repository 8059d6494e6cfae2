"""Numbers that depend on the epoch alone, computed on the host in float64: learning rates, epochs of learning curves."""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import Float, Int

from bench.protocol.cells import Cell

# `lr_schedule=step` divides the rate by ten after each third of the budget.
STEP_GAMMA = 0.1
STEP_STAGES = 3


def learning_rates(cell: Cell, epochs: Int[np.ndarray, " epoch"]) -> Float[np.ndarray, " epoch"]:
    """The rate in force during each epoch (0-based), constant within it.

    `cosine` is torch's CosineAnnealingLR with T_max=max_epochs, `step` its StepLR with step_size=ceil(max_epochs /
    3), gamma=0.1,
    both stepped once an epoch.
    """
    match cell.lr_schedule:
        case "constant":
            factors = np.ones(len(epochs))
        case "cosine":
            factors = (1 + np.cos(np.pi * epochs / cell.max_epochs)) / 2
        case "step":
            factors = STEP_GAMMA ** (epochs // -(-cell.max_epochs // STEP_STAGES)).astype(float)
    return cell.learning_rate * factors


@functools.lru_cache
def curve_epochs(max_epochs: int, per_decade: int = 16) -> frozenset[int]:
    """Log-spaced epochs at which a learning curve is kept: 0, 1, ..., max_epochs."""
    count = int(np.ceil(per_decade * np.log10(max_epochs))) + 1 if max_epochs > 1 else 1
    spaced = np.round(np.geomspace(1, max_epochs, count)).astype(int)
    return frozenset({0, *spaced.tolist()})
