"""`memcap run`: Hydra composes a grid, the run trains it, the report shows it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.commands.config import Settings, dump
from bench.commands.exits import NO
from bench.commands.line import compose
from bench.commands.options import TABLE
from bench.protocol.grid import GridError

if TYPE_CHECKING:
    import pandas as pd


def main(arguments: Sequence[str]) -> int:
    """Train the grid that the arguments ask for, or the networks of somebody's own that `model=` names, and write its report.

    The exit status is 0, or 1 where cells failed.
    """
    settings = [argument for argument in arguments if argument != TABLE]
    if any(argument.startswith("model=") for argument in settings):
        from bench.commands import run_networks

        return run_networks.main(settings, table=TABLE in arguments)
    runs = compose("config", settings)
    for chosen in runs:
        for name, value in (("budget_s", chosen.budget_s), ("past_tau", chosen.past_tau)):
            if value is not None:
                raise GridError(name, value, "has no effect on a run", "it is a setting of memcap diagnose")
    return NO if say_failures(train_and_report(runs, table=TABLE in arguments)) else 0


def say_failures(tables: list[pd.DataFrame]) -> bool:
    """Say which cells of runs failed, and why; whether any did."""
    from bench.report.failures import failures

    told = [text for text in map(failures, tables) if text]
    for text in told:
        print(f"memcap: {text}", file=sys.stderr)
    return bool(told)


def train_and_report(runs: list[Settings], *, table: bool, diagnose: bool = False) -> list[pd.DataFrame]:
    """Train what each of the settings asks for, write its report, and print what a terminal shows of it.

    `table`: the tables are printed in full. `diagnose`: the cells of each are one network, to be diagnosed.

    Returns:
        The table of cells of each.

    Raises:
        GridError: two of them ask for one folder.
    """
    for number, chosen in enumerate(runs):
        if chosen.run_dir in [other.run_dir for other in runs[:number]]:
            remedy = "sweep grid.<field>=[...] in one run, or give each run its own folder, as in run_dir=results/tau-${tau}"
            raise GridError("run_dir", chosen.run_dir, "is also the folder of another run of this command", remedy)
    return [_train_and_report(chosen, table=table, diagnose=diagnose) for chosen in runs]


def _train_and_report(chosen: Settings, *, table: bool, diagnose: bool) -> pd.DataFrame:
    from bench.report.build import build
    from bench.runs.inquiry import Diagnose
    from bench.runs.run import run

    cells = run(
        chosen.cells,
        run_dir=chosen.run_dir,
        device=chosen.device,
        engine=chosen.engine,
        executor=chosen.executor,
        threads=chosen.threads,
        n_predictions=chosen.n_predictions,
        jacobian_rank=chosen.jacobian_rank,
        fresh=chosen.fresh,
        search=chosen.search,
        diagnosis=Diagnose(chosen.budget_s, bool(chosen.past_tau)) if diagnose else None,
        variants=chosen.variants,
        progress=True,
        config=dump(chosen.resolved),
    )
    build(chosen.run_dir, table=table)
    return cells
