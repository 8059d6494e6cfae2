"""A grid (lists of values for the fields of a cell) -> cells, in a fixed order, without duplicates, every value checked."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from bench.protocol.cells import (
    DEFAULTS,
    FIELDS,
    MAX_SEED,
    MOST_ITERATIONS,
    ORTHOGONAL,
    SECOND_ORDER,
    SEEDS,
    STRENGTHS,
    Cell,
    field_choices,
    field_types,
)
from bench.protocol.fields import FIELD_LIST
from bench.protocol.names import did_you_mean, shortened
from bench.protocol.networks import n_params

# `seed` sets data_seed and init_seed together; `load` stands in for n_samples.
AXES = (*FIELDS, "seed", "load")

# More than this at once do not fit into the memory of most machines, before any is trained: a planned cell takes a kilobyte.
MOST_CELLS = 4_000_000

# Every whole number up to this one is a float64, as those of tables are.
MOST_WHOLE = 2**53

# Of a value that is told in an error.
TOLD = 80

# numpy seeds and counters are unsigned; 2**32 keeps a seed printable and portable.

FIELDS_ARE_LISTED = "memcap run --help lists the fields"


class GridError(ValueError):
    """A value that no cell may have. The message is one line: what, its value, the rule, the remedy."""

    def __init__(self, name: str, value: object, rule: str, remedy: str):
        super().__init__(f"{shortened(name, TOLD)}={_spell(value)}: {rule}; {remedy}")
        self.name, self.value, self.rule, self.remedy = name, value, rule, remedy


class Rule(NamedTuple):
    """What a field's value must satisfy, in code and in words."""

    holds: Callable[[Any], bool]
    text: str
    remedy: str


def _at_least(low: int) -> Rule:
    return Rule(lambda v: v >= low, f"must be at least {low}", f"give {low} or more")


_FRACTION = Rule(lambda v: 0 <= v < 1, "must be in [0, 1)", "give a fraction such as 0.1; 0 is off")
_POSITIVE = Rule(lambda v: v > 0, "must be positive", "give a positive number")
_STRENGTH = Rule(lambda v: v >= 0, "must not be negative", "give 0 (off) or a positive number")
_SEED = Rule(lambda v: 0 <= v <= MAX_SEED, f"must be in 0..{MAX_SEED}", "give a seed in that range")

RULES: Mapping[str, Rule] = {
    "n_samples": _at_least(1),
    "d_in": _at_least(1),
    "data_seed": _SEED,
    "n_classes": Rule(lambda v: v >= 2, "must be at least 2", "give a number of classes, or null for targets that are numbers"),
    "n_outputs": _at_least(1),
    "n_val": _at_least(0),
    "depth": _at_least(0),
    "width": _at_least(1),
    "init_scale": _POSITIVE,
    "init_seed": _SEED,
    "learning_rate": _POSITIVE,
    "momentum": _FRACTION,
    "beta1": _FRACTION,
    "beta2": _FRACTION,
    "eps": _POSITIVE,
    "batch_size": Rule(lambda v: v >= 1, "must be at least 1", "give a count, or null for the full batch"),
    "weight_decay": _STRENGTH,
    "l1": _STRENGTH,
    "dropout": _FRACTION,
    "input_noise": _STRENGTH,
    "max_norm": Rule(lambda v: v > 0, "must be positive", "give a norm, or null for no constraint"),
    "patience": Rule(lambda v: v >= 1, "must be at least 1", "give a number of epochs, or null for no early stopping"),
    "tau": Rule(lambda v: 0 < v < 1, "must be in (0, 1), a fraction of the target variance", "give for example 0.01"),
    "max_epochs": _at_least(1),
}

# Of muon, for what is no matrix between hidden layers.
ADAMS = ("adam", "adamw", ORTHOGONAL)
OF_ADAMS = "optimizer=adam, adamw or muon"
BY_RATES = "optimizer=sgd, adam, adamw or muon"

