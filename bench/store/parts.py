"""The border: outcomes go in as atomic parquet parts under a versioned schema, data frames come out."""

from __future__ import annotations

import json
import math
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import chain
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.protocol.cells import FIELDS, LATER, PROTOCOL_VERSION, Cell, Outcome, Status
from bench.protocol.jacobian import MOST_NUMBERS
from bench.protocol.networks import functional_dim, n_params
from bench.store.atomic import write_atomically
from bench.store.schema import (
    GOES_ON,
    INTEGERS,
    LATER_COLUMNS,
    NULLABLE_FIELDS,
    PROTOCOL_KEY,
    SCHEMA_VERSION,
    SCHEMAS,
    VERSION_KEY,
    Origin,
    cells_of,
    columns_of,
    completed,
)

# In the metadata of plan.parquet: what its cells are.
_DESIGN_KEY, _RATIO_KEY, _LEFT_OUT_KEY = b"memcap_design", b"memcap_ratio", b"memcap_left_out"
PART_NAME = re.compile(r"part-(\d{8})-[0-9a-f]{8}\.parquet")

# Whenever one process has written so many parts of a kind it puts them together, and again so many of those: a run of any
# length leaves some hundreds of files, and a row is written four times for a million parts.
PUT_TOGETHER = 64

# The folder of what a run has dealt out to others (`bench.store.cut`).
SHARDS = "shards"

# And of cells in training (`bench.store.checkpoints`).
CHECKPOINTS = "checkpoints"

# What a run folder may hold; `fresh` removes these in this order and nothing else. Where there is no plan, what has these names
# is another's: so the plan is the last to go.
CONTENTS = (
    SHARDS,
    CHECKPOINTS,
    "cells",
    "curves",
    "predictions",
    "tables",
    "figures",
    "provenance.json",
    "config.yaml",
    "findings.md",
    "report.html",
    "plan.parquet",
)

# Status of a planned cell that no part holds: an interrupted run has them. Not an outcome, so not a `Status`.
PENDING = "pending"


class Design(StrEnum):
    """What the cells of a plan are: a product of lists, variants of the first that somebody asked about, or a search's."""

    PRODUCT = "product"
    VARIANTS = "variants"
    SEARCH = "search"


class Ended(NamedTuple):
    """What training came to: the epochs that it ran, and the tau that it ended with, infinite where it diverged."""

    memorized: bool
    epochs: int
    final_tau: float


