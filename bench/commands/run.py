"""`memcap run`: Hydra composes a grid, the run trains it, the report shows it."""

from __future__ import annotations

from collections.abc import Sequence

from bench.commands.config import Settings, dump
from bench.commands.help import asks_for_help, print_help
from bench.commands.line import compose, exit_status
from bench.protocol.grid import GridError


def main(arguments: Sequence[str]) -> int:
    """Train what the arguments ask for; the exit status is 0, 2 (wrong settings) or 130 (Ctrl-C)."""
    if asks_for_help(arguments):
        return print_help("run")
    return exit_status(lambda: train_and_report(compose("config", arguments)))


def train_and_report(runs: list[Settings]) -> None:
    """Train what each of the settings asks for, write its report, and print what a terminal shows of it.

    Raises:
        GridError: two of them ask for one folder.
    """
    for number, chosen in enumerate(runs):
        if chosen.run_dir in [other.run_dir for other in runs[:number]]:
            remedy = "sweep grid.<field>=[...] in one run, or give each run its own folder, as in run_dir=results/tau-${tau}"
            raise GridError("run_dir", chosen.run_dir, "is also the folder of another run of this command", remedy)
    for chosen in runs:
        _train_and_report(chosen)


def _train_and_report(chosen: Settings) -> None:
    from bench.report.build import build
    from bench.runs.run import run

    run(
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
        variants=chosen.variants,
        progress=True,
        config=chosen.resolved,
        config_text=dump(chosen.resolved),
    )
    build(chosen.run_dir)
