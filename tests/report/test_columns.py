"""One list tells what every column of every table is, and nothing else: in tables/README.md, in the page, and for all tables."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

import bench
from bench.protocol.cells import FIELDS, LATER, NO_TAU
from bench.protocol.columns import ASKED, TABLES, columns_of
from bench.protocol.fields import FIELD_LIST
from bench.protocol.noise import VALIDATION_FIELDS
from bench.report.build import build
from bench.store.schema import RUNG_COLUMNS, SCHEMAS
from tests.conftest import ROOT

REFERENCE = ROOT / "results" / "reference"


@pytest.fixture(scope="module")
def on_labels(tmp_path_factory) -> Path:
    """A run on random labels, some of which train to the end of their budget, with its report."""
    folder = tmp_path_factory.mktemp("report") / "labels"
    asked = {"depth": 1, "width": 4, "d_in": 4, "target": "labels", "n_classes": 4, "loss": "cross_entropy"}
    cells = bench.expand(**asked, n_samples=[4, 12, 60], seed=range(3), max_epochs=200, learning_rate=[0.003, 0.01])
    cells += bench.expand(**asked, n_samples=[4, 12, 60], seed=range(3), max_epochs=200, criterion="tau", tau=NO_TAU)
    bench.run(cells, run_dir=folder)
    build(folder)
    return folder


def tables(*run_dirs: Path) -> list[Path]:
    """Every table of runs with all kinds of cells, and of the published runs and comparisons."""
    return [*(path for run_dir in run_dirs for path in run_dir.glob("tables/*.csv")), *REFERENCE.glob("*/tables/*.csv")]


def columns(path: Path) -> list[str]:
    return list(pd.read_csv(path, nrows=0).columns)


def test_every_column_of_every_table_is_in_the_list_in_its_order(run_dir, on_labels):
    for path in tables(run_dir, on_labels):
        listed, own = list(columns_of(path.stem)), columns(path)
        assert set(own) <= set(listed), (path, set(own) - set(listed))
        if path.stem != "thresholds":  # Has the fields that vary, those of the maps first.
            assert own == [name for name in listed if name in own], path


def test_every_column_of_the_list_is_in_a_table(run_dir, on_labels):
    seen: dict[str, set[str]] = {name: set() for name in TABLES}
    for path in tables(run_dir, on_labels):
        seen[path.stem] |= set(columns(path))
    for name, there in seen.items():
        missing = set(columns_of(name)) - there
        # Of the fields this one has those that vary; what was published before a field was there lacks it.
        assert missing <= (set(FIELDS) if name == "thresholds" else set(LATER)), (name, missing)


def test_the_list_of_cells_is_the_schema_of_the_store():
    assert [column.name for column in TABLES["cells"].columns] == SCHEMAS["cells"].names
    assert set(RUNG_COLUMNS) < set(columns_of("cells"))


def test_the_fields_are_those_of_a_cell_in_their_order():
    assert tuple(field.name for field in FIELD_LIST) == FIELDS
    assert all(field.unit and field.meaning and field.example for field in FIELD_LIST)


def test_every_column_has_a_unit_a_meaning_and_a_source_that_is_there():
    for table in TABLES.values():
        names = [column.name for column in table.columns]
        assert len(set(names)) == len(names)
        for column in table.columns:
            assert column.unit and column.meaning and column.source
            if column.source != ASKED:
                files = re.findall(r"\b[\w/]+\.py", column.source)
                assert files and all((ROOT / "bench" / file).exists() for file in files), column


def test_the_page_of_the_tables_tells_of_each_column_that_is_there_and_of_no_other(run_dir):
    sections = re.split(r"^## (\w+)\.csv$", (run_dir / "tables" / "README.md").read_text(), flags=re.MULTILINE)[1:]
    told = {
        name: re.findall(r"^\| `([\w.]+)` \|", text, re.MULTILINE) for name, text in zip(*[iter(sections)] * 2, strict=True)
    }
    assert told == {path.stem: columns(path) for path in run_dir.glob("tables/*.csv")}
    assert "| `load` | samples / parameter | n\\_samples / n\\_params | statistics/survival.py |" in "".join(sections)


def test_the_page_tells_of_validation_too(tmp_path):
    """Where cells have validation samples; what is drawn for these depends on more fields than most tables have."""
    bench.run(bench.expand(depth=1, width=4, n_samples=8, n_val=4, seed=range(2), max_epochs=3), run_dir=tmp_path)
    build(tmp_path)
    told = columns(tmp_path / "tables" / "validation.csv")
    assert set(VALIDATION_FIELDS) < set(told) == {column.name for column in TABLES["validation"].columns}


def test_the_pages_of_the_published_tables_are_those_that_a_run_would_write():
    from bench.protocol.columns import readme

    for folder in REFERENCE.glob("*/tables"):
        order = [name for name in TABLES if (folder / f"{name}.csv").exists()]
        expected = readme({name: columns(folder / f"{name}.csv") for name in order})
        assert (folder / "README.md").read_text() == expected, folder


def test_headers_of_the_page_tell_what_their_columns_are(run_dir):
    page = (run_dir / "report.html").read_text()
    for table in re.findall(
        r"<table[^>]*id=\"(?:groups|capacity-table|log-rank|published-table)\".*?</thead>", page, re.DOTALL
    ):
        headers = re.findall(r"<th [^>]*>", table)
        assert headers and all(re.search(r' title="[^"]{8,}"', header) for header in headers)
    assert 'title="N50, the sample count at which half of the seeds memorize' in page
    assert '"title":"final_tau","about":"tau when training ended' in page


def test_the_report_of_labels_says_what_they_come_to_in_bits(on_labels):
    found = (on_labels / "findings.md").read_text()
    assert "Left out for an error" not in found
    assert re.search(r"On labels networks store at most [\d.]+ \([\d.]+ to [\d.]+\) bits for each parameter", found)
    assert "tau 0.01" not in found and "to every label" in found
    assert (on_labels / "figures" / "labels.png").exists()
    told = pd.read_csv(on_labels / "tables" / "labels.csv")
    assert (told["bits"] <= told["whole_bits"]).all() and (told["learned"] <= told["recalled"]).all()
