"""What lies between two trials: the levers that are pulled, in words, and as code for whoever asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from bench.modules.causes import Held, Why
from bench.modules.optimizers import Recipe
from bench.modules.trials import EVAL, Trial
from bench.statistics.evidence import Lever

# The lever of each field of a trial but the optimizer's.
LEVER_OF: dict[str, Why] = {
    "stop": Held.STOP,
    "mode": Held.MODE,
    "measured": Held.MODE,
    "batch_statistics": Held.MODE,
    "shaped": Held.SHAPES,
    "whole": Held.PART,
    "output": Held.OUTPUT,
    "standard_inputs": Held.SCALE,
    "standard_targets": Held.SCALE,
    "init": Lever.INITIALISATION,
    "gain": Lever.INITIALISATION,
    "loss": Held.LOSS,
    "batch_size": Lever.BATCH_SIZE,
    "shuffle": Lever.BATCH_SIZE,
    "dropout": Lever.REGULARIZATION,
    "double": Lever.PRECISION,
    "max_epochs": Lever.BUDGET,
    "n_samples": Lever.SAMPLES,
    "noise_targets": Lever.TASK,
}

# How large a change is, where no look before training speaks for it; what one speaks for comes first.
_SIZE: dict[Why, float] = {
    Held.STOP: 0.5,
    Held.MODE: 0.6,
    Held.SHAPES: 0.6,
    Held.PART: 0.6,
    Lever.REGULARIZATION: 0.9,
    Lever.BUDGET: 1.0,
    Lever.LEARNING_RATE: 1.05,
    Lever.OPTIMIZER: 1.2,
    Lever.BATCH_SIZE: 1.3,
    Lever.INITIALISATION: 1.4,
    Held.SCALE: 1.5,
    Lever.PRECISION: 1.6,
    Held.LOSS: 2.0,
    Held.OUTPUT: 2.0,
    Lever.SAMPLES: 4.0,
    Lever.TASK: 5.0,
}

# What a look speaks for counts for so much of its size.
SPOKEN = 0.1

FIELDS = [field.name for field in dataclasses.fields(Trial)]


def levers(trial: Trial, asked: Trial) -> tuple[Why, ...]:
    """What is pulled, the smallest first. Of fewer samples, more epochs belong to that change."""
    found: set[Why] = {why for name, why in LEVER_OF.items() if getattr(trial, name) != getattr(asked, name)}
    if Lever.SAMPLES in found:
        found -= {Lever.BUDGET, Lever.BATCH_SIZE}
    found |= _of_recipe(trial.recipe, asked.recipe)
    return tuple(sorted(found, key=_SIZE.__getitem__))


def _of_recipe(own: Recipe, asked: Recipe) -> set[Why]:
    if own.kind is not asked.kind:
        return {Lever.OPTIMIZER}
    found: set[Why] = set()
    for one, other in zip(own.groups, asked.groups, strict=False):
        for (name, value), (_, before) in zip(one.options, other.options, strict=True):
            if value != before:
                found.add(_OPTION.get(name, Lever.OPTIMIZER))
    return found


_OPTION: dict[str, Why] = {"lr": Lever.LEARNING_RATE, "weight_decay": Lever.REGULARIZATION}


def size(pulled: Collection[Why], spoken_for: Collection[Why]) -> tuple[float, ...]:
    """For sorting: changes with a lever that a look speaks for first, then the smaller ones."""
    return (
        0.0 if set(pulled) & set(spoken_for) else 1.0,
        sum(1 + _SIZE[lever] * (SPOKEN if lever in spoken_for else 1) for lever in pulled),
    )


def largest(pulled: Collection[Why], spoken_for: Collection[Why]) -> Why:
    """The lever that a change is named by: one that a look speaks for, else the largest."""
    told = [lever for lever in pulled if lever in spoken_for]
    return told[0] if told else max(pulled, key=_SIZE.__getitem__)


def without(lever: Why, trial: Trial, asked: Trial) -> Trial:
    """The trial with this lever as asked."""
    fields = [name for name, why in LEVER_OF.items() if why == lever]
    if lever is Lever.SAMPLES:
        fields += ["max_epochs", "batch_size"]
    own = dataclasses.replace(trial, **{name: getattr(asked, name) for name in fields})
    if lever in _of_recipe(trial.recipe, asked.recipe):
        own = dataclasses.replace(own, recipe=_recipe_without(lever, trial.recipe, asked.recipe))
    return own


def _recipe_without(lever: Why, own: Recipe, asked: Recipe) -> Recipe:
    if own.kind is not asked.kind:
        return asked
    groups = []
    for one, other in zip(own.groups, asked.groups, strict=True):
        before = dict(other.options)
        options = tuple(
            (name, before[name] if _OPTION.get(name, Lever.OPTIMIZER) == lever else value) for name, value in one.options
        )
        groups.append(dataclasses.replace(one, options=options))
    return dataclasses.replace(own, groups=tuple(groups))


def words(trial: Trial, asked: Trial) -> str:
    """What is changed, as a row of the evidence calls it; "as asked" where nothing is."""
    told = [_word(name, trial) for name in FIELDS if name != "recipe" and getattr(trial, name) != getattr(asked, name)]
    if trial.recipe != asked.recipe and _of_recipe(trial.recipe, asked.recipe):
        told.insert(0, trial.recipe.spelled())
    return ", ".join(told) or "as asked"


def _word(name: str, trial: Trial) -> str:
    value = getattr(trial, name)
    match name:
        case "loss":
            return f"loss {value.name}"
        case "batch_size":
            return "the whole batch at once" if value is None else f"batch_size={value}"
        case "gain":
            return f"initial weights times {value:g}"
        case "stop":
            return "no stopping rule"
        case "mode":
            return "trained in evaluation mode" if value == EVAL else "trained in training mode"
        case "measured":
            return "measured in evaluation mode" if value == EVAL else "measured in training mode"
    return _WORDS.get((name, value), f"{name}={value}")


_WORDS: dict[tuple[str, object], str] = {
    ("init", "rescaled"): "each layer's outputs of variance 1",
    ("init", "default"): "initial weights of torch",
    ("standard_inputs", True): "inputs standardised",
    ("standard_targets", True): "targets standardised",
    ("noise_targets", True): "targets of other samples",
    ("dropout", False): "no dropout",
    ("batch_statistics", True): "BatchNorm without running statistics",
    ("output", False): "no output activation",
    ("double", True): "float64",
    ("shaped", True): "targets in the outputs' shape",
    ("whole", True): "every parameter trained",
    ("shuffle", True): "a new order each epoch",
}

_CODE: dict[tuple[str, object], str] = {
    ("init", "rescaled"): "scale each layer's initial weights so that its outputs on the batch have variance 1 (LSUV)",
    ("init", "default"): "for part in module.modules(): getattr(part, 'reset_parameters', lambda: None)()",
    ("standard_inputs", True): "x = (x - x.mean(0)) / x.std(0)",
    ("standard_targets", True): "y = (y - y.mean(0)) / y.std(0)",
    ("dropout", False): "set the dropout to 0",
    ("batch_statistics", True): "BatchNorm with track_running_stats=False",
    ("output", False): "remove the activation after the last layer",
    ("double", True): "module.double(); x, y = x.double(), y.double()",
    ("shaped", True): "y = y.reshape(module(x).shape)",
    ("whole", True): "module.requires_grad_(True), and give the optimizer module.parameters()",
    ("mode", "train"): "module.train() before training",
    ("mode", "eval"): "module.eval() before training",
    ("measured", "eval"): "module.eval() before measuring",
    ("measured", "train"): "measure before module.eval()",
}


def code(trial: Trial, asked: Trial) -> tuple[str, ...]:
    """The same as lines of code."""
    lines = []
    if trial.recipe != asked.recipe and _of_recipe(trial.recipe, asked.recipe):
        name, _, rest = trial.recipe.spelled().partition("(")
        lines.append(f"optimizer = torch.optim.{name}(module.parameters(), {rest}")
    for name in FIELDS:
        value = getattr(trial, name)
        if name == "recipe" or value == getattr(asked, name):
            continue
        match name:
            case "loss":
                lines.append(f"loss = torch.nn.functional.{getattr(value.value, '__name__', value.name)}")
            case "max_epochs":
                lines.append(f"max_epochs = {value}  # as asked {asked.max_epochs}")
            case "batch_size":
                lines.append("batch_size = len(x)" if value is None else f"batch_size = {value}")
            case "gain":
                lines.append(f"for p in module.parameters(): p.data.mul_({value:g}) if p.ndim > 1 else None")
            case "stop":
                lines.append("train without the stopping rule")
            case _:
                lines.append(_CODE.get((name, value), f"{name} = {value}"))
    return tuple(lines)
