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

# Labels have a stream of their own, and so have the targets of several outputs.
LABEL_FIELDS = ("data_seed", "n_classes")
SEVERAL_FIELDS = (*TARGET_FIELDS, "n_outputs")

# All that the validation targets depend on: their draws, and the training targets that their scaling is fitted to.
VALIDATION_FIELDS = (*SEVERAL_FIELDS, "n_classes", "target_scaling", "n_samples", "n_val")


class Data(NamedTuple):
    """Inputs, targets, and the variance that tau divides by, in float64.

    Targets are [sample], labels too, as the numbers 0 to n_classes - 1; with `n_outputs` above 1 they are [sample, output].
    """

    inputs: Float[np.ndarray, "sample feature"]
    targets: Float[np.ndarray, "sample *output"]
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
    they do not vary (one sample, or equal signs) it is that of their distribution, 1 before scaling. Of several outputs it is
    the mean of their variances. Of labels it is the entropy of their frequencies in nats; where there is one class alone, that
    of their distribution, ln(n_classes).
    """
    inputs = generator(cell, "inputs", INPUT_FIELDS).standard_normal((cell.n_samples, cell.d_in))
    raw = _raw_targets(cell, "targets", cell.n_samples)
    targets = _apply(_scaling(cell, raw), raw)
    return Data(inputs, targets, _spread(cell, targets))


def validation_data(cell: Cell) -> Data:
    """`n_val` fresh samples of the same noise, under the scaling of the training targets; drawn independently of those.

    `target_variance` is that of the training targets.
    """
    raw_training = _raw_targets(cell, "targets", cell.n_samples)
    scaling = _scaling(cell, raw_training)
    inputs = generator(cell, "validation inputs", INPUT_FIELDS).standard_normal((cell.n_val, cell.d_in))
    targets = _apply(scaling, _raw_targets(cell, "validation targets", cell.n_val))
    return Data(inputs, targets, _spread(cell, _apply(scaling, raw_training)))


def validation_variance(cell: Cell) -> float:
    """Population variance of the validation targets: what predicting their own mean would score, the least a constant can.

    Of labels, the entropy of their frequencies. NaN for a single sample, or labels of one class, which have none.
    """
    if cell.n_val < 2:
        return math.nan
    targets = validation_data(cell).targets
    if cell.has_labels:
        found = entropy(targets)
        return found if found > 0 else math.nan
    return _mean_variance(targets)


def entropy(labels: Float[np.ndarray, " sample"]) -> float:
    """Of the frequencies of the labels that are there, in nats: the least cross-entropy of a constant prediction."""
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    return float(-np.sum(shares * np.log(shares)))


def _spread(cell: Cell, targets: Float[np.ndarray, "sample *output"]) -> float:
    """What tau divides by."""
    if cell.n_classes:
        return entropy(targets) or math.log(cell.n_classes)
    return _mean_variance(targets) or 1.0


def _mean_variance(targets: Float[np.ndarray, "sample *output"]) -> float:
    """Over the outputs."""
    return _variance(targets) if targets.ndim == 1 else float(np.mean([_variance(own) for own in targets.T]))


def _variance(values: Float[np.ndarray, " sample"]) -> float:
    """What `np.var` gives, to the bit, in a third of the time for a few values: every cell has some."""
    deviations = values - np.add.reduce(values) / len(values)
    return float(np.add.reduce(deviations * deviations) / len(values))


def _raw_targets(cell: Cell, purpose: str, count: int) -> Float[np.ndarray, "sample *output"]:
    """Draws of mean 0 and variance 1; or labels, all as likely."""
    if cell.has_labels:
        draws = generator(cell, purpose.replace("targets", "labels"), LABEL_FIELDS)
        return np.floor(draws.random(count) * (cell.n_classes or 1))
    several = cell.n_outputs > 1
    draws = generator(cell, purpose, SEVERAL_FIELDS if several else TARGET_FIELDS)
    shape = (count, cell.n_outputs) if several else count
    match cell.target:
        case "normal":
            return draws.standard_normal(shape)
        case "uniform":
            return draws.uniform(-math.sqrt(3), math.sqrt(3), shape)
        case _:
            return np.where(draws.random(shape) < 0.5, -1.0, 1.0)


def _scaling(cell: Cell, raw: Float[np.ndarray, "sample *output"]) -> Scaling:
    """Fitted to the training targets; targets that do not vary are only centred."""
    match cell.target_scaling:
        case "none":
            return _UNSCALED
        case "standardize":
            return Scaling(float(raw.mean()), float(raw.std()) or 1.0)
        case "minmax":
            return Scaling(float(raw.min()), float(raw.max() - raw.min()) or 1.0)


def _apply(scaling: Scaling, raw: Float[np.ndarray, "sample *output"]) -> Float[np.ndarray, "sample *output"]:
    return raw if scaling == _UNSCALED else (raw - scaling.shift) / scaling.scale
