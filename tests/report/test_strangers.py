"""Text that strangers chose stands on the page and in tables as text."""

from __future__ import annotations

import csv
import json
import re

import bench
from bench.report.build import build

NAMES = ["<!--<script>", "=HYPERLINK(1)", "@x", "</script><b>"]


def test_names_of_strangers_are_neither_markup_nor_scripts_nor_formulas(tmp_path):
    regularizations = {name: {"weight_decay": 0.001 * number} for number, name in enumerate(NAMES, start=1)}
    bench.run(bench.expand(depth=1, width=4, n_samples=8, regularization=regularizations, max_epochs=5), run_dir=tmp_path)
    page = build(tmp_path).read_text(encoding="utf-8")
    data = re.search(r'<script type="application/json" id="cells-data">(.*?)</script>', page, re.DOTALL)
    assert data is not None and "<" not in data[1]
    assert set(NAMES) <= {value for row in json.loads(data[1])["rows"] for value in row if isinstance(value, str)}
    assert "<!--<script>" not in page and "<b>" not in page
    with (tmp_path / "tables" / "cells.csv").open(newline="") as file:
        read = {row["regularization"] for row in csv.DictReader(file)}
    assert read == {"<!--<script>", "'=HYPERLINK(1)", "'@x", "</script><b>"}
    numbers = (tmp_path / "tables" / "cells.csv").read_text()
    assert "'-" not in numbers and "'0" not in numbers
