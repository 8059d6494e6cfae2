"""Two run folders with the same results, to the byte; the times that training took are not results."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bench.store.parts import Store


def results(run_dir: Path) -> dict[str, pd.DataFrame]:
    """All that a folder says of its planned cells."""
    store = Store(run_dir)
    cells = store.read_cells().drop(columns="train_time_s")
    found = {"curves": store.read_curves(), "predictions": store.read_predictions()}
    assert not store.unreadable
    return {"cells": cells} | {
        name: rows[rows["cell_id"].isin(cells["cell_id"])].reset_index(drop=True) for name, rows in found.items()
    }


def assert_alike(one: Path, other: Path) -> None:
    for (name, table), same in zip(results(one).items(), results(other).values(), strict=True):
        pd.testing.assert_frame_equal(table, same, check_exact=True, obj=name)
