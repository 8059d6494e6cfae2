"""Groups of seeds -> maps: the median epoch to tau by two axes, a panel for each value of a third. Laid out in inches."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

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
from bench.report.map_cells import (
    Marks,
    Point,
    Segment,
    Slot,
    axis_name,
    between,
    ceiling,
    epoch_ends,
    note,
    row_position,
    spell_tick,
)
from bench.report.palette import DARK, LIGHT, luminance
from bench.report.style import (
    LINE_COLOUR,
    QUIET_COLOUR,
    SMALLEST_FONT,
    TITLE_FONT,
    lines_inches,
    plain_ticks,
    sheet,
    text_inches,
    wrapped,
)

# Perceptually uniform and safe for colour-blind readers; reversed, so that "memorized at once" is the light end.
EPOCH_COLOURS = "viridis_r"
BEYOND_FACE, BEYOND_HATCH, HATCH = "#ececec", "#a8a8a8", "////"
INK = "#1d1f23"
# The relative luminance at which black and white text have the same contrast, 4.6 (WCAG 2.2, success criterion 1.4.3).
LIGHT_FACE = 0.18

# Inches. A cell holds two lines of the smallest text; its width follows from its longest note and this much air.
LEAST_CELL, CELL_HEIGHT, AIR = 0.46, 0.42, 0.1
# Of a cell on paper where full ones have no room: one line of the smallest text.
BRIEF_AIR, BRIEF_HEIGHT, BRIEF_BAR = 0.04, 0.18, 0.1
MARGIN, GAP, PANEL_TITLE, TICKS, AXIS_NAME = 0.08, 0.22, 0.27, 0.27, 0.2
BAR_GAP, BAR_WIDTH, BAR_NAME, BAR_TICK = 0.22, 0.16, 0.32, 0.24
KEY_LINE, SWATCH, KEY_GAP = 0.21, (0.24, 0.13), 0.25
# Room for the title.
LEAST_WIDTH = 6.4
MOST_BAR_TICKS = 6
# Inches that a column keeps free for its N50, at its right, beside the numbers.
LANE = 0.055
EXISTS_COLOUR = "#1f4e9c"
# What signs are called on paper, where the caption explains them.
SHORT = {
    "number": "median epoch",
    "hatched": "fewer than half",
    "stopped": "early",
    "border": "ceiling",
    "n50": "N50 (95 %)",
    "exists": "a fit exists",
}
# Points, and inches between a map and its ticks.
TICK_FONT, TICK_PAD = 8.5, 0.05


def epoch_norm(groups: pd.DataFrame) -> LogNorm:
    """The colour scale of `bench.report.map_cells.epoch_ends` as matplotlib has it."""
    return LogNorm(*epoch_ends(groups))


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
    counted: bool = False,
    border: str | None = None,
) -> Figure:
    """Median epoch_to_tau as one heatmap for each value of `panels`.

    A cell that most seeds did not memorize is hatched; where the seeds disagree, it says how many memorized. The red line
    separates sample counts that a generic network can fit exactly from those it cannot, and runs between cells. In a panel's
    data coordinates column j is centred at j + 0.5, and a value of the rows stands at `row_position`.

    Args:
        groups: one row for each combination, as `bench.statistics.survival.groups` returns them.
        rows: the field that goes up; `columns`, `panels`: the fields across, and of the panels.
        norm: the colour scale, in epochs.
        title: the figure's first line.
        number: what the number in a cell is, for the key.
        marks: what to draw over a column of a panel, by (panel, column); for rows of n_samples.
        counted: each cell says how many seeds memorized, also where they agree.
        border: what the sample count at the red line is called, if not as for the cells of a grid.
    """
    values = {name: _in_order(groups[name]) for name in (rows, columns, panels)}
    across_ticks, up_ticks = ([spell_tick(value) for value in values[name]] for name in (columns, rows))
    shown: dict[Any, dict[Slot, Mapping]] = {panel: {} for panel in values[panels]}
    for group in groups.to_dict("records"):
        shown[group[panels]][(values[rows].index(group[rows]), values[columns].index(group[columns]))] = group
    lane = LANE if any(mark.known != "nothing" for mark in marks.values()) else 0.0
    left = MARGIN + AXIS_NAME + AIR + max(text_inches(tick, TICK_FONT) for tick in up_ticks)
    bar_gap, bar_width = BAR_GAP, BAR_WIDTH
    right = bar_gap + bar_width + BAR_NAME + text_inches(f"{_ends(norm)[1]:.0f}", SMALLEST_FONT) + MARGIN
    for brief in (False, True):
        said = {
            panel: {slot: _said(group, brief=brief, counted=counted) for slot, group in own.items()}
            for panel, own in shown.items()
        }
        texts = {line for own in said.values() for text in own.values() for line in text.split("\n")}
        widest = max(text_inches(text, SMALLEST_FONT) for text in (*texts, *across_ticks))
        cell = max(LEAST_CELL, AIR + lane + widest)
        if brief:
            room = (sheet().inches - left - right) / len(across_ticks)
            cell = max(BRIEF_AIR + lane + widest, min(cell, room))
        cell_height = BRIEF_HEIGHT if brief else CELL_HEIGHT
        wide, high = cell * len(across_ticks), cell_height * len(up_ticks)
        down = math.ceil(len(shown) / max(1, int((sheet().inches - left - right + GAP) / (wide + GAP))))
        across = math.ceil(len(shown) / down)
        if not sheet().paper or (left + wide + right <= sheet().inches and down <= 2):
            break
        # The key says what the colours are.
        bar_gap = bar_width = BRIEF_BAR
        right = bar_gap + bar_width + AIR + text_inches(f"{_ends(norm)[1]:.0f}", SMALLEST_FONT) + MARGIN
    bar_left = left + across * (wide + GAP) - GAP + bar_gap
    needed = bar_left - bar_gap + right
    width = max(sheet().inches if sheet().paper else LEAST_WIDTH, needed)
    heading = "" if sheet().paper else wrapped(title, width - 2 * MARGIN, TITLE_FONT)
    over = {
        panel: [(j, marks[panel, column]) for j, column in enumerate(values[columns]) if (panel, column) in marks]
        for panel in shown
    }
    shape = len(up_ticks), len(across_ticks)
    borders = {panel: ceiling(own, shape) for panel, own in shown.items()}
    entries = key_entries(
        groups, texts, number, marks, bordered=any(borders.values()), counted=counted, border=border or dimension_name(groups)
    )
    key = _key_lines(entries, width - 2 * MARGIN)
    key_top = MARGIN + (lines_inches(heading, TITLE_FONT) if heading else 0)
    top = key_top + KEY_LINE * len(key) + AIR
    height = top + down * (PANEL_TITLE + high + TICKS) + AXIS_NAME + MARGIN
    figure = Figure(figsize=(width, height))

    def box(x: float, y: float, w: float, h: float) -> tuple[float, float, float, float]:
        """A box in inches from the top left corner, as matplotlib places it."""
        return x / width, 1 - (y + h) / height, w / width, h / height

    ground = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0), zorder=-1)
    ground.axis("off")
    for k, (panel, own) in enumerate(shown.items()):
        x, y = left + (k % across) * (wide + GAP), top + (k // across) * (PANEL_TITLE + high + TICKS) + PANEL_TITLE
        ax = figure.add_axes(box(x, y, wide, high))
        _map(ax, own, said[panel], shape, (cell, lane, cell_height), norm)
        _border(ax, borders[panel])
        _draw_marks(ax, over[panel], values[rows], 1 - (lane + AIR / 2) / 2 / cell)
        ax.set_title(f"{axis_name(panels)} {spell_tick(panel)}".lstrip(), y=1.0, pad=5)
        # An axis of matplotlib takes several times as long as the texts that are all it would show here.
        ax.set_axis_off()
        below: dict[str, Any] = {"ha": "center", "va": "top"}
        for j, tick in enumerate(across_ticks):
            ground.text(x + (j + 0.5) * cell, y + high + TICK_PAD, tick, fontsize=TICK_FONT, **below)
        if k + across >= len(shown):
            ground.text(x + wide / 2, y + high + TICKS, axis_name(columns), **below)
        if k % across == 0:
            for i, tick in enumerate(up_ticks):
                place = (x - TICK_PAD, y + high - (i + 0.5) * cell_height)
                ground.text(*place, tick, fontsize=TICK_FONT, ha="right", va="center", parse_math=False)
            ground.text(MARGIN + AXIS_NAME / 2, y + high / 2, axis_name(rows), rotation=90, ha="center", va="center")
    _colour_bar(figure, box(bar_left, top + PANEL_TITLE, bar_width, high), norm, ticks=round(high / BAR_TICK), named=not brief)
    ground.text(MARGIN, MARGIN, heading, fontsize=TITLE_FONT, va="top", parse_math=False)
    for number_of_line, line in enumerate(key):
        _draw_key(ground, line, key_top + (number_of_line + 0.5) * KEY_LINE)
    return figure


def _in_order(values: pd.Series) -> list[Any]:
    """The values of an axis: numbers from the least on, texts as they come."""
    return sorted(values.unique().tolist()) if pd.api.types.is_numeric_dtype(values) else list(dict.fromkeys(values))


def _said(group: Mapping[Any, Any], *, brief: bool, counted: bool) -> str:
    """What stands in a cell; in brief one line: the seeds that memorized where they disagree, else the median epoch."""
    text = note(group, counted=counted)
    return text.rpartition("\n")[2] if brief else text


def _map(
    ax: Axes,
    shown: Mapping[Slot, Mapping],
    said: Mapping[Slot, str],
    shape: tuple[int, int],
    sizes: tuple[float, float, float],
    norm: LogNorm,
) -> None:
    """One panel; `shown` holds groups by row and column, `said` what stands in their cells; `sizes`: the widths of a cell and
    of its lane, and the height of a cell, in inches.
    """
    cell, lane, cell_height = sizes
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
    plates = []
    for i, j in np.ndindex(shape):
        text, colour = (said[i, j], DARK) if (i, j) in shown else ("-", QUIET_COLOUR)
        if (i, j) in shown and (i, j) not in beyond and luminance(colours[i, j][:3].tolist()) < LIGHT_FACE:
            colour = LIGHT
        if not text:
            continue
        style = {"ha": "center", "va": "center", "fontsize": SMALLEST_FONT, "color": colour, "parse_math": False}
        wide, high = (text_inches(text, SMALLEST_FONT) + 0.05) / cell, lines_inches(text, SMALLEST_FONT) / cell_height
        ax.text(j + middle, i + 0.5, text, **style)
        if (i, j) in beyond:
            plates.append(_rectangle(j + middle, i + 0.5, wide, high))
    # Over the hatching, under the lines.
    ax.add_collection(PolyCollection(plates, facecolor=BEYOND_FACE, lw=0, zorder=1.5))
    ax.set(xlim=(0, shape[1]), ylim=(0, shape[0]))


def _border(ax: Axes, segments: Sequence[Segment]) -> None:
    ax.add_collection(LineCollection(segments, colors="white", lw=3.6, capstyle="projecting"))
    ax.add_collection(LineCollection(segments, colors=LINE_COLOUR, lw=1.8, capstyle="projecting"))


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
            for colour, width in (("white", 3.4), (INK, 1.3)):
                ax.plot([x, x], [low, high], color=colour, lw=width, solid_capstyle="butt", clip_on=False, zorder=3.5)
            signs = [("D", height(marks.n50))] if marks.known == "value" else []
            signs += [("^", top)] if high >= top else []
            signs += [("v", 0.0)] if low <= 0 else []
            for sign, y in signs:
                ax.plot(x, y, sign, ms=4.6, mfc="white", mec=INK, mew=1.1, clip_on=False, zorder=4)
            for y in (low, high):
                if 0 < y < top:
                    ax.plot(x, y, "_", ms=4.6, mec=INK, mew=1.1, zorder=3.6)
        if rows[0] <= marks.exists <= rows[-1]:
            border = [between(marks.exists, rows)] * 2
            ax.plot([j, j + 1], border, color="white", lw=2.6, solid_capstyle="butt")
            ax.plot([j, j + 1], border, color=EXISTS_COLOUR, lw=1.6, ls=(0, (1, 1.2)))


def _colour_bar(figure: Figure, box: tuple[float, float, float, float], norm: LogNorm, ticks: int, *, named: bool) -> None:
    ax = figure.add_axes(box)
    bar = figure.colorbar(ScalarMappable(norm, EPOCH_COLOURS), cax=ax)
    chosen = plain_ticks(*_ends(norm), min(max(ticks, 2), MOST_BAR_TICKS))
    whole = [tick for tick in chosen if tick.is_integer()]
    bar.set_ticks(whole, labels=[f"{tick:.0f}" for tick in whole], fontsize=SMALLEST_FONT)
    ax.minorticks_off()
    if named:
        bar.set_label("median epoch")
    bar.outline.set_visible(False)


def key_entries(
    groups: pd.DataFrame,
    texts: Collection[str],
    number: str,
    marks: Mapping[tuple[Any, Any], Marks],
    *,
    bordered: bool,
    counted: bool = False,
    border: str,
) -> list[tuple[str, str]]:
    """What the signs of a map mean, (sign, meaning); `texts` stand in its cells, and `number` is what their numbers are.

    `border`: what the sample count at the red line is called.
    """
    entries = [("number", number)]
    if not np.isfinite(groups["median_epoch_to_tau"]).all():
        budgets = [f"{value:g}" for value in sorted(set(groups["max_epochs"]))]
        within = " or ".join(budgets[:: len(budgets) - 1 or 1])
        entries.append(("hatched", f"fewer than half of the seeds got there in {within} epochs"))
    if fraction := next((text for text in sorted(texts) if "/" in text), ""):
        entries.append((fraction, f"seeds that did{'' if counted else ', where they disagree'}"))
    if any(text.startswith("stopped") for text in texts):
        entries.append(("stopped", "by early stopping"))
    least, most = groups["n_samples"].min(), groups["n_samples"].max()
    if bordered:
        bounds = "no exact fit in general above " if groups["loss"].eq("mse").all() else ""
        entries.append(("border", f"{bounds}N = {border}"))
    if any(mark.known != "nothing" for mark in marks.values()):
        entries.append(("n50", "N50 with its 95 % interval; an arrow: it goes on beyond the map"))
    if any(least <= mark.exists <= most for mark in marks.values()):
        entries.append(("exists", "up to here a fit is known to exist"))
    return entries


def _key_lines(entries: list[tuple[str, str]], inches: float) -> list[list[tuple[str, str]]]:
    """What the signs of these maps mean, (sign, meaning) in lines no wider than this."""
    if sheet().paper:
        entries = [(sign, SHORT.get(sign, "seeds that did")) for sign, _ in entries]
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
            sheet.plot([x + w / 2] * 2, [y - h / 2, y + h / 2], color=INK, lw=1.3)
            sheet.plot(x + w / 2, y, "D", ms=4.6, mfc="white", mec=INK, mew=1.1)
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
