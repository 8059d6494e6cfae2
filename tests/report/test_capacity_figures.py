"""Capacities as drawn: over the maps, against parameters, on the page and in the terminal, each as its table says."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

import bench
from bench.report import maps, terminal
from bench.report.build import build
from bench.report.findings import findings
from bench.report.panels import panels
from bench.report.pictures import OWN
from bench.statistics.capacity import spell, what_is_known
from tests.report.test_report import rows_of
from tests.statistics.tables import draw, table, tables

COUNTS = [16, 32, 64, 128]
MOST = {(1, 8): 32, (1, 16): 999, (2, 8): 0, (2, 16): 64}


@pytest.fixture(scope="module")
def made():
    cells = bench.expand(depth=[1, 2], width=[8, 16], n_samples=COUNTS, seed=range(5))
    return tables(rows_of(cells, lambda c: 50 if c.n_samples <= MOST[c.depth, c.width] else None))


@pytest.fixture(scope="module")
def pictures(made):
    return {picture.name: picture for picture in draw(made) if picture.threshold in ("", OWN)}


def test_n50_stands_over_each_column_of_its_map_where_its_table_says(made, pictures):
    panels = {ax.get_title(): ax for ax in pictures["map_00_width_n_samples"].figure.axes}
    for row in made.capacity.to_dict("records"):
        ax = panels[f"depth {row['depth']}"]
        column = [8, 16].index(row["width"])
        signs = {line.get_marker(): line.get_ydata()[0] for line in ax.lines if int(line.get_xdata()[0]) == column}
        says = what_is_known(row)
        assert ("D" in signs, "^" in signs, "v" in signs) == (says == "value", says == "more", says == "less")
        if says == "value":
            assert signs["D"] == pytest.approx(maps.row_position(row["n50"], COUNTS))
        # A bound has its cap where it lies, and the arrow stands where the interval leaves the map.
        assert signs["_"] == pytest.approx(maps.row_position(row["n50_low" if says == "more" else "n50_high"], COUNTS))
        assert (signs.get("^", 4), signs.get("v", 0)) == (4, 0)


@pytest.mark.parametrize(("columns", "budget"), [(3, 5000), (12, 100_000)])
def test_n50_and_its_interval_stand_beside_the_numbers_and_not_over_them(columns, budget):
    widths, counts = list(range(8, 8 + columns)), [32, 64, 128, 256]
    cells = bench.expand(depth=1, width=widths, n_samples=counts, seed=range(4), max_epochs=budget)
    made = tables(rows_of(cells, lambda c: budget - 1 if c.n_samples <= 64 + 64 * (c.data_seed > 1) else None))
    (picture,) = [picture for picture in draw(made) if picture.threshold == OWN]
    figure = picture.figure
    figure.draw_without_rendering()
    panel = next(ax for ax in figure.axes if ax.get_title() == "depth 1")
    texts = [text.get_window_extent() for text in panel.texts]
    marks = [line for line in panel.lines if len(set(line.get_xdata())) == 1]
    assert len(marks) == 5 * columns  # an interval, its white edge, its two ends, and a sign for each column
    for line in marks:
        sign = line.get_marker() != "None"
        points = line.get_markersize() + line.get_markeredgewidth() if sign else line.get_linewidth()
        half = points * figure.dpi / 72 / 2
        ends = panel.transData.transform(line.get_xydata())
        x, low, high = ends[0][0], ends[:, 1].min() - sign * half, ends[:, 1].max() + sign * half
        assert not any(box.x0 < x + half and x - half < box.x1 and box.y0 < high and low < box.y1 for box in texts)


def test_no_line_runs_through_a_number():
    """Numbers of one line and of two, under ceilings at every height of a cell: they stand clear, or the line parts for them."""
    counts = [32, 48, 64, 96, 128, 192, 256]
    cells = bench.expand(d_in=8, depth=1, width=list(range(3, 26, 2)), n_samples=counts, seed=range(3))
    made = tables(rows_of(cells, lambda c: 50 if c.n_samples <= 4 * c.width + 64 * (c.data_seed > 1) else None))
    (picture,) = [picture for picture in draw(made) if picture.threshold == OWN]
    figure = picture.figure
    figure.draw_without_rendering()
    (panel,) = [ax for ax in figure.axes if ax.get_title() == "depth 1"]
    red = [segment for segment in panel.collections[-1].get_segments() if segment[0][1] == segment[1][1]]
    dots = [line.get_xydata() for line in panel.lines if line.get_linestyle() not in ("-", "None")]
    lines = [panel.transData.transform(points) for points in (*red, *dots)]
    (gaps,) = [own for own in panel.collections if own.get_zorder() == 2.5]
    parted = [panel.transData.transform_path(path).get_extents() for path in gaps.get_paths()]
    clear = crossed = 0
    for text in panel.texts:
        box = text.get_window_extent()
        over = [points for points in lines if points[0][0] < box.x0 + 1 and box.x1 - 1 < points[1][0]]
        through = [points for points in over if box.y0 < points[0][1] < box.y1]
        clear, crossed = clear + bool(over) - bool(through), crossed + bool(through)
        assert not through or any(gap.x0 <= box.x0 and box.x1 <= gap.x1 for gap in parted if gap.overlaps(box)), text
    assert clear > 5 and crossed > 1 and len(parted) == crossed


def test_the_ceiling_stands_at_its_own_sample_count_over_each_column(made, pictures):
    panels = {ax.get_title(): ax for ax in pictures["map_00_width_n_samples"].figure.axes}
    red = panels["depth 1"].collections[-1].get_segments()
    flat = {(a[0], a[1]) for a, b in red if a[1] == b[1]}
    # 73 dimensions at width 8; 145 at width 16, more than the 128 samples of the top row but within its cell.
    assert flat == {(0.0, maps.row_position(73, COUNTS)), (1.0, maps.row_position(145, COUNTS))}


def test_the_figure_of_capacities_has_a_point_for_each_n50_and_an_arrow_for_each_bound(made, pictures):
    ax = pictures["capacity"].figure.axes[0]
    points = {(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines if line.get_marker() == "o"}
    with_n50 = made.capacity[made.capacity["n50"].notna()]
    assert points == set(zip(with_n50["n_params"], with_n50["n50"], strict=True))
    assert sorted(line.get_marker() for line in ax.lines if line.get_marker() in ("^", "v")) == ["^", "v"]
    assert "2 of 4 N50, of each network under each setting, are known" in pictures["capacity"].alt


def test_the_incidence_of_each_setting_is_drawn_as_its_table_says():
    fields = {"n_samples": 32, "width": [8, 16], "seed": range(4), "regularization": ["none", "dropout"]}
    cells = bench.expand(**fields)
    made = tables(rows_of(cells, lambda c: 40 + c.data_seed if not c.dropout else 400 if c.data_seed < 2 else None))
    (picture,) = [picture for picture in draw(made) if picture.name == "incidence"]
    assert [ax.get_title() for ax in picture.figure.axes] == ["no regularization", "dropout"]
    for ax, setting in zip(picture.figure.axes, ("no regularization", "dropout"), strict=True):
        own = made.incidence[made.incidence["setting"] == setting]
        np.testing.assert_array_equal(ax.lines[-1].get_ydata(), own["memorized"])
    assert "dropout 50 %" in picture.alt
    (row,) = made.log_rank.to_dict("records")
    assert (row["setting"], row["n_pairs"]) == ("dropout", 8)


def test_a_search_prints_its_capacities_and_draws_no_map(tmp_path, capsys):
    networks = bench.expand(d_in=4, depth=1, width=[4, 8], tau=0.1, max_epochs=400, learning_rate=0.03)
    bench.run(networks, search=bench.Search(ratio=2.0), run_dir=tmp_path)
    capsys.readouterr()
    page = build(tmp_path).read_text()
    printed = capsys.readouterr().out
    assert re.search(r"all cells +1 +4 +25 +21 +\d+ \(\d+ to \d+\)", printed)
    assert 'id="capacity-table"' in page
    assert {path.stem for path in (tmp_path / "figures").glob("*.[ps][nv]g")} == {"capacity"}
    assert "* The search knows the N50 of 2 of 2 networks to a ratio of 2, or to one sample." in printed
    assert "A search for the frontier of each network" in page


def test_the_words_for_capacities_say_step_where_there_is_no_slope_and_nothing_where_there_is_no_n50(made):
    shown = terminal.capacity_columns(made.capacity)
    assert list(shown["sharpness"]) == ["step", "", "", "step"]
    assert list(shown["n50_per_dim"])[1:3] == ["", ""]
    assert shown["N50 (95 %)"].iloc[1].startswith("> ")
    assert shown["N50 (95 %)"].iloc[2].startswith("< ")


def test_one_seed_bounds_no_n50_and_nothing_shows_one():
    """A step between 32 and 64 samples, which another seed could put elsewhere: no number, sign, point or slope."""
    cells = bench.expand(depth=1, width=[8, 16], n_samples=COUNTS)
    made = tables(rows_of(cells, lambda c: 50 if c.n_samples <= 32 else None))
    assert made.capacity[["n50", "n50_per_param", "n50_per_dim", "bits_per_param"]].isna().all(axis=None)
    assert list(terminal.capacity_columns(made.capacity)["N50 (95 %)"]) == ["unknown"] * 2
    pictures = {picture.name: picture for picture in draw(made) if picture.threshold in ("", OWN)}
    assert set(pictures) == {"map_00_width_n_samples"}
    assert not [
        line for line in pictures["map_00_width_n_samples"].figure.axes[0].lines if line.get_marker() in ("D", "^", "v")
    ]
    assert any("all cells: no network's N50 is known" in sentence for sentence in findings(made))


@pytest.mark.parametrize(
    ("n50", "low", "high", "side", "says"),
    [
        (50, 40, 60, "inside", "value"),
        (math.nan, 40, math.inf, "inside", "more"),
        (math.nan, 0, 60, "inside", "less"),
        (math.nan, 128, 200, "above", "more"),
        (math.nan, 0, 200, "above", "nothing"),
        (math.nan, 0, math.inf, "inside", "nothing"),
        (math.nan, 10, 16, "below", "less"),
    ],
)
def test_what_is_known_of_an_n50(n50, low, high, side, says):
    assert what_is_known({"n50": n50, "n50_low": low, "n50_high": high, "side": side}) == says


def test_a_page_without_capacities_has_no_section_for_them():
    made = tables(table({"n_samples": 8, "status": "memorized", "epoch_to_tau": 5}))
    assert "capacity" not in {picture.name for picture in draw(made)}


@pytest.mark.parametrize("widths", [[8, 9], [10, 11], [20, 21], [8, 16]])
def test_networks_of_nearly_one_size_have_an_axis_to_read_too(widths):
    """81 and 91 parameters, with hardly a round number between them, and so on."""
    cells = bench.expand(depth=1, width=widths, n_samples=COUNTS, seed=range(5))
    made = tables(rows_of(cells, lambda c: 50 if c.n_samples <= 32 else None))
    (picture,) = [picture for picture in draw(made) if picture.name == "capacity"]
    labels = [label.get_text() for label in picture.figure.axes[0].get_xticklabels()]
    assert len(labels) >= 3 and all(re.fullmatch(r"\d+", label) for label in labels), labels


def test_a_key_is_in_lines_that_fit_and_no_two_of_its_texts_overlap():
    key = [*((f"depth {depth}", "#000000") for depth in range(1, 13)), ("word " * 60, "#555555"), ("last", "#000000")]
    figure, axes = panels(["one"], across=1, size=(2.9, 2.6), names=("x", "y"), key=key)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.texts]
    assert "".join(text.get_text() for text in figure.texts).count("depth") == 12
    assert len({box.y0 for box in boxes}) < len(boxes)
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= axes[0].bbox.y1 for box in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


def test_a_bound_is_the_same_in_both_tables():
    """Few of twenty memorize even the least count: N50 is below it."""
    hits = {32: 9, 64: 2, 128: 0}
    cells = bench.expand(depth=0, d_in=40, n_samples=list(hits), seed=range(20), tau=1e-4, dtype="float64")
    made = tables(rows_of(cells, lambda c: 50 if c.data_seed < hits[c.n_samples] else None))
    (capacity,) = made.capacity.to_dict("records")
    assert capacity["side"] == "below" and 0 == capacity["n50_low"] < capacity["n50_high"] < math.inf
    (row,) = made.published[made.published["claim"] == "linear networks memorize up to N = p"].to_dict("records")
    assert spell(capacity) == f"< {capacity['n50_high']:.0f}"
    assert row["here"].startswith(f"N50 < {capacity['n50_high']:.3g}, ")


def test_the_ceiling_is_explained_wherever_it_is_drawn():
    """Within half a row beyond the most samples too: 136 and 145 dimensions over 128 samples."""
    cells = bench.expand(depth=1, width=[15, 16], n_samples=[32, 64, 128], seed=range(4))
    (picture, *_) = draw(tables(rows_of(cells, lambda c: 50 if c.n_samples < 128 else None)))
    panel = next(ax for ax in picture.figure.axes if ax.get_title() == "depth 1")
    (sheet,) = [ax for ax in picture.figure.axes if len(ax.texts) > 6 and ax is not panel]
    drawn = len(panel.collections[-1].get_segments()) > 0
    assert drawn and any(text.get_text() == "N = P - depth*width" for text in sheet.texts)
