"""A hundred thousand cells: planning and reading stay within seconds (generous bounds; `make perf` has the figures)."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bench
from bench.engines import packs
from bench.engines.torch_engine import TorchEngine
from bench.protocol import grid
from bench.report import page
from bench.report.build import build
from bench.statistics.survival import groups
from bench.store.parts import Store
from bench.store.schema import SCHEMAS
from bench.store.tables import MANY_ROWS, write_tables
from tests.conftest import ROOT
from tests.engines.training import train
from tests.report.synthetic import ten_thousand, write_run

AXES = dict(
    depth=[1, 2, 3, 4, 6],
    width=[8, 12, 16, 24, 32],
    n_samples=[2**k for k in range(4, 12)],
    learning_rate=[1e-4 * 2**k for k in range(10)],
    seed=range(50),
)


def planned(axes: dict) -> tuple[int, float]:
    """Expand, hash and pack a grid: how many cells, in how many seconds of this process, into which others do not enter."""
    engine = TorchEngine("cpu")
    started = time.process_time()
    cells = grid.check(bench.expand(**axes))
    ids = {cell.cell_id for cell in cells}
    made = packs.plan(cells, kind=engine.kind, slots=engine.slots, workers=2)
    elapsed = time.process_time() - started
    assert len(cells) == len(ids) == sum(len(pack.cells) for pack in made)
    return len(cells), elapsed


@pytest.mark.exhaustive
def test_expanding_hashing_and_packing_100000_cells_takes_under_ten_seconds():
    """In a process of its own, where no signature is checked."""
    code = "from tests.report.test_scale import AXES, planned; print(*planned(AXES))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    count, elapsed = done.stdout.split()
    assert int(count) == 100_000
    assert float(elapsed) < 10


def test_expanding_hashing_and_packing_20000_cells_takes_under_four_seconds():
    """Twice the time that a fifth of 100,000 may take: signatures are checked here."""
    count, elapsed = planned(AXES | {"seed": range(10)})
    assert count == 20_000
    assert elapsed < 4


@pytest.mark.parametrize(
    ("count", "parts", "most_s"), [(20_000, 60, 2), pytest.param(100_000, 300, 10, marks=pytest.mark.exhaustive)]
)
def test_reading_the_tables_of_finished_cells_takes_no_longer_than_a_second_for_ten_thousand(count, parts, most_s, tmp_path):
    """A hundred thousand in 300 parts, as ten minutes of training leave them, in groups of five seeds; or a fifth of that."""
    (outcome,) = train([bench.Cell(n_samples=8, depth=1, max_epochs=5)]).values()
    store = Store(tmp_path)
    store.write([outcome])
    store.write_plan([outcome.cell])
    (part,) = (tmp_path / "cells").iterdir()
    for path, kind in ((part, "cells"), (tmp_path / "plan.parquet", "plan")):
        table = pq.read_table(path)
        frame = table.to_pandas().loc[np.zeros(count, dtype=int)].reset_index(drop=True)
        seeds = frame.index % 5
        frame = frame.assign(
            cell_id=[f"{i:016x}" for i in frame.index], n_samples=1 + frame.index // 5, data_seed=seeds, init_seed=seeds
        )
        many = pa.Table.from_pandas(frame, schema=SCHEMAS[kind], preserve_index=False).replace_schema_metadata(
            table.schema.metadata
        )
        path.unlink()
        if kind == "plan":
            pq.write_table(many, path)
        else:
            size = -(-count // parts)
            for number in range(parts):
                pq.write_table(many.slice(number * size, size), path.with_name(f"part-{number:08d}-{number:08x}.parquet"))
    started = time.process_time()
    grouped = groups(Store(tmp_path).read_cells())
    elapsed = time.process_time() - started
    assert len(grouped) == count // 5
    assert grouped["n_censored"].sum() == count
    assert elapsed < most_s


def test_a_page_of_very_many_cells_tells_the_first_seeds_of_each_group(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "MOST_CELLS", 5)
    monkeypatch.setattr(page, "MOST_GROUPS", 2)
    bench.run(bench.expand(depth=1, width=2, n_samples=[2, 4, 6], seed=range(4), max_epochs=3), run_dir=tmp_path, device="cpu")
    text = build(tmp_path).read_text()
    told = json.loads(re.search(r'id="cells-data">(.*?)</script>', text).group(1))
    names = [column["title"] for column in told["columns"]]
    rows = [dict(zip(names, row, strict=True)) for row in told["rows"]]
    assert [(row["n_samples"], row["data_seed"]) for row in rows] == [(2, 0), (2, 1), (4, 0), (4, 1), (6, 0)]
    assert told["groups"] == [0, 0, 1, 1, 2]
    assert all(told["curves"]) and len(told["curves"]) == 5
    assert "5 of 12 cells" in text
    assert "3 groups of cells that differ in their seeds alone; the first 2" in text
    assert len(pd.read_csv(tmp_path / "tables" / "cells.csv")) == 12
    assert len(pd.read_csv(tmp_path / "tables" / "groups.csv")) == 3


@pytest.mark.exhaustive
def test_the_report_of_10000_cells_is_made_again_in_under_fourteen_seconds_of_a_core(tmp_path):
    """As from a shell, Python and its libraries started too; the figures are there."""
    folder = write_run(tmp_path / "many", ten_thousand())
    command = [sys.executable, "-m", "bench", "report", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 14


def test_a_long_table_is_written_as_pandas_writes_it(tmp_path):
    """Columns of few values, which go another way, of every type, with and without what is absent."""
    n = MANY_ROWS + 5
    some = np.arange(n) % 3 > 0
    table = pd.DataFrame(
        {
            "cell_id": [f"{i:x}" for i in range(n)],
            "status": pd.Series(["memorized", "censored"], dtype="str").take(np.arange(n) % 2).to_numpy(),
            "reason": pd.Series(np.where(some, "a, b", None), dtype="str"),
            "depth": np.arange(n) % 5,
            "epoch_to_tau": pd.Series(np.arange(n) % 9, dtype="Int64").where(some),
            "tau": np.where(some, 1e-5, np.nan),
            "final_tau": np.linspace(-1, 1e20, n),
            "target_variance": np.where(some, np.inf, -0.0),
            "best_tau": np.where(some, 0.0, -0.0),
            "l1": np.where(some, 0.1, 0.2).astype(np.float32),
            "max_norm": pd.Series([True, 1, 1.0, None], dtype=object).take(np.arange(n) % 4).to_numpy(),
            "amsgrad": some,
        }
    )
    write_tables(tmp_path, {"cells": table})
    assert (tmp_path / "cells.csv").read_text() == table.to_csv(index=False)
