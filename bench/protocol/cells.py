"""The nouns: a cell (one training run), its status and its outcome. Frozen values, standard library only."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from enum import StrEnum
from functools import cache
from itertools import repeat
from operator import attrgetter
from types import MappingProxyType
from typing import Literal, NamedTuple, get_args, get_type_hints, overload

from bench.protocol.fields import FIELD_LIST

# Part of every cell_id. A change that moves results moves this number, so that stale results are never taken for new ones.
PROTOCOL_VERSION = 1

# A threshold that training does not reach, short of a perfect fit: with it a cell trains on to the end of its budget.
NO_TAU = 1e-300

# Fields that were added when there were results already. They enter a cell_id only where they are not at their defaults, as
# they were in all cells before: so these keep their ids, and their folders go on.
LATER: tuple[str, ...] = ("n_classes", "n_outputs", "criterion")

# The optimizer that solves for its steps: the method of Levenberg and Marquardt. Its epochs are iterations.
SECOND_ORDER = "lm"

# Iterations of it at most. A hundred are many; each may take as long as a thousand epochs of the others.
MOST_ITERATIONS = 500

# The optimizer that orthogonalises the steps of the matrices between hidden layers, and takes Adam's for all other parameters.
ORTHOGONAL = "muon"

# Fractions of the target variance whose first epoch every run records on its way to its own `tau`.
LADDER = (0.5, 0.1, 0.01, 0.001)

Target = Literal["normal", "uniform", "rademacher", "labels"]
TargetScaling = Literal["none", "standardize", "minmax"]
Activation = Literal["relu", "leaky_relu", "tanh", "gelu", "silu", "sigmoid"]
Init = Literal["he_normal", "he_uniform", "xavier_uniform", "orthogonal", "torch_default", "uniform"]
Trainable = Literal["all", "readout"]
Loss = Literal["mse", "hinge", "cross_entropy"]
Optimizer = Literal["sgd", "adam", "adamw", "lm", "muon"]
LrSchedule = Literal["constant", "cosine", "step"]
Dtype = Literal["float32", "float64", "tf32"]
Criterion = Literal["tau", "recall"]

# The share of the labels whose first epoch every run on labels records on its way to all of them.
NEARLY_ALL = 0.99


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """One training run, completely described: equal cells give equal results. `None` means absent.

    `loss` is what training lowers, and what tau and the validation MSE are measured by. With predictions f and targets y,
    "mse" is the mean of (f - y)**2. "hinge" is the mean of max(0, 1 - y f)**2, for targets y of -1 or 1: a sample counts for
    nothing once its margin y f is beyond 1 (the quadratic hinge of Geiger et al. 2019, arXiv 1809.09349).

    With target "labels" each sample has one of `n_classes` labels, all as likely, the network has as many outputs, and the
    loss is "cross_entropy": the mean of -ln p(label) under the softmax of the outputs, in nats. tau then divides it by the
    entropy of the labels' frequencies in the training set, which is the loss of the best constant prediction. Such a cell has
    memorized, under `criterion` "recall", at the first epoch at which every label is right: its output is the largest, and
    the first of equals. With `n_outputs` a sample has as many independent targets, and the loss is the mean over all.

    `dtype` "tf32" is float32, but the factors of matrix products, forward and backward, are rounded to the eleven
    significant bits of TF32 (to nearest, ties away from zero), as tensor cores take them. Products are summed in float32.

    >>> Cell(depth=1, width=16, n_samples=64).cell_id == Cell(n_samples=64, width=16, depth=1).cell_id
    True
    """

    # data
    n_samples: int = 128
    d_in: int = 8
    target: Target = "normal"
    n_classes: int | None = None
    n_outputs: int = 1
    target_scaling: TargetScaling = "none"
    data_seed: int = 0
    n_val: int = 0
    # network
    depth: int = 2
    width: int = 32
    activation: Activation = "relu"
    init: Init = "he_normal"
    init_scale: float = 1.0
    init_seed: int = 0
    trainable: Trainable = "all"
    # optimisation
    loss: Loss = "mse"
    optimizer: Optimizer = "adam"
    amsgrad: bool = False
    learning_rate: float = 0.003
    lr_schedule: LrSchedule = "constant"
    momentum: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    batch_size: int | None = None
    shuffle: bool = False
    dtype: Dtype = "float32"
    # regularization
    regularization: str = "none"
    weight_decay: float = 0.0
    l1: float = 0.0
    dropout: float = 0.0
    input_noise: float = 0.0
    max_norm: float | None = None
    patience: int | None = None
    # criterion and budget
    criterion: Criterion = "tau"
    tau: float = 0.01
    max_epochs: int = 5000

    @property
    def cell_id(self) -> str:
        """16 hexadecimal digits: a hash of every field and of PROTOCOL_VERSION; fields of LATER only off their defaults."""
        # Spelled as `canonical` does, in one look at all fields: a million cells are nothing unusual.
        values = [PROTOCOL_VERSION, *_first_values_of(self)]
        for place in _real_places():
            if type(values[place]) is int:
                values[place] = float(values[place])
        if (later := _later_values_of(self)) != _LATER_DEFAULTS:
            spelled = [[name, canonical(name, value)] for name, value in zip(LATER, later, strict=True)]
            values += [[name, value] for name, value in spelled if value != canonical(name, DEFAULTS[name])]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]

    @property
    def storage(self) -> str:
        """The type of its numbers in memory, as numpy and torch name it: float32 or float64."""
        return "float32" if self.dtype == "tf32" else self.dtype

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the training set: ceil(n_samples / batch_size), 1 for the full batch."""
        return 1 if self.batch_size is None else -(-self.n_samples // self.batch_size)

    @property
    def has_labels(self) -> bool:
        """Whether its targets are labels of classes, and not numbers."""
        return self.target == "labels"


FIELDS: tuple[str, ...] = tuple(field.name for field in dataclasses.fields(Cell))
SEEDS = ("data_seed", "init_seed")
MAX_SEED = 2**32 - 1
STRENGTHS = ("weight_decay", "l1", "dropout", "input_noise", "max_norm", "patience")
# The strengths that conf/regularization ships.
DEFAULT_STRENGTHS = MappingProxyType(
    {"weight_decay": 0.001, "l1": 0.0001, "dropout": 0.1, "input_noise": 0.1, "max_norm": 2.0, "patience": 50}
)
DEFAULTS = MappingProxyType({field.name: field.default for field in dataclasses.fields(Cell)})


@cache
def field_types() -> dict[str, tuple[type, ...]]:
    """The types that each field of a cell admits; a field with named choices admits `str`."""
    types = {}
    for name, hint in get_type_hints(Cell).items():
        parts = get_args(hint) or (hint,)
        types[name] = tuple(dict.fromkeys(part if isinstance(part, type) else type(part) for part in parts))
    return types


@cache
def field_choices() -> dict[str, tuple[str, ...]]:
    """The fields that take one of a few names, with those names."""
    return {
        name: get_args(hint)
        for name, hint in get_type_hints(Cell).items()
        if get_args(hint) and isinstance(get_args(hint)[0], str)
    }


_WORDS = {type(None): "None"}


def _described() -> str:
    """What a reader of `help(Cell)` wants to know of each field: its choices or type, default, meaning and unit."""
    lines = ["", "    Attributes:"]
    for field in FIELD_LIST:
        choices = " | ".join(
            field_choices().get(field.name) or [_WORDS.get(kind, kind.__name__) for kind in field_types()[field.name]]
        )
        meaning = field.meaning.replace("null", "None")
        lines.append(f"        {field.name} ({choices}, default {DEFAULTS[field.name]}): {meaning} [{field.unit}]")
    return "\n".join([*lines, "    "])


Cell.__doc__ = f"{Cell.__doc__}{_described()}"


# The fields that were there from the first, in their order, and the others.
_FIRST = tuple(name for name in FIELDS if name not in LATER)
_first_values_of, _later_values_of = attrgetter(*_FIRST), attrgetter(*LATER)
_LATER_DEFAULTS = tuple(DEFAULTS[name] for name in LATER)


@cache
def _real_places() -> list[int]:
    """Where, behind the version, values are that `canonical` spells as real numbers."""
    return [place for place, name in enumerate(_FIRST, start=1) if float in field_types()[name]]


def canonical(name: str, value: object) -> object:
    """The one spelling of a value that enters a hash: Cell(tau=1) and Cell(tau=1.0) are equal, so their ids are too."""
    return float(value) if type(value) is int and float in field_types()[name] else value


class Status(StrEnum):
    """How a cell ended. Only `failed` (an error, not a result) is tried again by the next run."""

    MEMORIZED = "memorized"
    CENSORED = "censored"
    EARLY_STOPPED = "early_stopped"
    DIVERGED = "diverged"
    FAILED = "failed"


class CurvePoint(NamedTuple):
    """One point of a learning curve: tau, and the validation MSE where the cell has validation samples."""

    epoch: int
    tau: float
    val_mse: float | None


class Curve(Sequence[CurvePoint]):
    """A learning curve: a sequence of points, held as columns, since thousands of cells end in a second."""

    __slots__ = ("epoch", "tau", "val_mse")

    def __init__(self, epoch: Sequence[int] = (), tau: Sequence[float] = (), val_mse: Sequence[float] | None = None):
        """Columns of one length; `val_mse` is None where the cell has no validation samples."""
        self.epoch, self.tau, self.val_mse = tuple(epoch), tuple(tau), None if val_mse is None else tuple(val_mse)

    def __len__(self) -> int:
        return len(self.epoch)

    def __iter__(self) -> Iterator[CurvePoint]:
        return map(CurvePoint, self.epoch, self.tau, repeat(None) if self.val_mse is None else self.val_mse)

    @overload
    def __getitem__(self, index: int) -> CurvePoint: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[CurvePoint, ...]: ...
    def __getitem__(self, index: int | slice) -> CurvePoint | tuple[CurvePoint, ...]:
        return tuple(self)[index]

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, Sequence) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


