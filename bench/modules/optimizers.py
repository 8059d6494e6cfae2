"""Optimizers as recipes: which class, with which settings, for which of a module's parameters by name."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bench.modules.losses import RAISED, first_line
from bench.protocol.grid import GridError
from bench.protocol.names import did_you_mean

# By name, with the rate that each takes where none is given: torch's own.
NAMED: dict[str, tuple[type[Optimizer], float]] = {
    "sgd": (torch.optim.SGD, 0.001),
    "adam": (torch.optim.Adam, 0.001),
    "adamw": (torch.optim.AdamW, 0.001),
    "rmsprop": (torch.optim.RMSprop, 0.01),
    "adagrad": (torch.optim.Adagrad, 0.01),
}

# Optimizers whose step of a number depends on that number's own gradients alone, and is proportional to the rate. Networks
# that are stacked are then trained as each would be alone, each at a rate of its own.
BY_NUMBER = (
    torch.optim.SGD,
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.RMSprop,
    torch.optim.Adagrad,
    torch.optim.Adadelta,
    torch.optim.Adamax,
    torch.optim.NAdam,
    torch.optim.RAdam,
)

# Those of them that torch has as one operator on a CPU and on a GPU.
FUSED = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)

# Settings of a group that say how a step is computed, and not what it is.
_HOW = ("params", "initial_lr", "foreach", "fused", "capturable", "differentiable", "param_names")


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """Names of parameters, and the settings that the optimizer has for them."""

    names: tuple[str, ...]
    options: tuple[tuple[str, Any], ...]

    def option(self, name: str) -> Any:
        """A setting; None where the optimizer has none of this name."""
        return dict(self.options).get(name)

    def changed(self, **options: Any) -> Group:
        """The group with other settings, of those that it has."""
        return dataclasses.replace(self, options=tuple((k, options.get(k, v)) for k, v in self.options))


@dataclasses.dataclass(frozen=True, slots=True)
class Recipe:
    """An optimizer before it meets a network's parameters."""

    kind: type[Optimizer]
    groups: tuple[Group, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All parameters that it was given."""
        return tuple(name for group in self.groups for name in group.names)

    @property
    def rate(self) -> float:
        """The rate of the first group."""
        return float(self.groups[0].option("lr"))

    @property
    def decays(self) -> bool:
        """Whether any group has weight decay."""
        return any(group.option("weight_decay") for group in self.groups)

    @property
    def stacks(self) -> bool:
        """Whether stacked networks can be trained by it as each would be alone."""
        return self.kind in BY_NUMBER

    def scaled(self, factor: float) -> Recipe:
        """At rates times this factor."""
        return self._with(lambda group: group.changed(lr=float(f"{group.option('lr') * factor:.12g}")))

    def without_decay(self) -> Recipe:
        """Without weight decay."""
        return self._with(lambda group: group.changed(weight_decay=0.0))

    def with_momentum(self, momentum: float) -> Recipe:
        """With momentum, where the optimizer knows it."""
        return self._with(lambda group: group.changed(momentum=momentum))

    def given(self, names: Iterable[str]) -> Recipe:
        """With these parameters too, in the first group."""
        more = tuple(name for name in names if name not in self.names)
        first = dataclasses.replace(self.groups[0], names=(*self.groups[0].names, *more))
        return dataclasses.replace(self, groups=(first, *self.groups[1:]))

    def _with(self, change: Any) -> Recipe:
        return dataclasses.replace(self, groups=tuple(map(change, self.groups)))

    def build(self, params: Mapping[str, Tensor], *, fused: bool = False) -> Optimizer:
        """The optimizer of these parameters by name; those that are not among them are left out.

        `fused`: its whole step by one operator, where torch has one.
        """
        how = {"fused": True} if fused and self.kind in FUSED else {}
        groups = [
            {"params": [params[name] for name in group.names if name in params], **dict(group.options), **how}
            for group in self.groups
        ]
        return self.kind([group for group in groups if group["params"]])  # pyright: ignore[reportCallIssue]

    def spelled(self) -> str:
        """As it is written in code, with the settings that are not torch's own."""
        known = {name: own.default for name, own in inspect.signature(self.kind).parameters.items()}
        first = dict(self.groups[0].options)
        other = [f"{k}={_short(v)}" for k, v in first.items() if k == "lr" or (k in known and v != known[k])]
        return f"{self.kind.__name__}({', '.join(other)})"


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def named(name: str, rate: float | None, names: Iterable[str]) -> Recipe:
    """The recipe of an optimizer by name, as torch has it, for these parameters."""
    kind, usual = NAMED[name]
    blank = kind([nn.Parameter(torch.zeros(1))], lr=usual if rate is None else rate)  # pyright: ignore[reportCallIssue]
    return Recipe(kind, (Group(tuple(names), _options(blank.param_groups[0])),))


def recipe_of(asked: object, module: nn.Module, *, instance: bool) -> Recipe:
    """What an optimizer stands for, by whatever it is given.

    Args:
        asked: a name, (name, rate), a function of parameters that makes an optimizer, or an optimizer of `module`.
        module: the network whose parameters are named; `instance`: it is the one that the asked optimizer may hold.

    Raises:
        GridError: it is none of these, or holds none of the module's parameters.
    """
    trained = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    if isinstance(asked, Optimizer):
        if not instance:
            remedy = "give a function, lambda params: torch.optim.Adam(params)"
            raise GridError("optimizer", type(asked).__name__, "holds parameters of another network", remedy)
        return _by_identity(asked, module)
    if isinstance(asked, tuple) and len(asked) == 2 and isinstance(asked[0], str):
        name, rate = asked
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
            raise GridError("optimizer", asked, "has a rate that is no positive number", f'give ("{name}", 0.01)')
    else:
        name, rate = asked, None
    if isinstance(name, str):
        if name not in NAMED:
            remedy = did_you_mean(name, NAMED, f"choose from {', '.join(NAMED)}, or give a function of parameters")
            raise GridError("optimizer", name, "is no optimizer", remedy)
        return named(name, rate, trained)
    if not callable(asked):
        remedy = f"give one of {', '.join(NAMED)}, (name, rate), a function of parameters, or an optimizer of the module"
        raise GridError("optimizer", type(asked).__name__, "is no optimizer", remedy)
    try:
        made = asked([own for own in module.parameters() if own.requires_grad])
    except RAISED as error:
        remedy = "give a function of a list of parameters, lambda params: torch.optim.Adam(params)"
        raise GridError("optimizer", getattr(asked, "__name__", "function"), f"raised {first_line(error)}", remedy) from error
    if not isinstance(made, Optimizer):
        remedy = "return one, lambda params: torch.optim.Adam(params)"
        raise GridError("optimizer", getattr(asked, "__name__", "function"), f"made {type(made).__name__}", remedy)
    return _by_identity(made, module)


def _by_identity(optimizer: Optimizer, module: nn.Module) -> Recipe:
    name_of = {id(parameter): name for name, parameter in module.named_parameters()}
    groups = []
    for group in optimizer.param_groups:
        names = tuple(name_of[id(own)] for own in group["params"] if id(own) in name_of)
        if names:
            groups.append(Group(names, _options(group)))
    if not groups:
        remedy = "make it from module.parameters() of the module that is given"
        raise GridError("optimizer", type(optimizer).__name__, "holds none of the module's parameters", remedy)
    return Recipe(type(optimizer), tuple(groups))


def _options(group: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Settings of a group as values."""
    plain = {k: v.item() if isinstance(v, Tensor) and v.numel() == 1 else v for k, v in group.items() if k not in _HOW}
    return tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in plain.items())
