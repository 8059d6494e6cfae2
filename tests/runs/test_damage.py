"""Damaged folders, and folders of other versions: what is damage is set aside or trained again, and nothing else is."""

from __future__ import annotations

import errno
import hashlib
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bench
from bench.protocol.cells import FIELDS, LATER, PROTOCOL_VERSION, Cell, Curve, Outcome, Status
from bench.report.build import build
from bench.store import parts, provenance
from bench.store.folder import held, held_for_report
from bench.store.parts import Store
from bench.store.schema import SCHEMA_VERSION

CELLS = bench.expand(depth=1, width=4, n_samples=[4, 8], tau=0.5, max_epochs=20)


def trained(folder: Path) -> int:
    """Cells that the last run into a folder trained."""
    return provenance.read(folder)[-1]["cells_trained"]


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '{"runs": 3}', '{"runs": [3]}', "\udcff", "[" * 10_000])
def test_a_provenance_that_is_none_is_set_aside_with_a_line(text, tmp_path, capsys):
    bench.run(CELLS, run_dir=tmp_path)
    damaged = text.encode(errors="surrogateescape")
    for number, name in enumerate(("provenance.unreadable.json", "provenance.unreadable-2.json")):
        (tmp_path / "provenance.json").write_bytes(damaged)
        bench.run(CELLS[: 1 + number], run_dir=tmp_path)
        assert capsys.readouterr().out == f"memcap: {tmp_path / 'provenance.json'} cannot be read; it is now {name}\n"
        assert (tmp_path / name).read_bytes() == damaged
        assert [run["cells_planned"] for run in provenance.read(tmp_path)] == [1 + number]


def test_a_run_that_lost_its_plan_is_told_the_way_that_works(memcap, tmp_path):
    first = bench.run(CELLS, run_dir=tmp_path / "mine")
    (tmp_path / "mine" / "plan.parquet").unlink()
    rule = "has lost its plan.parquet; the command of its config.yaml writes it again (memcap run_dir=mine)"
    assert memcap("report", "mine") == (2, "", f"memcap: mine: {rule}\n")
    pd.testing.assert_frame_equal(bench.run(CELLS, run_dir=tmp_path / "mine"), first)
    assert trained(tmp_path / "mine") == 0
    assert memcap("report", "mine")[0] == 0


def test_files_of_another_s_are_told_alike_by_a_run_and_a_report(memcap, tmp_path):
    (tmp_path / "theirs" / "figures").mkdir(parents=True)
    rule = "holds figures, but no run that they belong to; name a new folder, or the folder of a run"
    assert memcap("grid=smoke", "run_dir=theirs") == (2, "", f"memcap: run_dir=theirs: {rule}\n")
    rule = "holds files, but no run that they belong to; name the folder of a run"
    assert memcap("report", "theirs") == (2, "", f"memcap: theirs: {rule}\n")


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "Permission denied"), OSError(errno.EMFILE, "Too many open files")])
def test_a_file_that_the_system_does_not_give_is_no_damage(error, tmp_path, monkeypatch):
    bench.run(CELLS, run_dir=tmp_path)

    def refuse(self):
        raise error

    monkeypatch.setattr(Path, "read_bytes", refuse)
    store = Store(tmp_path)
    with pytest.raises(OSError, match=error.strerror):
        store.read_cells()
    assert store.unreadable == {}


def test_results_are_read_where_no_thread_can_be_started(tmp_path, monkeypatch):
    """Where pyarrow reads a file itself, or with threads, it then raises an error of its own, which says nothing of the file."""
    bench.run(CELLS, run_dir=tmp_path)
    opened, read, sources, threads = pq.ParquetFile.__init__, pq.ParquetFile.read, [], []

    def opens(self, source, *args, **options):
        sources.append(source)
        opened(self, source, *args, **options)

    def reads(self, *args, **options):
        threads.append(options.get("use_threads", True))
        return read(self, *args, **options)

    monkeypatch.setattr(pq.ParquetFile, "__init__", opens)
    monkeypatch.setattr(pq.ParquetFile, "read", reads)
    assert len(Store(tmp_path).read_cells()) == 2
    assert sources and all(isinstance(source, pa.BufferReader) for source in sources)
    assert threads and not any(threads)


def test_what_ended_writers_left_half_written_goes_and_what_others_write_stays(tmp_path):
    bench.run(CELLS, run_dir=tmp_path)
    build(tmp_path)
    of_run = [
        tmp_path / ".plan.parquet.0123abcd.partial",
        tmp_path / "cells" / ".part-00000009-0123abcd.parquet.0123abcd.partial",
    ]
    of_report = [tmp_path / ".report.html.0123abcd.partial", tmp_path / "figures" / ".map.png.0123abcd.partial"]
    of_others = [tmp_path / ".mine.0123abcd.partial", tmp_path / "notes.partial"]
    for path in (*of_run, *of_report, *of_others):
        path.touch()
    with held(tmp_path, fresh=False):
        assert [path.exists() for path in (*of_run, *of_report)] == [False, False, True, True]
    for path in of_run:
        path.touch()
    with held_for_report(tmp_path):
        assert [path.exists() for path in (*of_run, *of_report)] == [True, True, False, False]
    assert all(path.exists() for path in of_others)


