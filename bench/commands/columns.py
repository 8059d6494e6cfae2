"""`memcap columns [TABLE ...] [COLUMN ...]`: what the columns of a table mean, or one column, and in which unit they are."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence

from bench.commands.exits import UsageError
from bench.protocol.columns import TABLES, Column
from bench.protocol.names import did_you_mean

# Lines are no longer, and on a narrower terminal as wide as that.
WIDTH = 110

NAME, INDENT = 20, " " * 6


def main(arguments: Sequence[str]) -> int:
    """Print the tables, or the columns of those that are named, or the columns of a name; the exit status is 0."""
    names = {column.name for table in TABLES.values() for column in table.columns}
    for name in arguments:
        if name not in TABLES and name not in names:
            remedy = did_you_mean(name, [*TABLES, *sorted(names)], f"choose from: {', '.join(TABLES)}")
            raise UsageError(f"{name}: is neither a table nor a column; {remedy}")
    print("\n\n".join(_columns(name) if name in TABLES else _column(name) for name in arguments) or _tables())
    return 0


def _tables() -> str:
    under = " " * (NAME + 2)
    head = "The tables of a run, each in tables/<name>.csv, and what a row of it is:"
    foot = "memcap columns TABLE says what its columns mean, memcap columns COLUMN what one does."
    lines = [_filled(table.row, f"  {name:<{NAME}}", under) for name, table in TABLES.items()]
    return "\n".join([_filled(head, "", ""), "", *lines, "", _filled(foot, "", "")])


def _columns(name: str) -> str:
    table = TABLES[name]
    lines = [_filled(f"{name}.csv: a row is {table.row}", "", "  ")]
    for column in table.columns:
        lines += [f"  {column.name} [{column.unit}]", _meaning(column)]
    return "\n".join(lines)


def _column(name: str) -> str:
    """Each meaning that a column of this name has, with the tables that have it."""
    tables: dict[Column, list[str]] = {}
    for table, about in TABLES.items():
        for column in about.columns:
            if column.name == name:
                tables.setdefault(column, []).append(f"{table}.csv")
    lines = []
    for column, found in tables.items():
        lines += [f"{name} [{column.unit}]", _meaning(column), _filled(f"in {', '.join(found)}")]
    return "\n".join(lines)


def _meaning(column: Column) -> str:
    return _filled(f"{column.meaning} ({column.source})")


def _filled(text: str, first: str = INDENT, then: str = INDENT) -> str:
    width = min(WIDTH, shutil.get_terminal_size().columns) if sys.stdout.isatty() else WIDTH
    return textwrap.fill(text, width, initial_indent=first, subsequent_indent=then)
