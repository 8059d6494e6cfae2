"""The figures of a run for a paper: PDF and SVG as wide as a column and as a page, without titles, captions beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

from bench.report.pictures import drawings
from bench.report.style import SMALLEST_FONT, on_paper, save
from bench.statistics.tables import Tables, make
from bench.store.folder import held_for_report
from bench.store.parts import Store

# Inches of a column and of a page of two columns, as journals have them; points of the smallest text there.
WIDTHS = (3.25, 6.75)
LEAST_POINTS = 7
# Inches of a page's text: a figure that is higher has no room there.
MOST_HEIGHT = 9.25

# The folder within that of the figures.
FOLDER = "paper"

# TrueType fonts are embedded, and text stays text (PDF Reference, section 5.8; Type 3 is what publishers refuse).
FONTS: dict[Any, Any] = {"pdf.fonttype": 42, "svg.fonttype": "none"}


def paper(run_dir: str | Path) -> Path:
    """Write the figures of a run folder for a paper, and print which have no room.

    Returns:
        The folder that they are in.

    Raises:
        FileNotFoundError: the folder holds no run.
    """
    store = Store(run_dir)
    with held_for_report(store.path):
        _, left_out = write_paper(make(store), store.path / "figures")
    for sentence in left_out:
        print(f"* {sentence}")
    return store.path / "figures" / FOLDER


def write_paper(tables: Tables, figures: Path, widths: Sequence[float] = WIDTHS) -> tuple[list[Path], list[str]]:
    """Write each figure of a run for a paper into a folder within that of its figures.

    Args:
        tables: of the run.
        figures: the folder of its figures.
        widths: of the figures, in inches.

    Returns:
        The files, and a sentence for each figure that has no room at a width: its text would be smaller than LEAST_POINTS.
    """
    folder, files, left_out = figures / FOLDER, [], []
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.iterdir():
        stale.unlink()
    # What is drawn with the page's font and made smaller as a whole has the text that a paper wants.
    scale = LEAST_POINTS / SMALLEST_FONT
    for width in widths:
        with on_paper(width / scale), matplotlib.rc_context(FONTS):
            for drawing in drawings(tables):
                picture = drawing()
                assert picture.figure is not None
                wide, high = scale * picture.figure.get_size_inches()
                if wide > width + 1e-6 or high > MOST_HEIGHT:
                    left_out.append(
                        f"{picture.name} has no room in {width:g} by {MOST_HEIGHT:g} inches at {LEAST_POINTS} points."
                    )
                    continue
                shrink(picture.figure, scale)
                paths = [folder / f"{picture.name}_{width:g}in.{ending}" for ending in ("pdf", "svg")]
                for path in paths:
                    save(picture.figure, path)
                caption = folder / f"{picture.name}.txt"
                caption.write_text(f"{picture.caption}\n", encoding="utf-8")
                files += [*paths, caption]
    return list(dict.fromkeys(files)), left_out


def shrink(figure: Figure, scale: float) -> None:
    """Make a figure and all that is measured in points in it smaller: what stands where in it stays."""
    wide, high = figure.get_size_inches()
    figure.set_size_inches(scale * wide, scale * high)
    for artist in figure.findobj():
        if isinstance(artist, Text):
            artist.set_fontsize(scale * float(artist.get_fontsize()))
        elif isinstance(artist, Line2D):
            artist.set_linewidth(scale * float(artist.get_linewidth()))
            artist.set_markersize(scale * float(artist.get_markersize()))
            artist.set_markeredgewidth(scale * float(artist.get_markeredgewidth()))
        elif isinstance(artist, Collection):
            artist.set_linewidth((scale * np.atleast_1d(artist.get_linewidth())).tolist())
        elif isinstance(artist, Patch):
            artist.set_linewidth(scale * float(artist.get_linewidth()))
