"""`memcap diagnose`: a network and variants of it are trained, and the report says why it does not memorize."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from bench.commands.config import Settings
from bench.commands.help import asks_for_help, print_help
from bench.commands.line import EXIT_NO, compose, exit_status
from bench.commands.run import train_and_report
from bench.protocol.grid import GridError

FAIL = "--fail"


def main(arguments: Sequence[str]) -> int:
    """Diagnose the network that the arguments describe.

    The exit status is 0, 2 (wrong settings) or 130 (Ctrl-C); with `--fail` 1 where fewer than half of the seeds memorize as
    asked.
    """
    if asks_for_help(arguments):
        return print_help("diagnose")
    settings = [argument for argument in arguments if argument != FAIL]

    def diagnose() -> int:
        runs = [_laddered(chosen) for chosen in compose("diagnose", settings)]
        train_and_report(runs)
        return EXIT_NO if FAIL in arguments and not all(_memorizes(chosen) for chosen in runs) else 0

    return exit_status(diagnose)


def _laddered(chosen: Settings) -> Settings:
    """The settings with the cells of the diagnosis in place of the one cell asked about."""
    from bench.runs.diagnosis import plan  # brings pandas, which a wrong setting need not wait for

    for name in chosen.resolved["regularization"]:
        remedy = "set its strength itself, dropout=0.1 or weight_decay=0.001"
        raise GridError("regularization", name, "has no effect on a diagnosis", remedy)
    return dataclasses.replace(chosen, cells=tuple(plan(chosen.cells)), variants=True)


def _memorizes(chosen: Settings) -> bool:
    """Whether at least half of the seeds memorized as asked."""
    from bench.statistics.survival import groups
    from bench.statistics.verdict import MAJORITY
    from bench.store.parts import Store

    asked = groups(Store(chosen.run_dir).read_cells()).iloc[0]
    return bool(asked["n_memorized"] >= MAJORITY * max(1, asked["n_seeds"]))