def rewritten(folder: Path, about: dict[bytes, bytes], without: tuple[str, ...] = ()) -> None:
    """All parquet files of a folder as another version would have written them."""
    for path in folder.rglob("*.parquet"):
        table = pq.read_table(path)
        metadata = {**table.schema.metadata, **about}
        table = table.drop_columns([name for name in without if name in table.column_names])
        pq.write_table(table.replace_schema_metadata(metadata), path)


@pytest.mark.parametrize(
    ("about", "without", "schema", "protocol"),
    [
        ({b"memcap_schema": b"1"}, ("loss", "jacobian_rank"), 1, PROTOCOL_VERSION),
        ({b"memcap_schema": b"99"}, (), 99, PROTOCOL_VERSION),
        ({b"memcap_protocol": b"99"}, (), SCHEMA_VERSION, 99),
    ],
)
def test_a_folder_of_another_version_is_named_stays_readable_and_is_not_written_to(
    about, without, schema, protocol, memcap, tmp_path
):
    folder = tmp_path / "old"
    before = bench.run(CELLS, run_dir=folder)
    rewritten(folder, about, without)
    kept = {path: path.read_bytes() for path in folder.rglob("*.parquet")}
    status, _, err = memcap("grid=smoke", "run_dir=old")
    rule = f"is of schema {schema} and protocol {protocol}, and this program of {SCHEMA_VERSION} and {PROTOCOL_VERSION}"
    assert (status, err) == (2, f"memcap: run_dir=old: {rule}; name a new folder; memcap report still reads this one\n")
    assert {path: path.read_bytes() for path in folder.rglob("*.parquet")} == kept
    store = Store(folder)
    pd.testing.assert_frame_equal(store.read_cells(), before, check_dtype=False)
    assert len(store.read_curves()) and store.unreadable == {}
    if without:
        assert memcap("report", "old")[0] == 0
    assert len(bench.run(CELLS, run_dir=folder, fresh=True)) == len(before) and trained(folder) == len(before)


def test_a_field_that_is_added_later_leaves_ids_as_they_were_where_it_is_at_its_default():
    """The id of before is that of all other values."""
    cell = Cell(width=7)
    others = [getattr(cell, name) for name in FIELDS if name not in LATER]
    assert cell.cell_id == hashlib.sha256(json.dumps([PROTOCOL_VERSION, *others]).encode()).hexdigest()[:16]
    assert len({cell.cell_id, Cell(width=7, n_outputs=2).cell_id, Cell(width=7, criterion="recall").cell_id}) == 3


def test_a_folder_from_before_a_field_goes_on(tmp_path):
    first = bench.run(CELLS, run_dir=tmp_path)
    rewritten(tmp_path, {}, without=LATER)
    pd.testing.assert_frame_equal(bench.run(CELLS, run_dir=tmp_path), first)
    assert trained(tmp_path) == 0


def outcomes_of(cells, value=1.0):
    return [Outcome(cell, Status.CENSORED, epochs_run=1, final_tau=value, curve=Curve([0, 1], [1.0, value])) for cell in cells]


def test_many_parts_become_few_files_that_hold_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "PUT_TOGETHER", 4)
    cells = bench.expand(depth=1, width=4, n_samples=8, seed=range(150))
    again = cells[::10]
    few, many = Store(tmp_path / "few"), Store(tmp_path / "many")
    few.write(outcomes_of(cells))
    few.write(outcomes_of(again, value=0.25))
    for cell in cells:
        many.write(outcomes_of([cell]))
        if cell in again:  # The newer training counts, before it is put together with the other and after.
            many.write(outcomes_of([cell], value=0.25))
    for store in (few, many):
        store.write_plan(cells)
    # 165 in base 4 is 2211.
    assert {kind: len(list((many.path / kind).iterdir())) for kind in ("cells", "curves")} == {"cells": 6, "curves": 6}
    pd.testing.assert_frame_equal(many.read_cells(), few.read_cells())
    pd.testing.assert_frame_equal(many.read_curves(), few.read_curves())
    assert set(many.read_cells()["final_tau"][::10]) == {0.25} and many.finished_ids() == few.finished_ids()


def test_who_reads_while_parts_are_put_together_misses_none(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "PUT_TOGETHER", 4)
    cells = bench.expand(depth=1, width=4, n_samples=8, seed=range(4))
    writer, reader = Store(tmp_path), Store(tmp_path)
    for cell in cells[:3]:
        writer.write(outcomes_of([cell]))
    listed, late = Store._parts, [cells[3]]

    def then_more(self, kind):
        found = listed(self, kind)
        if self is reader and late:
            writer.write(outcomes_of([late.pop()]))
        return found

    monkeypatch.setattr(Store, "_parts", then_more)
    assert reader.statuses().keys() == {cell.cell_id for cell in cells}
    assert len(list((tmp_path / "cells").iterdir())) == 1 and not late


def test_a_part_that_cannot_be_read_is_not_put_together_with_others(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "PUT_TOGETHER", 4)
    cells = bench.expand(depth=1, width=4, n_samples=8, seed=range(9))
    store = Store(tmp_path)
    for cell in cells:
        store.write(outcomes_of([cell]))
        if cell is cells[1]:
            min((tmp_path / "cells").iterdir()).write_text("damage")
    assert len(Store(tmp_path).statuses()) == 8 and len(list((tmp_path / "cells").iterdir())) == 4 + 1 + 1
