"""Groups of seeds -> maps: the median epoch to tau by two axes, a panel for each value of a third. Laid out in inches."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bench.protocol.theory import dimension_name
from bench.report.style import (
    LINE_COLOUR,
    PAGE_INCHES,
    SMALLEST_FONT,
    TITLE_FONT,
    lines_inches,
    plain_ticks,
    text_inches,
    wrapped,
)
from bench.statistics.capacity import Known

# Perceptually uniform and safe for colour-blind readers; reversed, so that "memorized at once" is the light end.
EPOCH_COLOURS = "viridis_r"
BEYOND_FACE, BEYOND_HATCH, HATCH = "#ececec", "#a8a8a8", "////"
DARK_TEXT, LIGHT_TEXT = "#1d1f23", "#ffffff"
# The relative luminance at which black and white text have the same contrast, 4.6 (WCAG 2.2, success criterion 1.4.3).
LIGHT_FACE = 0.18

# Inches. A cell holds two lines of the smallest text; its width follows from its longest note and this much air.
LEAST_CELL, CELL_HEIGHT, AIR = 0.46, 0.42, 0.1
MARGIN, GAP, PANEL_TITLE, TICKS, AXIS_NAME = 0.08, 0.22, 0.27, 0.27, 0.2
BAR_GAP, BAR_WIDTH, BAR_NAME, BAR_TICK = 0.22, 0.16, 0.32, 0.24
KEY_LINE, SWATCH, KEY_GAP = 0.21, (0.24, 0.13), 0.25
# Room for the title.
LEAST_WIDTH = 6.4
MOST_BAR_TICKS = 6
# Inches that a column keeps free for its N50, at its right, beside the numbers.
LANE = 0.055
# Inches between a number and a line, and how far a number moves for that: further, and the line parts for it.
CLEAR, MOST_SHIFT = 0.03, 0.06
EXISTS_COLOUR = "#1f4e9c"
# Points, and inches between a map and its ticks.
TICK_FONT, TICK_PAD = 8.5, 0.05


class Marks(NamedTuple):
    """Sample counts to mark over a column: N50 with its interval, the ceiling, and what is known to exist.

    `known` is what to draw of N50: its value with the interval, the interval from a lower bound up or an upper one down, or
    nothing.
    """

    n50: float
    low: float
    high: float
    ceiling: float
    exists: float
    known: Known


# A cell of a map by row and column, and a point of it in data coordinates.
Slot = tuple[int, int]
Point = tuple[float, float]


def epoch_norm(groups: pd.DataFrame) -> LogNorm:
    """One colour scale for all maps of a run: from its fastest median epoch to its largest budget."""
    finite = groups["median_epoch_to_tau"].replace(math.inf, np.nan).dropna()
    top = max(float(groups["max_epochs"].max()), 2.0)
    return LogNorm(max(1.0, min(float(finite.min()) if len(finite) else 1.0, top / 2)), top)


def heatmaps(
    groups: pd.DataFrame,
    *,
    rows: str,
    columns: str,
    panels: str,
    norm: LogNorm,
    title: str,
    number: str = "median epoch",
    marks: Mapping[tuple[Any, Any], Marks] = MappingProxyType({}),
) -> Figure:
    """Median epoch_to_tau as one heatmap for each value of `panels`.

    A cell that most seeds did not memorize is hatched and says the budget; where the seeds disagree, it says how many
    memorized. The red line, N = functional_dim, separates sample counts that a generic network can fit exactly from those
    it cannot: at its place where there are marks, else between cells. In a panel's data coordinates column j is centred at
    j + 0.5, and a value of the rows stands at `row_position`.

    Args:
        groups: one row for each combination, as `bench.statistics.survival.groups` returns them.
        rows: the field that goes up; `columns`, `panels`: the fields across, and of the panels.
        norm: the colour scale, in epochs.
        title: the figure's first line.
        number: what the number in a cell is, for the key.
        marks: what to draw over a column of a panel, by (panel, column); for rows of n_samples.
    """
    values = {name: sorted(groups[name].unique().tolist()) for name in (rows, columns, panels)}
    across_ticks, up_ticks = ([spell_tick(value) for value in values[name]] for name in (columns, rows))
    shown: dict[Any, dict[Slot, Mapping]] = {panel: {} for panel in values[panels]}
    for group in groups.to_dict("records"):
        shown[group[panels]][(values[rows].index(group[rows]), values[columns].index(group[columns]))] = group
    texts = {line for own in shown.values() for group in own.values() for line in _note(group).split("\n")}
    lane = LANE if any(mark.known != "nothing" for mark in marks.values()) else 0.0
    cell = max(LEAST_CELL, AIR + lane + max(text_inches(text, SMALLEST_FONT) for text in (*texts, *across_ticks)))
    wide, high = cell * len(across_ticks), CELL_HEIGHT * len(up_ticks)
    left = MARGIN + AXIS_NAME + AIR + max(text_inches(tick, TICK_FONT) for tick in up_ticks)
    right = BAR_GAP + BAR_WIDTH + BAR_NAME + text_inches(f"{_ends(norm)[1]:.0f}", SMALLEST_FONT) + MARGIN
    down = math.ceil(len(shown) / max(1, int((PAGE_INCHES - left - right + GAP) / (wide + GAP))))
    across = math.ceil(len(shown) / down)
    bar_left = left + across * (wide + GAP) - GAP + BAR_GAP
    width = max(LEAST_WIDTH, bar_left - BAR_GAP + right)
    heading = wrapped(title, width - 2 * MARGIN, TITLE_FONT)
    over = {
        panel: [(j, marks[panel, column]) for j, column in enumerate(values[columns]) if (panel, column) in marks]
        for panel in shown
    }
    shape = len(up_ticks), len(across_ticks)
    borders = {
        panel: _ceiling_steps(over[panel], values[rows]) if over[panel] else _dimension_border(own, shape)
        for panel, own in shown.items()
    }
    key = _key_lines(groups, texts, number, width - 2 * MARGIN, marks, bordered=any(borders.values()))
    key_top = MARGIN + lines_inches(heading, TITLE_FONT)
    top = key_top + KEY_LINE * len(key) + AIR
    height = top + down * (PANEL_TITLE + high + TICKS) + AXIS_NAME + MARGIN
    figure = Figure(figsize=(width, height))

    def box(x: float, y: float, w: float, h: float) -> tuple[float, float, float, float]:
        """A box in inches from the top left corner, as matplotlib places it."""
        return x / width, 1 - (y + h) / height, w / width, h / height

    sheet = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0), zorder=-1)
    sheet.axis("off")
    for k, (panel, own) in enumerate(shown.items()):
        x, y = left + (k % across) * (wide + GAP), top + (k // across) * (PANEL_TITLE + high + TICKS) + PANEL_TITLE
        ax = figure.add_axes(box(x, y, wide, high))
        lines = [
            (row_position(value, values[rows]), j)
            for j, mark in over[panel]
            for value in (mark.ceiling, mark.exists)
            if value > 0
        ]
        _map(ax, own, shape, (cell, lane), norm, lines)
        _border(ax, borders[panel])
        _draw_marks(ax, over[panel], values[rows], 1 - (lane + AIR / 2) / 2 / cell)
        ax.set_title(f"{axis_name(panels)} {spell_tick(panel)}", y=1.0, pad=5)
        # An axis of matplotlib takes several times as long as the texts that are all it would show here.
        ax.set_axis_off()
        below: dict[str, Any] = {"ha": "center", "va": "top"}
        for j, tick in enumerate(across_ticks):
            sheet.text(x + (j + 0.5) * cell, y + high + TICK_PAD, tick, fontsize=TICK_FONT, **below)
        if k + across >= len(shown):
            sheet.text(x + wide / 2, y + high + TICKS, axis_name(columns), **below)
        if k % across == 0:
            for i, tick in enumerate(up_ticks):
                sheet.text(x - TICK_PAD, y + high - (i + 0.5) * CELL_HEIGHT, tick, fontsize=TICK_FONT, ha="right", va="center")
            sheet.text(MARGIN + AXIS_NAME / 2, y + high / 2, axis_name(rows), rotation=90, ha="center", va="center")
    _colour_bar(figure, box(bar_left, top + PANEL_TITLE, BAR_WIDTH, high), norm, ticks=round(high / BAR_TICK))
    sheet.text(MARGIN, MARGIN, heading, fontsize=TITLE_FONT, va="top", parse_math=False)
    for number_of_line, line in enumerate(key):
        _draw_key(sheet, line, key_top + (number_of_line + 0.5) * KEY_LINE)
    return figure


def row_position(value: float, rows: Sequence[float]) -> float:
    """Where a value stands among the rows of a map, in data coordinates: on a log scale between two, and never off the map.

    >>> row_position(64, [32, 64, 128]), row_position(2, [1, 4, 16]), row_position(1000, [32, 64, 128])
    (1.5, 1.0, 3.0)
    """
    above = min(max(bisect.bisect_right(rows, value), 1), len(rows) - 1)
    step = math.log(value / rows[above - 1]) / math.log(rows[above] / rows[above - 1])
    return min(max(above - 0.5 + step, 0.0), float(len(rows)))


def spell_tick(value: float | np.integer) -> str:
    """A value of an axis; strengths are off at 0, and constraints where they are infinitely loose."""
    return "off" if value in (0.0, math.inf) and isinstance(value, float) else f"{value:g}"


def axis_name(field: str) -> str:
    """What an axis of this field is called."""
    return {"n_samples": "samples N", "load": "load N / P"}.get(field, field)


def _map(
    ax: Axes,
    shown: Mapping[Slot, Mapping],
    shape: tuple[int, int],
    widths: tuple[float, float],
    norm: LogNorm,
    lines: Sequence[tuple[float, int]],
) -> None:
    """One panel; `shown` holds groups by row and column.

    `widths` are those of a cell and of its lane, in inches; `lines` cross columns at these heights.
    """
    cell, lane = widths
    middle = 0.5 - lane / cell / 2
    median = np.full(shape, np.nan)
    for slot, group in shown.items():
        if math.isfinite(group["median_epoch_to_tau"]):
            median[slot] = group["median_epoch_to_tau"]
    median = np.maximum(median, _ends(norm)[0])
    colours = matplotlib.colormaps[EPOCH_COLOURS](norm(median))
    ax.pcolormesh(np.ma.masked_invalid(median), norm=norm, cmap=EPOCH_COLOURS, edgecolors="white", linewidth=1)
    beyond = [slot for slot in shown if np.isnan(median[slot])]
    hatched = [_rectangle(j + 0.5, i + 0.5, 1, 1) for i, j in beyond]
    ax.add_collection(PolyCollection(hatched, facecolor=BEYOND_FACE, edgecolor=BEYOND_HATCH, hatch=HATCH, lw=0))
    plates, gaps = [], []
    for i, j in np.ndindex(shape):
        note, colour = (_note(shown[i, j]), DARK_TEXT) if (i, j) in shown else ("-", "#777777")
        if (i, j) in shown and (i, j) not in beyond and _luminance(colours[i, j]) < LIGHT_FACE:
            colour = LIGHT_TEXT
        style = {"ha": "center", "va": "center", "fontsize": SMALLEST_FONT, "color": colour, "parse_math": False}
        wide, high = (text_inches(note, SMALLEST_FONT) + 0.05) / cell, lines_inches(note, SMALLEST_FONT) / CELL_HEIGHT
        shift = _clear_of([line - i for line, column in lines if column == j and 0 <= line - i <= 1], high)
        ax.text(j + middle, i + 0.5 + (shift or 0.0), note, **style)
        plate = _rectangle(j + middle, i + 0.5 + (shift or 0.0), wide, high)
        if (i, j) in beyond:
            plates.append(plate)
        if shift is None and (i, j) in shown:
            gaps.append((plate, BEYOND_FACE if (i, j) in beyond else colours[i, j]))
    # Over the hatching, under the lines; and under the numbers alone.
    ax.add_collection(PolyCollection(plates, facecolor=BEYOND_FACE, lw=0, zorder=1.5))
    ax.add_collection(PolyCollection([p for p, _ in gaps], facecolor=[colour for _, colour in gaps], lw=0, zorder=2.5))
    ax.set(xlim=(0, shape[1]), ylim=(0, shape[0]))


def _clear_of(lines: Sequence[float], high: float) -> float | None:
    """How far up a text of this height moves to stand clear of lines across its cell, all in cells; None: they part for it.

    >>> _clear_of([], 0.4), _clear_of([0.9], 0.4), round(_clear_of([0.25], 0.4), 2), _clear_of([0.5], 0.4)
    (0.0, 0.0, 0.02, None)
    """
    reach = high / 2 + CLEAR / CELL_HEIGHT
    moves = [0.0, *(line - 0.5 + sign * reach for line in lines for sign in (-1, 1))]
    most = min(MOST_SHIFT / CELL_HEIGHT, 0.5 - high / 2)
    clear = [move for move in moves if abs(move) <= most and all(abs(line - 0.5 - move) >= reach - 1e-9 for line in lines)]
    return min(clear, key=abs, default=None)


def _border(ax: Axes, segments: Sequence[tuple[Point, Point]]) -> None:
    ax.add_collection(LineCollection(segments, colors="white", lw=3.6, capstyle="projecting"))
    ax.add_collection(LineCollection(segments, colors=LINE_COLOUR, lw=1.8, capstyle="projecting"))


def _ceiling_steps(over: Sequence[tuple[int, Marks]], rows: Sequence[float]) -> list[tuple[Point, Point]]:
    """A line at the ceiling of every column, joined from column to column; off the map it is not drawn."""
    top = float(len(rows))
    heights = {j: row_position(marks.ceiling, rows) for j, marks in over}
    segments: list[tuple[Point, Point]] = [((j, y), (j + 1, y)) for j, y in heights.items() if 0 < y < top]
    return segments + [((j + 1, y), (j + 1, heights[j + 1])) for j, y in heights.items() if heights.get(j + 1, y) != y]


def _draw_marks(ax: Axes, over: Sequence[tuple[int, Marks]], rows: Sequence[float], place: float) -> None:
    """N50 with its interval at this place of each column, arrows where that goes on beyond the map; dots where a fit is known
    to exist.
    """
    top = float(len(rows))

    def height(value: float) -> float:
        return 0.0 if not value > 0 else top if math.isinf(value) else row_position(value, rows)

    for j, marks in over:
        if marks.known != "nothing":
            x, low, high = j + place, height(marks.low), height(marks.high)
            for colour, width in (("white", 3.4), (DARK_TEXT, 1.3)):
                ax.plot([x, x], [low, high], color=colour, lw=width, solid_capstyle="butt", clip_on=False, zorder=3.5)
            signs = [("D", height(marks.n50))] if marks.known == "value" else []
            signs += [("^", top)] if high >= top else []
            signs += [("v", 0.0)] if low <= 0 else []
            for sign, y in signs:
                ax.plot(x, y, sign, ms=4.6, mfc="white", mec=DARK_TEXT, mew=1.1, clip_on=False, zorder=4)
            for y in (low, high):
                if 0 < y < top:
                    ax.plot(x, y, "_", ms=4.6, mec=DARK_TEXT, mew=1.1, zorder=3.6)
        if rows[0] <= marks.exists <= rows[-1]:
            ax.plot([j, j + 1], [height(marks.exists)] * 2, color="white", lw=2.6, solid_capstyle="butt")
            ax.plot([j, j + 1], [height(marks.exists)] * 2, color=EXISTS_COLOUR, lw=1.6, ls=(0, (1, 1.2)))


def _note(group: Mapping) -> str:
    """What a map's cell says: the median epoch or the budget it exceeds, and the seeds that memorized where they disagree."""
    if group["n_seeds"] == 0:
        return "failed" if group["n_failed"] else "pending"
    if math.isfinite(group["median_epoch_to_tau"]):
        note = f"{group['median_epoch_to_tau']:.0f}"
    elif group["n_diverged"] == group["n_seeds"]:
        note = "diverged"
    elif group["n_early_stopped"] > group["n_censored"]:
        note = "stopped"
    else:
        note = f">{group['max_epochs']}"
    mixed = 0 < group["n_memorized"] < group["n_seeds"]
    return f"{note}\n{group['n_memorized']}/{group['n_seeds']}" if mixed else note


