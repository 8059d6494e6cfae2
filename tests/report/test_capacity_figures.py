"""Capacities as drawn: over the maps, against parameters, on the page and in the terminal, each as its table says."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np
import pandas as pd
import pytest

import bench
from bench.report import terminal
from bench.report.budgets import grown
from bench.report.build import build
from bench.report.curves import SIGNS
from bench.report.findings import findings
from bench.report.map_cells import row_position
from bench.report.page import _capacity_html, _published_html
from bench.report.panels import panels
from bench.report.pictures import MAPS
from bench.report.plots import BEHIND_COLOUR
from bench.report.style import LINE_COLOUR
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
    return {picture.name: picture for picture in draw(made)}


def test_n50_stands_over_each_column_of_its_map_where_its_table_says(made, pictures):
    panels = {ax.get_title(): ax for ax in pictures["map_00_width_n_samples"].figure.axes}
    for row in made.capacity.to_dict("records"):
        ax = panels[f"depth {row['depth']}"]
        column = [8, 16].index(row["width"])
        signs = {line.get_marker(): line.get_ydata()[0] for line in ax.lines if int(line.get_xdata()[0]) == column}
        says = what_is_known(row)
        assert ("D" in signs, "^" in signs, "v" in signs) == (says == "value", says == "more", says == "less")
        if says == "value":
            assert signs["D"] == pytest.approx(row_position(row["n50"], COUNTS))
        # A bound has its cap where it lies, and the arrow stands where the interval leaves the map.
        assert signs["_"] == pytest.approx(row_position(row["n50_low" if says == "more" else "n50_high"], COUNTS))
        assert (signs.get("^", 4), signs.get("v", 0)) == (4, 0)


@pytest.mark.parametrize(("columns", "budget"), [(3, 5000), (12, 100_000)])
def test_n50_and_its_interval_stand_beside_the_numbers_and_not_over_them(columns, budget):
    widths, counts = list(range(8, 8 + columns)), [32, 64, 128, 256]
    cells = bench.expand(depth=1, width=widths, n_samples=counts, seed=range(4), max_epochs=budget)
    made = tables(rows_of(cells, lambda c: budget - 1 if c.n_samples <= 64 + 64 * (c.data_seed > 1) else None))
    (picture,) = [picture for picture in draw(made) if picture.section == MAPS]
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


@pytest.fixture(scope="module")
def with_lm():
    """The same by optimizer=lm too, each network at twice as many samples."""
    counts = {"depth": [1, 2], "width": [8, 16], "n_samples": [*COUNTS, 256], "seed": range(5)}
    cells = [*bench.expand(**counts), *bench.expand(optimizer="lm", **counts)]
    times = {"adam": 1, "lm": 2}
    return tables(
        rows_of(cells, lambda c: 50 if c.n_samples <= times[c.optimizer] * {8: 32, 16: 64}[c.width] / c.depth else None)
    )


def test_a_cross_beside_each_n50_is_that_by_lm_and_its_settings_have_no_panel_of_their_own(with_lm):
    picture = {picture.name: picture for picture in draw(with_lm)}["capacity"]
    (panel,) = [ax for ax in picture.figure.axes if ax.get_title()]
    assert panel.get_title() == "optimizer adam" and len(with_lm.by_lm) == 4
    crosses = sorted(line.get_ydata()[0] for line in panel.lines if line.get_marker() == "x")
    assert crosses == pytest.approx(sorted(with_lm.by_lm["n50_lm"] / with_lm.by_lm["functional_dim"]))
    # Each within its own interval, beside its network.
    for row in with_lm.by_lm.to_dict("records"):
        low, high = row["n50_lm_low"] / row["functional_dim"], row["n50_lm_high"] / row["functional_dim"]
        (bar,) = [line for line in panel.lines if line.get_ydata()[:1] == pytest.approx([low]) and len(line.get_ydata()) == 2]
        (cross,) = [line for line in panel.lines if line.get_marker() == "x" and line.get_xdata()[0] == bar.get_xdata()[0]]
        assert bar.get_ydata()[1] == pytest.approx(min(high, panel.get_ylim()[1]))
        assert bar.get_color() == cross.get_color()
    assert "A cross is N50 of the same network by Levenberg and Marquardt's method" in picture.caption
    ratios = with_lm.by_lm["ratio"]
    assert picture.alt.endswith(f"it is {ratios.min():.2f} to {ratios.max():.2f} times as much.")


def test_the_pages_table_of_capacities_has_a_column_by_lm_where_there_are_any(with_lm, made):
    html = _capacity_html(with_lm.capacity, with_lm.by_lm)
    for row in with_lm.by_lm.to_dict("records"):
        assert f"{row['n50_lm']:.0f} ({row['n50_lm_low']:.0f} to {row['n50_lm_high']:.0f})" in html
        assert f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})" in html
    assert ">by LM</th>" in html and ">by LM</th>" not in _capacity_html(made.capacity, made.by_lm)


def test_so_has_its_table_of_published_claims(with_lm, made):
    said = with_lm.published["by_lm"].dropna()
    assert len(said) and all(text in _published_html(with_lm.published) for text in said)
    assert ">by LM</th>" in _published_html(with_lm.published)
    assert len(made.published) and ">by LM</th>" not in _published_html(made.published)


def test_no_line_runs_through_a_number():
    """Ceilings and counts that are known to exist at every height of a cell: the lines stand between rows."""
    counts = [32, 48, 64, 96, 128, 192, 256]
    cells = bench.expand(d_in=8, depth=1, width=list(range(3, 26, 2)), n_samples=counts, seed=range(3))
    made = tables(rows_of(cells, lambda c: 50 if c.n_samples <= 4 * c.width + 64 * (c.data_seed > 1) else None))
    (picture,) = [picture for picture in draw(made) if picture.section == MAPS]
    figure = picture.figure
    figure.draw_without_rendering()
    (panel,) = [ax for ax in figure.axes if ax.get_title() == "depth 1"]
    red = [segment for segment in panel.collections[-1].get_segments() if segment[0][1] == segment[1][1]]
    dots = [line.get_xydata() for line in panel.lines if line.get_linestyle() not in ("-", "None")]
    lines = [panel.transData.transform(points) for points in (*red, *dots)]
    assert len(red) > 5 and len(dots) > 2
    for text in panel.texts:
        box = text.get_window_extent()
        assert not any(box.x0 < x1 and x0 < box.x1 and box.y0 < y < box.y1 for (x0, y), (x1, _) in lines), text


def test_the_ceiling_stands_between_the_counts_tried_up_to_it_and_above(made, pictures):
    panels = {ax.get_title(): ax for ax in pictures["map_00_width_n_samples"].figure.axes}
    red = panels["depth 1"].collections[-1].get_segments()
    # 73 dimensions at width 8, between 64 and 128 samples; 145 at width 16, more than all.
    assert {(tuple(a), tuple(b)) for a, b in red} == {((0.0, 3.0), (1.0, 3.0)), ((1.0, 3.0), (1.0, 4.0))}


def test_the_figure_of_capacities_has_a_sign_for_each_n50_and_a_hollow_one_with_an_arrow_for_each_bound(made, pictures):
    ax = pictures["capacity"].figure.axes[0]
    signs = [line for line in ax.lines if line.get_marker() in {sign.marker for sign in SIGNS}]
    filled = {line.get_ydata()[0]: line.get_marker() for line in signs if line.get_markerfacecolor() != "white"}
    depths = sorted(made.capacity["depth"].unique())
    with_n50 = made.capacity[made.capacity["n50"].notna()]
    assert filled == {row["n50_per_dim"]: SIGNS[depths.index(row["depth"])].marker for row in with_n50.to_dict("records")}
    hollow = sorted(line.get_ydata()[0] for line in signs if line.get_markerfacecolor() == "white")
    bounds = [row for row in made.capacity.to_dict("records") if what_is_known(row) in ("more", "less")]
    ends = [row["n50_low" if what_is_known(row) == "more" else "n50_high"] / row["functional_dim"] for row in bounds]
    assert hollow == pytest.approx(sorted(ends)) and len(hollow) == 2
    arrows = {text.xyann[1]: text.xy[1] for text in ax.texts if not text.get_text()}
    assert sorted(arrows) == pytest.approx(hollow)
    ways = {what_is_known(row): arrows[end] - end for row, end in zip(bounds, ends, strict=True)}
    assert ways["more"] > 0 > ways["less"]
    # The ceiling is 1 on a linear axis from 0.
    assert ax.get_yscale() == "linear" and ax.get_ylim()[0] == 0
    assert any(set(line.get_ydata()) == {1} and line.get_color() == LINE_COLOUR for line in ax.lines)
    assert "2 of 4 N50, of each network under each setting, are known" in pictures["capacity"].alt


def test_signs_of_one_width_stand_beside_each_other(pictures):
    ax = pictures["capacity"].figure.axes[0]
    pictures["capacity"].figure.draw_without_rendering()
    signs = [line for line in ax.lines if line.get_marker() in {sign.marker for sign in SIGNS}]
    places = [ax.transData.transform((line.get_xdata()[0], 0))[0] for line in signs]
    assert all(abs(a - b) > 5 for i, a in enumerate(places) for b in places[i + 1 :])


def test_a_sign_that_is_alone_at_its_width_stands_there_and_near_widths_share_a_number():
    """Whatever depths there are at other widths."""
    networks = {(1, 8): 32, (2, 12): 32, (2, 13): 32, (1, 32): 64, (2, 32): 64}
    cells = [c for (d, w) in networks for c in bench.expand(depth=d, width=w, n_samples=COUNTS, seed=range(5))]
    made = tables(rows_of(cells, lambda c: 50 if c.n_samples <= networks[c.depth, c.width] else None))
    (picture,) = [picture for picture in draw(made) if picture.name == "capacity"]
    ax = picture.figure.axes[0]
    places = {line.get_xdata()[0] for line in ax.lines if line.get_marker() in {sign.marker for sign in SIGNS}}
    assert {8, 12, 13} < places and 32 not in places and len(places) == 5
    assert [label.get_text() for label in ax.get_xticklabels()] == ["8", "12", "32"]
    assert ax.get_xticks(minor=True).tolist() == [13]


def test_the_incidence_of_each_setting_is_drawn_as_its_table_says():
    fields = {"n_samples": 32, "width": [8, 16], "seed": range(4), "regularization": ["none", "dropout"]}
    cells = bench.expand(**fields)
    made = tables(rows_of(cells, lambda c: 40 + c.data_seed if not c.dropout else 400 if c.data_seed < 2 else None))
    (picture,) = [picture for picture in draw(made) if picture.name == "incidence"]
    assert [ax.get_title() for ax in picture.figure.axes] == ["no regularization", "dropout 0.1"]
    for ax, setting in zip(picture.figure.axes, ("no regularization", "dropout"), strict=True):
        own = made.incidence[made.incidence["setting"] == setting]
        np.testing.assert_array_equal(ax.lines[-1].get_ydata(), own["memorized"])
    assert "dropout 0.1 50 %" in picture.alt
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
    assert {path.stem for path in (tmp_path / "figures").glob("*.[ps][nv]g")} == {"capacity", "budgets"}
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
    pictures = {picture.name: picture for picture in draw(made)}
    assert set(pictures) == {"map_00_width_n_samples"}
    assert not [
        line for line in pictures["map_00_width_n_samples"].figure.axes[0].lines if line.get_marker() in ("D", "^", "v")
    ]
    assert any("no network's N50 is known" in sentence for sentence in findings(made))


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


@pytest.mark.parametrize("widths", [[8, 9], [10, 11], [20, 21], [8, 16], list(range(8, 40, 3))])
def test_the_axis_of_widths_has_their_numbers_or_round_ones(widths):
    cells = bench.expand(depth=1, width=widths, n_samples=COUNTS, seed=range(5))
    made = tables(rows_of(cells, lambda c: 50 if c.n_samples <= 32 else None))
    (picture,) = [picture for picture in draw(made) if picture.name == "capacity"]
    labels = [label.get_text() for label in picture.figure.axes[0].get_xticklabels()]
    assert all(re.fullmatch(r"\d+", label) for label in labels), labels
    assert labels == [str(width) for width in widths] if len(widths) < 8 else len(labels) >= 3


def test_settings_come_by_what_they_change_with_the_first_in_grey_behind_the_others():
    taus = {"none": 0.01, "dropout": 0.5, "input_noise": 0.02}
    rows = [
        {"setting": name, "samples": "below", "epoch": epoch, "n_cells": 9, "threshold": 0.01}
        | dict.fromkeys(("tau_p10", "tau_median", "tau_p90"), tau if epoch > 5 else 1.0)
        for name, tau in taus.items()
        for epoch in (1, 10)
    ]
    regularizations = ["none", "dropout", "input_noise"]
    made = tables(rows_of(bench.expand(regularization=regularizations, seed=range(2)), lambda c: 50))
    fans = pd.DataFrame(rows).assign(setting=lambda table: table["setting"].replace("none", "no regularization"))
    (picture,) = [one for one in draw(dataclasses.replace(made, learning_fans=fans)) if one.name == "learning_curves"]
    axes = picture.figure.axes
    assert [ax.get_title() for ax in axes] == ["no regularization", "input noise 0.1", "dropout 0.1"]
    behind = [[line for line in ax.lines if line.get_color() == BEHIND_COLOUR] for ax in axes]
    assert [len(lines) for lines in behind] == [0, 1, 1]
    assert all(list(lines[0].get_ydata()) == [1.0, 0.01] for lines in behind[1:])


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


HELD = {4: (8, 8, 8), 8: (16, 32, 64), 16: (64, 64, 999), 32: (32, 64, 128)}


@pytest.fixture(scope="module")
def budgets():
    """Of depth 2 all widths, of depth 1 the same with half; they hold so many samples after 100, 300 and 900 of 1000 epochs."""

    def epoch(cell: bench.Cell) -> int | None:
        held = [most * cell.depth // 2 for most in HELD[cell.width]]
        return next((e for e, most in zip((100, 300, 900), held, strict=True) if cell.n_samples <= most), None)

    cells = bench.expand(depth=[1, 2], width=list(HELD), n_samples=COUNTS, seed=range(5), max_epochs=1000)
    return tables(rows_of(cells, epoch))


def test_n50_is_drawn_at_each_budget_with_its_interval_and_a_bound_as_one(budgets):
    (picture,) = [picture for picture in draw(budgets) if picture.name == "budgets"]
    assert picture.section == "capacities" and picture.table == "capacity_by_budget"
    axes = {ax.get_title(): ax for ax in picture.figure.axes}
    assert list(axes) == ["depth 1", "depth 2"]
    assert all(ax.get_xscale() == ax.get_yscale() == "log" for ax in axes.values())
    table = budgets.capacity_by_budget
    for depth in (1, 2):
        rows = table[table["depth"] == depth].to_dict("records")
        says = [what_is_known(row) for row in rows]
        ax = axes[f"depth {depth}"]
        signs = [line for line in ax.lines if line.get_marker() not in ("None", "", None)]
        low, high = ax.get_ylim()
        colours = {width: SIGNS[k].colour for k, width in enumerate(HELD)}
        filled = {(round(line.get_ydata()[0], 6), line.get_color()) for line in signs if line.get_markerfacecolor() != "white"}
        values = [row for row, known in zip(rows, says, strict=True) if known == "value"]
        assert filled == {(round(row["n50"], 6), colours[row["width"]]) for row in values}
        # Signs of a budget stand beside each other, nearer to it than to the next.
        assert all(min(abs(math.log2(line.get_xdata()[0] / row["budget"])) for row in rows) < 0.5 for line in signs)
        bars = {
            (*line.get_ydata(), line.get_color()) for line in ax.lines if len(set(line.get_xdata())) == 1 and line.get_alpha()
        }
        assert bars == {(max(r["n50_low"], low), min(r["n50_high"], high), colours[r["width"]]) for r in values}
        hollow = sorted(line.get_ydata()[0] for line in signs if line.get_markerfacecolor() == "white")
        ends = {"more": "n50_low", "less": "n50_high"}
        bounds = [(row[ends[known]], known) for row, known in zip(rows, says, strict=True) if known in ends]
        assert hollow == pytest.approx(sorted(end for end, _ in bounds)) and hollow
        arrows = [(text.xyann[1], "more" if text.xy[1] > text.xyann[1] else "less") for text in ax.texts if not text.get_text()]
        assert sorted(arrows) == sorted(bounds)
        assert all(low <= text.xy[1] <= high for text in ax.texts)
    assert {"more", "less"} <= {what_is_known(row) for row in table.to_dict("records")}


def test_no_two_widths_have_one_sign_and_a_setting_has_a_row_of_its_own():
    """Ten widths; each with and without dropout."""
    fields = {"depth": [1, 2], "width": list(range(4, 14)), "n_samples": COUNTS, "regularization": ["none", "dropout"]}
    cells = bench.expand(**fields, seed=range(3), max_epochs=100)
    made = tables(rows_of(cells, lambda c: 40 if c.n_samples <= 32 else 90 if c.n_samples <= 64 else None))
    (picture,) = [picture for picture in draw(made) if picture.name == "budgets"]
    assert [ax.get_title() for ax in picture.figure.axes] == [
        f"depth {depth}, {setting}" for setting in ("no regularization", "dropout 0.1") for depth in (1, 2)
    ]
    assert len({round(ax.get_position().x0, 3) for ax in picture.figure.axes}) == 2
    keys = {(text.get_text()[0], text.get_color()) for text in picture.figure.texts if " width " in text.get_text()}
    assert len(keys) == 10
    picture.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in picture.figure.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


def test_a_sentence_tells_whether_n50_still_grows_at_the_end_and_by_how_much(budgets):
    growth = {"setting": "all networks", "rates": "as asked", "half": 2500, "budget": 5000, "growth": 1.1}
    counts = {"n_networks": 9, "n_above": 1, "n_below": 0, "n_vague": 2}
    ends = [("EFFECT", 1.02, 1.18), ("UNDECIDED", 0.98, 1.22), ("NUMBER", 0.99, 1.03)]
    heads = {
        "EFFECT": "N50 still grows at the budget's end: ",
        "UNDECIDED": "Whether N50 still grows at the budget's end these cells do not tell: ",
        "NUMBER": "At the budget's end a doubling of it raises N50 by less than 5 %: ",
    }
    for worth, low, high in ends:
        ((found, text),) = grown(pd.DataFrame([growth | counts | {"growth_low": low, "growth_high": high}]))
        assert found.name == worth
        numbers = f"1.10 times (95 %: {low:.2f} to {high:.2f}) from 2500 to 5000 epochs, 9 of 12 networks and 1 bound."
        assert text == heads[worth] + numbers
    rows = pd.DataFrame([growth | counts | {"growth_low": low, "growth_high": high} for _, low, high in ends])
    assert [found.worth.name for found in grown(rows)] == ["EFFECT", "NUMBER", "UNDECIDED"]
    assert grown(rows.head(0)) == []
    (row,) = budgets.budget_growth.to_dict("records")
    sentences = [sentence for sentence in findings(budgets) if "budget's end" in sentence]
    assert [f"{row['growth']:.2f} times (95 %: " in sentence for sentence in sentences] == [True]


def test_what_hangs_on_its_budget_is_not_drawn_and_a_line_says_why(budgets):
    for fields, why in (
        ({"lr_schedule": "cosine"}, "is stretched over the budget"),
        ({"patience": 9, "n_val": 8}, "early stopping"),
    ):
        made = tables(budgets.cells.assign(**fields))
        assert made.capacity_by_budget.empty and made.budget_growth.empty
        assert "budgets" not in {picture.name for picture in draw(made)}
        (line,) = [sentence for sentence in findings(made) if "smaller budgets" in sentence]
        assert line.startswith("N50 at smaller budgets is not told: ") and why in line
    assert not any("smaller budgets" in sentence for sentence in findings(budgets))


def test_the_ceiling_is_named_where_it_is_drawn_and_for_what_it_bounds():
    """15 and 16 units have 136 and 145 dimensions; of the hinge loss they bound no fit."""
    for loss, target, named in (("mse", "normal", "no exact fit in general above "), ("hinge", "rademacher", "")):
        cells = bench.expand(depth=1, width=[15, 16], n_samples=[64, 128, 256], seed=range(4), loss=loss, target=target)
        (picture, *_) = draw(tables(rows_of(cells, lambda c: 50 if c.n_samples < 128 else None)))
        panel = next(ax for ax in picture.figure.axes if ax.get_title() == "depth 1")
        (sheet,) = [ax for ax in picture.figure.axes if len(ax.texts) > 6 and ax is not panel]
        assert len(panel.collections[-1].get_segments()) == 2
        assert any(text.get_text() == f"{named}N = P - depth*width" for text in sheet.texts)
