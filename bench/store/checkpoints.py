"""Cells in training, as their engines saved them: a file for each process that trains, replaced as it goes on."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bench.protocol.cells import PROTOCOL_VERSION, Cell, Checkpoint
from bench.protocol.version import __version__
from bench.store.atomic import write_atomically
from bench.store.parts import CHECKPOINTS

# Whose checkpoints this program goes on from: what engines save is their own, and may change with any version.
_VERSIONS = {"program": __version__, "protocol": PROTOCOL_VERSION}
_KEY = b"memcap_checkpoints"

_TEXTS = ("engine", "device", "kernel")
_SCHEMA = pa.schema(
    [
        pa.field("cell_id", pa.string()),
        pa.field("epoch", pa.int64()),
        *[pa.field(name, pa.string()) for name in _TEXTS],
        *[pa.field(name, pa.large_binary()) for name in ("record", "state")],
    ]
)


class Checkpoints:
    """Those of a run's folder. What could not be read is in `unreadable`, by name and reason."""

    def __init__(self, run_dir: Path, name: str | None = None, check: Callable[[], None] = lambda: None):
        """`name` of one process among several, each with a file of its own; None: no other trains into the folder.

        `check` raises where this process may not write into the folder (any more).
        """
        self._folder = run_dir / CHECKPOINTS
        self._alone = name is None
        self._path = self._folder / f"{name or 'run'}.parquet"
        self._check = check
        self.unreadable: dict[str, str] = {}

    def read(self, cells: Sequence[Cell]) -> dict[Cell, Checkpoint]:
        """The last checkpoint of each of these cells that has one."""
        paths = self._paths()
        wanted = {cell.cell_id: cell for cell in cells} if paths else {}
        found: dict[Cell, Checkpoint] = {}
        for path in paths:
            rows = self._rows(path)
            if path == self._path and self._alone and any(row["cell_id"] not in wanted for row in rows):
                # Those of cells that are not asked for now stay until they are.
                path.rename(self._folder / f"before-{secrets.token_hex(4)}.parquet")
            for row in rows:
                cell = wanted.get(row.pop("cell_id"))
                if cell is not None and (cell not in found or found[cell].epoch < row["epoch"]):
                    found[cell] = Checkpoint(cell, **row)
        return found

    def write(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Replace those of this process.

        Raises:
            OSError: the system refuses it.
        """
        self._check()
        self._folder.mkdir(parents=True, exist_ok=True)
        columns = {name: [getattr(one, name) for one in checkpoints] for name in _SCHEMA.names[1:]}
        columns["cell_id"] = [one.cell.cell_id for one in checkpoints]
        table = pa.Table.from_pydict(columns, schema=_SCHEMA).replace_schema_metadata({_KEY: json.dumps(_VERSIONS).encode()})
        # Numbers that are drawn as good as at random: nothing is gained by looking for what repeats, and the least is as long.
        plain = {"use_dictionary": False, "write_statistics": False, "compression": "none", "write_page_checksum": True}
        write_atomically(self._path, lambda partial: pq.write_table(table, partial, **plain))

    def forget(self, cells: Sequence[Cell]) -> None:
        """These cells have ended: remove this process's file, and, if no other trains, those that hold nothing beside them."""
        self._check()
        self._path.unlink(missing_ok=True)
        paths = self._paths() if self._alone else []
        ended = {cell.cell_id for cell in cells} if paths else set()
        for path in paths:
            if all(row["cell_id"] in ended for row in self._rows(path)):
                path.unlink(missing_ok=True)
        if self._alone and self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("*.parquet")) if self._folder.is_dir() else []

    def _rows(self, path: Path) -> list[dict]:
        try:
            data = path.read_bytes()
            file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
            versions = json.loads((file.schema_arrow.metadata or {})[_KEY])
            if versions != _VERSIONS:
                self.unreadable[f"{CHECKPOINTS}/{path.name}"] = f"is of {versions}, and this program of {_VERSIONS}"
                return []
            return file.read(use_threads=False).cast(_SCHEMA).to_pylist()
        except FileNotFoundError:
            return []
        except (pa.ArrowException, OSError, LookupError, ValueError) as error:
            self.unreadable[f"{CHECKPOINTS}/{path.name}"] = " ".join(str(error).split())
            return []
