"""`memcap columns [TABLE]`: what the columns of a table mean, and in which unit they are."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence

from bench.commands.help import asks_for_help, print_help
from bench.commands.line import EXIT_BAD_CONFIG, exit_status
from bench.protocol.columns import TABLES
from bench.protocol.names import did_you_mean

WIDTH = 110


def main(arguments: Sequence[str]) -> int:
    """Print the tables, or the columns of those that are named; the exit status is 0 or 2 (no such table)."""
    if asks_for_help(arguments):
        return print_help("columns")
    for name in arguments:
        if name not in TABLES:
            remedy = did_you_mean(name, TABLES, f"choose from: {', '.join(TABLES)}")
            print(f"memcap: {name}: is not a table; {remedy}", file=sys.stderr)
            return EXIT_BAD_CONFIG
    return exit_status(lambda: print("\n\n".join(_columns(name) for name in arguments) if arguments else _tables()))


def _tables() -> str:
    lines = [f"  {name:<20}{table.row}" for name, table in TABLES.items()]
    head = "The tables of a run, each in tables/<name>.csv, and what a row of it is:"
    return "\n".join([head, "", *lines, "", "memcap columns TABLE says what its columns mean."])


def _columns(name: str) -> str:
    table = TABLES[name]
    indent = " " * 6
    lines = [f"{name}.csv: a row is {table.row}"]
    for column in table.columns:
        text = f"{column.meaning} ({column.source})"
        lines += [
            f"  {column.name} [{column.unit}]",
            textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent),
        ]
    return "\n".join(lines)
