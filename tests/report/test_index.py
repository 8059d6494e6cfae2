"""The page that leads to the reports of several runs."""

from __future__ import annotations

import json
import re
import shutil
from urllib.parse import unquote

import pytest

import bench
from bench.report.index import build_index, runs_in
from bench.store import provenance
from bench.store.parts import Design, Store
from tests.report.synthetic import write_run

CELLS = bench.expand(depth=1, width=[4, 8], n_samples=[16, 32, 64], seed=range(4))


@pytest.fixture
def results(tmp_path, memcap):
    """A run with a report, one without, an unfinished one, and folders of something else."""
    named = write_run(tmp_path / "results" / "one & <two>", CELLS)
    provenance.append(named, {"started_at": "2026-01-02T03:04:05+00:00", "device": "cpu avx2"})
    assert memcap("report", str(named))[0] == 0
    later = Store(write_run(tmp_path / "results" / "later", CELLS[:4]))
    later.write_plan(CELLS, Design.SEARCH, 1.2)
    provenance.append(later.path, {"started_at": "2026-02-02T03:04:05+00:00"})
    (tmp_path / "results" / "notes").mkdir()
    (tmp_path / "results" / "notes.txt").write_text("mine")
    check = tmp_path / "results" / "check"
    check.mkdir()
    found = {"check": "capacity", "outcome": "passed", "head": "this checkout", "base": "the reference"}
    (check / "check.json").write_text(json.dumps(found))
    return tmp_path / "results"


def test_the_index_names_every_run_the_latest_first_with_what_its_report_says(results, memcap):
    assert [path.name for path in runs_in(results)] == ["check", "later", "one & <two>"]
    assert memcap("report", "results") == (0, "memcap: index of 3 runs in results/index.html\n", "")
    page = (results / "index.html").read_text()
    heads = re.findall(r"<h2[^>]*>(.*?)</h2>", page)
    assert [re.sub(r"<[^>]*>", "", head).strip() for head in heads] == ["later", "one &amp; &lt;two&gt;", "check ✓ passed"]
    assert page.index(">later<") < page.index("one &amp; &lt;two&gt;</a>") < page.index("✓ passed")
    assert "search for frontiers; 24 cells, 20 of them without a result yet; 2026-02-02 03:04:05 UTC" in page
    assert "grid; 24 cells; 2026-01-02 03:04:05 UTC; cpu avx2" in page
    first = (results / "one & <two>" / "findings.md").read_text().splitlines()[0].removeprefix("- ")
    assert f"<li>{first}</li>" in page
    assert "<code>memcap report results/later</code>" in page
    assert "this checkout against the reference." in page


def test_every_link_and_picture_of_the_index_is_there_and_pictures_say_what_they_show(results):
    page = build_index(results).read_text()
    targets = re.findall(r'(?:href|src)="(?!#|data:)([^"]*)"', page)
    assert len(targets) == 3  # Of the one report: its name, its picture, and the picture's link.
    for target in targets:
        assert (results / unquote(target)).exists(), target
    assert all(len(alt) > 20 for alt in re.findall(r'alt="([^"]*)"', page))


def test_a_folder_without_runs_is_no_index(memcap, tmp_path):
    (tmp_path / "empty").mkdir()
    assert memcap("report", "empty")[0] == 2
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_run_is_reported_though_runs_stand_in_its_folder(results, memcap):
    shutil.copytree(results / "later", results / "one & <two>" / "older")
    assert "memcap: report in" in memcap("report", str(results / "one & <two>")).out
