"""`memcap diagnose`: a network and variants of it are trained, and the report says why it does not memorize."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from bench.commands.config import Settings
from bench.commands.exits import NO
from bench.commands.line import compose
from bench.commands.run import train_and_report
from bench.protocol.grid import GridError

FAIL = "--fail"


def main(arguments: Sequence[str]) -> int:
    """Diagnose the network that the arguments describe.

    The exit status is 0; with `--fail` 1 where fewer than half of the seeds memorize as asked.
    """
    settings = [argument for argument in arguments if argument != FAIL]
    tables = train_and_report([_laddered(chosen) for chosen in compose("diagnose", settings)])
    if FAIL not in arguments:
        return 0
    from bench.statistics.survival import groups
    from bench.statistics.verdict import memorizes

    # The first group of each is the network as asked.
    return 0 if all(memorizes(groups(cells).iloc[0]) for cells in tables) else NO


def _laddered(chosen: Settings) -> Settings:
    """The settings with the cells of the diagnosis in place of the one cell asked about."""
    from bench.runs.diagnosis import plan  # brings pandas, which a wrong setting need not wait for

    for name in chosen.resolved["regularization"]:
        remedy = "set its strength itself, dropout=0.1 or weight_decay=0.001"
        raise GridError("regularization", name, "has no effect on a diagnosis", remedy)
    return dataclasses.replace(chosen, cells=tuple(plan(chosen.cells)), variants=True)
