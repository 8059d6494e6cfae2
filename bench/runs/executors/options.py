"""Where training may run: the executors by name, and what a user can say of each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from types import UnionType
from typing import Any, ClassVar, get_args, get_type_hints

from bench.protocol.grid import GridError

# The shortest time limit that SLURM knows.
LEAST_TIME_MIN = 1

CLUSTERS = ("slurm", "local")


@dataclasses.dataclass(frozen=True, slots=True)
class Local:
    """The machine that the command runs on."""

    name: ClassVar[str] = "local"


@dataclasses.dataclass(frozen=True, slots=True)
class Slurm:
    """A SLURM cluster whose nodes share the run folder with this machine: the cells are dealt out to `shards`, the tasks of one
    array job, at most `array_parallelism` of them at a time.

    `partition`, `gres` ("gpu:1"), `constraint`, `qos`, `account`, `cpus_per_task` and `mem_gb` are sbatch's, for each task;
    `time_min` is its limit in minutes. `signal_s` seconds before it, and where it is preempted, a task keeps what had ended and
    is queued again, at most `requeues` times for its limit. `cluster` "local": processes of this machine in place of jobs.
    """

    name: ClassVar[str] = "slurm"
    shards: int = 8
    array_parallelism: int = 256
    time_min: int = 60
    signal_s: int = 90
    requeues: int = 20
    cpus_per_task: int = 1
    mem_gb: float | None = None
    partition: str | None = None
    gres: str | None = None
    constraint: str | None = None
    qos: str | None = None
    account: str | None = None
    cluster: str = "slurm"

    def __post_init__(self) -> None:
        _check(self)
        for name in ("shards", "array_parallelism", "cpus_per_task"):
            _at_least(self, name, 1)
        for name in ("signal_s", "requeues"):
            _at_least(self, name, 0)
        _at_least(self, "time_min", LEAST_TIME_MIN)
        if self.cluster not in CLUSTERS:
            raise GridError("executor.slurm.cluster", self.cluster, "is not a cluster", f"choose from: {', '.join(CLUSTERS)}")


@dataclasses.dataclass(frozen=True, slots=True)
class Ray:
    """A Ray cluster: the one at `address` ("auto", "host:port"), else one of this machine alone. A pack of cells is a task that
    takes `num_cpus` CPUs and, where it trains on GPUs, `num_gpus` of those.
    """

    name: ClassVar[str] = "ray"
    address: str | None = None
    num_cpus: int = 1
    num_gpus: int = 1

    def __post_init__(self) -> None:
        _check(self)
        for name in ("num_cpus", "num_gpus"):
            _at_least(self, name, 1)
        if "://" in (self.address or ""):
            rule = "is an address of Ray Client, through which a task says nothing before it has ended"
            remedy = "run memcap on a node of the cluster, with auto or the host:port of its head"
            raise GridError("executor.ray.address", self.address, rule, remedy)


Options = Local | Slurm | Ray

BY_NAME: dict[str, type[Options]] = {kind.name: kind for kind in get_args(Options)}


def options(name: Any, values: Mapping[str, Any] | None = None) -> Options:
    """What an executor's name and settings stand for.

    Raises:
        GridError: there is no such executor, or a setting that it does not have, or that cannot be.
    """
    if name not in BY_NAME:
        raise GridError("executor", name, "is not an executor", f"choose from: {', '.join(BY_NAME)}")
    known = [field.name for field in dataclasses.fields(BY_NAME[name])]
    for unknown in sorted(set(values or {}) - set(known)):
        remedy = f"choose from: {', '.join(known)}" if known else "leave it out"
        raise GridError(f"executor.{name}.{unknown}", (values or {})[unknown], f"is no setting of executor={name}", remedy)
    return BY_NAME[name](**values or {})


def _check(chosen: Options) -> None:
    """That each value is of the type that it is declared with; a whole number is a number."""
    for name, kind in get_type_hints(type(chosen)).items():
        if name == "name":
            continue
        kinds = get_args(kind) if isinstance(kind, UnionType) else (kind,)
        value = getattr(chosen, name)
        fits = type(value) in kinds or (float in kinds and type(value) is int)
        if not fits or (isinstance(value, float) and not 0 < value < math.inf):
            words = {int: "a whole number", float: "a positive number", str: "a text", type(None): "null"}
            rule = f"must be {' or '.join(words[kind] for kind in kinds)}"
            remedy = f"memcap executor={chosen.name} --cfg=job shows the settings"
            raise GridError(f"executor.{chosen.name}.{name}", value, rule, remedy)


def _at_least(chosen: Options, name: str, least: int) -> None:
    value = getattr(chosen, name)
    if value < least:
        raise GridError(f"executor.{chosen.name}.{name}", value, f"must be at least {least}", f"give {least} or more")
