"""Two run folders with the same results, to the byte; the times that training took are not results."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bench.store.parts import Store


def results(run_dir: Path, cells: set[str] | None = None) -> dict[str, pd.DataFrame]:
    """All that a folder says of its planned cells, or of some."""
    store = Store(run_dir)
    planned = store.read_cells().drop(columns="train_time_s")
    planned = planned[planned["cell_id"].isin(cells or set(planned["cell_id"]))].reset_index(drop=True)
    found = {"cells": planned, "curves": store.read_curves(), "predictions": store.read_predictions()}
    assert not store.unreadable
    return {name: rows[rows["cell_id"].isin(planned["cell_id"])].reset_index(drop=True) for name, rows in found.items()}


def assert_alike(some: Path, other: Path) -> None:
    """Every cell that one folder has, the other has too, and all of it is the same."""
    ours = results(some)
    for (name, table), same in zip(ours.items(), results(other, set(ours["cells"]["cell_id"])).values(), strict=True):
        pd.testing.assert_frame_equal(table, same, check_exact=True, obj=name)


def trainings(run_dir: Path) -> set[int]:
    """How often cells were trained that were: never more than once, where nothing was lost."""
    return set(Store(run_dir).rows_beyond(set())["cell_id"].value_counts())
