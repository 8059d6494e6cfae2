"""Several runs: each cell counts once, whoever ran it; one report of all; nothing is lost."""

from __future__ import annotations

import re
import shutil
import threading

import numpy as np
import pandas as pd
import pytest

import bench
from bench.protocol.cells import Outcome, Status
from bench.store import provenance
from bench.store.folder import held_for_report
from bench.store.parts import Design, Store
from bench.store.several import load, put_together
from tests.report.synthetic import outcome, write_run

CELLS = bench.expand(depth=1, width=[4, 8], n_samples=[16, 32, 64], seed=range(4))


@pytest.fixture
def halves(tmp_path):
    """Two runs that share a third of their cells."""
    return write_run(tmp_path / "a", CELLS[:16]), write_run(tmp_path / "b", CELLS[8:])


def test_one_folder_is_read_as_a_run_returns_it_with_its_name(tmp_path):
    table = bench.run(bench.expand(depth=1, width=4, n_samples=[4, 8], max_epochs=20), run_dir=tmp_path / "one")
    read = bench.load(tmp_path / "one")
    pd.testing.assert_frame_equal(read.drop(columns="run"), table)
    assert set(read["run"]) == {str(tmp_path / "one")}


def test_several_folders_give_each_cell_once_and_who_ran_it(halves):
    a, b = halves
    read = load(a, str(b))
    assert list(read["cell_id"]) == [cell.cell_id for cell in CELLS]
    assert list(read["run"]) == [str(a)] * 8 + [str(b)] * 16
    apart = pd.concat([load(a), load(b)])
    assert len(apart) == 32
    pd.testing.assert_frame_equal(bench.capacities(read), bench.capacities(apart))
    pd.testing.assert_frame_equal(bench.groups(read), bench.groups(apart))


def test_a_result_comes_before_a_failure_and_before_what_is_pending(tmp_path):
    whole = write_run(tmp_path / "whole", CELLS)
    failed, planned = Store(tmp_path / "failed"), Store(tmp_path / "planned")
    failed.write([Outcome(cell, Status.FAILED, reason="lightning") for cell in CELLS])
    failed.write_plan(CELLS)
    planned.write_plan(CELLS)
    for folders in ((whole, failed.path, planned.path), (planned.path, failed.path, whole)):
        assert set(load(*folders)["run"]) == {str(whole)}
    assert set(load(failed.path, planned.path)["status"]) == {"pending"}


def test_a_part_that_cannot_be_read_is_named_and_not_passed_over(halves):
    (part, *_) = (halves[1] / "cells").iterdir()
    part.write_bytes(b"no parquet")
    with pytest.raises(OSError, match=rf"{part.name} .*; memcap run_dir={halves[1]} trains its cells again$"):
        load(*halves)