def _dimension_border(shown: Mapping[Slot, Mapping], shape: tuple[int, int]) -> list[tuple[Point, Point]]:
    """The border between neighbours of which one has its n_samples within the functional dimension, and one has not."""
    within = np.full(shape, np.nan)
    for slot, group in shown.items():
        within[slot] = group["n_samples"] <= group["functional_dim"]
    # The difference to a missing neighbour is NaN, and no border.
    up, right = (np.argwhere(np.abs(np.diff(within, axis=axis)) == 1).tolist() for axis in (0, 1))
    segments: list[tuple[Point, Point]] = [((j, i + 1), (j + 1, i + 1)) for i, j in up]
    return segments + [((j + 1, i), (j + 1, i + 1)) for i, j in right]


def _colour_bar(figure: Figure, box: tuple[float, float, float, float], norm: LogNorm, ticks: int) -> None:
    ax = figure.add_axes(box)
    bar = figure.colorbar(ScalarMappable(norm, EPOCH_COLOURS), cax=ax)
    chosen = plain_ticks(*_ends(norm), min(max(ticks, 2), MOST_BAR_TICKS))
    whole = [tick for tick in chosen if tick.is_integer()]
    bar.set_ticks(whole, labels=[f"{tick:.0f}" for tick in whole], fontsize=SMALLEST_FONT)
    ax.minorticks_off()
    bar.set_label("median epoch")
    bar.outline.set_visible(False)


