"""The command line: Hydra composes a grid, the run trains it, the report shows it."""

from __future__ import annotations

from bench.command_line import compose, exit_statuses, train_and_report
from bench.grid import GridError


def main() -> None:
    """Entry point of `memcap` and `python -m bench`; ends with status 0, 2 (a wrong config) or 130 (Ctrl-C)."""
    with exit_statuses():
        runs = compose("config")
        for number, chosen in enumerate(runs):
            if chosen.run_dir in [other.run_dir for other in runs[:number]]:
                remedy = "sweep grid.<field>=[...] in one run, or tell the folders apart, as in run_dir=results/tau-${tau}"
                raise GridError("run_dir", chosen.run_dir, "is that of another run of this command", remedy)
        for chosen in runs:
            train_and_report(chosen)


if __name__ == "__main__":
    main()
