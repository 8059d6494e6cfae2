"""How every figure looks: theme, sizes, colours, and text that is measured before it is placed."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Literal, NamedTuple

import matplotlib
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, StrMethodFormatter

from bench.store.atomic import write_atomically

matplotlib.use("Agg")
sns.set_theme(
    context="notebook",
    style="ticks",
    rc={"font.size": 9, "axes.titlesize": 10, "axes.labelsize": 9, "xtick.labelsize": 8.5, "ytick.labelsize": 8.5},
)
matplotlib.rcParams.update({"svg.hashsalt": "memcap", "svg.fonttype": "none", "figure.dpi": 110})

PNG_DPI = 150
# What would tell the time of drawing.
UNDATED = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
SMALLEST_FONT = 8
TITLE_FONT = 11
# The text width of the report's page: a wider figure would be shrunk, and its text with it.
PAGE_INCHES = 10.9
POINTS_PER_INCH = 72
LINE_SPACING = 1.35
# A number further along an axis than this share of it would stand in the next panel.
LAST_NUMBER = 0.94
# What round numbers may begin with, the first choice first, and fewer where these are too many.
MANTISSAS = ((1, 2, 5), (1, 3), (1,))
# An axis with one number has no scale, and with three the eye sees which.
ENOUGH_TICKS = 3
# FreeType measures at a size, and in 16.16 fixed point.
EM_POINTS, FIXED_POINT = 100, 65536

LINE_COLOUR = "#c1121f"
BELOW_COLOUR, ABOVE_COLOUR = "#1f4e9c", "#c1121f"
QUIET_COLOUR = "#555555"


class Sheet(NamedTuple):
    """What figures are drawn for: how wide they may be; on paper they are just as wide, without a title."""

    inches: float
    paper: bool


_PAGE = Sheet(PAGE_INCHES, paper=False)
_SHEET = ContextVar("sheet", default=_PAGE)


def sheet() -> Sheet:
    """What figures are drawn for here: the page, unless `on_paper`."""
    return _SHEET.get()


@contextmanager
def on_paper(inches: float) -> Iterator[None]:
    """Figures drawn within are for paper, so wide."""
    token = _SHEET.set(Sheet(inches, paper=True))
    try:
        yield
    finally:
        _SHEET.reset(token)


def text_inches(text: str, points: float) -> float:
    """The width of a text's longest line in the figures' font, in inches; kerning, a hundredth of it, is left out.

    >>> text_inches("5000", 8) < text_inches(">5000", 8) < 0.5
    True
    """
    return max(sum(map(_character_em, line)) for line in text.split("\n")) * points / POINTS_PER_INCH


@functools.cache
def _character_em(character: str) -> float:
    """How far a character moves the pen, in units of the font's size."""
    font = get_font(findfont(FontProperties(family=matplotlib.rcParams["font.family"])))
    font.set_size(EM_POINTS, POINTS_PER_INCH)
    return font.load_char(ord(character)).linearHoriAdvance / FIXED_POINT / EM_POINTS


def wrapped(text: str, inches: float, points: float) -> str:
    """The text's lines, those wider than this broken between words."""
    lines: list[str] = []
    for line in text.split("\n"):
        words = line.split()
        lines.append(words[0])
        for word in words[1:]:
            if text_inches(f"{lines[-1]} {word}", points) <= inches:
                lines[-1] += f" {word}"
            else:
                lines.append(word)
    return "\n".join(lines)


def lines_inches(text: str, points: float) -> float:
    """The height of a text of several lines, in inches."""
    return (text.count("\n") + 1) * points * LINE_SPACING / POINTS_PER_INCH


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, SVG or PDF, by the file's ending: the same bytes for the same figure, all of them or none."""
    options = {"format": path.suffix.removeprefix("."), "dpi": PNG_DPI, "metadata": UNDATED.get(path.suffix)}
    write_atomically(path, lambda partial: figure.savefig(partial, **options))


def plain_ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers of a log scale between two: enough to see its scale, if there are, and not too many.

    >>> plain_ticks(40, 400, 5), plain_ticks(30, 5000, 5), plain_ticks(11, 25, 5)
    ([50.0, 100.0, 200.0], [30.0, 100.0, 300.0, 1000.0, 3000.0], [15.0, 20.0, 25.0])
    >>> plain_ticks(110, 180, 5), plain_ticks(81, 81, 5)
    ([120.0, 140.0, 160.0, 180.0], [81.0])
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    choices = [[m * 10.0**decade for decade in decades for m in mantissas] for mantissas in MANTISSAS]
    within = [[tick for tick in ticks if low <= tick <= high] for ticks in choices]
    for ticks in within:
        if min(ENOUGH_TICKS, most) <= len(ticks) <= most:
            return ticks
    powers = within[-1]
    if len(powers) > most:
        return powers[:: math.ceil(len(powers) / most)]
    # Within a factor of ten or so the scale is nearly even.
    even = MaxNLocator(max(most - 1, 1), steps=[1, 2, 5, 10]).tick_values(low, high)
    return [float(tick) for tick in even if low <= tick <= high] or [low]


def log_axis(ax: Axes, name: Literal["x", "y"], most: int) -> None:
    """Give an axis whose scale is logarithmic round numbers, at most so many."""
    low, high = ax.get_xlim() if name == "x" else ax.get_ylim()
    # A number at the right end would stand in the next panel.
    end = low * (high / low) ** LAST_NUMBER if name == "x" else high
    axis = ax.xaxis if name == "x" else ax.yaxis
    axis.set_major_locator(FixedLocator(plain_ticks(low, end, most)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_locator(NullLocator())