def _key_lines(
    groups: pd.DataFrame,
    texts: set[str],
    number: str,
    inches: float,
    marks: Mapping[tuple[Any, Any], Marks],
    *,
    bordered: bool,
) -> list[list[tuple[str, str]]]:
    """What the signs of these maps mean, (sign, meaning) in lines no wider than this."""
    border = dimension_name(groups)
    entries = [("number", number)]
    if not np.isfinite(groups["median_epoch_to_tau"]).all():
        entries.append(("hatched", "fewer than half of the seeds got there"))
    if fraction := next((text for text in sorted(texts) if "/" in text), ""):
        entries.append((fraction, "seeds that did, where they disagree"))
    if any(text.startswith("stopped") for text in texts):
        entries.append(("stopped", "by early stopping"))
    least, most = groups["n_samples"].min(), groups["n_samples"].max()
    if bordered:
        bounds = "" if (groups["loss"] != "mse").any() else "no exact fit beyond "
        entries.append(("border", f"{bounds}N = {border}"))
    if any(mark.known != "nothing" for mark in marks.values()):
        entries.append(("n50", "N50 with its 95 % interval; an arrow: it goes on beyond the map"))
    if any(least <= mark.exists <= most for mark in marks.values()):
        entries.append(("exists", "up to here a fit is known to exist"))
    lines: list[list[tuple[str, str]]] = [[]]
    for entry in entries:
        if lines[-1] and sum(map(_key_inches, [*lines[-1], entry])) > inches + KEY_GAP:
            lines.append([])
        lines[-1].append(entry)
    return lines


