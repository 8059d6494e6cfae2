"""The task: inputs, and targets that are pure noise, independent of the inputs."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bench.protocol.cells import Cell
from bench.protocol.streams import generator

INPUT_FIELDS = ("data_seed", "d_in")
TARGET_FIELDS = ("data_seed", "target")

# All that the validation targets depend on: their draws, and the training targets that their scaling is fitted to.
VALIDATION_FIELDS = (*TARGET_FIELDS, "target_scaling", "n_samples", "n_val")


class Data(NamedTuple):
    """Inputs, targets, and the variance that tau divides by, in float64."""

    inputs: Float[np.ndarray, "sample feature"]
    targets: Float[np.ndarray, " sample"]
    target_variance: float


class Scaling(NamedTuple):
    """targets = (raw - shift) / scale, fitted on the training targets."""

    shift: float
    scale: float


_UNSCALED = Scaling(0.0, 1.0)


def training_data(cell: Cell) -> Data:
    """The cell's training set: inputs ~ N(0, I), targets independent of them, scaled as the cell says.

    Nested: the set of a cell with more samples begins with the set of the cell with fewer (before scaling, whose
    shift and scale are those of all its targets). `target_variance` is the population variance of the scaled targets; where
    they do not vary (one sample, or equal signs) it is that of their distribution, 1 before scaling.
    """
    inputs = generator(cell, "inputs", INPUT_FIELDS).standard_normal((cell.n_samples, cell.d_in))
    raw = _raw_targets(cell, "targets", cell.n_samples)
    targets = _apply(_scaling(cell, raw), raw)
    return Data(inputs, targets, _variance(targets) or 1.0)


def validation_data(cell: Cell) -> Data:
    """`n_val` fresh samples of the same noise, under the scaling of the training targets; drawn independently of those.

    `target_variance` is that of the training targets.
    """
    raw_training = _raw_targets(cell, "targets", cell.n_samples)
    scaling = _scaling(cell, raw_training)
    inputs = generator(cell, "validation inputs", INPUT_FIELDS).standard_normal((cell.n_val, cell.d_in))
    targets = _apply(scaling, _raw_targets(cell, "validation targets", cell.n_val))
    return Data(inputs, targets, _variance(_apply(scaling, raw_training)) or 1.0)


def validation_variance(cell: Cell) -> float:
    """Population variance of the validation targets: what predicting their own mean would score, the least a constant can.

    NaN for a single sample, which has none.
    """
    return _variance(validation_data(cell).targets) if cell.n_val > 1 else math.nan


def _variance(values: Float[np.ndarray, " sample"]) -> float:
    """What `np.var` gives, to the bit, in a third of the time for a few values: every cell has some."""
    deviations = values - np.add.reduce(values) / len(values)
    return float(np.add.reduce(deviations * deviations) / len(values))


def _raw_targets(cell: Cell, purpose: str, count: int) -> Float[np.ndarray, " sample"]:
    """Draws of mean 0 and variance 1."""
    draws = generator(cell, purpose, TARGET_FIELDS)
    match cell.target:
        case "normal":
            return draws.standard_normal(count)
        case "uniform":
            return draws.uniform(-math.sqrt(3), math.sqrt(3), count)
        case "rademacher":
            return np.where(draws.random(count) < 0.5, -1.0, 1.0)


def _scaling(cell: Cell, raw: Float[np.ndarray, " sample"]) -> Scaling:
    """Fitted to the training targets; targets that do not vary are only centred."""
    match cell.target_scaling:
        case "none":
            return _UNSCALED
        case "standardize":
            return Scaling(float(raw.mean()), float(raw.std()) or 1.0)
        case "minmax":
            return Scaling(float(raw.min()), float(raw.max() - raw.min()) or 1.0)


def _apply(scaling: Scaling, raw: Float[np.ndarray, " sample"]) -> Float[np.ndarray, " sample"]:
    return raw if scaling == _UNSCALED else (raw - scaling.shift) / scaling.scale
