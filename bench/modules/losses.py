"""Losses: by name or anybody's own, the best that equal outputs for equal inputs can do under them, and tau."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from bench.protocol.grid import GridError
from bench.protocol.names import did_you_mean

# What code of the user's own may raise: anything, and a script that is imported may end the program. Not Ctrl-C.
RAISED = (Exception, SystemExit)

# A probability is this far from 0 and 1 at least where its logarithm is taken.
SURE = 1e-12

# Of the search for the best outputs under a loss of which nothing is known.
MOST_STEPS = 200

# It ends where outputs and loss change by less than this; a floor below this share of the constant's loss is 0 that it missed.
STILL, FOUND = 1e-14, 1e-9


class Kind(StrEnum):
    """What targets are to a loss."""

    NUMBERS = "numbers"
    CLASSES = "classes"
    CHANCES = "chances"
    SIGNS = "signs"
    OWN = "own"


@dataclasses.dataclass(frozen=True, slots=True)
class Loss:
    """A loss by its name, as a function of outputs and targets, and what the targets are to it."""

    name: str
    value: Callable[..., Tensor]
    kind: Kind

    def of(self, outputs: object, targets: object) -> Tensor:
        """The loss as one number.

        Raises:
            GridError: it raises, or is no scalar.
        """
        if self.kind is Kind.CLASSES and _no_classes(outputs, targets):
            rule = f"takes the number of a class for each sample, and targets are {spelled(targets)}"  # pyright: ignore[reportArgumentType]
            raise GridError("loss", self.name, rule, "give y.long()")
        try:
            value = self.value(outputs, targets)
        except torch.OutOfMemoryError:
            raise
        except RAISED as error:
            raise GridError("loss", self.name, f"cannot be taken: {first_line(error)}", _compared(outputs, targets)) from error
        if not isinstance(value, Tensor) or value.ndim:
            what = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise GridError("loss", self.name, f"gives {what}, where one number is needed", "reduce it, as .mean() does")
        return value


def quadratic_hinge(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean of max(0, 1 - target * output) squared, for targets of -1 and 1 (Geiger et al. 2019, arXiv 1809.09349)."""
    return torch.relu(1 - targets * outputs).square().mean()


NAMED = {
    loss.name: loss
    for loss in (
        Loss("mse", functional.mse_loss, Kind.NUMBERS),
        Loss("mae", functional.l1_loss, Kind.NUMBERS),
        Loss("huber", functional.huber_loss, Kind.NUMBERS),
        Loss("cross_entropy", functional.cross_entropy, Kind.CLASSES),
        Loss("bce_with_logits", functional.binary_cross_entropy_with_logits, Kind.CHANCES),
        Loss("bce", functional.binary_cross_entropy, Kind.CHANCES),
        Loss("hinge", quadratic_hinge, Kind.SIGNS),
    )
}

# What torch calls the losses that are known here, so that nn.MSELoss() is mse; with other settings it is a loss of its own.
_OF_TORCH = {
    torch.nn.MSELoss: "mse",
    torch.nn.L1Loss: "mae",
    torch.nn.HuberLoss: "huber",
    torch.nn.CrossEntropyLoss: "cross_entropy",
    torch.nn.BCEWithLogitsLoss: "bce_with_logits",
    torch.nn.BCELoss: "bce",
}


def loss_of(asked: object) -> Loss:
    """The loss that a name, a loss of torch.nn or a function stands for.

    Raises:
        GridError: it is neither.

    >>> loss_of("mse").name, loss_of(torch.nn.MSELoss()).kind.value, loss_of(lambda o, t: (o - t).sum()).name
    ('mse', 'numbers', '<lambda>')
    """
    if isinstance(asked, Loss):
        return asked
    if isinstance(asked, str):
        if asked not in NAMED:
            raise GridError("loss", asked, "is no loss", did_you_mean(asked, NAMED, f"choose from {', '.join(NAMED)}"))
        return NAMED[asked]
    if not callable(asked):
        remedy = f"give one of {', '.join(NAMED)}, or a function of outputs and targets"
        raise GridError("loss", type(asked).__name__, "is no loss", remedy)
    for kind, name in _OF_TORCH.items():
        if type(asked) is kind and _plain(asked, kind):
            return NAMED[name]
    for loss in NAMED.values():
        if asked is loss.value:
            return loss
    own: Any = asked
    return Loss(getattr(asked, "__name__", type(asked).__name__), own, Kind.OWN)


def _plain(loss: object, kind: type) -> bool:
    """Whether a loss of torch.nn has the settings that it comes with."""
    return {k: v for k, v in vars(loss).items() if k[0] != "_"} == {k: v for k, v in vars(kind()).items() if k[0] != "_"}


