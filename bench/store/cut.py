"""A cut: the cells that a run deals out to shards, in a file that each of them reads its own from.

A shard is a command line, `memcap shard CUT NUMBER`, which any batch system can call; CUT is a folder in the run's.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.protocol.cells import FIELDS, PROTOCOL_VERSION, Cell
from bench.protocol.grid import GridError
from bench.store.atomic import write_atomically
from bench.store.parts import SHARDS
from bench.store.schema import SCHEMA_VERSION, SCHEMAS, cells_of

_FILE, _SETTINGS_KEY = "cut.parquet", b"memcap_settings"
_SCHEMA = pa.schema([pa.field("shard", pa.int64()), *SCHEMAS["plan"]])
_VERSIONS = {"schema": SCHEMA_VERSION, "protocol": PROTOCOL_VERSION}


def write_cut(run_dir: Path, shards: Sequence[Sequence[Cell]], settings: Mapping[str, Any]) -> Path:
    """Write a cut into the folder of a run, in place of the former one; returns its folder, which has a random name.

    A process that still works on a shard of the former one finds its claim gone, and ends.
    """
    forget_cuts(run_dir)
    folder = run_dir / SHARDS / secrets.token_hex(4)
    folder.mkdir(parents=True)
    cells = list(chain.from_iterable(shards))
    columns: dict[str, list[Any]] = {
        "shard": list(chain.from_iterable(repeat(number, len(shard)) for number, shard in enumerate(shards))),
        "cell_id": [cell.cell_id for cell in cells],
    }
    columns |= {name: [getattr(cell, name) for cell in cells] for name in FIELDS}
    about = json.dumps({"versions": _VERSIONS, "settings": dict(settings)})
    table = pa.Table.from_pydict(columns, schema=_SCHEMA).replace_schema_metadata({_SETTINGS_KEY: about.encode()})
    write_atomically(folder / _FILE, lambda partial: pq.write_table(table, partial, write_page_checksum=True))
    return folder


def read_shard(cut: Path, number: int) -> tuple[list[Cell], dict[str, Any]]:
    """The cells of a shard, and the settings that the cut was written with.

    Raises:
        GridError: the folder is no cut of this program's, or has no such shard.
    """
    remedy = "name a folder of RUN_DIR/shards, as in memcap shard results/default/shards/0a1b2c3d 0"
    try:
        about = json.loads((pq.read_schema(cut / _FILE).metadata or {})[_SETTINGS_KEY])
        table = pq.read_table(cut / _FILE, schema=_SCHEMA, filters=[("shard", "=", number)], use_threads=False)
    except FileNotFoundError as error:
        raise GridError("shard", str(cut), "is no cut of a run: it is done, or was taken over", remedy) from error
    except (pa.ArrowException, LookupError, ValueError) as error:
        raise GridError("shard", str(cut), "holds no cut that can be read", remedy) from error
    if about["versions"] != _VERSIONS:
        rule = f"is a cut of {about['versions']}, and this program is of {_VERSIONS}"
        raise GridError("shard", str(cut), rule, "install the same version on all machines")
    if not table.num_rows:
        raise GridError("shard", number, f"is no shard of {cut}", "shards are counted from 0")
    return cells_of(table.to_pandas(use_threads=False)), about["settings"]


def cuts(run_dir: Path) -> list[Path]:
    """The cuts in a run's folder: those that a command which was killed has left, if any."""
    folder = run_dir / SHARDS
    return sorted(folder.iterdir()) if folder.is_dir() else []


def forget_cuts(run_dir: Path) -> None:
    """Remove them. Whoever works on a shard of one ends."""
    shutil.rmtree(run_dir / SHARDS, ignore_errors=True)
