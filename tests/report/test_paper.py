"""Figures for a paper: as wide as asked, text that can be read in print, fonts embedded, captions beside them."""

from __future__ import annotations

import contextlib
import io
import re

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

import bench
from bench.commands.report import main
from bench.report import paper, style
from bench.report.pictures import drawings
from bench.statistics.tables import make as read_tables
from bench.store.parts import Store
from tests.report.synthetic import write_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run with every kind of figure but those of training itself."""
    cells = bench.expand(
        depth=[1, 2],
        width=[4, 8, 16],
        n_samples=[16, 32, 64, 128],
        regularization=["none", "dropout", "input_noise"],
        init="uniform",
        seed=range(5),
    )
    return write_run(tmp_path_factory.mktemp("paper") / "run", cells)


@pytest.fixture(scope="module")
def written(folder):
    """What the command printed, and where the figures are."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert main([str(folder), "figures=paper"]) == 0
    return said.getvalue(), folder / "figures" / "paper"


def test_the_command_writes_every_figure_that_has_room_at_both_widths_with_its_caption(folder, written):
    said, own = written
    files = sorted(path.name for path in own.iterdir())
    names = {picture.name: picture for picture in (drawing() for drawing in drawings(read_tables(Store(folder))))}
    assert {"capacity", "incidence", "learning_curves", "regularizers", "signal_propagation"} <= set(names)
    left_out = set(re.findall(r"^\* (\w+) has no room in ([\d.]+) by 9.25 inches at 7 points\.$", said, re.MULTILINE))
    for name, picture in names.items():
        for width in ("3.25", "6.75"):
            there = [f"{name}_{width}in.{ending}" in files for ending in ("pdf", "svg")]
            assert there == [(name, width) not in left_out] * 2, name
        if f"{name}.txt" in files:
            assert (own / f"{name}.txt").read_text() == f"{picture.caption}\n"
    # The page's own figures are left alone, and so is the page.
    assert not (folder / "report.html").exists() and f"memcap: figures in {own}" in said
    assert all(width == "3.25" for _, width in left_out)


def test_figures_of_before_go_and_files_of_the_user_stay(folder, monkeypatch, tmp_path):
    own = tmp_path / "paper"
    own.mkdir()
    stale, mine = ["old_3.25in.pdf", "old_6.75in.svg", "old.txt"], ["notes.txt", "figure.pdf", "main.tex"]
    for name in [*stale, *mine]:
        (own / name).write_text("")
    (own / "sources").mkdir()
    monkeypatch.setattr(paper, "drawings", lambda tables: [])
    assert paper.write_paper(read_tables(Store(folder)), tmp_path) == ([], [])
    assert sorted(path.name for path in own.iterdir()) == sorted([*mine, "sources"])


def test_files_are_as_wide_as_they_say_and_pdf_holds_its_fonts(written):
    _, own = written
    for path in own.glob("*.pdf"):
        width, data = float(re.findall(r"_([\d.]+)in$", path.stem)[0]), path.read_bytes()
        (box,) = set(re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", data))
        assert float(box[0]) == pytest.approx(72 * width, abs=0.02)
        assert b"/FontFile2" in data and b"/Type3" not in data
        assert b"CreationDate" not in data
        (points,) = re.findall(r'<svg [^>]*width="([\d.]+)pt"', path.with_suffix(".svg").read_text())
        assert float(points) == pytest.approx(72 * width, abs=0.02)
    assert len(list(own.glob("*.pdf"))) > 8


@pytest.mark.parametrize("width", paper.WIDTHS)
def test_text_has_seven_points_and_stands_within_the_figure_apart_from_other_text(folder, width):
    scale = paper.LEAST_POINTS / style.SMALLEST_FONT
    with style.on_paper(width / scale):
        for drawing in drawings(read_tables(Store(folder))):
            picture = drawing()
            figure = picture.figure
            if figure.get_figwidth() > width / scale + 1e-6:
                continue
            paper.shrink(figure, scale)
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
            assert min(text.get_fontsize() for text in texts) >= paper.LEAST_POINTS - 1e-9
            box = figure.get_tightbbox(canvas.get_renderer())
            wide, high = figure.get_size_inches()
            assert wide == pytest.approx(width) or picture.section == "maps"
            assert box.x0 >= -0.01 and box.x1 <= wide + 0.01 and box.y0 >= -0.01 and box.y1 <= high + 0.01, picture.name
            assert figure.get_suptitle() == ""
            # Titles of panels, and what stands in the ground of a map, do not run into each other.
            boxes = [
                text.get_window_extent(canvas.get_renderer())
                for ax in figure.axes
                for text in (ax.title, *ax.texts)
                if text.get_text()
            ]
            assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :]), picture.name


def test_maps_of_four_panels_have_room_in_a_column_and_nothing_in_them_overlaps(tmp_path):
    """Four depths, six widths, eight sample counts: 3.94 by 14.4 inches, and left out. All text has its seven points."""
    sizes = {"depth": [1, 2, 4, 8], "width": [4, 8, 16, 32, 64, 128], "n_samples": [8, 16, 32, 64, 128, 256, 512, 1024]}
    folder = write_run(tmp_path / "run", bench.expand(**sizes, init="uniform", seed=range(3)))
    scale = paper.LEAST_POINTS / style.SMALLEST_FONT
    with style.on_paper(paper.WIDTHS[0] / scale):
        (picture,) = [one for one in (drawing() for drawing in drawings(read_tables(Store(folder)))) if one.section == "maps"]
    paper.shrink(picture.figure, scale)
    wide, high = picture.figure.get_size_inches()
    assert wide == pytest.approx(paper.WIDTHS[0]) and high <= paper.MOST_HEIGHT
    canvas = FigureCanvasAgg(picture.figure)
    canvas.draw()
    texts = [text for text in picture.figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    assert len(texts) > 100 and min(text.get_fontsize() for text in texts) >= paper.LEAST_POINTS - 1e-9
    boxes = [text.get_window_extent(canvas.get_renderer()).shrunk(0.98, 0.8) for text in texts]
    assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :] if a.overlaps(b)]
    box = picture.figure.get_tightbbox(canvas.get_renderer())
    assert box.x0 >= -0.01 and box.x1 <= wide + 0.01 and box.y0 >= -0.01 and box.y1 <= high + 0.01


def test_a_map_on_paper_has_no_title_and_short_words_that_its_caption_explains(folder):
    tables = read_tables(Store(folder))
    with style.on_paper(8.0):
        (picture, *_) = [one for one in (drawing() for drawing in drawings(tables)) if one.section == "maps"]
    texts = {text.get_text() for text in picture.figure.findobj(Text)}
    assert {"ceiling", "fewer than half", "median epoch"} <= texts
    assert not any("combinations" in text for text in texts)
    assert "combinations up to the ceiling" in picture.caption
    assert "red line: no exact fit in general above N = P - depth*width" in picture.caption