# What stands for momentum under optimizer=muon where it is not given: as torch.optim.Muon has it.
MOMENTUM_OF_ORTHOGONAL = 0.95

# What stands for the defaults of these fields under optimizer=lm, which has no others.
OF_SECOND_ORDER: Mapping[str, Any] = {"dtype": "float64", "max_epochs": MOST_ITERATIONS}

# What it does not take: it lowers the loss on all samples, and nothing else.
NOT_OF_SECOND_ORDER = ("batch_size", *STRENGTHS)

# What a field needs to have any effect. Where a cell's optimizer or depth deprives it of that, it takes its default, so that
# equal runs are equal cells; where no cell of a grid gives it any, asking for it is an error.
NEEDS: Mapping[str, tuple[Callable[[Cell], bool], str]] = {
    "learning_rate": (lambda c: c.optimizer != SECOND_ORDER, BY_RATES),
    "lr_schedule": (lambda c: c.optimizer != SECOND_ORDER, BY_RATES),
    "momentum": (lambda c: c.optimizer in ("sgd", ORTHOGONAL), "optimizer=sgd or muon"),
    "amsgrad": (lambda c: c.optimizer in ADAMS, OF_ADAMS),
    "beta1": (lambda c: c.optimizer in ADAMS, OF_ADAMS),
    "beta2": (lambda c: c.optimizer in ADAMS, OF_ADAMS),
    "eps": (lambda c: c.optimizer in ADAMS, OF_ADAMS),
    "dropout": (lambda c: c.depth > 0, "a hidden layer (depth of at least 1)"),
    "activation": (lambda c: c.depth > 0, "a hidden layer (depth of at least 1)"),
    "trainable": (lambda c: c.depth > 0, "a hidden layer (depth of at least 1)"),
    "shuffle": (lambda c: c.steps_per_epoch > 1, "batch_size below n_samples"),
    "tau": (lambda c: c.criterion == "tau", "criterion=tau"),
}
# Kept as asked: n_samples decides, and a protocol must not change its name along that axis.
ALWAYS_KEPT = ("shuffle",)


def expand(
    base: Mapping[str, Any],
    axes: Mapping[str, Any],
    *,
    regularizations: Mapping[str, Mapping[str, Any]],
    variants: Sequence[Mapping[str, Any]] = (),
) -> list[Cell]:
    """The cells of a grid: the product of `axes` over `base`, once for each variant.

    Args:
        base: values of cell fields that every cell shares; the fields it leaves out take their defaults.
        axes: for each swept field (or `seed`, `load`) a value, a sequence of values, or the text "range(start, stop, step)".
        regularizations: the strengths behind each name that `axes["regularization"]` may list; a strength may itself be a list,
            and is then swept. Strengths that a name does not set are off.
        variants: values that replace those of `base` and `axes`, one mapping for each copy of the grid.

    Returns:
        Cells in the order of the fields, the seeds fastest, without duplicates.

    Raises:
        GridError: an unknown field, a value of the wrong type or out of its range, or a setting without effect in any cell.

    >>> [cell.width for cell in expand({"depth": 1}, {"width": [4, 8], "seed": "range(2)"}, regularizations={})]
    [4, 4, 8, 8]
    """
    cells: dict[Cell, None] = {}
    effective: set[str] = set()
    requested: dict[str, Any] = {}
    counted = 0
    for variant in variants or ({},):
        own_base, own_axes = _with_variant(base, axes, variant)
        lists = _checked_axes(own_base, own_axes)
        requested |= {name: value for name, value in own_base.items() if value != DEFAULTS[name]}
        requested |= {
            name: value for name, values in lists.items() for value in values if name in NEEDS and value != DEFAULTS[name]
        }
        names, choices = _choices(lists, regularizations)
        counted += math.prod(map(len, choices))
        if counted > MOST_CELLS:
            rule = f"has {counted:,} cells{' and more' if variants else ''}, and at most {MOST_CELLS:,} are trained at once"
            raise GridError("grid", "...", rule, "sweep fewer values, or train parts of it in folders of their own")
        for settings in _settings(own_base, lists, names, choices):
            cell = _coherent(Cell(**_of_optimizer(settings)))
            idle = {name for name, (has_effect, _) in NEEDS.items() if not has_effect(cell)}
            effective.update(NEEDS.keys() - idle)
            cells[_without(cell, idle.difference(ALWAYS_KEPT))] = None
    for name, (_, need) in NEEDS.items():
        if name in requested and name not in effective:
            raise GridError(name, requested[name], f"has no effect without {need}", f"set that too, or leave {name} out")
    return list(cells)


