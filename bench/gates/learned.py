"""What a training learned: how each of its cells ended, and how its learning curve began."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from bench.protocol.cells import Status
from bench.protocol.columns import columns_of
from bench.statistics.settings import changed_fields, spell
from bench.statistics.survival import GROUP_FIELDS
from bench.store.parts import PENDING, Store
from bench.store.tables import write_tables

# Epochs in which trainings of the same cell part by rounding alone, if they part.
FIRST_EPOCHS = 20

# The name of the setting that most cells have.
USUAL = "usual"

CELLS, CURVES = list(columns_of("learned_cells")), list(columns_of("learned_curves"))


class Learned(NamedTuple):
    """The tables learned_cells and learned_curves, and who trained: engines with their devices."""

    cells: pd.DataFrame
    curves: pd.DataFrame
    engine: str


def of_folder(folder: Path) -> Learned:
    """What a run left in its folder.

    Raises:
        FileNotFoundError: there is no run.
    """
    store = Store(folder)
    cells = store.read_cells()
    cells = cells[cells["status"] != PENDING].reset_index(drop=True)
    cells = cells.assign(setting=_settings(cells))
    curves = store.read_curves()
    return Learned(cells[CELLS], _beginnings(curves, cells), _engines(cells))


def of_reference(folder: Path) -> Learned:
    """What `write` wrote.

    Raises:
        FileNotFoundError: a table is not there.
        ValueError: a table has other columns than those that this program writes.
    """
    tables = {}
    for name, columns in (("learned_cells", CELLS), ("learned_curves", CURVES)):
        table = pd.read_csv(
            folder / f"{name}.csv", dtype={"cell_id": str}, converters=dict.fromkeys(("tau", "final_tau"), _exact)
        )
        if list(table.columns) != columns:
            raise ValueError(f"{folder / name}.csv has other columns than this program writes")
        tables[name] = table
    cells = tables["learned_cells"].astype({"epoch_to_tau": "Int64"})
    return Learned(cells, tables["learned_curves"], _engines(cells))


def write(folder: Path, learned: Learned) -> None:
    """Write the two tables, in an order that does not change, so that a diff shows what did."""
    write_tables(folder, {"learned_cells": learned.cells, "learned_curves": learned.curves})


def _exact(text: str) -> float:
    """A float as it was written, to the last digit, which not every pandas reads."""
    return float(text) if text else math.nan


def _settings(cells: pd.DataFrame) -> list[str]:
    """Of each cell the fields, but for seeds and n_samples, in which it is not as most are: the same for all its seeds."""
    if cells.empty:
        return []
    fields = [name for name in GROUP_FIELDS if name != "n_samples"]
    usual = pd.Series({name: _commonest(cells[name]) for name in fields} | {"n_samples": None})
    named: dict[tuple[object, ...], str] = {}
    for key, own in cells.groupby(fields, dropna=False, sort=False):
        row = own.iloc[0]
        changed = [name for name in changed_fields(row, usual) if name != "n_samples"]
        # The strength that a regularization of its name stands for.
        shown = [name for name in changed if name != row["regularization"] or "regularization" not in changed]
        named[tuple(map(str, key))] = ", ".join(spell(name, row[name]) for name in shown) or USUAL
    return [named[tuple(map(str, row))] for row in cells[fields].itertuples(index=False, name=None)]


def _commonest(values: pd.Series) -> object:
    """The value that most cells have; of several such the first."""
    most = Counter(map(str, values)).most_common(1)[0][0]
    return next(value for value in values if str(value) == most)


def _beginnings(curves: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """The first points of the curves, cells in their order."""
    at = curves["cell_id"].map(pd.Series(range(len(cells)), index=cells["cell_id"]))
    first = curves.assign(at=at)[(curves["epoch"] <= FIRST_EPOCHS) & at.notna()]
    return first.sort_values(["at", "epoch"], ignore_index=True)[CURVES]


def _engines(cells: pd.DataFrame) -> str:
    made = cells.loc[cells["status"] != Status.FAILED, ["engine", "device"]].drop_duplicates()
    return ", ".join(f"{engine} on {device}" for engine, device in made.itertuples(index=False, name=None)) or "nobody"