class Outcome(NamedTuple):
    """What one cell did. Epochs are counts from initialisation (epoch 0); None where the event never happened.

    `final_tau` and `best_tau` are fractions of the target variance, `*_val_mse` are in squared target units, `train_time_s`
    is the cell's share of the wall time of the packs it trained in, in seconds. `predictions` are (target, prediction)
    pairs of the first training samples in the final state, in target units, as many as the run asked for. `jacobian_rank`
    is that of the Jacobian of the predictions in that state, if the run asked for it.

    The last five are of cells on labels alone: how many labels were right when training ended, the first epochs at which all
    were and at which NEARLY_ALL were, the bits that the fit proves stored in that state, and those after one temperature for
    all outputs is chosen for the training set.
    """

    cell: Cell
    status: Status
    reason: str | None = None
    target_variance: float | None = None
    epoch_to_tau: int | None = None
    rung_epochs: tuple[int | None, ...] = (None,) * len(LADDER)
    epochs_run: int | None = None
    final_tau: float | None = None
    best_tau: float | None = None
    final_val_mse: float | None = None
    best_val_mse: float | None = None
    best_val_epoch: int | None = None
    train_time_s: float | None = None
    engine: str | None = None
    device: str | None = None
    curve: Curve = Curve()
    predictions: tuple[tuple[float, float], ...] = ()
    jacobian_rank: int | None = None
    recalled: int | None = None
    epoch_to_recall: int | None = None
    epoch_to_recall_99: int | None = None
    label_bits: float | None = None
    calibrated_bits: float | None = None


class Checkpoint(NamedTuple):
    """A cell in training, before this epoch is measured: all that its engine needs to go on as if it had not stopped.

    `record` is what was measured until then (`bench.engines.record.RecordTable.saved`), `state` is the engine's own. `kernel`
    names the code that trains the cell, where the engine has several.
    """

    cell: Cell
    epoch: int
    engine: str
    device: str
    record: bytes
    state: bytes
    kernel: str = ""
