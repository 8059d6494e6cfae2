"""Maps -> inline SVG, a drawing for each panel; all maps of one kind have one geometry, so that nothing moves between them."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from bench.report.map_cells import Marks, Segment, axis_name, between, ceiling, row_position, spell_tick
from bench.report.map_layers import HATCHED, OWN, Map
from bench.report.palette import DELAY_STEPS, DELAYS, EPOCHS, text_on
from bench.report.words import TIMES

# CSS pixels. No text is smaller than FONT; a character is at most EM of it wide in the fonts of screens.
FONT, EM = 11, 0.62
LEAST_CELL, LINE, AIR = 42, 12, 3
TITLE, TICKS, NAME, LANE, PAD = 20, 18, 17, 9, 6
MOST_TICKS = 7
# Maps share a geometry while it has at most so many times the rows and columns of the largest.
MOST_SPREAD = 1.5
DIAMOND = "m0 -4l4 4l-4 4l-4 -4z"


class Geometry(NamedTuple):
    """Where everything of a panel stands, in CSS pixels: values of rows and columns, the size of a cell, room beside them."""

    rows: list[Any]
    columns: list[Any]
    names: tuple[str, str]
    cell: tuple[int, int]
    lane: int
    left: int

    @property
    def size(self) -> tuple[int, int]:
        wide, high = self.cell
        return self.left + wide * len(self.columns) + PAD, TITLE + high * len(self.rows) + TICKS + NAME

    def corner(self, row: Any, column: Any) -> tuple[int, int]:
        """The upper left corner of a cell."""
        i, j = self.rows.index(row), self.columns.index(column)
        return self.left + j * self.cell[0], TITLE + (len(self.rows) - 1 - i) * self.cell[1]

    def point(self, x: float, y: float) -> tuple[float, float]:
        """A point that is given in columns from the left and rows from below."""
        return round(self.left + x * self.cell[0], 1), round(TITLE + (len(self.rows) - y) * self.cell[1], 1)


def geometries(maps: Sequence[Map]) -> list[Geometry]:
    """The geometry of each map: the same for all maps with the same fields on their axes, where these hold about the same
    values; protocols that were trained on values of their own would leave each other's maps empty.
    """
    kinds = [(own.sheet.rows, own.sheet.columns, own.sheet.panels) for own in maps]
    alike = {kind: [own for own, its in zip(maps, kinds, strict=True) if its == kind] for kind in kinds}
    shared = {kind: _geometry(own) for kind, own in alike.items() if _overlap(own)}
    return [shared.get(kind) or _geometry([own]) for own, kind in zip(maps, kinds, strict=True)]


def _overlap(maps: Sequence[Map]) -> bool:
    """Whether all the values of an axis together are not many more than those of the map with the most."""
    for name in (maps[0].sheet.rows, maps[0].sheet.columns):
        values = [set(own.sheet.groups[name]) for own in maps]
        if len(set().union(*values)) > MOST_SPREAD * max(map(len, values)):
            return False
    return True


def _geometry(maps: Sequence[Map]) -> Geometry:
    sheet = maps[0].sheet
    rows, columns = (
        sorted({value for own in maps for value in own.sheet.groups[name]}) for name in (sheet.rows, sheet.columns)
    )
    notes = {spot.note for own in maps for layer in own.layers for spot in layer.spots.values()}
    lane = LANE if any(mark.known != "nothing" for own in maps for mark in own.marks.values()) else 0
    texts = [line for note in notes for line in note.split("\n")] + [spell_tick(value) for value in columns]
    lines = max(note.count("\n") + 1 for note in notes)
    cell = max(LEAST_CELL, _wide(texts) + 2 * AIR + lane), lines * LINE + AIR
    left = NAME + _wide([spell_tick(value) for value in rows]) + PAD
    return Geometry(rows, columns, (sheet.rows, sheet.columns), cell, lane, left)


def panels(own: Map, geometry: Geometry) -> list[str]:
    """The panels of a map as SVG, the layer of the cells' own threshold visible."""
    values = sorted(own.sheet.groups[own.sheet.panels].unique().tolist())
    return [_panel(own, geometry, value) for value in values]


