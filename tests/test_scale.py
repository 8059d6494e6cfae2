"""A hundred thousand cells: planning and reading stay within seconds (generous bounds; `make perf` has the figures)."""

from __future__ import annotations

import time

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

import bench
from bench import packs
from bench.engines.torch_engine import TorchEngine
from bench.store import SCHEMAS, Store
from bench.survival import groups
from tests.training import train

AXES = dict(
    depth=[1, 2, 3, 4, 6],
    width=[8, 12, 16, 24, 32],
    n_samples=[2**k for k in range(4, 12)],
    learning_rate=[1e-4 * 2**k for k in range(10)],
    seed=range(50),
)


def test_expanding_hashing_and_packing_100000_cells_takes_under_ten_seconds():
    engine = TorchEngine("cpu")
    started = time.perf_counter()
    cells = bench.expand(**AXES)
    ids = {cell.cell_id for cell in cells}
    planned = packs.plan(cells, kind=engine.kind, slots=engine.slots, workers=2)
    elapsed = time.perf_counter() - started
    assert len(cells) == len(ids) == sum(len(pack.cells) for pack in planned) == 100_000
    assert elapsed < 10


def test_reading_the_tables_of_100000_finished_cells_takes_under_ten_seconds(tmp_path):
    """In 300 parts, as ten minutes of training leave them."""
    cells = bench.expand(**AXES)
    (outcome,) = train([bench.Cell(n_samples=8, depth=1, max_epochs=5)]).values()
    Store(tmp_path).write([outcome])
    (part,) = (tmp_path / "cells").iterdir()
    row = pq.read_table(part).to_pylist()[0]
    store = Store(tmp_path)
    store.write_plan(cells)
    ids = pq.read_table(tmp_path / "plan.parquet").to_pandas()
    metadata = pq.read_table(part).schema.metadata
    constant = {name: value for name, value in row.items() if name not in ids.columns}
    table = pa.Table.from_pandas(ids.assign(**constant), schema=SCHEMAS["cells"], preserve_index=False)
    size = -(-len(cells) // 300)
    for number in range(300):
        pq.write_table(
            table.slice(number * size, size).replace_schema_metadata(metadata),
            tmp_path / "cells" / f"part-{number + 1:08d}-{number:08x}.parquet",
        )
    started = time.perf_counter()
    read = Store(tmp_path).read_cells()
    elapsed = time.perf_counter() - started
    assert len(read) == 100_000
    assert (read["status"] == "censored").all()
    assert isinstance(read, pd.DataFrame)
    assert elapsed < 10
    assert groups(read.iloc[:5000])["n_seeds"].sum() == 5000
