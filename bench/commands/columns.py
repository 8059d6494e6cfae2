"""`memcap columns [TABLE ...]`: what the columns of a table mean, and in which unit they are."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from bench.commands.exits import UsageError
from bench.protocol.columns import TABLES
from bench.protocol.names import did_you_mean

WIDTH = 110


def main(arguments: Sequence[str]) -> int:
    """Print the tables, or the columns of those that are named; the exit status is 0."""
    for name in arguments:
        if name not in TABLES:
            choices = f"choose from: {', '.join(TABLES)}"
            raise UsageError(f"{name}: is not a table; {did_you_mean(name, TABLES, choices)}")
    print("\n\n".join(_columns(name) for name in arguments) if arguments else _tables())
    return 0


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