def _panel(own: Map, geometry: Geometry, panel: Any) -> str:
    (wide, high), sheet = geometry.size, own.sheet
    title = f"{axis_name(sheet.panels)} {spell_tick(panel)}"
    parts = [
        f'<svg class="panel" width="{wide}" height="{high}" viewBox="0 0 {wide} {high}" role="group"'
        f' aria-label="{_escaped(title)}">',
        *_frame(geometry, title),
    ]
    for layer in own.layers:
        hidden = "" if layer.key == OWN else ' hidden=""'
        parts.append(f'<g class="at{" own" * (layer.key == OWN)}" data-at="{_escaped(layer.key)}"{hidden}>')
        spots = {(row, column): spot for (of, row, column), spot in layer.spots.items() if of == panel}
        parts += [_spot(geometry, row, column, spots[row, column]) for row, column in sorted(spots)]
        parts.append("</g>")
    groups = [group for group in sheet.groups.to_dict("records") if group[sheet.panels] == panel]
    shown = {(geometry.rows.index(g[sheet.rows]), geometry.columns.index(g[sheet.columns])): g for g in groups}
    over = [(j, own.marks[panel, column]) for j, column in enumerate(geometry.columns) if (panel, column) in own.marks]
    exists = [
        ((j, between(mark.exists, geometry.rows)), (j + 1, between(mark.exists, geometry.rows)))
        for j, mark in over
        if geometry.rows[0] <= mark.exists <= geometry.rows[-1]
    ]
    parts += _line(geometry, exists, "exists")
    parts += _line(geometry, ceiling(shown, (len(geometry.rows), len(geometry.columns))), "ceiling")
    known = [mark for j, one in over for mark in _n50(geometry, j, one)]
    parts += ['<g class="at own n50" data-at="own">', *known, "</g>"] if known else []
    return "".join([*parts, "</svg>"])


def _frame(geometry: Geometry, title: str) -> list[str]:
    """Title, ticks and names of the axes."""
    (wide, high), left = geometry.cell, geometry.left
    middle, foot = left + wide * len(geometry.columns) / 2, TITLE + high * len(geometry.rows)
    texts = [f'<text class="head" x="{middle:g}" y="{TITLE - 7}">{_escaped(title)}</text>']
    for row in geometry.rows:
        y = geometry.corner(row, geometry.columns[0])[1] + high / 2 + FONT / 3
        texts.append(f'<text class="row" x="{left - PAD}" y="{y:g}">{_escaped(spell_tick(row))}</text>')
    for column in geometry.columns:
        x = geometry.corner(geometry.rows[0], column)[0] + wide / 2
        texts.append(f'<text x="{x:g}" y="{foot + TICKS - PAD + 1}">{_escaped(spell_tick(column))}</text>')
    rows, columns = (_escaped(axis_name(name)) for name in geometry.names)
    y = TITLE + high * len(geometry.rows) / 2
    return [
        *texts,
        f'<text x="{middle:g}" y="{foot + TICKS + NAME - PAD}">{columns}</text>',
        f'<text transform="translate({FONT - 1} {y:g}) rotate(-90)">{rows}</text>',
    ]


def _spot(geometry: Geometry, row: Any, column: Any, spot: Any) -> str:
    (x, y), (wide, high) = geometry.corner(row, column), geometry.cell
    place = f"{geometry.rows.index(row)},{geometry.columns.index(column)}"
    lines = spot.note.split("\n") if spot.note else []
    first = high / 2 + FONT / 3 + 0.5 - (len(lines) - 1) * LINE / 2
    texts = "".join(
        f'<text x="{(wide - geometry.lane) / 2:g}" y="{first + k * LINE:g}">{_escaped(line)}</text>'
        for k, line in enumerate(lines)
    )
    return (
        f'<g class="c {spot.shade}" data-g="{spot.group}" data-p="{place}" transform="translate({x} {y})">'
        f'<title>{_escaped(spot.told)}</title><rect width="{wide}" height="{high}"/>{texts}</g>'
    )


def _line(geometry: Geometry, segments: Iterable[Segment], name: str) -> list[str]:
    """A line with a halo, so that it is seen on every colour."""
    moves = []
    for start, end in segments:
        (x, y), (to_x, to_y) = geometry.point(*start), geometry.point(*end)
        moves.append(f"M{x:g} {y:g}L{to_x:g} {to_y:g}")
    path = "".join(moves)
    return [f'<path class="halo" d="{path}"/><path class="{name}" d="{path}"/>'] if path else []


def _n50(geometry: Geometry, column: int, mark: Marks) -> list[str]:
    """N50 with its interval in the lane of a column; an arrow where that goes on beyond the map."""
    if mark.known == "nothing":
        return []
    top = float(len(geometry.rows))

    def height(value: float) -> float:
        return 0.0 if not value > 0 else top if math.isinf(value) else row_position(value, geometry.rows)

    low, high = height(mark.low), height(mark.high)
    x = geometry.point(column + 1, 0)[0] - geometry.lane / 2 - 1
    ends = [geometry.point(0, end)[1] for end in (low, high)]
    stroke = f"M{x:g} {ends[0]:g}V{ends[1]:g}"
    caps = "".join(f"M{x - 3:g} {y:g}h6" for y, end in zip(ends, (low, high), strict=True) if 0 < end < top)
    drawn = [f'<path class="halo" d="{stroke}"/><path class="bar" d="{stroke}{caps}"/>']
    if mark.known == "value":
        drawn.append(_sign(x, geometry.point(0, height(mark.n50))[1], DIAMOND))
    if high >= top:
        drawn.append(_sign(x, ends[1], "m0 -5l4 7h-8z"))
    if low <= 0:
        drawn.append(_sign(x, ends[0], "m0 5l4 -7h-8z"))
    return drawn