def first_line(error: BaseException) -> str:
    """What an error says, on one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _no_classes(outputs: object, targets: object) -> bool:
    """Whether targets are numbers with a point, and no shares of classes either, which have the shape of the outputs."""
    if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
        return False
    return targets.is_floating_point() and targets.shape != outputs.shape


def _compared(outputs: object, targets: object) -> str:
    if isinstance(outputs, Tensor) and isinstance(targets, Tensor):
        return f"outputs are {spelled(outputs)}, targets {spelled(targets)}"
    return f"the module gives {type(outputs).__name__}; give a loss that takes it"


def spelled(tensor: Tensor) -> str:
    """A tensor's type and shape.

    >>> spelled(torch.zeros(4, 1))
    'float32 of shape (4, 1)'
    """
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"


class Scale(NamedTuple):
    """What tau is measured on: the least loss that equal outputs for equal inputs can have, and that of the best constant."""

    floor: float
    constant: float

    def tau(self, loss: float) -> float:
        """(loss - floor) / (constant - floor): 1 for the best constant, 0 for all that can be memorized."""
        return (loss - self.floor) / self.width

    def goal(self, tau: float) -> float:
        """The loss at this tau: one that is not above it has reached it."""
        return self.floor + tau * self.width

    @property
    def width(self) -> float:
        """The loss between the two; 1 where the best constant is as good as any outputs, since targets do not vary."""
        wide = self.constant - self.floor
        return wide if wide > SURE * max(1.0, abs(self.constant)) else 1.0


def scale_of(loss: Loss, targets: Tensor | tuple[Tensor, ...], group: Tensor, outputs: Tensor) -> Scale:
    """The scale of tau for a batch.

    Args:
        loss: what is taken of outputs and targets.
        targets: one for each sample.
        group: int64 [sample]; samples of one group have equal inputs.
        outputs: what the network gives, for its shape.
    """
    outputs = outputs.detach()
    one = torch.zeros_like(group)
    constant = float(loss.of(best_outputs(loss, targets, one, outputs), targets))
    if len(torch.unique(group)) == len(group) and loss.kind is not Kind.OWN:
        # Each sample has its own output: these losses then reach what they are at best.
        floor = 0.0 if loss.kind is Kind.NUMBERS or _is_sure(loss, targets) else None
    else:
        floor = None
    if floor is None:
        floor = float(loss.of(best_outputs(loss, targets, group, outputs), targets))
        floor = 0.0 if abs(floor) < FOUND * abs(constant) else floor
    return Scale(floor, constant)


def _is_sure(loss: Loss, targets: Tensor | tuple[Tensor, ...]) -> bool:
    """Whether targets name one class each, so that the loss of the right outputs is 0."""
    if not isinstance(targets, Tensor):
        return False
    if loss.kind is Kind.CLASSES and not targets.is_floating_point():
        return True
    lowest = -1.0 if loss.kind is Kind.SIGNS else 0.0
    return bool(((targets == lowest) | (targets == 1)).all())


def best_outputs(loss: Loss, targets: Tensor | tuple[Tensor, ...], group: Tensor, outputs: Tensor) -> Tensor:
    """Outputs with the least loss among those that are equal within each group of samples.

    In closed form for the named losses (means, medians, shares of classes), else by L-BFGS on a table of outputs.
    """
    if isinstance(targets, Tensor):
        found = _closed_form(loss, targets, group, outputs)
        if found is not None:
            return found
    return _searched(loss, targets, group, outputs)


def _closed_form(loss: Loss, targets: Tensor, group: Tensor, outputs: Tensor) -> Tensor | None:
    if loss.kind is Kind.CLASSES:
        shares = targets
        if not targets.is_floating_point():
            if outputs.ndim < 2 or targets.min() < 0 or targets.max() >= outputs.shape[1]:
                return None
            shares = functional.one_hot(targets, outputs.shape[1]).movedim(-1, 1)
        if shares.shape != outputs.shape:
            return None
        # Adding a number to all logits changes nothing: the least is 0.
        logits = _means(shares.to(outputs.dtype), group).clamp_min(SURE).log()
        return logits - logits.amin(dim=1, keepdim=True)
    if targets.numel() != outputs.numel() or targets.is_complex():
        return None
    own = targets.to(outputs.dtype).reshape(outputs.shape)
    if loss.name == "mae":
        return _medians(own, group)
    if loss.name == "mse" or (loss.kind is Kind.SIGNS and _is_sure(loss, targets)):
        return _means(own, group)
    if loss.kind is Kind.CHANCES:
        shares = _means(own, group).double().clamp(SURE, 1 - SURE)
        return (shares.logit() if loss.name == "bce_with_logits" else shares).to(outputs.dtype)
    return None


def _means(values: Tensor, group: Tensor) -> Tensor:
    number = torch.unique(group, return_inverse=True)[1]
    sums = torch.zeros(int(number.max()) + 1, *values.shape[1:], dtype=torch.float64, device=values.device)
    sums.index_add_(0, number, values.double())
    counts = torch.bincount(number).reshape(-1, *[1] * (values.ndim - 1))
    return (sums / counts)[number].to(values.dtype)


def _medians(values: Tensor, group: Tensor) -> Tensor:
    if len(torch.unique(group)) == len(group):
        return values.clone()
    found = values.clone()
    for own in torch.unique(group):
        found[group == own] = values[group == own].median(dim=0).values
    return found


def _searched(loss: Loss, targets: Tensor | tuple[Tensor, ...], group: Tensor, outputs: Tensor) -> Tensor:
    """By L-BFGS from zero and from the mean of the outputs; the better end, or the start where no step was finite."""
    number = torch.unique(group, return_inverse=True)[1]
    count = int(number.max()) + 1
    best, least = outputs.mean(dim=0, keepdim=True).expand_as(outputs), math.inf
    for start in (torch.zeros_like(outputs[:1]), outputs.mean(dim=0, keepdim=True)):
        table = start.double().repeat(count, *[1] * (outputs.ndim - 1)).requires_grad_()
        search = torch.optim.LBFGS([table], max_iter=MOST_STEPS, line_search_fn="strong_wolfe", tolerance_change=STILL)

        def closure(table: Tensor = table, search: torch.optim.LBFGS = search) -> Tensor:
            search.zero_grad()
            value = loss.of(table[number].to(outputs.dtype), targets)
            value.backward()
            return value.detach()

        with torch.enable_grad():
            search.step(closure)
        found = table.detach()[number].to(outputs.dtype)
        value = float(loss.of(found, targets))
        if value < least:
            best, least = found, value
    return best