def check(cells: Iterable[Cell]) -> list[Cell]:
    """The same cells without duplicates, every value checked by the rules of `expand`."""
    cells = list(cells)
    # Field by field: of a million cells a field has few values.
    for name in FIELDS:
        column = list(map(attrgetter(name), cells))
        values: Iterable[Any] = column
        with contextlib.suppress(TypeError):  # A list or the like, which `_check_value` names.
            # Values of two types may be equal: 1 is True.
            alike = len(set(map(type, column))) == 1
            values = dict.fromkeys(column) if alike else {(type(value), value): value for value in column}.values()
        for value in values:
            _check_value(name, value)
    return list(dict.fromkeys(map(_coherent, cells)))


def _with_variant(base: Mapping[str, Any], axes: Mapping[str, Any], variant: Mapping[str, Any]) -> tuple[dict, dict]:
    """Base and axes of one copy of the grid: what the variant sets replaces both."""
    for name in variant:
        _check_name(f"variants.{name}", name)
    replaced = set(variant) | ({"data_seed", "init_seed"} if "seed" in variant else set())
    replaced |= {"n_samples", "load"} if replaced & {"n_samples", "load"} else set()
    kept = {name: value for name, value in axes.items() if name not in replaced}
    return dict(base), kept | dict(variant)


