"""Text fitted to a terminal: sentences wrapped at words, tables no wider than it, colour where somebody sees it."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd

# Rows of tables that a terminal shows where not all were asked for.
MOST_ROWS = 15

# No column of words is made narrower than this.
LEAST_WORDS = 14

GAP = "  "

Style = Literal["bold", "dim", "yellow"]

# Select Graphic Rendition, ECMA-48.
_CODES: dict[Style, str] = {"bold": "1", "dim": "2", "yellow": "33"}


@dataclasses.dataclass(frozen=True, slots=True)
class Screen:
    """What text is fitted to: the columns of a terminal, None where lines stay whole; whether it shows colours."""

    width: int | None
    colour: bool

    def styled(self, text: str, style: Style) -> str:
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self.colour and text else text


WHOLE = Screen(None, False)


def screen() -> Screen:
    """That of the standard output: lines stay whole where it is no terminal.

    Colour is for terminals, and where NO_COLOR is not set (no-color.org).
    """
    if not sys.stdout.isatty():
        return WHOLE
    dumb = os.environ.get("TERM") == "dumb"
    return Screen(shutil.get_terminal_size().columns, not os.environ.get("NO_COLOR") and not dumb)


def wrapped(text: str, shown: Screen, first: str = "", then: str = "") -> str:
    """A text in lines that begin with `first`, and `then` with `then`; a number stays beside its per cent sign.

    >>> print(wrapped("in 95 % of all cases", Screen(8, False), "* ", "  "))
    * in
      95 %
      of all
      cases
    """
    if shown.width is None:
        return f"{first}{text}"
    # textwrap breaks lines at the spaces of ASCII alone.
    kept = text.replace(" %", "\xa0%")
    text = textwrap.fill(
        kept,
        shown.width,
        initial_indent=first,
        subsequent_indent=then,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return text.replace("\xa0%", " %")


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """A table to show, of texts, with what stands over it.

    Attributes:
        title: what it is, and how to read it; paragraphs are lines of it.
        notes: what is to say of single columns, where they are shown.
        table: texts; a column that is empty throughout is left out.
        words: its columns of words, which stand to the left and may be wrapped.
        spare: its columns that are left out where there is no room, the first of them first.
        file: where all of it stands.
    """

    title: str
    table: pd.DataFrame
    words: Sequence[str] = ()
    spare: Sequence[str] = ()
    file: str = ""
    notes: Mapping[str, str] = dataclasses.field(default_factory=dict)


def block_text(block: Block, shown: Screen, most_rows: int | None = None) -> str:
    """A block as lines that fit; what does not is left out, and a note says how much."""
    table = block.table.loc[:, [(block.table[name] != "").any() for name in block.table]]
    rows = table if most_rows is None else table.head(most_rows)
    columns = _fitting(rows, block, shown.width)
    about = [*block.title.splitlines(), *(note for name, note in block.notes.items() if name in columns)]
    title = "\n".join(shown.styled(wrapped(line, shown), "dim") for line in about)
    lines = _lines(rows[list(columns)], columns, block.words)
    left_out = [
        f"{own} of {all_} {what}"
        for own, all_, what in ((len(rows), len(table), "rows"), (len(columns), table.shape[1], "columns"))
        if own < all_
    ]
    note = f"{' and '.join(left_out)}; --table shows more, {block.file} all" if left_out and block.file else ""
    parts = [*([title] if title else []), "\n".join(lines), *([shown.styled(wrapped(note, shown), "dim")] if note else [])]
    return "\n\n".join(parts)


def _fitting(table: pd.DataFrame, block: Block, width: int | None) -> dict[str, int]:
    """The columns to show with their widths: those of words narrower than they are first, then without the spare ones."""
    widths = {str(name): max(map(len, [str(name), *table[name]])) for name in table}
    if width is None:
        return widths
    spare = [name for name in block.spare if name in widths]
    while True:
        over = sum(widths.values()) + len(GAP) * (len(widths) - 1) - width
        narrower = _narrowed({name: widths[name] for name in block.words if name in widths}, over)
        if narrower is not None or not spare:
            return widths | (narrower or {name: min(widths[name], LEAST_WORDS) for name in block.words if name in widths})
        del widths[spare.pop(0)]


def _narrowed(words: dict[str, int], over: int) -> dict[str, int] | None:
    """Columns of words by so much narrower in all, the widest first; None where they would become too narrow."""
    own = dict(words)
    for _ in range(over):
        widest = max(own, key=own.__getitem__, default=None)
        if widest is None or own[widest] <= LEAST_WORDS:
            return None
        own[widest] -= 1
    return own


def _lines(table: pd.DataFrame, widths: dict[str, int], words: Sequence[str]) -> list[str]:
    lines = []
    for row in (list(widths), *table.itertuples(index=False)):
        cells = [
            (textwrap.wrap(str(text), widths[name], break_on_hyphens=False) or [""]) if name in words else [str(text)]
            for name, text in zip(widths, row, strict=True)
        ]
        for number in range(max(map(len, cells))):
            own = [cell[number] if number < len(cell) else "" for cell in cells]
            aligned = [
                text.ljust(size) if name in words else text.rjust(size)
                for text, (name, size) in zip(own, widths.items(), strict=True)
            ]
            lines.append(GAP.join(aligned).rstrip())
    return lines