def test_a_folder_without_a_run_is_named(halves, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: holds no plan"):
        load(halves[0], tmp_path / "nowhere")


def test_runs_of_other_versions_are_not_put_together(halves, tmp_path, monkeypatch):
    """What their numbers mean differs, and what is put together is of this version."""
    a, b = halves
    monkeypatch.setattr("bench.store.parts.PROTOCOL_VERSION", 0)
    Store(a).write_plan(CELLS[:16])
    monkeypatch.undo()
    rule = rf"{a}: is of schema 2 and protocol 0, and this program of 2 and 1; report it by itself"
    for folders in ([a, b], [b, a], [a]):
        with pytest.raises(bench.GridError, match=rule):
            put_together(folders, tmp_path / "both")
    assert not (tmp_path / "both").exists()
    with pytest.raises(bench.GridError, match=rf"{b}: is of schema 2 and protocol 1, and {a} of 2 and 0; load it by itself"):
        load(a, b)
    assert len(load(a)) == 16


def test_runs_put_together_are_a_run_with_the_cells_and_curves_of_all(halves, tmp_path):
    a, b = halves
    together = Store(put_together([a, b], tmp_path / "both"))
    pd.testing.assert_frame_equal(together.read_cells(), load(a, b).drop(columns="run"))
    curves = pd.concat([Store(a).read_curves(), Store(b).read_curves()]).drop_duplicates(["cell_id", "epoch"])
    pd.testing.assert_frame_equal(together.read_curves(), curves.sort_values(["cell_id", "epoch"], ignore_index=True))
    assert together.design() == (Design.PRODUCT, None)
    assert [run["folder"] for run in provenance.read(together.path)] == [str(a), str(b)]


def test_what_was_put_together_is_replaced_and_a_run_of_its_own_is_not(halves, tmp_path):
    a, b = halves
    put_together([a, b], tmp_path / "both")
    assert len(Store(put_together([a], tmp_path / "both")).read_cells()) == 16
    other = write_run(tmp_path / "other", CELLS[:3])
    provenance.append(other, {"started_at": "now"})
    before = {path: path.read_bytes() for path in other.rglob("*") if path.is_file()}
    with pytest.raises(bench.GridError, match=r"other: holds a run of its own; name a new folder"):
        put_together([a, b], other)
    with pytest.raises(bench.GridError, match=r"is one of the folders to put together; name a new folder"):
        put_together([a, other], other)
    assert before == {path: path.read_bytes() for path in other.rglob("*") if path.is_file()}
    # One that was killed before it wrote down where it ran is a run of its own too.
    (other / "provenance.json").unlink()
    with pytest.raises(bench.GridError, match="holds a run of its own"):
        put_together([a, b], other)


def test_an_interrupted_putting_together_can_be_done_again(halves, tmp_path, monkeypatch):
    copies = []

    def copy(part, to) -> None:
        copies.append(to)
        if len(copies) == 5:
            raise KeyboardInterrupt
        to.write_bytes(part.read_bytes())

    with monkeypatch.context() as patched:
        patched.setattr("bench.store.several.shutil.copyfile", copy)
        with pytest.raises(KeyboardInterrupt):
            put_together(halves, tmp_path / "both")
    put_together(halves, tmp_path / "both")
    assert len(load(tmp_path / "both")) == len(CELLS)


def test_a_run_that_writes_on_while_it_is_put_together_leaves_no_cell_without_its_curve(halves, tmp_path, monkeypatch):
    copy, late = shutil.copyfile, bench.expand(depth=3, width=4, n_samples=16)

    def copied(path, to):
        copy(path, to)
        if late:
            Store(halves[0]).write([outcome(late.pop())])

    monkeypatch.setattr("shutil.copyfile", copied)
    store = Store(put_together(halves, tmp_path / "both"))
    assert not late and set(store.finished_ids()) == set(store.statuses())


def test_a_run_that_puts_its_parts_together_meanwhile_loses_none_of_them(halves, tmp_path, monkeypatch):
    copy, gone = shutil.copyfile, []

    def copied(path, to):
        if not gone and path.parent == halves[1] / "cells":
            gone.append(path.rename(path.with_name("part-00000009-89abcdef.parquet")))
        copy(path, to)

    monkeypatch.setattr("shutil.copyfile", copied)
    assert len(load(put_together(halves, tmp_path / "both"))) == len(CELLS)
    assert gone and set(Store(tmp_path / "both").finished_ids()) == {cell.cell_id for cell in CELLS}


def test_runs_are_not_put_together_under_a_report_that_is_being_made(halves, tmp_path):
    both = put_together(halves, tmp_path / "both")
    with held_for_report(both):
        thread = threading.Thread(target=put_together, args=(halves, both), daemon=True)
        thread.start()
        thread.join(1)
        assert thread.is_alive() and Store(both).statuses()
    thread.join(20)
    assert not thread.is_alive()


def test_one_report_is_made_of_several_runs(memcap, halves, tmp_path):
    status, out, err = memcap("report", "a", "b", "run_dir=both")
    assert (status, err) == (0, "")
    assert "memcap: report in both/report.html" in out
    groups = pd.read_csv(tmp_path / "both" / "tables" / "groups.csv")
    assert (groups["n_seeds"] == 4).all() and len(groups) == 6
    assert np.isclose(groups["n_memorized"].sum(), sum(outcome(cell).status is Status.MEMORIZED for cell in CELLS))
    assert memcap("report", "both")[0] == 0


def test_the_headline_of_several_runs_is_of_the_cells_of_all_and_says_so(memcap, tmp_path):
    """One of relu and one of tanh: that of relu, the first, was told as if there were no other."""
    sizes = {"depth": 1, "width": 8, "n_samples": [4, 8, 16, 400], "seed": range(4)}
    folders = [write_run(tmp_path / name, bench.expand(activation=name, **sizes)) for name in ("relu", "tanh")]
    assert memcap("report", *map(str, folders), f"run_dir={tmp_path / 'both'}").status == 0
    first, second = (tmp_path / "both" / "findings.md").read_text().splitlines()[:2]
    assert re.search(
        r"networks memorized in \d+ of 24 trainings .*over all settings of 2 runs|in 24 of 24 trainings over all", first
    )
    assert " of 8 trainings" in second
    memcap("report", str(folders[0]))
    assert "runs" not in (folders[0] / "findings.md").read_text().splitlines()[0]


def test_reports_of_several_runs_that_cannot_be_are_one_line(memcap, halves, tmp_path):
    rule = "a b: are several folders, and their report needs one; write memcap report a b run_dir=results/together"
    assert memcap("report", "a", "b") == (2, "", f"memcap: {rule}\n")
    rule = "run_dir=x: is for the report of several folders; name another one, or leave it out"
    assert memcap("report", "a", "run_dir=x") == (2, "", f"memcap: {rule}\n")
    Store(tmp_path / "v").write_plan(CELLS[:3], Design.VARIANTS)
    Store(tmp_path / "s").write_plan(CELLS[:3], Design.SEARCH, 1.2)
    rule = "v: is of one network and its variants; report it by itself, memcap report v"
    assert memcap("report", "a", "v", "run_dir=x") == (2, "", f"memcap: {rule}\n")
    rule = "s: holds a search, and a a grid; report those of a kind together, bench.load reads both"
    assert memcap("report", "a", "s", "run_dir=x") == (2, "", f"memcap: {rule}\n")
    assert not (tmp_path / "x").exists()


def test_a_plan_without_cells_is_told_and_keeps_its_tables(memcap, tmp_path):
    write_run(tmp_path / "a", CELLS[:4])
    assert memcap("report", "a")[0] == 0
    Store(tmp_path / "a").write_plan([])
    rule = "a: its plan has no cells; train into this folder first (memcap run_dir=a)"
    status, _, err = memcap("report", "a")
    assert (status, err) == (2, f"memcap: {rule}\n")
    assert len(pd.read_csv(tmp_path / "a" / "tables" / "cells.csv")) == 4
