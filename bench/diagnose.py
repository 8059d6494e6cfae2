"""The command line of diagnoses: `python -m bench.diagnose depth=11 width=25 n_samples=10000`. In Python: `bench.diagnose`."""

from __future__ import annotations

import dataclasses

from bench.command_line import compose, exit_statuses, train_and_report
from bench.config import Settings
from bench.grid import GridError


def main() -> None:
    """Train the cell that the command line describes and its variants; ends with status 0, 2 or 130 as `memcap` does."""
    with exit_statuses():
        for chosen in compose("diagnose"):
            train_and_report(_laddered(chosen))


def _laddered(chosen: Settings) -> Settings:
    """The settings with the cells of the diagnosis in place of the one cell asked about."""
    from bench.diagnosis import plan  # brings pandas, which a wrong setting need not wait for

    cell, *others = chosen.cells
    seeds = [own.data_seed for own in chosen.cells]
    if any(own != dataclasses.replace(cell, data_seed=own.data_seed, init_seed=own.data_seed) for own in (cell, *others)):
        grid = {name: values for name, values in chosen.resolved["grid"].items() if values is not None}
        raise GridError("grid", grid, "describes several cells, and a diagnosis is of one", "sweep nothing but grid.seed")
    return dataclasses.replace(chosen, cells=tuple(plan(cell, seeds)), variants=True)


if __name__ == "__main__":
    main()