def _sign(x: float, y: float, shape: str) -> str:
    return f'<path class="sign" d="M{x:g} {y:g}{shape}"/>'


def key(maps: Sequence[Map], ends: tuple[float, float], ceiling_name: str) -> list[tuple[str, str]]:
    """What the signs of these maps mean: (SVG, meaning). `ceiling_name`: what the red line is called."""
    shades = {spot.shade for own in maps for layer in own.layers for spot in layer.spots.values()}
    notes = {spot.note for own in maps for spot in own.layers[0].spots.values()}
    budgets = sorted({int(value) for own in maps for value in own.sheet.groups["max_epochs"]})
    entries = [(_stroke("ceiling"), ceiling_name)]
    if any(shade.startswith("q") for shade in shades):
        entries.append((_epoch_scale(ends), "epoch by which half of the seeds had got there"))
    if HATCHED in shades:
        budget = f"{budgets[0]}" if len(budgets) == 1 else f"{budgets[0]} to {budgets[-1]}"
        swatch = '<svg width="28" height="14"><g class="h"><rect width="28" height="14"/></g></svg>'
        entries.append((swatch, f"fewer than half did within {budget} epochs"))
    if fraction := next((line for note in sorted(notes) for line in note.split("\n") if "/" in line), ""):
        entries.append((f"<strong>{_escaped(fraction)}</strong>", "seeds that memorized, where they disagree"))
    every = [(own.sheet.groups["n_samples"], mark) for own in maps for mark in own.marks.values()]
    if any(mark.known != "nothing" for _, mark in every):
        sign = f'<path class="bar" d="M6 0V16"/>{_sign(6, 8, DIAMOND)}'
        sign = f'<svg width="12" height="16">{sign}</svg>'
        entries.append((sign, "N50, the sample count that half of the seeds memorize, with its 95 % interval"))
    if any(counts.min() <= mark.exists <= counts.max() for counts, mark in every):
        entries.append((_stroke("exists"), "up to here a fit is known to exist"))
    return entries


def delay_scale() -> str:
    """The colours of times the epochs, with the steps between them."""
    wide = 34
    bars = "".join(
        f'<g class="d{k}" transform="translate({k * wide} 0)"><rect width="{wide}" height="12"/></g>'
        for k in range(len(DELAYS))
    )
    ticks = "".join(f'<text x="{(k + 1) * wide}" y="25">{TIMES}{step:.2g}</text>' for k, step in enumerate(DELAY_STEPS))
    return f'<svg class="scale" width="{wide * len(DELAYS)}" height="28">{bars}{ticks}</svg>'


def _epoch_scale(ends: tuple[float, float]) -> str:
    low, high = ends
    step, end = 6, 6 * len(EPOCHS)
    bars = "".join(
        f'<g class="q{k}" transform="translate({k * step} 0)"><rect width="{step}" height="12"/></g>'
        for k in range(len(EPOCHS))
    )
    texts, right = [], -math.inf
    for tick in _ticks(low, high):
        x = end * math.log(tick / low) / math.log(high / low)
        half = _wide([f"{tick:g}"]) / 2
        if max(right + 2, 0) < x - half and x + half <= end:
            texts.append(f'<text x="{x:.0f}" y="25">{tick:g}</text>')
            right = x + half
    return f'<svg class="scale" width="{end}" height="28">{bars}{"".join(texts)}</svg>'


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers of a log scale between two.

    >>> _ticks(28, 5000), _ticks(1, 1e6)
    ([30, 100, 300, 1000, 3000], [1, 10, 100, 1000, 10000, 100000, 1000000])
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [m * 10**decade for decade in decades if decade >= 0 for m in (1, 3) if low <= m * 10**decade <= high]
    return ticks if len(ticks) <= MOST_TICKS else [tick for tick in ticks if str(tick)[0] == "1"]


def _stroke(name: str) -> str:
    return f'<svg width="28" height="8"><path class="halo" d="M0 4H28"/><path class="{name}" d="M0 4H28"/></svg>'


def style() -> str:
    """The colours of cells and of the text on them, for the style sheet of a page."""
    shades = {f"q{k}": colour for k, colour in enumerate(EPOCHS)} | {f"d{k}": colour for k, colour in enumerate(DELAYS)}
    return "".join(f".{name} rect{{fill:{face}}}.{name} text{{fill:{text_on(face)}}}" for name, face in shades.items())


def _wide(texts: Iterable[str]) -> int:
    return math.ceil(max((len(text) for text in texts), default=0) * EM * FONT)


def _escaped(text: str) -> str:
    return html.escape(text)
