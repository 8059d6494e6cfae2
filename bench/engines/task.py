"""A cell as the fused core sees it: the structs of fused/spec.h and fused/task.h, field by field."""

from __future__ import annotations

import ctypes
import functools
import math
import struct
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, get_args

import numpy as np
from jaxtyping import Float, Shaped

from bench.engines.schedules import learning_rates
from bench.protocol.cells import Activation, Cell, Criterion, Dtype, Loss, Optimizer
from bench.protocol.networks import Layer, layer_sizes, n_out, n_params
from bench.protocol.streams import KERNEL_FIELDS, kernel_key

ACTIVATIONS: tuple[str, ...] = get_args(Activation)
LOSSES: tuple[str, ...] = get_args(Loss)
CRITERIA: tuple[str, ...] = get_args(Criterion)
# Those that the core has, as fused/spec.h numbers them.
OPTIMIZERS: tuple[Optimizer, ...] = ("sgd", "adam", "adamw")
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
        *((name, ctypes.c_int) for name in ("patience", "max_epochs", "n_outputs", "criterion")),
        *((name, ctypes.c_double) for name in ("variance", "tau", "momentum", "beta1", "beta2", "eps")),
        *((name, ctypes.c_double) for name in ("weight_decay", "l1", "dropout", "input_noise", "max_norm")),
        *((name, _Words) for name in ("dropout_key", "noise_key", "order_key")),
    )


class Progress(ctypes.Structure):
    """How far a cell has come. `state` is one of FRESH, PAUSED, ENDED, STOPPED, SAVED."""

    _fields_ = (
        *((name, ctypes.c_int) for name in ("state", "epoch", "step", "best_epoch")),
        *((name, ctypes.c_double) for name in ("power1", "power2", "best_val")),
    )


FRESH, PAUSED, ENDED, STOPPED, SAVED = range(5)


class Task(ctypes.Structure):
    """A cell to train; pointers are addresses on the device that trains it."""

    _fields_ = (
        ("spec", Spec),
        ("n_predictions", ctypes.c_int),
        ("n_rates", ctypes.c_int),
        *((name, ctypes.c_uint64) for name in ("params", "inputs", "targets", "val_inputs", "val_targets", "rates")),
        *((name, ctypes.c_uint64) for name in ("tau", "val_mse", "recalled", "predictions")),
        ("first", ctypes.c_int),
        ("room", ctypes.c_int),
        ("saved", ctypes.c_uint64),
        ("memory", ctypes.c_uint64),
        ("progress", Progress),
    )


# Tasks as arrays of numpy: thousands are written at once.
TASK: np.dtype[Any] = np.dtype(Task)
SPEC: np.dtype[Any] = np.dtype(Spec)


def rates_of(cell: Cell) -> Float[np.ndarray, " epoch"]:
    """The learning rates that the core gets: the last is that of all later epochs."""
    if cell.lr_schedule == "constant":
        return np.array([cell.learning_rate], dtype=np.float64)
    return learning_rates(cell, np.arange(cell.max_epochs + 1))


def layers_of(cell: Cell, params: Float[np.ndarray, " param"]) -> list[Layer]:
    """The weights and biases of each layer from the flat array of a task."""
    sizes = layer_sizes(cell)
    parts = iter(np.split(params, np.cumsum([size for out, fan_in in sizes for size in (out * fan_in, out)])[:-1]))
    return [Layer(next(parts).reshape(size), next(parts)) for size in sizes]


def predicted(cell: Cell, outputs: list[float]) -> list[float]:
    """What a table says of the outputs that the core gives of some samples, sample by sample.

    Of several outputs the first, of classes the one that the network takes a sample for: the first of the largest.
    """
    if cell.has_labels:
        return np.array(outputs).reshape(-1, n_out(cell)).argmax(axis=1).astype(np.float64).tolist()
    return outputs[:: cell.n_outputs]


def packed_state(cell: Cell, progress: bytes, saved: Float[np.ndarray, " number"]) -> bytes:
    """How far a cell has come and what was saved of it, in numbers as it has them: its engine's state of a checkpoint."""
    return b"".join((progress, saved.astype(cell.storage).data))


def unpacked_state(cell: Cell, state: bytes) -> tuple[bytes, Float[np.ndarray, " number"]]:
    """Both again."""
    size = ctypes.sizeof(Progress)
    return state[:size], np.frombuffer(state, cell.storage, offset=size).astype(np.float64)


