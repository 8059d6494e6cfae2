"""A cell as the fused core sees it: the structs of fused/spec.h and fused/task.h, field by field."""

from __future__ import annotations

import ctypes
import math
from typing import NamedTuple, get_args

import numpy as np
from jaxtyping import Float

from bench.engines.schedules import learning_rates
from bench.protocol.cells import Activation, Cell, Dtype, Loss, Optimizer
from bench.protocol.networks import Layer, initial_layers, layer_sizes
from bench.protocol.noise import Data, training_data, validation_data
from bench.protocol.streams import KERNEL_FIELDS, kernel_key

ACTIVATIONS: tuple[str, ...] = get_args(Activation)
LOSSES: tuple[str, ...] = get_args(Loss)
OPTIMIZERS: tuple[str, ...] = get_args(Optimizer)
DTYPES: tuple[str, ...] = get_args(Dtype)

# The core indexes parameters and features by int.
MOST_NUMBERS = 2**31 - 1

# Numbers by which rows of weights and samples are padded at most.
PADDING = 64

_Words = ctypes.c_uint32 * 2


class Spec(ctypes.Structure):
    """The numbers that the core knows of a cell."""

    _fields_ = (
        *((name, ctypes.c_int) for name in ("n_samples", "d_in", "depth", "width", "n_val", "batch_size", "shuffle")),
        *((name, ctypes.c_int) for name in ("activation", "readout", "loss", "optimizer", "amsgrad", "dtype")),
        *((name, ctypes.c_int) for name in ("patience", "max_epochs")),
        *((name, ctypes.c_double) for name in ("variance", "tau", "momentum", "beta1", "beta2", "eps")),
        *((name, ctypes.c_double) for name in ("weight_decay", "l1", "dropout", "input_noise", "max_norm")),
        *((name, _Words) for name in ("dropout_key", "noise_key", "order_key")),
    )


class Progress(ctypes.Structure):
    """How far a cell has come. `state` is one of FRESH, PAUSED, ENDED."""

    _fields_ = (
        *((name, ctypes.c_int) for name in ("state", "epoch", "step", "best_epoch")),
        *((name, ctypes.c_double) for name in ("power1", "power2", "best_val")),
    )


FRESH, PAUSED, ENDED = range(3)


class Task(ctypes.Structure):
    """A cell to train; pointers are addresses on the device that trains it."""

    _fields_ = (
        ("spec", Spec),
        ("n_predictions", ctypes.c_int),
        ("n_rates", ctypes.c_int),
        *((name, ctypes.c_uint64) for name in ("params", "inputs", "targets", "val_inputs", "val_targets", "rates")),
        *((name, ctypes.c_uint64) for name in ("tau", "val_mse", "predictions")),
        ("first", ctypes.c_int),
        ("room", ctypes.c_int),
        ("memory", ctypes.c_uint64),
        ("progress", Progress),
    )


class Prepared(NamedTuple):
    """A cell with all that the core takes, float64 and C-contiguous."""

    spec: Spec
    params: Float[np.ndarray, " param"]
    inputs: Float[np.ndarray, "sample feature"]
    targets: Float[np.ndarray, " sample"]
    val_inputs: Float[np.ndarray, "val_sample feature"]
    val_targets: Float[np.ndarray, " val_sample"]
    rates: Float[np.ndarray, " epoch"]

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """What the core reads through the pointers of a task, in their order."""
        return tuple(self[1:])

    @property
    def n_bytes(self) -> int:
        """Of all arrays."""
        return sum(array.nbytes for array in self.arrays)


def prepare(cell: Cell) -> Prepared:
    """Data, initial weights and learning rates of a cell.

    Raises:
        ValueError: more parameters or samples than the core can index.
    """
    _check_size(cell)
    data = training_data(cell)
    val = validation_data(cell) if cell.n_val else Data(data.inputs[:0], data.targets[:0], data.target_variance)
    params = np.concatenate([part.ravel() for layer in initial_layers(cell) for part in layer])
    # The last rate is that of all later epochs.
    rates = learning_rates(cell, np.arange(1 if cell.lr_schedule == "constant" else cell.max_epochs + 1))
    arrays = (params, data.inputs, data.targets, val.inputs, val.targets, rates)
    return Prepared(spec_of(cell, data.target_variance), *(np.ascontiguousarray(array, dtype=np.float64) for array in arrays))


def layers_of(cell: Cell, params: Float[np.ndarray, " param"]) -> list[Layer]:
    """The weights and biases of each layer from the flat array of a task."""
    sizes = layer_sizes(cell)
    parts = iter(np.split(params, np.cumsum([size for out, fan_in in sizes for size in (out * fan_in, out)])[:-1]))
    return [Layer(next(parts).reshape(size), next(parts)) for size in sizes]


def _check_size(cell: Cell) -> None:
    layers = (cell.d_in + cell.depth * (cell.width + PADDING) + 2 * PADDING) * (cell.width + PADDING)
    if max(layers, cell.d_in * (max(cell.n_samples, cell.n_val) + PADDING)) > MOST_NUMBERS:
        raise ValueError("parameters or samples are more than 2**31 numbers; use engine=torch")


def spec_of(cell: Cell, variance: float) -> Spec:
    """The cell as numbers; `variance` is that of its training targets."""
    spec = Spec()
    for name in ("n_samples", "d_in", "depth", "width", "n_val", "max_epochs", "tau", "momentum", "beta1", "beta2", "eps"):
        setattr(spec, name, getattr(cell, name))
    for name in ("weight_decay", "l1", "input_noise"):
        setattr(spec, name, getattr(cell, name))
    spec.variance = variance
    spec.dropout = cell.dropout if cell.depth else 0.0
    spec.batch_size = min(cell.batch_size or cell.n_samples, cell.n_samples)
    spec.shuffle, spec.readout = int(cell.shuffle), int(cell.trainable == "readout" and cell.depth > 0)
    spec.activation, spec.optimizer = ACTIVATIONS.index(cell.activation), OPTIMIZERS.index(cell.optimizer)
    spec.loss, spec.dtype = LOSSES.index(cell.loss), DTYPES.index(cell.dtype)
    spec.amsgrad = int(cell.amsgrad and cell.optimizer != "sgd")
    spec.patience = -1 if cell.patience is None else cell.patience
    spec.max_norm = math.inf if cell.max_norm is None else cell.max_norm
    for name, purpose, drawn in (
        ("dropout_key", "dropout", spec.dropout),
        ("noise_key", "input noise", spec.input_noise),
        ("order_key", "batch order", spec.shuffle),
    ):
        if drawn:
            setattr(spec, name, _Words(*kernel_key(cell, purpose, KERNEL_FIELDS)))
    return spec