class Store:
    """The parts of one run folder. Reading reports what it could not read in `unreadable`, by name and reason.

    A folder of another schema can be read: fields that it does not have are at their defaults, what was not measured is absent.
    """

    def __init__(self, run_dir: str | Path, check: Callable[[], None] = lambda: None):
        """`check` raises where this process may not write into the folder (any more); it is asked before every file."""
        self.path = Path(run_dir)
        self.unreadable: dict[str, str] = {}
        self.check = check
        # The last plan that was written: it may be asked for again, and takes long where there are many cells.
        self._planned: tuple[Mapping[bytes, bytes], Sequence[Cell]] | None = None
        # The ids of its cells: these are looked at again as they end.
        self._ids: dict[Cell, str] = {}
        # The parts that this object has written, by kind and how often they have been put together.
        self._own: dict[tuple[str, int], list[Path]] = {}

    def write(self, outcomes: Sequence[Outcome]) -> None:
        """Add one part of each kind. A cell's row is written last: where it exists, its curve and predictions do too."""
        if not outcomes:
            return
        ids = [self._ids.get(outcome.cell) or outcome.cell.cell_id for outcome in outcomes]
        # Columns, since a cell has dozens of points and this is on the way of what feeds a GPU.
        curves = [outcome.curve for outcome in outcomes]
        points = {
            "cell_id": _flat([cell_id] * len(curve) for cell_id, curve in zip(ids, curves, strict=True)),
            "epoch": _flat(curve.epoch for curve in curves),
            "tau": _flat(curve.tau for curve in curves),
            "val_mse": _flat(curve.val_mse or [None] * len(curve) for curve in curves),
        }
        predictions = [
            dict(cell_id=cell_id, sample=i, target=target, prediction=prediction)
            for cell_id, outcome in zip(ids, outcomes, strict=True)
            for i, (target, prediction) in enumerate(outcome.predictions)
        ]
        if points["epoch"]:
            self._write_part("curves", pa.Table.from_pydict(points, schema=SCHEMAS["curves"]))
        if predictions:
            self._write_part("predictions", pa.Table.from_pylist(predictions, schema=SCHEMAS["predictions"]))
        self._write_part("cells", pa.Table.from_pydict(columns_of(outcomes, ids), schema=SCHEMAS["cells"]))

    def write_plan(
        self,
        cells: Sequence[Cell],
        design: Design = Design.PRODUCT,
        ratio: float | None = None,
        left_out: Sequence[str] = (),
    ) -> None:
        """Replace the list of cells that this folder's tables and figures are about; `ratio`: that a search was asked for;
        `left_out`: what a diagnosis had no time for, in words.
        """
        about = {
            _DESIGN_KEY: design.encode(),
            _RATIO_KEY: str(ratio).encode(),
            _LEFT_OUT_KEY: json.dumps(list(left_out)).encode(),
        }
        if self._planned == (about, cells) and (self.path / "plan.parquet").exists():
            return
        self.check()
        self.path.mkdir(parents=True, exist_ok=True)
        ids = [self._ids.get(cell) or cell.cell_id for cell in cells]
        self._ids = dict(zip(cells, ids, strict=True))
        columns = {"cell_id": ids, **{name: list(map(attrgetter(name), cells)) for name in FIELDS}}
        self._write_table(pa.Table.from_pydict(columns, schema=SCHEMAS["plan"]), self.path / "plan.parquet", about)
        self._planned = about, list(cells)

    def design(self) -> tuple[Design, float | None]:
        """What the planned cells are, a product where no plan can be read; and the ratio that a search was asked for."""
        about = self._about_plan()
        try:
            design = Design(about[_DESIGN_KEY].decode())
            return design, float(about[_RATIO_KEY]) if design is Design.SEARCH else None
        except (KeyError, ValueError):
            return Design.PRODUCT, None

    def left_out(self) -> tuple[str, ...]:
        """What a diagnosis had no time for, in words; nothing where no plan can be read."""
        try:
            return tuple(json.loads(self._about_plan().get(_LEFT_OUT_KEY, b"[]")))
        except ValueError:
            return ()

    def origin(self) -> Origin | None:
        """The versions of schema and protocol that the plan is of; None where none can be read."""
        about = self._about_plan()
        # Plans did not say it as long as there was one protocol.
        return Origin(about[VERSION_KEY].decode(), about.get(PROTOCOL_KEY, b"1").decode()) if VERSION_KEY in about else None

    def _about_plan(self) -> Mapping[bytes, bytes]:
        """What the plan says of itself; nothing where none can be read."""
        try:
            return pq.read_schema(self.path / "plan.parquet").metadata or {}
        except (OSError, pa.ArrowException):
            return {}

    def read_cells(self) -> pd.DataFrame:
        """One row for each planned cell, in the order of the plan; those without an outcome have the status `pending`.

        Where a cell has several rows, one that did not fail wins, then the newest.
        """
        plan = self._read(self.path / "plan.parquet", "plan")
        if plan is None:
            raise FileNotFoundError(f"{self.path}: {self._without_plan()}")
        planned = plan.to_pandas(use_threads=False)
        known = planned[["cell_id"]].merge(self._outcomes(), on="cell_id", how="left", indicator=True)
        missing = (known.pop("_merge") == "left_only").to_numpy()
        if missing.any():
            known.loc[missing, list(FIELDS)] = planned.loc[missing, list(FIELDS)].to_numpy()
            cells = cells_of(known[missing])
            known.loc[missing, "n_params"] = [n_params(cell) for cell in cells]
            known.loc[missing, "functional_dim"] = [functional_dim(cell) for cell in cells]
            known.loc[missing, "status"] = PENDING
            known = known.astype({name: planned.dtypes[name] for name in FIELDS} | {"n_params": int, "functional_dim": int})
        return known.astype(dict.fromkeys((*INTEGERS, *NULLABLE_FIELDS), "Int64"))

    def _without_plan(self) -> str:
        """What a folder is that has no plan, and what to do; the same as a run would say that is to train into it."""
        if self._parts("cells"):
            return f"has lost its plan.parquet; the command of its config.yaml writes it again (memcap run_dir={self.path})"
        if not (self.path / "plan.parquet").exists() and any((self.path / name).exists() for name in CONTENTS):
            return "holds files, but no run that they belong to; name the folder of a run"
        return f"holds no plan.parquet that can be read; train into this folder first (memcap run_dir={self.path})"

    def read_curves(self) -> pd.DataFrame:
        """Learning curves of all cells: cell_id, epoch, tau, val_mse, by epoch."""
        return self._newest("curves", ["cell_id", "epoch"])

    def read_predictions(self) -> pd.DataFrame:
        """Final predictions of all cells that kept them: cell_id, sample, target, prediction, in target units."""
        return self._newest("predictions", ["cell_id", "sample"])

    def statuses(self) -> dict[str, str]:
        """How each cell that has a row ended, by cell_id."""
        cells = self._outcomes()
        return dict(zip(cells["cell_id"], cells["status"], strict=True))

    def endings(self) -> dict[str, Ended]:
        """What training came to, by cell_id, of each cell that has a result."""
        cells = self._outcomes()
        cells = cells[cells["status"] != Status.FAILED]
        taus = cells["final_tau"].where(cells["status"] != Status.DIVERGED, math.inf).fillna(math.inf)
        rows = zip(cells["cell_id"], cells["status"] == Status.MEMORIZED, cells["epochs_run"].fillna(0), taus, strict=True)
        return {cell_id: Ended(bool(hit), int(epochs), float(tau)) for cell_id, hit, epochs, tau in rows}

    def rows_beyond(self, seen: set[str]) -> pd.DataFrame:
        """The rows of the parts whose names are not in `seen` yet, oldest first; they then are."""
        tables = [table for _, table in self._tables("cells", seen)]
        return pa.concat_tables([SCHEMAS["cells"].empty_table(), *tables]).to_pandas(use_threads=False)

    def finished_ids(self, *, with_predictions: bool = False, with_jacobian_rank: bool = False) -> set[str]:
        """The cells that need no training: those with a row whose status is not failed, and with all that belongs to it."""
        cells = self._outcomes()
        has_all = cells["status"] != Status.FAILED
        if with_jacobian_rank:  # A diverged cell has none, nor has one whose Jacobian would be too large.
            outputs = cells["n_classes"].fillna(cells["n_outputs"])
            too_large = cells["n_samples"] * cells["n_params"] * outputs > MOST_NUMBERS
            has_all &= cells["jacobian_rank"].notna() | (cells["status"] == Status.DIVERGED) | too_large
        finished = set(cells.loc[has_all, "cell_id"])
        for kind in ("curves", "predictions") if with_predictions else ("curves",):
            finished &= set(self._read_parts(kind)["cell_id"].unique().to_pylist())
        return finished

    def _outcomes(self) -> pd.DataFrame:
        cells = self._read_parts("cells").to_pandas(use_threads=False)
        cells["_failed"] = cells["status"] == Status.FAILED
        cells = cells.sort_values("_failed", ascending=False, kind="stable").drop_duplicates("cell_id", keep="last")
        return cells.drop(columns="_failed")

    def _newest(self, kind: str, key: list[str]) -> pd.DataFrame:
        """The rows of every cell from the newest part that has any: two trainings of a cell are never mixed."""
        table = self._read_parts(kind, numbered=True).to_pandas(use_threads=False)
        newest = table.groupby("cell_id")["part"].transform("max")
        return table[table["part"] == newest].drop(columns="part").sort_values(key, ignore_index=True)

    def _read_parts(self, kind: str, *, numbered: bool = False) -> pa.Table:
        """All readable parts, oldest first; `numbered` adds the place of each row's part in that order."""
        tables = [table for _, table in self._tables(kind, set())]
        tables.insert(0, SCHEMAS[kind].empty_table())
        if numbered:
            tables = [t.append_column("part", pa.array([i] * len(t), pa.int64())) for i, t in enumerate(tables)]
        return pa.concat_tables(tables)

    def _tables(self, kind: str, seen: set[str]) -> list[tuple[Path, pa.Table]]:
        """The readable parts whose names are not in `seen` yet, oldest first; they then are."""
        while True:
            parts = [path for path in self._parts(kind) if path.name not in seen]
            tables = [(path, table) for path in parts if (table := self._read(path, kind)) is not None]
            # Whoever writes them may have put some together meanwhile.
            if len(tables) == len(parts) or all(path.exists() for path in parts):
                seen |= {path.name for path in parts}
                return tables

    def _parts(self, kind: str) -> list[Path]:
        folder = self.path / kind
        return sorted(path for path in folder.iterdir() if PART_NAME.fullmatch(path.name)) if folder.is_dir() else []

    def _read(self, path: Path, kind: str) -> pa.Table | None:
        name = str(path.relative_to(self.path))
        try:
            # What the system refuses, a file or a thread to read it with, is no damage: the bytes come first, by this thread.
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            table = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read(use_threads=False)
            version = (table.schema.metadata or {}).get(VERSION_KEY, b"none").decode()
            lacks = set(SCHEMAS[kind].names).difference(table.column_names)
            of_plan = version not in map(str, GOES_ON) and (origin := self.origin()) is not None and version == origin.schema
            if of_plan or (version in map(str, GOES_ON) and lacks and lacks <= {*LATER, *LATER_COLUMNS}):
                table = completed(table, kind)
        except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
            self.unreadable[name] = " ".join(str(error).split())
            return None
        if not (of_plan or version in map(str, GOES_ON)) or table.schema.remove_metadata() != SCHEMAS[kind]:
            self.unreadable[name] = f"is of schema {version}, this program reads schema {SCHEMA_VERSION}"
            return None
        return table.replace_schema_metadata()

    def _write_part(self, kind: str, table: pa.Table) -> None:
        self.check()
        folder = self.path / kind
        folder.mkdir(parents=True, exist_ok=True)
        numbers = [int(match[1]) for path in folder.iterdir() if (match := PART_NAME.fullmatch(path.name))]
        self._write_own(kind, table, max(numbers, default=-1) + 1, 0)

    def _write_own(self, kind: str, table: pa.Table, number: int, times: int) -> None:
        """Write a part that was put together so many times, and put it together with others where they are enough.

        Its number is the last of theirs, since of a cell the newest part counts. They go when it is there: until then what both
        hold is read once.
        """
        path = self.path / kind / f"part-{number:08d}-{secrets.token_hex(4)}.parquet"
        self._write_table(table, path)
        own = self._own.setdefault((kind, times), [])
        own.append(path)
        if len(own) < PUT_TOGETHER:
            return
        self._own[kind, times] = []
        tables = [table for path in own if (table := self._read(path, kind)) is not None]
        if len(tables) < len(own):
            return
        try:
            self._write_own(kind, _put_together(kind, tables), number, times + 1)
        except OSError:
            return  # They stay as they are: there may be no room for both.
        for path in own:
            path.unlink(missing_ok=True)

    def _write_table(self, table: pa.Table, path: Path, about: Mapping[bytes, bytes] = MappingProxyType({})) -> None:
        self.check()
        versions = {VERSION_KEY: str(SCHEMA_VERSION).encode(), PROTOCOL_KEY: str(PROTOCOL_VERSION).encode()}
        table = table.replace_schema_metadata({**versions, **about})
        write_atomically(path, lambda partial: pq.write_table(table, partial, write_page_checksum=True))


def _put_together(kind: str, tables: Sequence[pa.Table]) -> pa.Table:
    """Tables of parts as one, oldest first: all rows of cells, and what else belongs to a cell from the newest that has any."""
    if kind == "cells":
        return pa.concat_tables(tables)
    newest: list[pa.Table] = []
    known: set[str] = set()
    for table in reversed(tables):
        ids = table["cell_id"].to_pandas()
        newest.append(table.filter(pa.array(~ids.isin(known))))
        known |= set(ids)
    return pa.concat_tables(reversed(newest))


def _flat(lists: Iterable[Iterable[object]]) -> list[object]:
    return list(chain.from_iterable(lists))
