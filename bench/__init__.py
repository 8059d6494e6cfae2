"""memcap: a memorization-capacity benchmark suite. When does a neural network memorize pure noise?

import bench
table = bench.run(bench.expand(depth=[1, 2], width=[16, 32], n_samples=[64, 128], seed=range(5)))

Here is the Python interface; it trains nothing and imports no torch until it is asked to.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.protocol.cells import Cell, Outcome, Status
from bench.protocol.grid import GridError
from bench.protocol.version import __version__

if TYPE_CHECKING:
    from bench.modules.asked import diagnose
    from bench.modules.assertion import assert_memorizes
    from bench.modules.capacity import capacity
    from bench.modules.trials import Stop
    from bench.runs.executors.options import Ray, Slurm
    from bench.runs.run import run
    from bench.runs.search import Search
    from bench.statistics.capacity import capacities
    from bench.statistics.survival import groups
    from bench.store.several import load

__all__ = [
    "Cell",
    "GridError",
    "Outcome",
    "Ray",
    "Search",
    "Slurm",
    "Status",
    "Stop",
    "__version__",
    "assert_memorizes",
    "capacities",
    "capacity",
    "diagnose",
    "expand",
    "groups",
    "load",
    "run",
]

# `run`, `diagnose` and what is about modules bring torch, `groups` and `load` pandas, `Search` and `capacities` scipy.
_LATE = {
    "run": "bench.runs.run",
    "diagnose": "bench.modules.asked",
    "assert_memorizes": "bench.modules.assertion",
    "capacity": "bench.modules.capacity",
    "Stop": "bench.modules.trials",
    "Ray": "bench.runs.executors.options",
    "Search": "bench.runs.search",
    "Slurm": "bench.runs.executors.options",
    "capacities": "bench.statistics.capacity",
    "groups": "bench.statistics.survival",
    "load": "bench.store.several",
}


def expand(*, variants: Sequence[Mapping[str, Any]] = (), **axes: Any) -> list[Cell]:
    """The cells of a grid: every combination of the given values.

    Args:
        axes: fields of `bench.Cell` (see its help), each a value or a sequence of values; fields that are left out take their
            defaults. `seed` sets data_seed and init_seed together. `load` stands in for n_samples: n_samples = load times the
            number of parameters. `regularization` takes names of conf/regularization, or a mapping from names of your own to
            their strengths.
        variants: the grid is repeated for each of these mappings, with the fields that it sets.

    Returns:
        Cells in a fixed order (seeds fastest), without duplicates.

    Raises:
        GridError: an unknown field, a wrong type, an impossible value, or a setting without effect.

    >>> cells = expand(depth=[1, 2], width=16, seed=range(3))
    >>> len(cells), cells[0].depth, cells[-1].data_seed
    (6, 1, 2)
    """
    from bench.protocol import grid

    named = axes.get("regularization")
    if isinstance(named, Mapping):
        regularizations = named
        axes["regularization"] = list(named)
    elif named is None:
        regularizations = {}
    else:
        from bench.commands.config import shipped_regularizations

        regularizations = shipped_regularizations()
    try:
        return grid.expand({}, axes, regularizations=regularizations, variants=variants)
    except GridError as error:
        # What a configuration holds under `grid` are arguments here.
        raise GridError(error.name.removeprefix("grid."), error.value, error.rule, error.remedy) from None


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module 'bench' has no attribute {name!r}")
    return getattr(importlib.import_module(_LATE[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
