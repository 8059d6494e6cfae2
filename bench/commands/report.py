"""`memcap report`: the tables, figures and page of a run again, or of several; an index of runs; the page of a check."""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence, Set
from pathlib import Path

from bench.commands.exits import UsageError, exit_status
from bench.commands.options import TABLE
from bench.protocol.names import did_you_mean

DEFAULT = "results/default"

REDRAW = "--redraw"

INTO = "run_dir="

# Figures for a paper, and nothing else.
PAPER = "figures=paper"


def main(arguments: Sequence[str]) -> int:
    """Rebuild the report of the folder that is named, DEFAULT if none is; that of several in the folder `run_dir`.

    The exit status is 0, or 2 where there is no run.
    """
    folders, options, into = [], set(), None
    for argument in arguments:
        if argument in (TABLE, REDRAW, PAPER):
            options.add(argument)
        elif argument.startswith(INTO) and not os.path.exists(argument):
            into = Path(argument.removeprefix(INTO))
        else:
            folders.append(_folder(argument))
    folders = folders or [_folder(DEFAULT)]
    if len(folders) > 1 and into is None:
        remedy = f"write memcap report {' '.join(map(str, folders))} run_dir=results/together"
        raise UsageError(f"{' '.join(map(str, folders))}: are several folders, and their report needs one; {remedy}")
    if len(folders) == 1 and into is not None:
        raise UsageError(f"{INTO}{into}: is for the report of several folders; name another one, or leave it out")

    def report() -> None:
        try:
            _report(folders, into, options)
        except FileNotFoundError as error:
            raise UsageError(str(error)) from error
        # Taking figures apart object by object, to no use at the end of a process, takes it a second.
        gc.freeze()

    return exit_status(report, stopped="the report is not finished; the same command makes it")


def _folder(argument: str) -> Path:
    if argument.startswith("-"):
        remedy = did_you_mean(argument, (TABLE, REDRAW, "--help"), "memcap report --help lists them")
        raise UsageError(f"{argument}: is not an option of this command; {remedy}")
    # Of a name that no file can have, os.path says that there is none.
    if os.path.isdir(argument):
        return Path(argument)
    if argument.startswith("figures="):
        raise UsageError(f"{argument}: figures takes paper; write memcap report {DEFAULT} {PAPER}")
    if "=" in argument:
        raise UsageError(f"{argument}: is not a folder; a report has no such setting, write memcap report {DEFAULT}")
    raise UsageError(f"{argument}: there is no such folder; name that of a run, as in memcap report {DEFAULT}")


def _report(folders: Sequence[Path], into: Path | None, options: Set[str]) -> None:
    from bench.report.build import build
    from bench.report.check_page import FOUND, build_check
    from bench.report.index import build_index, runs_in
    from bench.report.module_page import FOUND as DIAGNOSED
    from bench.report.module_page import build_module
    from bench.report.network_page import FOUND as NETWORKS
    from bench.report.network_page import report_networks

    if into is not None:
        folder = _together(folders, into)
    else:
        (folder,) = folders
    if PAPER in options:
        from bench.report.paper import paper

        print(f"memcap: figures in {paper(folder)}")
    elif (folder / FOUND).exists():
        print(f"memcap: report in {build_check(folder)}")
    elif (folder / DIAGNOSED).exists():
        print(f"memcap: report in {build_module(folder)}")
    elif (folder / NETWORKS).exists():
        report_networks(folder, table=TABLE in options)
    elif not (folder / "plan.parquet").exists() and runs_in(folder):
        print(f"memcap: index of {len(runs_in(folder))} runs in {build_index(folder)}")
    else:
        build(folder, table=TABLE in options, redraw=REDRAW in options)


def _together(folders: Sequence[Path], into: Path) -> Path:
    """The folder with what all hold.

    Raises:
        UsageError: they are of different kinds.
    """
    from bench.store.parts import Design, Store
    from bench.store.several import put_together

    kinds = {Design.PRODUCT: "a grid", Design.SEARCH: "a search", Design.VARIANTS: "a diagnosis"}
    first = Store(folders[0]).design()[0]
    for folder in folders:
        design = Store(folder).design()[0]
        if design is Design.VARIANTS:
            raise UsageError(f"{folder}: is of one network and its variants; report it by itself, memcap report {folder}")
        if design is not first:
            rule = f"holds {kinds[design]}, and {folders[0]} {kinds[first]}"
            raise UsageError(f"{folder}: {rule}; report those of a kind together, bench.load reads both")
    return put_together(folders, into)
