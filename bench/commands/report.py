"""`memcap report`: the tables, figures and page of a finished run again, or the page of a check, from what its folder holds."""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from pathlib import Path

from bench.commands.exits import UsageError, exit_status

DEFAULT = "results/default"

# The one setting: figures for a paper, and nothing else.
PAPER = "figures=paper"


def main(arguments: Sequence[str]) -> int:
    """Rebuild the report of the folder that is named, DEFAULT if none is; the exit status is 0, or 2 where there is no run."""
    for_paper = PAPER in arguments
    arguments = [argument for argument in arguments if argument != PAPER]
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        raise UsageError(f"{' '.join(arguments)}: is not one folder; write memcap report {DEFAULT}")
    folder = arguments[0] if arguments else DEFAULT
    # Of a name that no file can have, os.path says that there is none.
    if "=" in folder and not os.path.exists(folder):
        raise UsageError(f"{folder}: is not a folder; a report has no settings, write memcap report {DEFAULT}")
    if not os.path.isdir(folder):
        raise UsageError(f"{folder}: there is no such folder; name that of a run, as in memcap report {DEFAULT}")
    from bench.report.build import build
    from bench.report.check_page import FOUND, build_check
    from bench.report.paper import paper

    def report() -> None:
        try:
            if for_paper:
                print(f"memcap: figures in {paper(folder)}")
            elif (Path(folder) / FOUND).exists():
                print(f"memcap: report in {build_check(Path(folder))}")
            else:
                build(folder)
        except FileNotFoundError as error:
            raise UsageError(str(error)) from error
        # Taking figures apart object by object, to no use at the end of a process, takes it a second.
        gc.freeze()

    return exit_status(report, stopped="the report is not finished; the same command makes it")
