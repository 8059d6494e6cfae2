"""The typed schema of conf/, and the one function that turns Hydra's containers into frozen values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from bench.protocol.cells import DEFAULTS, FIELDS, SEEDS, Cell
from bench.protocol.grid import AXES, GridError, expand
from bench.runs.executors.options import BY_NAME, Options, options
from bench.runs.search import Search

# Settings of a run that are no fields of a cell: they change where and how cells train, never a result.
EXECUTION = {
    "device": str,
    "threads": (int, type(None)),
    "run_dir": str,
    "fresh": bool,
    "n_predictions": int,
    "jacobian_rank": bool,
}

# Fields whose default follows from other fields, and is null here.
BY_OTHERS = ("criterion", "momentum")

DEFAULT_OF = {"engine": "auto", "executor": "local"}
EXAMPLE_OF = {**DEFAULT_OF, "grid": "smoke", "regularization": "[none,dropout]"}

# The types of settings as a user calls them.
_WORDS = {str: "a text", int: "a whole number", bool: "true or false", type(None): "null"}

_PACKAGE = Path(__file__).resolve().parents[1]


def config_dir() -> Path:
    """conf/ beside the package in a checkout, inside it in an installed wheel."""
    inside = _PACKAGE / "conf"
    return inside if inside.is_dir() else _PACKAGE.parent / "conf"


def register_schema() -> None:
    """Make the schema known to Hydra under the name that conf/config.yaml begins with.

    It knows the keys; types and values are checked in `bench.protocol.grid`, whose messages say what to do.
    """
    any_of = dict[str, Any]
    grid = [(name, Any, None) for name in (*AXES, "variants")]
    cell = [(name, Any, DEFAULTS[name]) for name in FIELDS if name not in ("regularization", *BY_OTHERS)]
    cell += [(name, Any, None) for name in BY_OTHERS]
    run = [(name, Any, None) for name in EXECUTION]
    groups = [(name, any_of, dataclasses.field(default_factory=dict)) for name in ("regularization", "engine", "executor")]
    grid_schema = dataclasses.make_dataclass("Grid", grid)
    root = [
        *cell,
        *run,
        ("search", Any, None),
        ("budget_s", Any, None),
        ("past_tau", Any, None),
        *groups,
        ("grid", grid_schema, dataclasses.field(default_factory=grid_schema)),
    ]
    ConfigStore.instance().store(name="schema", node=dataclasses.make_dataclass("Config", root))


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """A resolved configuration: what to train, and how and where. `variants`: the cells vary the first of them; `search`:
    they are networks whose frontier is looked for; `budget_s`: the time limit of a diagnosis; `past_tau`: whether
    it trains on past tau.
    """

    cells: tuple[Cell, ...]
    variants: bool
    search: Search | None
    budget_s: float | None
    past_tau: bool | None
    run_dir: str
    device: str
    engine: str
    executor: Options
    threads: int | None
    n_predictions: int
    jacobian_rank: bool
    fresh: bool
    resolved: Mapping[str, Any]


def settings(config: DictConfig, overrides: Sequence[str] = ()) -> Settings:
    """The frozen values that a composed configuration stands for.

    Args:
        config: what Hydra composed.
        overrides: what the command line gave it, as `name=value`: a field given there must not be lost to a list of the grid.

    Raises:
        GridError: a value that cannot be.
    """
    values = cast("dict[str, Any]", OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    for name in ("grid", "regularization", "engine", "executor"):
        if not isinstance(values[name], dict):
            raise GridError(
                name, values[name], "must be a mapping of settings", f"choose one by name, {name}={EXAMPLE_OF[name]}"
            )
    for name, strengths in values["regularization"].items():
        if not isinstance(strengths, dict):
            raise GridError(f"regularization.{name}", strengths, "must be a mapping of strengths", "write {dropout: 0.1}")
    for name, types in EXECUTION.items():
        if not isinstance(values[name], types) or (types is int and isinstance(values[name], bool)):
            wanted = " or ".join(_WORDS[kind] for kind in (types if isinstance(types, tuple) else (types,)))
            raise GridError(name, values[name], f"must be {wanted}", "memcap run --help lists the settings")
    for name, value in (override.split("=", 1) for override in overrides if "=" in override):
        axis = "seed" if name in SEEDS and values["grid"]["seed"] is not None else name
        if name in FIELDS and values["grid"].get(axis) is not None:
            remedy = f"set grid.{axis}=[{value.strip('[]')}]"
            raise GridError(name, value, "is swept by this grid, so one value has no effect", remedy)
    if values["grid"]["load"] is not None:
        given = any(override.partition("=")[0] == "grid.n_samples" for override in overrides)
        if given and values["grid"]["n_samples"] is not None:
            rule = "replaces n_samples, which is swept too"
            raise GridError("grid.load", values["grid"]["load"], rule, "sweep one of them")
        # What the grid file says of n_samples gives way: load stands in for it.
        values["grid"]["n_samples"] = None
    base = {name: values[name] for name in FIELDS if name != "regularization"}
    base = {name: value for name, value in base.items() if name not in BY_OTHERS or value is not None}
    axes = {name: axis for name, axis in values["grid"].items() if axis is not None and name != "variants"}
    variants = _variants(values["grid"]["variants"])
    search = _search(values["search"], axes)
    cells = expand(base, axes, regularizations=values["regularization"], variants=variants)
    return Settings(
        cells=tuple(cells),
        variants=len(variants) > 1 and len({dataclasses.replace(c, data_seed=0, init_seed=0) for c in cells}) <= len(variants),
        search=search,
        budget_s=values["budget_s"],
        past_tau=values["past_tau"],
        run_dir=values["run_dir"],
        device=values["device"],
        engine=_named(values, "engine"),
        executor=_executor(values["executor"]),
        threads=values["threads"],
        n_predictions=values["n_predictions"],
        jacobian_rank=values["jacobian_rank"],
        fresh=values["fresh"],
        resolved=values,
    )


def shipped_regularizations() -> dict[str, dict[str, Any]]:
    """The strengths behind each name in conf/regularization."""
    files = sorted((config_dir() / "regularization").glob("*.yaml"))
    return {path.stem: cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.load(path))) for path in files}


def dump(values: Mapping[str, Any]) -> str:
    """A resolved configuration as YAML."""
    return OmegaConf.to_yaml(OmegaConf.create(dict(values)))


def _variants(variants: Any) -> list[dict[str, Any]]:
    if variants is None:
        return []
    if not isinstance(variants, list) or not all(isinstance(variant, dict) for variant in variants):
        raise GridError(
            "grid.variants", variants, "must be a list of mappings from fields to values", "write [{}, {init: he_normal}]"
        )
    return variants


def _search(values: Any, axes: Mapping[str, Any]) -> Search | None:
    """What the setting `search` stands for; a search chooses sample counts and seeds, so no list may."""
    if values is None:
        return None
    known = [field.name for field in dataclasses.fields(Search)]
    if not isinstance(values, dict) or not set(values) <= set(known):
        raise GridError("search", values, f"must be null or a mapping of {', '.join(known)}", "write search.ratio=1.15")
    for name in ("n_samples", "load", "seed", *SEEDS):
        if name in axes:
            raise GridError(f"grid.{name}", axes[name], "is what a search chooses", f"set grid.{name}=null, or search=null")
    return Search(**values)


def _executor(values: Mapping[str, Any]) -> Options:
    """What the setting `executor` stands for: its settings stand under its name, as in executor.slurm.partition."""
    name = _named({"executor": values}, "executor")
    for key, given in values.items():
        if key not in ("name", name):
            remedy = f"choose executor={key} too" if key in BY_NAME else f"write executor.{name}.{key}=..."
            raise GridError(f"executor.{key}", given, f"is no setting of executor={name}", remedy)
    own = values.get(name)
    if own is not None and not isinstance(own, dict):
        raise GridError(f"executor.{name}", own, "must be a mapping of settings", f"write executor.{name}.NAME=VALUE")
    return options(name, own)


def _named(values: Mapping[str, Any], group: str) -> str:
    name = values[group].get("name")
    if not isinstance(name, str):
        raise GridError(f"{group}.name", name, "must be a name", f"choose one by name, {group}={DEFAULT_OF[group]}")
    return name
