"""Several runs: their cells as one table, or all that they hold as one folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bench.protocol.cells import Cell, Status
from bench.protocol.grid import GridError
from bench.store import provenance
from bench.store.atomic import write_atomically
from bench.store.folder import forget, held, held_for_report
from bench.store.parts import CONTENTS, PENDING, Store
from bench.store.schema import OWN, Origin, cells_of

# The key of an entry of provenance.json that says which of the folders put together it comes from.
FROM = "folder"

# Folders of parts: rows of cells, and what belongs to them.
KINDS = ("cells", "curves", "predictions")


def load(folder: str | Path, *others: str | Path) -> pd.DataFrame:
    """The cells of one run or of several as one table: each cell once, from the run that has a result of it.

    Args:
        folder: of a run, as `run_dir` of `bench.run` or of the command.
        others: of further runs. Where several have a result of a cell, that of the last counts, as in one folder.

    Returns:
        The columns of `cells` (`memcap columns cells` prints them with their units), and `run`: the folder that a row is from,
        as it was given. Planned cells without a result are there too, with the status "pending".

    Raises:
        FileNotFoundError: a folder holds no run.
        OSError: a file in a folder cannot be read.
        GridError: a folder is of another version than the first: what its numbers mean, and its ids, are others.
    """
    stores = [Store(path) for path in (folder, *others)]
    if (first := stores[0].origin()) is not None:
        _of_one_version(stores[1:], first, f"{stores[0].path}", "load it by itself")
    tables = [store.read_cells().assign(run=str(given)) for store, given in zip(stores, (folder, *others), strict=True)]
    for store in stores:
        for name, reason in store.unreadable.items():
            raise OSError(f"{store.path / name} {reason}; memcap run_dir={store.path} trains its cells again")
    return _each_once(tables)


def _of_one_version(stores: Sequence[Store], first: Origin, of: str, remedy: str) -> None:
    """That results of these folders belong beside those of a version; a folder without a plan has none.

    Raises:
        GridError: one is of another.
    """
    for store in stores:
        if (origin := store.origin()) is not None and not origin.belongs(first):
            rule = f"is of {origin}, and {of} of {first.schema} and {first.protocol}"
            raise GridError("run_dir", str(store.path), rule, remedy)


def _each_once(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Tables of cells as one: of a cell the last row with a result, or else the last one, in the place of the first."""
    if len(tables) == 1:
        return tables[0]
    cells = pd.concat(tables, ignore_index=True)
    place = cells.groupby("cell_id", sort=False).ngroup()
    known = ~cells["status"].isin([Status.FAILED, PENDING])
    order = pd.DataFrame({"place": place, "known": known}).sort_values(["place", "known"], kind="stable").index
    return cells.loc[order].drop_duplicates("cell_id", keep="last").reset_index(drop=True)


def n_put_together(folder: Path) -> int:
    """How many runs were put together in a folder: one, in that of a run of its own."""
    return max(1, len({run[FROM] for run in provenance.read(folder) or [] if FROM in run}))


def put_together(folders: Sequence[Path], into: Path) -> Path:
    """A run folder that holds what these hold, so that it can be reported on like any other.

    Args:
        folders: of runs of one design, which is not that of variants.
        into: the folder to make; what was put together there before is replaced.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: a folder holds no run.
        GridError: `into` is one of the folders, cannot be written to, or holds a run of its own; or a folder is of another
            version.
        bench.store.claims.Claimed: another run holds it.
    """
    stores = [Store(folder) for folder in folders]
    # What is put together is of this version.
    _of_one_version(stores, OWN, "this program", "report it by itself")
    cells: dict[Cell, None] = {cell: None for store in stores for cell in cells_of(store.read_cells())}
    if into.resolve() in [folder.resolve() for folder in folders]:
        raise GridError("run_dir", str(into), "is one of the folders to put together", "name a new folder")
    before = provenance.read(into)
    if (into / "plan.parquet").exists() and not (before and all(FROM in run for run in before)):
        raise GridError("run_dir", str(into), "holds a run of its own", "name a new folder, or one that memcap report has made")
    # A report of it that is being made would miss what is taken away here.
    with held(into, fresh=False), held_for_report(into):
        forget(into, [name for name in CONTENTS if name != "figures"])
        ratios = [ratio for store in stores if (ratio := store.design()[1]) is not None]
        Store(into).write_plan(list(cells), stores[0].design()[0], max(ratios, default=None))
        runs = [{FROM: str(folder), **run} for folder in folders for run in provenance.read(folder) or [{}]]
        text = json.dumps({"runs": runs}, indent=2)
        # Before the results: a folder that is left half made can be replaced.
        write_atomically(into / "provenance.json", lambda partial: partial.write_text(text + "\n"))
        # A run that writes on puts parts of its together now and then.
        while not _copied(folders, into):
            forget(into, KINDS)
    return into


def _copied(folders: Sequence[Path], into: Path) -> bool:
    """Copy all parts; whether none had gone by then. Of a cell the newest part counts, by its number.

    A run may write on meanwhile, of each cell the row last: so rows are looked for first, and what belongs to them is there.
    """
    parts = {kind: [path for folder in folders for path in sorted((folder / kind).glob("part-*.parquet"))] for kind in KINDS}
    for kind in reversed(KINDS):
        for number, path in enumerate(parts[kind]):
            (into / kind).mkdir(exist_ok=True)
            try:
                shutil.copyfile(path, into / kind / f"part-{number:08d}-{path.stem.rpartition('-')[2]}.parquet")
            except FileNotFoundError:
                return False
    return True
