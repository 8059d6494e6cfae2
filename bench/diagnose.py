"""The command of diagnoses: `python -m bench.diagnose depth=11 width=25 n_samples=10000`. In Python: `bench.diagnose(cell)`."""

from __future__ import annotations

import dataclasses
import sys
import types

from bench.command_line import compose, exit_statuses, train_and_report
from bench.config import Settings
from bench.grid import GridError


def main() -> None:
    """Train the cell that the command line describes and its variants; ends with status 0, 2 or 130 as `memcap` does."""
    with exit_statuses():
        train_and_report([_laddered(chosen) for chosen in compose("diagnose")])


def _laddered(chosen: Settings) -> Settings:
    """The settings with the cells of the diagnosis in place of the one cell asked about."""
    from bench.diagnosis import plan  # brings pandas, which a wrong setting need not wait for

    for name in chosen.resolved["regularization"]:
        remedy = "set its strength itself, dropout=0.1 or weight_decay=0.001"
        raise GridError("regularization", name, "has no effect on a diagnosis", remedy)
    return dataclasses.replace(chosen, cells=tuple(plan(chosen.cells)), variants=True)


class _Callable(types.ModuleType):
    """Importing this module puts it in the place of the function `bench.diagnose`: then it answers for that."""

    def __call__(self, *args, **kwargs):
        from bench.diagnosis import diagnose

        return diagnose(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable

if __name__ == "__main__":
    main()