def is_state_of(cell: Cell, state: bytes) -> bool:
    """Whether the core can go on from it with this cell: a file may hold anything, and the core trusts what it is given."""
    arrays = 1 + (1 if cell.optimizer == "sgd" else 3 if cell.amsgrad else 2)
    if len(state) != ctypes.sizeof(Progress) + arrays * n_params(cell) * np.dtype(cell.storage).itemsize:
        return False
    progress = Progress.from_buffer_copy(state)
    return 0 <= progress.epoch <= cell.max_epochs and progress.step >= 0


def check_size(cell: Cell) -> None:
    """Raises ValueError where the core cannot index a cell's numbers."""
    layers = (cell.d_in + cell.depth * (cell.width + PADDING) + 2 * PADDING) * (cell.width + PADDING)
    readout = n_out(cell) * (max(cell.d_in, cell.width) + PADDING)
    samples = max(cell.d_in, n_out(cell)) * (max(cell.n_samples, cell.n_val) + PADDING)
    if max(layers + readout, samples) > MOST_NUMBERS:
        raise ValueError("parameters or samples are more than 2**31 numbers; use engine=torch")


def spec_of(cell: Cell, variance: float) -> Spec:
    """The cell as numbers; `variance` is that of its training targets."""
    return Spec.from_buffer_copy(packed_spec(cell, variance))


# The fields of a Spec: integers, real numbers, words of keys.
_SPEC = struct.Struct("@17i11d6I")
assert _SPEC.size == ctypes.sizeof(Spec)

_sizes = attrgetter("n_samples", "d_in", "depth", "width", "n_val")
_moments = attrgetter("tau", "momentum", "beta1", "beta2", "eps", "weight_decay", "l1")


def packed_spec(cell: Cell, variance: float) -> bytes:
    """The same as bytes: one call for all fields, since cells begin by the thousand.

    Raises:
        ValueError: a number that the core does not hold.
    """
    dropout = cell.dropout if cell.depth else 0.0
    try:
        return _SPEC.pack(
            *_sizes(cell),
            min(cell.batch_size or cell.n_samples, cell.n_samples),
            cell.shuffle,
            ACTIVATIONS.index(cell.activation),
            cell.trainable == "readout" and cell.depth > 0,
            LOSSES.index(cell.loss),
            OPTIMIZERS.index(cell.optimizer),
            cell.amsgrad and cell.optimizer != "sgd",
            DTYPES.index(cell.dtype),
            -1 if cell.patience is None else cell.patience,
            cell.max_epochs,
            n_out(cell),
            CRITERIA.index(cell.criterion),
            variance,
            *_moments(cell),
            dropout,
            cell.input_noise,
            math.inf if cell.max_norm is None else cell.max_norm,
            *_keys(cell.init_seed, dropout > 0, cell.input_noise > 0, cell.shuffle),
        )
    except struct.error as error:
        raise ValueError(f"{error}; use engine=torch") from error


def set_draws(specs: Shaped[np.ndarray, " cell"], cells: Sequence[Cell], variances: Float[np.ndarray, " cell"]) -> None:
    """Make specs of cells that differ from these in their draws alone into those of these."""
    specs["variance"] = variances
    for i in np.flatnonzero((specs["dropout"] > 0) | (specs["input_noise"] > 0) | (specs["shuffle"] > 0)).tolist():
        spec = specs[i]
        keys = _keys(cells[i].init_seed, spec["dropout"] > 0, spec["input_noise"] > 0, spec["shuffle"] > 0)
        specs["dropout_key"][i], specs["noise_key"][i], specs["order_key"][i] = keys[:2], keys[2:4], keys[4:]


# Keys depend on the seed alone (KERNEL_FIELDS), and many cells have the same.
@functools.lru_cache(maxsize=1 << 14)
def _keys(init_seed: int, dropout: bool, noise: bool, order: bool) -> tuple[int, ...]:
    """The words of the keys for those purposes that are drawn for."""
    cell = Cell(init_seed=init_seed)
    purposes = {"dropout": dropout, "input noise": noise, "batch order": order}
    return sum((kernel_key(cell, name, KERNEL_FIELDS) if drawn else (0, 0) for name, drawn in purposes.items()), ())