def _checked_axes(base: Mapping[str, Any], axes: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Every axis as a list of checked values; every base value checked."""
    for name, value in base.items():
        _check_name(name, name)
        _check_value(name, value)
    lists = {}
    for name, values in axes.items():
        _check_name(f"grid.{name}", name)
        lists[name] = [_check_value(name, value, of=f"grid.{name}") for value in listed(f"grid.{name}", values)]
    if "load" in lists and "n_samples" in lists:
        raise GridError("grid.load", axes["load"], "replaces n_samples, which is swept too", "sweep one of them")
    for seed in SEEDS:
        if "seed" in lists and seed in lists:
            raise GridError(
                "grid.seed", axes["seed"], f"sets {seed}, which is swept too", f"sweep seed, or {' and '.join(SEEDS)}"
            )
    if "regularization" in lists:
        for name in STRENGTHS:
            if name in lists or base.get(name, DEFAULTS[name]) != DEFAULTS[name]:
                shown, value = (f"grid.{name}", axes[name]) if name in lists else (name, base[name])
                remedy = f"set regularization.<name>.{name} instead, or grid.regularization=null to sweep strengths directly"
                raise GridError(shown, value, "is set by the names in grid.regularization", remedy)
    return lists


def _choices(lists: Mapping[str, list], regularizations: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[list]]:
    """What is swept, in the order of the fields, seeds fastest; and the values of each."""
    order = [name for name in ("load", *FIELDS) if name in lists and name not in (*SEEDS, "regularization")]
    order += [name for name in ("regularization", "seed", *SEEDS) if name in lists]
    return order, [_named_strengths(lists[n], regularizations) if n == "regularization" else lists[n] for n in order]


def _settings(base: Mapping[str, Any], lists: Mapping[str, list], order: Sequence[str], choices: list[list]) -> Iterable[dict]:
    """The values of the cells to make, in the order of `_choices`."""
    for point in itertools.product(*choices):
        values = {**DEFAULTS, **base}
        for name, value in zip(order, point, strict=True):
            if name == "regularization":
                values |= value
            elif name == "seed":
                values |= dict.fromkeys(SEEDS, value)
            else:
                values[name] = value
        if "load" in values:
            values = _loaded(values)
        if "regularization" not in lists:
            values["regularization"] = _label(values)
        if "criterion" not in base and "criterion" not in lists and values["target"] == "labels":
            values["criterion"] = "recall"
        if "momentum" not in base and "momentum" not in lists and values["optimizer"] == ORTHOGONAL:
            values["momentum"] = MOMENTUM_OF_ORTHOGONAL
        yield values


def _named_strengths(names: Sequence[str], regularizations: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each name, the strengths it stands for (the others off), once for each point of the lists it holds."""
    off = {name: DEFAULTS[name] for name in STRENGTHS}
    settings = []
    for name in names:
        if not isinstance(name, str) or name not in regularizations:
            known = ", ".join(sorted(regularizations)) or "none is loaded"
            raise GridError("grid.regularization", name, "is not a known regularization", f"choose from: {known}")
        chosen = regularizations[name]
        for strength in chosen:
            if strength not in STRENGTHS:
                remedy = f"choose from: {', '.join(STRENGTHS)}"
                raise GridError(f"regularization.{name}.{strength}", chosen[strength], "is not a strength", remedy)
        lists = [
            [_check_value(key, v, of=f"regularization.{name}.{key}") for v in listed(key, value)]
            for key, value in chosen.items()
        ]
        settings += [
            {**off, **dict(zip(chosen, point, strict=True)), "regularization": name} for point in itertools.product(*lists)
        ]
    return settings


def listed(name: str, values: Any) -> list[Any]:
    """One axis as a list: a scalar is a list of one, the text "range(start, stop, step)" is Python's range."""
    if isinstance(values, Mapping):
        raise GridError(name, dict(values), "is not a list of values", "write [1, 2, 3] or range(start, stop, step)")
    if isinstance(values, str):
        bounds = _RANGE.fullmatch(values)
        values = _range(name, values, bounds[1]) if bounds else [values]
    if not isinstance(values, Iterable):
        return [values]
    if isinstance(values, range) and values[:1] and (values.stop - values.start) // values.step > MOST_CELLS:
        rule = f"has more than {MOST_CELLS:,} values"
        raise GridError(name, f"range({values.start}, {values.stop}, {values.step})", rule, "give fewer")
    values = list(values)
    if not values:
        raise GridError(name, values, "is empty, so the grid has no cells", "give at least one value")
    return values


def _range(name: str, text: str, bounds: str) -> range:
    """Python's range."""
    try:
        return range(*map(int, bounds.split(",")))
    except ValueError as error:  # A step of 0, or a number of thousands of digits.
        raise GridError(name, text, "is no range", "write range(start, stop, step), as in range(0, 10, 2)") from error


# YAML has no ranges; the text form can be replaced by a list on the command line, which a mapping could not.
_RANGE = re.compile(r"range\(((?:\s*-?\d+\s*,){0,2}\s*-?\d+\s*)\)")


def _check_name(shown: str, name: str) -> None:
    if name not in AXES:
        raise GridError(shown, "...", "is not a field of a cell", did_you_mean(name, AXES, FIELDS_ARE_LISTED))


def _check_value(name: str, value: Any, of: str | None = None) -> Any:
    """The value as the field's type, or a GridError that names `of`."""
    shown = of or name
    if name == "seed":
        return _check_value("data_seed", value, of=shown)
    if name == "load":
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MOST_WHOLE:
            raise GridError(shown, value, "must be a positive number, n_samples / n_params", "give for example 0.5")
        return float(value)
    if isinstance(value, list | tuple):
        raise GridError(shown, value, "is a list, and this is one value", f"sweep it as grid.{name}")
    types, given = field_types()[name], value
    if hasattr(value, "item"):  # numpy's scalars
        value = value.item()
    if float in types and type(value) is int:
        try:
            value = float(value)
        except OverflowError as error:
            raise GridError(shown, given, "must be finite", "give a finite number") from error
    if type(value) not in types:
        wanted = " or ".join("null" if kind is type(None) else _WORDS[kind] for kind in types)
        raise GridError(shown, value, f"must be {wanted}", _instead(name, value, types))
    choices = field_choices().get(name)
    if choices and value not in choices:
        remedy = did_you_mean(value, choices, FIELDS_ARE_LISTED)
        raise GridError(shown, value, f"must be one of {', '.join(choices)}", remedy)
    if isinstance(value, float) and not math.isfinite(value):
        raise GridError(shown, given, "must be finite", "give a finite number")
    if type(value) is int and value > MOST_WHOLE:
        raise GridError(shown, given, f"must be at most {MOST_WHOLE}", "give a smaller number")
    if name in RULES and value is not None and not RULES[name].holds(value):
        raise GridError(shown, given, RULES[name].text, RULES[name].remedy)
    return value


_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a name"}

_EXAMPLES = {field.name: field.example for field in FIELD_LIST}


def _instead(name: str, value: Any, types: tuple[type, ...]) -> str:
    """What to write in place of a value of the wrong type: the whole number that it is, or a number that can be."""
    if int in types and isinstance(value, float) and value.is_integer():
        return f"write {int(value)}"
    return f"give a number, for example {_EXAMPLES[name]}" if {int, float} & set(types) else FIELDS_ARE_LISTED


def _loaded(values: dict[str, Any]) -> dict[str, Any]:
    """`load` replaced by the n_samples it stands for."""
    values = dict(values)
    load = values.pop("load")
    size = n_params(Cell(**{**values, "n_samples": 1}))
    n_samples = round(load * size)
    if n_samples < 1:
        raise GridError("grid.load", load, f"gives no sample at {size} parameters", f"give {1 / size:.2g} or more")
    return values | {"n_samples": n_samples}


def _coherent(cell: Cell) -> Cell:
    """The cell, if its fields make sense together."""
    if cell.patience is not None and cell.n_val == 0:
        raise GridError(
            "patience", cell.patience, "needs a validation error, and n_val is 0", "set n_val, for example n_val=256"
        )
    if cell.target_scaling != "none" and cell.n_samples < 2:
        raise GridError(
            "target_scaling", cell.target_scaling, "needs two samples or more", "raise n_samples or use target_scaling=none"
        )
    if cell.loss == "hinge" and (cell.target, cell.target_scaling) != ("rademacher", "none"):
        raise GridError(
            "loss", cell.loss, "needs targets of -1 and 1", "set target=rademacher and target_scaling=none, or use loss=mse"
        )
    if cell.has_labels or cell.n_classes or cell.n_outputs > 1:
        _of_several(cell)
    if cell.criterion == "recall" and not cell.has_labels:
        raise GridError("criterion", cell.criterion, "needs labels", "set target=labels and n_classes, or criterion=tau")
    if cell.loss == "cross_entropy" and not cell.has_labels:
        raise GridError("loss", cell.loss, "needs labels", "set target=labels and n_classes, or use loss=mse")
    if cell.optimizer == SECOND_ORDER:
        _solvable(cell)
    if cell.optimizer == ORTHOGONAL:
        _orthogonalised(cell)
    return cell


def _of_several(cell: Cell) -> None:
    """That a cell of labels or of several outputs is one."""
    if not cell.has_labels and cell.n_classes:
        raise GridError("n_classes", cell.n_classes, "needs labels", "set target=labels, or use n_outputs")
    if cell.has_labels and not cell.n_classes:
        raise GridError("target", cell.target, "needs the number of classes", "set n_classes, for example n_classes=10")
    if cell.has_labels and cell.loss != "cross_entropy":
        raise GridError("loss", cell.loss, "is not for labels, which are no numbers", "set loss=cross_entropy")
    if cell.has_labels and cell.target_scaling != "none":
        raise GridError("target_scaling", cell.target_scaling, "is not for labels, which are no numbers", "leave it out")
    if cell.has_labels and cell.n_outputs > 1:
        raise GridError("n_outputs", cell.n_outputs, "is not for labels, whose outputs are the classes", "set n_classes alone")
    if cell.loss == "hinge":
        raise GridError("n_outputs", cell.n_outputs, "is not for loss=hinge, which has one output", "use loss=mse")
    if cell.target_scaling != "none":
        raise GridError("target_scaling", cell.target_scaling, "is for a single output", "leave it out, or n_outputs")


def _solvable(cell: Cell) -> None:
    """That optimizer=lm takes the cell's fields."""
    by = f"optimizer={SECOND_ORDER}"
    for name in NOT_OF_SECOND_ORDER:
        if (value := getattr(cell, name)) != DEFAULTS[name]:
            rule = f"is not for {by}, which lowers the loss on all samples and nothing else"
            raise GridError(name, value, rule, f"leave {name} out, or use optimizer=adam")
    if cell.dtype != OF_SECOND_ORDER["dtype"]:
        raise GridError("dtype", cell.dtype, f"is not for {by}, which computes in float64", "set dtype=float64")
    if cell.max_epochs > MOST_ITERATIONS:
        rule = f"is more than the {MOST_ITERATIONS} iterations that {by} takes at most"
        raise GridError("max_epochs", cell.max_epochs, rule, f"give {MOST_ITERATIONS} or less")


def _orthogonalised(cell: Cell) -> None:
    """That optimizer=muon has a matrix to orthogonalise the steps of (it leaves the others to Adam), and momentum."""
    by = f"optimizer={ORTHOGONAL}"
    if cell.depth < 2:
        rule = f"is not for {by}, which is for the matrices between hidden layers and finds none"
        raise GridError("depth", cell.depth, rule, "give 2 or more, or use optimizer=adam")
    if cell.trainable == "readout":
        rule = f"is not for {by}, which is for the matrices between hidden layers and trains none"
        raise GridError("trainable", cell.trainable, rule, "set trainable=all, or use optimizer=adam")
    if cell.momentum == 0:
        # What a cell made in Python says where it says nothing.
        rule = f"is not for {by}, whose steps follow the mean of many gradients"
        remedy = f"set momentum={MOMENTUM_OF_ORTHOGONAL}, for which a grid may leave it out"
        raise GridError("momentum", cell.momentum, rule, remedy)


def _of_optimizer(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings; under optimizer=lm with its own in place of the defaults."""
    if settings["optimizer"] != SECOND_ORDER:
        return settings
    return settings | {name: own for name, own in OF_SECOND_ORDER.items() if settings[name] == DEFAULTS[name]}


def _without(cell: Cell, idle: set[str]) -> Cell:
    """The cell with these fields at their defaults; without any strength left, its regularization is none."""
    changed = {name: DEFAULTS[name] for name in idle if getattr(cell, name) != DEFAULTS[name]}
    if not changed:
        return cell
    plain = dataclasses.replace(cell, **changed)
    off = not any(getattr(plain, name) != DEFAULTS[name] for name in STRENGTHS)
    return dataclasses.replace(plain, regularization="none") if off and changed.keys() & set(STRENGTHS) else plain


def _label(values: Mapping[str, Any]) -> str:
    """The name of a regularization given by its strengths: those that are on, joined."""
    return "+".join(name for name in STRENGTHS if values[name] != DEFAULTS[name]) or "none"


def _spell(value: object) -> str:
    """A value as a user writes it on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    try:
        return shortened(str(value), TOLD)
    except ValueError:  # Python spells no number of more than some thousands of digits.
        return "..."
