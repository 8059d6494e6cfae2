"""`memcap report`: the tables, figures and page of a finished run again, from the results in its folder."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence

from bench.commands.help import asks_for_help, print_help
from bench.commands.line import EXIT_BAD_CONFIG, exit_status

DEFAULT = "results/default"


def main(arguments: Sequence[str]) -> int:
    """Rebuild the report of the folder that is named, DEFAULT if none is; the exit status is 0 or 2 (there is no run)."""
    if asks_for_help(arguments):
        return print_help("report")
    if len(arguments) > 1 or any(argument.startswith("-") or "=" in argument for argument in arguments):
        print(f"memcap: {' '.join(arguments)}: is not one folder; write memcap report {DEFAULT}", file=sys.stderr)
        return EXIT_BAD_CONFIG
    from bench.report.build import build

    def report() -> int:
        try:
            build(arguments[0] if arguments else DEFAULT)
        except FileNotFoundError as error:
            print(f"memcap: {error}", file=sys.stderr)
            return EXIT_BAD_CONFIG
        # Taking figures apart object by object, to no use at the end of a process, takes it a second.
        gc.freeze()
        return 0

    return exit_status(report)
