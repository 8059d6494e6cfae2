"""What `memcap report` does again and what it leaves: figures are drawn where they are missing or show something else."""

from __future__ import annotations

import shutil

import pytest

import bench
from bench.report import build as building
from bench.report.build import build
from bench.store.parts import Store
from tests.report.synthetic import outcome, write_run

CELLS = bench.expand(depth=1, width=[4, 8], n_samples=[16, 32, 64], seed=range(4))


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("build") / "run", CELLS)
    build(folder)
    return folder


@pytest.fixture
def folder(reported, tmp_path):
    return shutil.copytree(reported, tmp_path / "run")


@pytest.fixture
def drawn(monkeypatch) -> list[int]:
    """How many figures each call draws."""
    counts: list[int] = []
    draw = building.draw

    def counted(drawings, *arguments, **options):
        counts.append(len(drawings))
        return draw(drawings, *arguments, **options)

    monkeypatch.setattr(building, "draw", counted)
    return counts


def test_a_second_report_draws_nothing_and_says_the_same(folder, drawn):
    page, figures = (
        (folder / "report.html").read_text(),
        {path: path.stat().st_mtime_ns for path in (folder / "figures").iterdir()},
    )
    build(folder)
    assert drawn == []
    assert (folder / "report.html").read_text() == page
    assert {path: path.stat().st_mtime_ns for path in (folder / "figures").iterdir()} == figures


def test_figures_are_drawn_where_one_is_missing_or_all_are_asked_for(folder, drawn):
    next((folder / "figures").glob("*.svg")).unlink()
    build(folder)
    build(folder, redraw=True)
    build(folder)
    assert len(drawn) == 2 and drawn[0] == drawn[1] > 0


def test_figures_of_other_results_are_drawn_again_and_none_of_the_old_stays(folder, drawn):
    more = bench.expand(depth=1, width=16, n_samples=[16, 32], seed=range(4))
    Store(folder).write([outcome(cell) for cell in more])
    Store(folder).write_plan([*CELLS, *more])
    (folder / "figures" / "map_09_old.png").write_bytes(b"")
    build(folder)
    assert len(drawn) == 1
    assert not (folder / "figures" / "map_09_old.png").exists()


def test_a_list_of_figures_that_is_damaged_or_of_another_version_is_no_list(folder, drawn, monkeypatch):
    (folder / "figures" / "drawn.json").write_text("{")
    build(folder)
    monkeypatch.setattr(building, "__version__", "0.0.0")
    build(folder)
    assert len(drawn) == 2


def test_a_figure_that_fails_is_tried_again(folder, drawn, monkeypatch, capsys):
    def fails(*_):
        raise ValueError("no ink")

    with monkeypatch.context() as patched:
        patched.setattr("bench.report.pictures.plots.fans", fails)
        build(folder, redraw=True)
    assert "Left out for an error: a figure (ValueError: no ink)" in capsys.readouterr().out
    build(folder)
    assert len(drawn) == 2
    assert "no ink" not in (folder / "report.html").read_text()
