"""What is asked: a network, a batch and how it is trained, every value checked."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from bench.modules.batches import Batch, Shapes, batch_of, noise, shapes_of
from bench.modules.losses import Kind, Loss, first_line, loss_of
from bench.modules.networks import set_mode
from bench.modules.optimizers import recipe_of
from bench.modules.probe import Facts, probe
from bench.modules.randomness import drawn
from bench.modules.sources import Source
from bench.modules.threads import OF_OUTPUTS, OF_PARAMETERS, as_many_as_pay
from bench.modules.trials import EVAL, TRAIN, Stop, Trial
from bench.protocol.cells import MAX_SEED
from bench.protocol.grid import GridError

SEEDS = (0, 1, 2)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A network on a batch, or on noise of shapes, and how it is trained; `cast` are lines of what had to be made fit."""

    source: Source
    batch: Batch | Shapes
    trial: Trial
    seeds: tuple[int, ...]
    device: torch.device
    facts: Facts
    cast: tuple[str, ...]

    @property
    def seen(self) -> Batch:
        """The batch, or the noise of the first seed."""
        return self.batch if isinstance(self.batch, Batch) else noise(self.batch, self.seeds[0])


def question(
    module: object,
    batch: object = None,
    *,
    shapes: object = None,
    arguments: Mapping[str, Any] | None = None,
    loss: object = "mse",
    optimizer: object = "adam",
    batch_size: int | None = None,
    shuffle: bool = True,
    max_epochs: int = 1000,
    tau: float = 0.01,
    stop: object = None,
    measured: str = EVAL,
    seeds: Iterable[int] | int = SEEDS,
    device: str | None = None,
    ranked: bool = True,
) -> Question:
    """The question that these arguments ask; they are those of `bench.diagnose`. `ranked`: as of `bench.modules.probe`.

    Raises:
        GridError: a value that cannot be, or a network that raises on the batch.
    """
    check_whole("max_epochs", max_epochs)
    if batch_size is not None:
        check_whole("batch_size", batch_size)
    if isinstance(tau, bool) or not isinstance(tau, int | float) or not 0 < tau < 1:
        raise GridError("tau", tau, "must be a share between 0 and 1", "give for example 0.01")
    if measured not in (EVAL, TRAIN):
        raise GridError("measured", measured, "is no mode", f"choose {EVAL} or {TRAIN}")
    if type(shuffle) is not bool:
        raise GridError("shuffle", shuffle, "must be true or false", "give True")
    if stop is not None and not isinstance(stop, Stop) and not callable(stop):
        raise GridError("stop", stop, "is no stopping rule", "give bench.Stop(patience=10), or a function of the losses so far")
    if batch is None and shapes is None:
        raise GridError("batch", None, "must be given, or shapes of noise in its place", "give (x, y)")
    if batch is not None and shapes is not None:
        raise GridError("shapes", shapes, "has no effect beside a batch", "leave one of them out")
    own_loss = loss_of(loss)
    source = Source(module, arguments)
    where = _device(device, source)
    first = next((own.dtype for own in source.template.parameters() if own.is_floating_point()), torch.get_default_dtype())
    drawn_seeds = _seeds(seeds)
    given = batch_of(batch) if shapes is None else shapes_of(shapes, samples=True)
    shown = given if isinstance(given, Batch) else noise(given, drawn_seeds[0])
    cast: tuple[str, ...] = ()
    mode = TRAIN if source.template.training else EVAL
    with as_many_as_pay(_numbers(source, shown)):
        if isinstance(given, Batch):
            given, cast = _fitting(given, first, own_loss, source)
            shown = given
        network = source.draw(drawn_seeds[0]).to(where)
        shown = shown.map(lambda own: own.to(where), lambda own: own.to(where))
        facts = probe(network, shown, own_loss, mode, ranked=ranked)
    owner = module if isinstance(module, nn.Module) else source.template
    recipe = recipe_of(optimizer, owner, instance=source.is_instance)
    # What it may be was checked above.
    rule: Any = stop
    trial = Trial(
        recipe,
        own_loss,
        max_epochs,
        float(tau),
        batch_size=batch_size,
        shuffle=shuffle,
        stop=rule,
        mode=mode,
        measured=measured,
    )
    return Question(source, given, trial, drawn_seeds, where, facts, cast)


def check_budget(budget_s: object) -> None:
    """Refuse what is no number of seconds, nor None.

    Raises:
        GridError: it is neither.
    """
    if budget_s is None or (isinstance(budget_s, int | float) and type(budget_s) is not bool and 0 < budget_s < math.inf):
        return
    raise GridError("budget_s", budget_s, "must be null or a positive number of seconds", "give for example 60")


def check_whole(name: str, value: object) -> None:
    """Refuse what is no whole number of at least 1.

    Raises:
        GridError: it is none.
    """
    if type(value) is not int or value < 1:
        raise GridError(name, value, "must be a whole number of at least 1", "give for example 100")


def _numbers(source: Source, batch: Batch) -> int:
    """About as many numbers as a pass takes, before it is known what the layers give."""
    given = sum(own.numel() for own in batch.inputs)
    return OF_PARAMETERS * sum(own.numel() for own in source.template.parameters()) + OF_OUTPUTS * given


def _seeds(seeds: Iterable[int] | int) -> tuple[int, ...]:
    made = (seeds,) if isinstance(seeds, int) else tuple(seeds)
    if not made or not all(type(own) is int and 0 <= own <= MAX_SEED for own in made) or len(set(made)) < len(made):
        raise GridError("seeds", made, f"must be different whole numbers in 0..{MAX_SEED}", "give for example range(3)")
    return made


def _device(device: str | None, source: Source) -> torch.device:
    if device is None:
        return next((own.device for own in source.template.parameters()), torch.device("cpu"))
    try:
        made = torch.device(device)
        torch.empty(0, device=made)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise GridError("device", device, f"cannot be used: {first_line(error)}", "give cpu or cuda") from error
    return made


def _fitting(batch: Batch, dtype: torch.dtype, loss: Loss, source: Source) -> tuple[Batch, tuple[str, ...]]:
    """The batch in the network's precision, which an array of numpy seldom has, and what that changed.

    Whole numbers stay where the network takes them, as an embedding does.
    """
    lines = []

    def fit(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    made = batch.map(fit, fit)
    whole = not all(own.is_floating_point() for own in made.inputs)
    if whole and not _takes(source, made):
        made = made.map(lambda own: own.to(dtype), lambda own: own)
        lines.append("inputs are whole numbers, and the network takes none: they are trained as numbers")
    targets = made.targets
    if isinstance(targets, torch.Tensor) and loss.kind is Kind.CLASSES and not targets.is_floating_point():
        made = made.map(lambda own: own, lambda own: own.long())
    elif isinstance(targets, torch.Tensor) and loss.kind in (Kind.NUMBERS, Kind.CHANCES, Kind.SIGNS):
        made = made.map(lambda own: own, lambda own: own.to(dtype))
    return made, tuple(lines)


def _takes(source: Source, batch: Batch) -> bool:
    network = source.draw(0)
    set_mode(network, EVAL)
    try:
        with torch.no_grad(), drawn(0):
            network(*batch.inputs)
    except (RuntimeError, TypeError, ValueError, IndexError):
        return False
    return True
