"""Tables, figures and the page: what they hold."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.text import Text

import bench
from bench.machine import child
from bench.protocol.cells import DEFAULTS
from bench.protocol.networks import functional_dim
from bench.report import drawing, maps, palette, plots, style
from bench.report.build import build
from bench.report.curves import SIGNS
from bench.report.pictures import MAPS, drawings, drawn
from bench.statistics.survival import groups
from bench.statistics.tables import make as read_tables
from bench.store.parts import Store
from tests.report.synthetic import a_thousand, ten_thousand, write_run
from tests.statistics.tables import draw, tables
from tests.statistics.tables import table as literal


def test_the_page_is_one_file_that_needs_nothing_from_outside(run_dir):
    page = (run_dir / "report.html").read_text()
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", page)
    assert not re.findall("https?://", re.sub(r'base64,[^"]*', "", page))
    others = [path for path in (run_dir / "figures").glob("*.png") if not path.name.startswith("map_")]
    assert page.count('src="data:image/png;base64,') == len(others) > 2


def test_every_figure_is_there_as_png_and_svg_with_its_table_and_a_text_computed_from_data(run_dir):
    page = (run_dir / "report.html").read_text()
    names = sorted(path.stem for path in (run_dir / "figures").glob("*.png"))
    drawings = sorted(path.stem for path in (run_dir / "figures").glob("*.svg"))
    assert drawings == names == sorted(set(re.findall(r'href="figures/(.*?).svg"', page)))
    assert {"learning_curves", "predictions", "map_00_width_n_samples"} <= set(names)
    for table in re.findall(r'href="(tables/[^"]+)"', page):
        assert (run_dir / table).exists()
    alts = re.findall(r' alt="([^"]*)"', page)
    assert len(alts) == len([name for name in names if not name.startswith("map_")])
    assert all(re.search(r"\d", alt) for alt in alts)


def test_the_tables_hold_every_cell_and_every_group(run_dir):
    cells, grouped = (pd.read_csv(run_dir / "tables" / f"{name}.csv") for name in ("cells", "groups"))
    assert len(cells) == 34
    assert grouped["n_seeds"].sum() == 34
    assert list(grouped.loc[grouped["learning_rate"] > 1, "n_diverged"]) == [2]
    never = grouped[grouped["n_memorized"] == 0]
    assert np.isinf(never["median_epoch_to_tau"]).all()


def test_a_map_hatches_what_was_not_memorized_and_writes_the_table_into_its_cells(run_dir):
    grouped = groups(Store(run_dir).read_cells())
    own = grouped[(grouped["regularization"] == "none") & (grouped["optimizer"] == "adam")]
    figure = maps.heatmaps(own, rows="n_samples", columns="width", panels="depth", norm=maps.epoch_norm(grouped), title="t")
    drawn = [ax for ax in figure.axes if ax.get_title().startswith("depth")]
    assert len(drawn) == 2
    for ax, depth in zip(drawn, (1, 2), strict=True):
        shown = own[own["depth"] == depth]
        never = ~np.isfinite(shown["median_epoch_to_tau"])
        assert [len(own.get_paths()) for own in ax.collections if own.get_hatch()] == [never.sum()]
        # The budget stands in the key, once.
        texts = {text.get_text().split("\n")[0] for text in ax.texts}
        medians = {f"{median:.0f}" for median in shown["median_epoch_to_tau"][~never]}
        split = {f"{k}/{n}" for k, n in shown.loc[never, ["n_memorized", "n_seeds"]].to_numpy() if 0 < k < n}
        assert texts == medians | split
    (key,) = [text for ax in figure.axes for text in ax.texts if "300 epochs" in text.get_text()]
    assert key.get_text() == "fewer than half of the seeds got there in 300 epochs"
    for ax in drawn:
        assert min(text.get_fontsize() for text in ax.texts) >= style.SMALLEST_FONT


def test_the_red_border_parts_sample_counts_within_the_functional_dimension_from_those_beyond():
    """P - width is 37 at width 4 and 73 at width 8: between 32 and 64 in the first column, 64 and 128 in the second; a cell is missing."""
    cells = [
        c
        for c in bench.expand(depth=1, width=[4, 8, 16], n_samples=[32, 64, 128], d_in=8)
        if (c.width, c.n_samples) != (16, 128)
    ]
    table = pd.DataFrame([{"status": "censored"} | {name: getattr(c, name) for name in c.__dataclass_fields__} for c in cells])
    dimensions = [functional_dim(c) for c in cells]
    assert dimensions[0] == 37
    table = table.assign(
        n_params=100, functional_dim=dimensions, final_tau=0.5, best_val_mse=np.nan, bits_per_param=0.1, epochs_run=5000
    )
    made = groups(table.assign(epoch_to_tau=pd.array([None] * len(cells), dtype="Int64")))
    figure = maps.heatmaps(made, rows="n_samples", columns="width", panels="depth", norm=maps.epoch_norm(made), title="t")
    (red,) = [own for own in figure.axes[1].collections if to_hex(own.get_edgecolor()[0]) == style.LINE_COLOUR]
    assert sorted(np.array(red.get_segments()).tolist()) == [[[0, 1], [1, 1]], [[1, 1], [1, 2]], [[1, 2], [2, 2]]]


@pytest.mark.parametrize("columns", [3, 12])
def test_no_two_texts_of_a_map_overlap(columns):
    cells = bench.expand(depth=[1, 2, 4, 8], width=[2**k for k in range(columns)], n_samples=[2**k for k in range(5, 9)])
    table = pd.DataFrame([{"status": "censored"} | {name: getattr(c, name) for name in c.__dataclass_fields__} for c in cells])
    table = table.assign(
        n_params=100,
        functional_dim=60,
        epoch_to_tau=pd.array([None] * len(cells), dtype="Int64"),
        final_tau=0.5,
        best_val_mse=np.nan,
        bits_per_param=0.1,
        epochs_run=5000,
    )
    figure = maps.heatmaps(
        groups(table), rows="n_samples", columns="width", panels="depth", norm=maps.epoch_norm(groups(table)), title="t"
    )
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    assert len(ticks(figure, "center", "top")) > 4 * columns
    texts = [text for ax in figure.axes for text in (*ax.texts, ax.title) if text.get_text()]
    boxes = [text.get_window_extent(renderer) for text in texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


@pytest.mark.parametrize("fastest", [0.25, 2, 300])
def test_the_colour_bar_of_a_small_map_has_plain_numbers_that_do_not_overlap(fastest):
    made = tables(rows_of(bench.expand(depth=1, width=[4, 8], n_samples=[8, 64]), lambda c: fastest * c.width)).groups
    norm = maps.epoch_norm(made)
    figure = maps.heatmaps(made, rows="n_samples", columns="width", panels="depth", norm=norm, title="t")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (bar,) = [ax for ax in figure.axes if ax.get_ylabel() == "median epoch"]
    labels = [label for label in bar.get_yticklabels() if label.get_text()]
    places = [float(place) for place in bar.get_yticks()]
    assert len(labels) >= 1 and [float(label.get_text()) for label in labels] == places
    boxes = [label.get_window_extent(canvas.get_renderer()) for label in labels]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


@pytest.mark.parametrize("threshold", [0.5, 0.01, 1e-6])
def test_counts_of_cells_stand_below_the_line_of_the_threshold(threshold):
    epochs = {
        "epoch": [1, 10, 100],
        "tau_p10": [1.0, 0.6, threshold],
        "tau_median": [1.5, 0.8, threshold],
        "tau_p90": [3.0, 1.0, 0.7],
    }
    figure = plots.fans(pd.DataFrame({"setting": "s", "samples": "below", "n_cells": 9, "threshold": threshold, **epochs}))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (ax,) = figure.axes
    (count,) = ax.texts
    _, line = ax.transData.transform((1, threshold))
    assert count.get_text() == "9 cells"
    assert count.get_window_extent(canvas.get_renderer()).y1 < line


def test_no_text_of_a_figure_is_smaller_than_a_reader_can_read_or_outside_of_it(run_dir):
    made = read_tables(Store(run_dir))
    alone = made.learning_fans[made.learning_fans["setting"] == made.learning_fans["setting"].iloc[0]]
    for figure in (*(picture.figure for picture in draw(made)), plots.fans(alone)):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        texts = [text for text in figure.findobj(Text) if text.get_text().strip()]
        assert min(text.get_fontsize() for text in texts) >= style.SMALLEST_FONT
        box = figure.get_tightbbox(canvas.get_renderer())
        width, height = figure.get_size_inches()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, [text.get_text() for text in texts]


def test_text_in_colour_can_be_read_on_white(run_dir):
    made = read_tables(Store(run_dir))
    for picture in draw(made):
        if picture.section == MAPS:
            continue
        for text in picture.figure.findobj(Text):
            if text.get_text().strip():
                assert palette.contrast(to_hex(text.get_color()), palette.LIGHT) >= 4.5, (picture.name, text.get_text())
    assert all(palette.contrast(sign.colour, palette.LIGHT) >= 4.5 for sign in SIGNS)


def rows_of(cells: list[bench.Cell], epoch_of) -> pd.DataFrame:
    """A table of cells that memorized at the epoch that a function gives, or were censored where it gives None."""
    rows = []
    for cell in cells:
        epoch = epoch_of(cell)
        status = "censored" if epoch is None else "memorized"
        rows.append(
            {name: getattr(cell, name) for name in DEFAULTS} | {"status": status, "epoch_to_tau": epoch, "final_tau": 0.5}
        )
    return literal(*rows)


def ticks(figure, ha: str, va: str) -> list[Text]:
    """The texts beside the panels of a map that are aligned so: to the left of a row, below a column."""
    (sheet,) = [ax for ax in figure.axes if ax.get_ylim()[0] == figure.get_size_inches()[1]]
    return [text for text in sheet.texts if (text.get_ha(), text.get_va()) == (ha, va)]


def drawn_map(picture) -> tuple[list[str], list[list[str]]]:
    """The labels of the rows of the first panel of a map, bottom up, and the texts in its cells."""
    ax = next(ax for ax in picture.figure.axes if ax.get_title())
    labels = [label.get_text() for label in ticks(picture.figure, "right", "center")]
    columns = int(ax.get_xlim()[1])
    labels = labels[: int(ax.get_ylim()[1])]
    texts = {(int(t.get_position()[1]), int(t.get_position()[0])): t.get_text() for t in ax.texts if t.get_text()}
    return labels, [[texts.get((row, column), "") for column in range(columns)] for row in range(len(labels))]


def test_a_swept_strength_is_an_axis_of_one_map_and_off_means_the_same_cells_without_it():
    regularizations = {"none": {}, "dropout": {"dropout": [0.1, 0.3]}, "max_norm": {"max_norm": [1.0, 2.0]}}
    cells = bench.expand(depth=[1, 2], n_samples=[8, 64], regularization=regularizations, seed=range(2))
    epochs = rows_of(cells, lambda c: None if c.dropout > 0.2 else c.n_samples + int(100 * c.dropout) + int(c.max_norm or 0))
    pictures = {picture.name: picture for picture in draw(tables(epochs))}
    assert list(pictures) == [
        "map_dropout_width_32",
        "map_max_norm_width_32",
        "map_00_depth_n_samples",
        "regularizers",
        "incidence",
    ]
    assert drawn_map(pictures["map_dropout_width_32"]) == (
        ["off", "0.1", "0.3"],
        [["8", "64"], ["18", "74"], ["", ""]],
    )
    assert drawn_map(pictures["map_max_norm_width_32"]) == (["1", "2", "off"], [["9", "65"], ["10", "66"], ["8", "64"]])


def test_swept_rates_are_maps_of_the_best_and_of_the_default_and_an_axis_of_one_map():
    cells = bench.expand(depth=[1, 2], width=[4, 8], n_samples=[8, 64], learning_rate=[0.001, 0.003, 0.01], seed=range(2))
    epochs = rows_of(cells, lambda c: {0.001: 90, 0.003: 70, 0.01: 50 if c.n_samples == 8 else None}[c.learning_rate])
    pictures = {picture.name: picture for picture in draw(tables(epochs))}
    assert [name for name in pictures if name.endswith("width_n_samples")] == [
        "map_best_rate_00_width_n_samples",
        "map_default_rate_00_width_n_samples",
    ]
    assert drawn_map(pictures["map_best_rate_00_width_n_samples"])[1] == [["50", "50"], ["70", "70"]]
    assert drawn_map(pictures["map_default_rate_00_width_n_samples"])[1] == [["70", "70"], ["70", "70"]]
    labels, texts = drawn_map(pictures["map_learning_rate_width_8"])
    assert (labels, texts) == (["0.001", "0.003", "0.01"], [["90", "90"], ["70", "70"], ["50", ""]])


def test_the_ranking_draws_the_shares_and_delays_of_its_table():
    cells = bench.expand(n_samples=[8, 64], regularization={"none": {}, "dropout": {"dropout": [0.1, 0.3]}}, seed=range(3))
    made = tables(rows_of(cells, lambda c: None if c.dropout > 0.2 else 10 + int(200 * c.dropout))).regularizers
    figure = plots.ranking(made)
    share, delay = figure.axes
    assert share.get_xlabel() == "share that memorizes (grey: without it)"
    placebos = [line for line in share.lines if list(line.get_ydata()) == [line.get_ydata()[0], line.get_ydata()[0] + 0.7]]
    assert [float(line.get_xdata()[0]) for line in placebos] == list(made["fraction_without"])
    assert [label.get_text() for label in share.get_yticklabels()] == ["dropout=0.3", "dropout=0.1"]
    dots = [float(line.get_xdata()[0]) for line in share.lines if line.get_marker() == "o"]
    assert dots == list(made["fraction_memorized"]) == [0, 1]
    (dot,) = [float(line.get_xdata()[0]) for line in delay.lines if line.get_marker() == "o"]
    assert dot == made["median_delay"].iloc[1] == 3
    assert {float(line.get_ydata()[0]) for line in delay.lines if line.get_marker() == ">"} == {0}


def test_a_page_of_variants_shows_each_part_of_the_remedy_alone():
    """Two changes that work together alone, and sixteen others that come closer than either of them."""
    rates, inits = ({"learning_rate": 0.1}, {"init": "orthogonal"})
    changes = [{}, inits, rates, *({"weight_decay": 0.001 * k} for k in range(1, 17)), rates | inits]
    cells = bench.expand(seed=range(8), variants=changes)
    made = rows_of(cells, lambda c: 20 if c.learning_rate == 0.1 and c.init == "orthogonal" else None)
    made["final_tau"] = [
        0.001 if d else 0.1 if w else 0.9 for d, w in zip(made["status"] == "memorized", made["weight_decay"], strict=True)
    ]
    both = "init=orthogonal, learning_rate=0.1"
    settings = drawn(tables(made, variants=True))
    assert len(settings) == 12
    assert {"as asked", "init=orthogonal", "learning_rate=0.1", both} <= set(settings)


def test_a_page_of_variants_shows_the_asked_cell_and_what_came_closest():
    changes = [{}, *({"learning_rate": 0.01 * k} for k in range(1, 20))]
    cells = bench.expand(seed=range(2), variants=changes)
    made = rows_of(cells, lambda c: None).assign(final_tau=[0.9, 0.9, *(k / 100 for k in range(2, 40))])
    made.loc[made.index[-2:], "final_tau"] = np.nan
    settings = drawn(tables(made, variants=True))
    assert len(settings) == 12
    assert settings[:2] == ["as asked", "learning_rate=0.01"]


def test_other_processes_draw_the_same_bytes_in_the_same_order(run_dir, tmp_path):
    made = read_tables(Store(run_dir))
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    pictures = []
    for folder, processes in ((alone, 1), (shared, 2)):
        folder.mkdir()
        pictures.append(drawing.draw(list(drawings(made)), folder, processes))
    assert pictures[0] == pictures[1]
    files = sorted(path.name for path in alone.iterdir())
    assert len(files) == 10 and files == sorted(path.name for path in shared.iterdir())
    assert all((alone / name).read_bytes() == (shared / name).read_bytes() for name in files)


def test_a_process_that_dies_leaves_its_share_to_this_one(run_dir, tmp_path, monkeypatch):
    """It finds no memory, say; and files of the working directory are no modules of its."""
    made = read_tables(Store(run_dir))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "random.py").write_text("raise SystemExit('mine')")
    folder = tmp_path / "figures"
    folder.mkdir()
    drawing.draw(list(drawings(made))[:3], folder, 2)
    drawn_by = {path.name for path in folder.iterdir()}
    for path in folder.iterdir():
        path.unlink()
    monkeypatch.setattr(drawing, "start", lambda module, *rest, **pipes: child.start("bench.no_such_module", *rest, **pipes))
    drawing.draw(list(drawings(made))[:3], folder, 2)
    assert {path.name for path in folder.iterdir()} == drawn_by


def test_rebuilding_needs_no_torch_and_changes_nothing(run_dir):
    before = (run_dir / "report.html").read_text()
    code = "import sys; from bench.commands.report import main; main(sys.argv[1:]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(run_dir)], check=True, capture_output=True)
    assert (run_dir / "report.html").read_text() == before


def test_the_page_says_nothing_in_the_words_of_the_program(run_dir):
    """Absent values are empty, and the folder is not the title."""
    page = re.sub(
        r"<script.*?</script>|<style.*?</style>|base64,[^\"]*", "", (run_dir / "report.html").read_text(), flags=re.DOTALL
    )
    assert "<h1>Memorization capacity</h1>" in page and "What was found</h2>" in page
    for word in ("None", "NaN", "nan<", "&lt;NA&gt;", "{&#39;", "False"):
        assert word not in page, word


@pytest.mark.parametrize(
    ("cells", "most_bytes"),
    [
        pytest.param(a_thousand, 2e6, id="a thousand cells"),
        pytest.param(ten_thousand, 6e6, id="ten thousand cells", marks=pytest.mark.exhaustive),
    ],
)
def test_the_page_stays_small_and_holds_every_cell(cells, most_bytes, tmp_path):
    """Figures do not grow with the number of cells; a row takes 80 bytes, its curve 25, a cell of a map 400 a threshold."""
    build(write_run(tmp_path / "many", cells()))
    page = (tmp_path / "many" / "report.html").read_text()
    assert len(page.encode()) < most_bytes
    (data,) = re.findall(r'<script type="application/json" id="cells-data">(.*?)</script>', page, re.DOTALL)
    assert {len(json.loads(data)[name]) for name in ("rows", "groups", "curves")} == {len(cells())}


def test_the_page_shows_the_ratios_of_n50_and_says_them_and_what_the_red_line_bounds(tmp_path):
    cells = bench.expand(
        depth=1, width=[4, 8], n_samples=[8, 16, 32, 64, 128], regularization=["none", "dropout"], seed=range(6)
    )
    folder = write_run(tmp_path / "ratios", cells)
    build(folder)
    page, ratios = (folder / "report.html").read_text(), pd.read_csv(folder / "tables" / "ratios.csv")
    (shown,) = re.findall(r'<table[^>]*id="ratios".*?</table>', page, re.DOTALL)
    assert ratios["n_shared"].tolist() == [6, 6]
    for row in ratios.to_dict("records"):
        assert f"<td>{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})</td>" in shown
    assert shown.count("<td>dropout</td>") == 2
    assert (
        "N50 under dropout 0.1 is " in page and "times that under no regularization: 2 networks in the geometric mean." in page
    )
    assert "The red line, N = P - depth*width, bounds exact fits of generic targets. A fit to tau 0.01 is not exact" in page


def test_where_few_seeds_cannot_tell_the_page_says_how_many_could_and_shows_the_delay(tmp_path):
    for seeds, said in ((5, "5 seeds could tell"), (7, "")):
        cells = bench.expand(
            depth=1, width=[4, 8], n_samples=[8, 16, 32], regularization=["none", "dropout"], seed=range(seeds)
        )
        folder = write_run(tmp_path / str(seeds), cells)
        page, delays = build(folder).read_text(), pd.read_csv(folder / "tables" / "regularizers.csv")
        needed = pd.read_csv(folder / "tables" / "log_rank.csv")["seeds_needed"].iloc[0]
        (shown,) = re.findall(r'<table[^>]*id="log-rank".*?</table>', page, re.DOTALL)
        assert (f"<td>{needed} seeds could tell</td>" in shown) == (seeds < needed) == bool(said)
        row = delays.iloc[0]
        assert f"<td>{row['median_delay']:.3g} ({row['delay_low']:.3g} to " in shown and "<td>dropout 0.1</td>" in shown


def test_an_error_in_one_table_figure_or_finding_is_said_and_takes_nothing_else_along(tmp_path, monkeypatch, capsys):
    def broken(*_):
        raise ValueError("planted")

    bench.run(bench.expand(depth=1, width=4, n_samples=8, max_epochs=20), run_dir=tmp_path / "run")
    monkeypatch.setattr("bench.statistics.tables.thresholds", broken)
    monkeypatch.setattr("bench.report.findings.ranked", broken)
    monkeypatch.setattr("bench.report.plots.fans", broken)
    page = build(tmp_path / "run").read_text()
    shown = capsys.readouterr().out
    for what in ("table thresholds", "a finding", "a figure"):
        assert f"Left out for an error: {what} (ValueError: planted)." in page
        assert f"Left out for an error: {what} (ValueError: planted)." in shown
    assert "memorized targets that are pure noise" in page
    assert (tmp_path / "run/tables/groups.csv").exists()