def _key_inches(entry: tuple[str, str]) -> float:
    sign, meaning = entry
    drawn = SWATCH[0] if sign in ("number", "hatched", "border", "n50", "exists") else text_inches(sign, SMALLEST_FONT)
    return drawn + AIR / 2 + text_inches(meaning, SMALLEST_FONT) + KEY_GAP


def _draw_key(sheet: Axes, line: list[tuple[str, str]], y: float) -> None:
    x, (w, h) = MARGIN, SWATCH
    text = {"fontsize": SMALLEST_FONT, "va": "center", "parse_math": False}
    for entry in line:
        sign, meaning = entry
        if sign == "number":
            steps = matplotlib.colormaps[EPOCH_COLOURS](np.linspace(0, 1, 6))
            for k, colour in enumerate(steps):
                sheet.add_patch(Rectangle((x + k * w / 6, y - h / 2), w / 6, h, facecolor=colour, lw=0))
        elif sign == "hatched":
            style = {"facecolor": BEYOND_FACE, "edgecolor": BEYOND_HATCH, "hatch": HATCH, "lw": 0}
            sheet.add_patch(Rectangle((x, y - h / 2), w, h, **style))
        elif sign == "border":
            sheet.plot([x, x + w], [y, y], color=LINE_COLOUR, lw=1.8)
        elif sign == "n50":
            sheet.plot([x + w / 2] * 2, [y - h / 2, y + h / 2], color=DARK_TEXT, lw=1.3)
            sheet.plot(x + w / 2, y, "D", ms=4.6, mfc="white", mec=DARK_TEXT, mew=1.1)
        elif sign == "exists":
            sheet.plot([x, x + w], [y, y], color=EXISTS_COLOUR, lw=1.6, ls=(0, (1, 1.2)))
        else:
            sheet.text(x, y, sign, **text)
        end = x + _key_inches(entry)
        sheet.text(end - KEY_GAP - text_inches(meaning, SMALLEST_FONT), y, meaning, **text)
        x = end


def _ends(norm: LogNorm) -> tuple[float, float]:
    """The least and the most of a colour scale."""
    return float(norm.inverse(0)), float(norm.inverse(1))


def _rectangle(x: float, y: float, w: float, h: float) -> list[Point]:
    """The corners of a rectangle around a centre."""
    return [(x - w / 2, y - h / 2), (x + w / 2, y - h / 2), (x + w / 2, y + h / 2), (x - w / 2, y + h / 2)]


def _luminance(colour: np.ndarray) -> float:
    """Relative luminance of an sRGB colour, 0 black to 1 white (WCAG 2.2)."""
    linear = np.where(colour[:3] <= 0.04045, colour[:3] / 12.92, ((colour[:3] + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
