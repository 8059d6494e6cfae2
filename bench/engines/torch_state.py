"""Tensors of the networks that train together: everything that belongs to a cell, stacked along the first dimension."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bench.engines.packs import padded
from bench.protocol.cells import ORTHOGONAL, Cell
from bench.protocol.networks import initial_layers, layer_sizes, n_out
from bench.protocol.noise import training_data, validation_data
from bench.protocol.streams import KERNEL_FIELDS, kernel_key

DTYPES = {"float32": torch.float32, "float64": torch.float64, "tf32": torch.float32}

WIDTH_GRANULE = 4
# A cache line of float32, two of float64: rows of samples, and the blocks of a flat array of parameters, begin on one. Matrix
# products and vectorized functions may round differently by where an operand lies; so every cell's operands lie alike.
SAMPLE_GRANULE = 16
BLOCK_GRANULE = 16

# Optimizers that take weight decay off the parameters, and leave the gradient as it is.
DECOUPLED = ("adamw", ORTHOGONAL)


class Kind(NamedTuple):
    """What cells that train together have in common: the code that runs, and the shapes of the arrays.

    `width`, `room` and `n_val` are padded sizes, so that cells of different sizes share a kind. An array of samples holds
    the batches of an epoch one after the other, each in `room` places, so that every batch lies alike in memory; with the
    full batch there is one. `n_samples` and `batch_size` are exact, and None with the full batch.
    """

    depth: int
    d_in: int
    width: int
    room: int
    n_val: int
    n_out: int
    n_samples: int | None
    batch_size: int | None
    shuffle: bool
    activation: str
    trainable: str
    loss: str
    adaptive: bool
    amsgrad: bool
    orthogonal: bool
    dropout: bool
    input_noise: bool
    dtype: str

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(fan_out, fan_in) of every affine layer, padded."""
        return layer_sizes(Cell(d_in=self.d_in, depth=self.depth, width=self.width, n_outputs=self.n_out))

    @property
    def blocks(self) -> list[int]:
        """Lengths of the flat array's blocks, weights and biases of each layer in turn, in whole cache lines."""
        sizes = [size for out, fan_in in self.sizes for size in (out * fan_in, out)]
        return [-(-size // BLOCK_GRANULE) * BLOCK_GRANULE for size in sizes]

    @property
    def n_targets(self) -> int:
        """Numbers that a sample's targets are: one for each output, but a label is one number."""
        return 1 if self.loss == "cross_entropy" else self.n_out

    @property
    def batches(self) -> list[int]:
        """Samples in each batch of an epoch; with the full batch, the places of the one there is."""
        if self.n_samples is None or self.batch_size is None:
            return [self.room]
        whole, rest = divmod(self.n_samples, self.batch_size)
        return [self.batch_size] * whole + [rest] * (rest > 0)

    @property
    def places(self) -> int:
        """Places in an array of training samples."""
        return self.room * len(self.batches)

    @property
    def evaluates_apart(self) -> bool:
        """Whether tau needs a forward pass of its own, because the training pass sees other inputs, units or samples."""
        return self.dropout or self.input_noise or len(self.batches) > 1


def kind_of(cell: Cell, steps: int) -> Kind:
    """The kind of a cell; `steps` is the number of padded sizes for each doubling of a size (`packs.padded`)."""
    batch_size = cell.batch_size if cell.steps_per_epoch > 1 else None
    return Kind(
        depth=cell.depth,
        d_in=cell.d_in,
        width=padded(cell.width, WIDTH_GRANULE, steps),
        room=padded(batch_size or cell.n_samples, SAMPLE_GRANULE, steps),
        n_val=padded(cell.n_val, SAMPLE_GRANULE, steps) if cell.n_val else 0,
        n_out=n_out(cell),
        n_samples=cell.n_samples if batch_size else None,
        batch_size=batch_size,
        shuffle=cell.shuffle and batch_size is not None,
        activation=cell.activation,
        trainable=cell.trainable if cell.depth else "all",
        loss=cell.loss,
        adaptive=cell.optimizer != "sgd",
        amsgrad=cell.amsgrad and cell.optimizer != "sgd",
        orthogonal=cell.optimizer == ORTHOGONAL,
        dropout=cell.dropout > 0 and cell.depth > 0,
        input_noise=cell.input_noise > 0,
        dtype=cell.dtype,
    )


@dataclasses.dataclass
class State:
    """All that a chunk of epochs reads or changes for each cell; samples and units beyond the cell's own are padding.

    Padded units keep zero weights for ever: their inputs, outputs and gradients are zero (`units` masks those
    activations that are
    not zero at zero). Padded samples carry no weight in the loss (`valid`).
    """

    params: Float[Tensor, "cell param"]
    moment1: Float[Tensor, "cell param"]
    moment2: Float[Tensor, "cell _"]
    moment2_max: Float[Tensor, "cell _"]
    inputs: Float[Tensor, "cell feature sample"]
    targets: Float[Tensor, "cell target sample"]
    valid: Float[Tensor, "cell 1 sample"]
    val_inputs: Float[Tensor, "cell feature val_sample"]
    val_targets: Float[Tensor, "cell target val_sample"]
    val_valid: Float[Tensor, "cell 1 val_sample"]
    n_samples: Float[Tensor, " cell"]
    n_val: Float[Tensor, " cell"]
    variance: Float[Tensor, " cell"]
    tau: Float[Tensor, " cell"]
    by_recall: Bool[Tensor, " cell"]
    units: Float[Tensor, "cell unit 1"]
    width: Float[Tensor, "cell 1 1"]
    momentum: Float[Tensor, "cell 1"]
    beta2: Float[Tensor, "cell 1"]
    # By how much a step moves Adam's means, and Muon's: 1 - beta and 1 - momentum, rounded once, as torch.optim rounds them.
    forgets1: Float[Tensor, "cell 1"]
    forgets2: Float[Tensor, "cell 1"]
    forgets_momentum: Float[Tensor, "cell 1"]
    eps: Float[Tensor, "cell 1"]
    weight_decay: Float[Tensor, "cell 1"]
    decoupled_decay: Float[Tensor, "cell 1"]
    l1: Float[Tensor, "cell 1"]
    max_norm: Float[Tensor, "cell 1 1"]
    dropout: Float[Tensor, " cell"]
    input_noise: Float[Tensor, "cell 1 1"]
    patience: Float[Tensor, " cell"]
    best_val: Float[Tensor, " cell"]
    best_val_epoch: Float[Tensor, " cell"]
    dropout_key: Int[Tensor, "cell 2"]
    noise_key: Int[Tensor, "cell 2"]
    active: Bool[Tensor, " cell"]

    def rows(self, keep: Int[Tensor, " kept"]) -> State:
        """The state of the cells at these places, copied."""
        return State(**{field.name: getattr(self, field.name).index_select(0, keep) for field in dataclasses.fields(self)})

    def joined(self, other: State) -> State:
        """The cells of both, these first."""
        return State(**{f.name: torch.cat([getattr(self, f.name), getattr(other, f.name)]) for f in dataclasses.fields(self)})

    def saved(self, row: int) -> bytes:
        """What training has changed of a cell, to go on with elsewhere."""
        return torch.cat([getattr(self, name)[row].reshape(-1) for name in TRAINED]).cpu().numpy().tobytes()

    def restore(self, row: int, saved: bytes) -> None:
        """A cell at epoch 0 becomes what was `saved` of it."""
        tensors = [getattr(self, name)[row : row + 1] for name in TRAINED]
        numbers = torch.frombuffer(bytearray(saved), dtype=self.params.dtype).split([own.numel() for own in tensors])
        for own, values in zip(tensors, numbers, strict=True):
            own.copy_(values.view_as(own))

    def copy_(self, other: State) -> None:
        """Overwrite every tensor in place."""
        for field in dataclasses.fields(self):
            getattr(self, field.name).copy_(getattr(other, field.name))


# What training changes; its other tensors follow from the cell. Whether it is active too, but cells that are saved are.
TRAINED = ("params", "moment1", "moment2", "moment2_max", "best_val", "best_val_epoch")


def initial_state(cells: Sequence[Cell], kind: Kind, device: torch.device) -> State:
    """The cells of one kind at epoch 0."""
    dtype = DTYPES[kind.dtype]

    def real(values: object) -> Tensor:
        return torch.as_tensor(np.asarray(values, dtype=np.float64)).to(device, dtype)

    def column(name: str) -> Tensor:
        return real([[getattr(cell, name)] for cell in cells])

    params = real([_flat_params(cell, kind) for cell in cells])
    train, val = [training_data(cell) for cell in cells], [validation_data(cell) for cell in cells]
    counts, val_counts = [cell.n_samples for cell in cells], [cell.n_val for cell in cells]
    empty = params.new_zeros(len(cells), 0)
    infinite = [[math.inf] for _ in cells]
    return State(
        params=params,
        moment1=torch.zeros_like(params),
        moment2=torch.zeros_like(params) if kind.adaptive else empty,
        moment2_max=torch.zeros_like(params) if kind.amsgrad else empty,
        inputs=real([_in_batches(data.inputs.T, kind) for data in train]),
        targets=real([_in_batches(_by_output(data.targets), kind) for data in train]),
        valid=real([_in_batches(np.ones((1, n)), kind) for n in counts]),
        val_inputs=real([_padded_to(data.inputs.T, kind.n_val) for data in val]),
        val_targets=real([_padded_to(_by_output(data.targets), kind.n_val) for data in val]),
        val_valid=real([_padded_to(np.ones((1, n)), kind.n_val) for n in val_counts]),
        n_samples=real(counts),
        n_val=real(val_counts),
        variance=real([data.target_variance for data in train]),
        tau=real([cell.tau for cell in cells]),
        by_recall=torch.tensor([cell.criterion == "recall" for cell in cells], device=device),
        units=real([(np.arange(kind.width) < cell.width)[:, None] for cell in cells]),
        width=column("width")[:, None],
        momentum=column("momentum"),
        beta2=column("beta2"),
        forgets1=real([[1 - cell.beta1] for cell in cells]),
        forgets2=real([[1 - cell.beta2] for cell in cells]),
        forgets_momentum=real([[1 - cell.momentum] for cell in cells]),
        eps=column("eps"),
        weight_decay=real([[0.0 if cell.optimizer in DECOUPLED else cell.weight_decay] for cell in cells]),
        decoupled_decay=real([[cell.weight_decay if cell.optimizer in DECOUPLED else 0.0] for cell in cells]),
        l1=column("l1"),
        max_norm=real([[[math.inf if cell.max_norm is None else cell.max_norm]] for cell in cells]),
        dropout=column("dropout")[:, 0],
        input_noise=column("input_noise")[:, None],
        patience=real([math.inf if cell.patience is None else cell.patience for cell in cells]),
        best_val=real(infinite)[:, 0],
        best_val_epoch=real(np.zeros(len(cells))),
        dropout_key=torch.tensor([kernel_key(cell, "dropout", KERNEL_FIELDS) for cell in cells], device=device),
        noise_key=torch.tensor([kernel_key(cell, "input noise", KERNEL_FIELDS) for cell in cells], device=device),
        active=torch.ones(len(cells), dtype=torch.bool, device=device),
    )


def _flat_params(cell: Cell, kind: Kind) -> Float[np.ndarray, " param"]:
    """Initial weights and biases, layer by layer, each padded with zeros to the kind's sizes."""
    parts = []
    for layer, (out, fan_in) in zip(initial_layers(cell), kind.sizes, strict=True):
        rows, columns = layer.weight.shape
        parts.append(np.pad(layer.weight, ((0, out - rows), (0, fan_in - columns))).ravel())
        parts.append(layer.bias)
    return np.concatenate([np.pad(part, (0, length - part.size)) for part, length in zip(parts, kind.blocks, strict=True)])


def _by_output(targets: Float[np.ndarray, "sample *output"]) -> Float[np.ndarray, "target sample"]:
    return targets.T if targets.ndim == 2 else targets[None]


def _in_batches(rows: Float[np.ndarray, "row sample"], kind: Kind) -> Float[np.ndarray, "row place"]:
    """Samples at their places: each batch at the beginning of its room, the rest of it zero."""
    if kind.batch_size is None:
        return _padded_to(rows, kind.room)
    starts = np.arange(len(kind.batches)) * kind.batch_size
    return np.hstack([_padded_to(rows[:, at : at + kind.batch_size], kind.room) for at in starts])


def _padded_to(rows: Float[np.ndarray, "row sample"], count: int) -> Float[np.ndarray, "row padded_sample"]:
    return np.pad(rows, ((0, 0), (0, count - rows.shape[1])))
