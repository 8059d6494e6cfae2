"""memcap: a memorization-capacity benchmark suite.

import bench
table = bench.run(bench.expand(depth=[1, 2], width=[16, 32], n_samples=[64, 128], seed=range(5)))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.cells import Cell, Outcome, Status
from bench.grid import GridError

if TYPE_CHECKING:
    from bench.capacity import capacities
    from bench.diagnosis import diagnose
    from bench.runs import run
    from bench.search import Search
    from bench.survival import groups

__all__ = ["Cell", "GridError", "Outcome", "Search", "Status", "capacities", "diagnose", "expand", "groups", "run"]


def expand(*, variants: Sequence[Mapping[str, Any]] = (), **axes: Any) -> list[Cell]:
    """The cells of a grid: the product of the given fields, each a value or a sequence of values.

    Fields are those of `bench.Cell`, and `seed` (sets data_seed and init_seed) and `load` (n_samples over n_params).
    `regularization` takes names of conf/regularization, or a mapping from names of your own to their strengths. Fields that
    are left out take their defaults. `variants` repeats the grid, each time with the fields that a mapping sets.

    Returns:
        Cells in a fixed order (seeds fastest) without duplicates.

    Raises:
        GridError: an unknown field, a wrong type, an impossible value, or a setting without effect.

    >>> cells = expand(depth=[1, 2], width=16, seed=range(3))
    >>> len(cells), cells[0].depth, cells[-1].data_seed
    (6, 1, 2)
    """
    from bench import grid

    named = axes.get("regularization")
    if isinstance(named, Mapping):
        regularizations = named
        axes["regularization"] = list(named)
    elif named is None:
        regularizations = {}
    else:
        from bench.config import shipped_regularizations

        regularizations = shipped_regularizations()
    try:
        return grid.expand({}, axes, regularizations=regularizations, variants=variants)
    except GridError as error:
        # What a configuration holds under `grid` are arguments here.
        raise GridError(error.name.removeprefix("grid."), error.value, error.rule, error.remedy) from None


def __getattr__(name: str) -> Any:
    # `run` and `diagnose` bring torch with them, `groups` pandas, `Search` and `capacities` scipy; none is needed for cells.
    if name == "run":
        from bench.runs import run

        return run
    if name == "diagnose":
        from bench.diagnosis import diagnose

        return diagnose
    if name == "Search":
        from bench.search import Search

        return Search
    if name == "capacities":
        from bench.capacity import capacities

        return capacities
    if name == "groups":
        from bench.survival import groups

        return groups
    raise AttributeError(f"module 'bench' has no attribute {name!r}")
