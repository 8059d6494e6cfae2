"""Small multiples, laid out in inches: a panel for each label, which stands above it as its title."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.style import SMALLEST_FONT, lines_inches, sheet, text_inches, wrapped

TITLE_FONT = 9
# Inches: around the figure, between panels, beside and below a panel for its ticks, for the names of the axes, and of the key.
MARGIN, GAP, TICKS_LEFT, TICKS_BELOW, AXIS_NAME, KEY_LINE, KEY_GAP = 0.1, 0.25, 0.5, 0.3, 0.22, 0.22, 0.2

# Inches of the narrowest panel on paper.
LEAST_PANEL = 1.2


def panels(
    titles: Sequence[str], *, across: int, size: tuple[float, float], names: tuple[str, str], key: Sequence[tuple[str, str]]
) -> tuple[Figure, list[Axes]]:
    """A figure with an empty panel for each title; all panels share their axes.

    Args:
        titles: of the panels, in lines where they are long.
        across: panels beside each other, at most.
        size: of a panel, in inches.
        names: of the horizontal axis and of the vertical one.
        key: what the colours mean, in words of these colours: (text, colour), one after the other.
    """
    (wide, high), (x_name, y_name) = size, names
    left = MARGIN + AXIS_NAME + TICKS_LEFT
    across = min(across, len(titles))
    if sheet().paper:
        room = sheet().inches - left - MARGIN + GAP
        across = min(across, max(1, int(room / (LEAST_PANEL + GAP))))
        wide, high = room / across - GAP, min(high, room / across)
    rows = [titles[first : first + across] for first in range(0, len(titles), across)]
    lines = [[wrapped(title, wide, TITLE_FONT) for title in row] for row in rows]
    heads = [max(lines_inches(text, TITLE_FONT) for text in row) + MARGIN for row in lines]
    width = left + across * (wide + GAP) - GAP + MARGIN
    meanings = _in_lines(key, width - 2 * MARGIN)
    top = MARGIN + KEY_LINE * len(meanings)
    height = top + sum(heads) + len(rows) * (high + TICKS_BELOW) + AXIS_NAME + MARGIN
    figure, axes, y = Figure(figsize=(width, height)), [], top
    for row, head in zip(lines, heads, strict=True):
        y += head
        for k, title in enumerate(row):
            first = axes[0] if axes else None
            box = ((left + k * (wide + GAP)) / width, 1 - (y + high) / height, wide / width, high / height)
            ax = figure.add_axes(box, sharex=first, sharey=first)
            ax.set_title(title, fontsize=TITLE_FONT, pad=4)
            ax.tick_params(labelleft=k == 0)
            if k == 0:
                ax.set_ylabel(y_name)
            axes.append(ax)
        y += high + TICKS_BELOW
    for ax in axes[-across:]:
        ax.set_xlabel(x_name)
    for number, line in enumerate(meanings):
        x, y = MARGIN, 1 - (MARGIN + (number + 0.5) * KEY_LINE) / height
        for text, colour in line:
            figure.text(x / width, y, text, color=colour, fontsize=SMALLEST_FONT, va="center", parse_math=False)
            x += text_inches(text, SMALLEST_FONT) + KEY_GAP
    return figure, axes


def _in_lines(key: Sequence[tuple[str, str]], inches: float) -> list[list[tuple[str, str]]]:
    """The texts of a key with their colours in lines no wider than this, and those wider broken between words."""
    lines: list[list[tuple[str, str]]] = []
    for text, colour in key:
        for part in wrapped(text, inches, SMALLEST_FONT).split("\n"):
            beside = [*lines[-1], (part, colour)] if lines else []
            if beside and sum(text_inches(words, SMALLEST_FONT) + KEY_GAP for words, _ in beside) <= inches + KEY_GAP:
                lines[-1] = beside
            else:
                lines.append([(part, colour)])
    return lines


def columns_for(count: int, most: int) -> int:
    """Panels beside each other such that the rows are about equally long.

    >>> [columns_for(count, 4) for count in (1, 4, 5, 9, 12)]
    [1, 4, 3, 3, 4]
    """
    return math.ceil(count / math.ceil(count / most))
