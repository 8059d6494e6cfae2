"""`memcap check capacity`: what it finds, what it leaves, and how it ends."""

from __future__ import annotations

import dataclasses
import json

import pandas as pd
import pyarrow.parquet as pq
import pytest

import bench
from bench.commands import check_capacity
from bench.commands.line import compose
from bench.engines import torch_engine
from bench.gates import train
from bench.gates.learned import write
from bench.runs import run as runs
from bench.store import provenance
from bench.store.parts import Store
from bench.store.schema import SCHEMA_VERSION


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A reference of three small cells in place of the one that is shipped, which this machine has just trained."""
    cells = bench.expand(width=4, n_samples=8, seed=range(3), max_epochs=40)
    (chosen,) = compose("config", ["grid=smoke"])
    monkeypatch.setattr(check_capacity, "compose", lambda *asked: [dataclasses.replace(chosen, cells=tuple(cells))])
    monkeypatch.setattr(check_capacity, "reference_dir", lambda: tmp_path / "reference")
    made = train.by_reference_build(cells, 1)
    if isinstance(made, str):
        pytest.skip(made)
    write(tmp_path / "reference", made)
    return cells


def test_what_is_learned_here_is_held_against_the_reference(memcap, tmp_path, small):
    status, out, err = memcap("check", "capacity", "run_dir=mine", "threads=1")
    assert (status, err) == (0, "")
    assert "all 3 cells are the same to the last bit, by native on cpu avx2" in out
    assert out.endswith("memcap: passed; what was found is in mine, for readers in report.html\n")
    kept = json.loads((tmp_path / "mine" / "check.json").read_text())
    tests = ["training", "first epochs", "epochs to tau", "share that memorizes", "N50", "bytes"]
    assert [finding["test"] for finding in kept["findings"]] == tests
    settings = pd.read_csv(tmp_path / "mine" / "tables" / "check_settings.csv")
    assert settings["n_cells"].tolist() == [3]
    assert (tmp_path / "mine" / "tables" / "README.md").exists()
    assert "base: reference" in (tmp_path / "mine" / "config.yaml").read_text()
    assert '<span class="verdict passed">✓ passed</span></h1>' in (tmp_path / "mine" / "report.html").read_text()


def test_a_program_that_learns_something_else_is_found_also_where_results_of_the_old_one_are_kept(
    memcap, tmp_path, small, monkeypatch
):
    assert memcap("check", "capacity", "run_dir=mine", "engine=torch")[0] == 0
    rates = torch_engine.learning_rates
    monkeypatch.setattr(torch_engine, "learning_rates", lambda cell, epochs: 1.1 * rates(cell, epochs))
    status, out, _ = memcap("check", "capacity", "run_dir=mine", "engine=torch", "threads=1")
    assert status == 1
    assert "the losses of 1 of 1 settings differ in the first 20 epochs: usual" in out
    assert out.endswith("memcap: failed; what was found is in mine, for readers in report.html\n")


def test_two_runs_are_held_against_each_other(memcap, tmp_path):
    cells = bench.expand(width=[4, 8], n_samples=8, max_epochs=40)
    for name, engine in (("old", "torch"), ("new", "auto")):
        runs.run(cells, run_dir=tmp_path / name, engine=engine)
    status, out, err = memcap("check", "capacity", "base=old", "head=new", "run_dir=mine")
    assert (status, err) == (0, "")
    assert "against old" in out
    assert "bytes" not in out
    # Without a head the base's cells are trained here.
    assert memcap("check", "capacity", "base=old", "run_dir=other")[0] == 0
    memcap("check", "capacity", "base=old", "run_dir=third")
    rule = "is where the head would be trained; name another run_dir"
    said = (2, "", f"memcap: base=third/head: {rule}\n")
    assert memcap("check", "capacity", "base=third/head", "run_dir=third") == said
    Store(tmp_path / "half").write_plan(cells)
    rule = "has no result of 2 of its 2 cells; run it to its end first"
    never_green(memcap, tmp_path, f"base=half: {rule}", "base=half")
    never_green(memcap, tmp_path, f"head=half: {rule}", "base=old", "head=half")
    Store(tmp_path / "none").write_plan([])
    never_green(memcap, tmp_path, "base=none: is a run of no cells; run it to its end first", "base=none")
    runs.run(cells[:1], run_dir=tmp_path / "less")
    rule = "1 cells are in only one of base and head; train both from the same grid"
    assert memcap("check", "capacity", "base=old", "head=less")[::2] == (2, f"memcap: base=old: {rule}\n")


def never_green(memcap, folder, said: str, *arguments: str) -> None:
    """One line, exit status 2; and the folder of the check says so too, whatever it held."""
    assert memcap("check", "capacity", *arguments)[::2] == (2, f"memcap: {said}\n")
    found = json.loads((folder / "results" / "check" / "check.json").read_text())
    assert (found["outcome"], found["passed"], found["findings"][0]["said"]) == ("undecided", False, said)
    assert "### 🟡 capacity: undecided\n" in (folder / "results" / "check" / "check.md").read_text()
    assert not (folder / "results" / "check" / "report.html").exists()


def test_an_old_green_check_does_not_survive_one_that_could_not_be_held(memcap, tmp_path, small):
    assert memcap("check", "capacity", "threads=1")[0] == 0
    assert json.loads((tmp_path / "results" / "check" / "check.json").read_text())["passed"]
    (tmp_path / "reference" / "learned_curves.csv").unlink()
    status, _, err = memcap("check", "capacity", "threads=1")
    assert status == 2 and err.startswith("memcap: base=reference: cannot be read: ")
    never_green(memcap, tmp_path, err.removeprefix("memcap: ").strip(), "threads=1")


def test_a_head_with_changes_is_checked_and_named(memcap, tmp_path, small, monkeypatch):
    monkeypatch.setattr(provenance, "_git", lambda *asked: "a" * 40 if asked[0] == "rev-parse" else " M bench/cells.py")
    status, out, _ = memcap("check", "capacity", "threads=1", "engine=torch")
    assert status == 0
    head = f"commit {'a' * 12} with changes, torch on cpu"
    assert f"capacity: {head} against reference, native on cpu avx2\n" in out
    assert json.loads((tmp_path / "results" / "check" / "check.json").read_text())["head"] == head
    assert "The head has changes that no commit holds." in (tmp_path / "results" / "check" / "report.html").read_text()


def test_results_of_another_schema_are_no_results(memcap, tmp_path, monkeypatch):
    cells = bench.expand(width=[4, 8], n_samples=8, max_epochs=10)
    for name in ("old", "new"):
        runs.run(cells, run_dir=tmp_path / name, engine="torch")
    (part,) = (tmp_path / "old" / "cells").iterdir()
    table = pq.read_table(part)
    pq.write_table(table.replace_schema_metadata({b"memcap_schema": b"1"}), part)
    rule = f"cells/{part.name} is of schema 1, this program reads schema {SCHEMA_VERSION}; train it again with this program"
    never_green(memcap, tmp_path, f"base=old: {rule}", "base=old", "head=new")
    never_green(memcap, tmp_path, f"head=old: {rule}", "base=new", "head=old")
    (tmp_path / "old" / "plan.parquet").write_text("no parquet")
    status, _, err = memcap("check", "capacity", "base=old", "head=new")
    assert (
        status == 2
        and err.startswith("memcap: base=old: plan.parquet ")
        and err.endswith("; train it again with this program\n")
    )


def test_the_folder_of_a_run_or_of_another_check_is_left_alone(memcap, tmp_path):
    Store(tmp_path / "run").write_plan(bench.expand(width=4, n_samples=8))
    (tmp_path / "speed").mkdir()
    (tmp_path / "speed" / "check.json").write_text('{"check": "speed"}')
    remedy = "name a new folder, or that of such a check"
    said = {"run": "holds plan.parquet, of a run", "speed": "holds a check of speed"}
    for folder, rule in said.items():
        before = {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()}
        assert memcap("check", "capacity", f"run_dir={folder}") == (2, "", f"memcap: run_dir={folder}: {rule}; {remedy}\n")
        assert {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "check: needs to know what; write memcap check capacity or memcap check speed"),
        (["capcity"], "capcity: is not a check; did you mean capacity?"),
        (["capacity", "base=nowhere"], "base=nowhere: is not the folder of a run; name one, as in results/default"),
        (["capacity", "head=nowhere"], "head=nowhere: is not the folder of a run; name one, as in results/default"),
        (["capacity", "head=3"], "head=3: must be the folder of a run, or null; memcap check --help lists the settings"),
        (["capacity", "bsae=x"], "bsae: is not a setting; did you mean base?"),
        (["capacity", "engine=magic"], "engine=magic: is not in conf/engine; choose from: auto, cuda, native, torch"),
    ],
)
def test_what_cannot_be_checked_is_a_line_and_never_green(arguments, said, memcap):
    assert memcap("check", *arguments) == (2, "", f"memcap: {said}\n")


def test_a_reference_of_another_grid_or_schema_is_a_line(memcap, tmp_path, small):
    cells = tmp_path / "reference" / "learned_cells.csv"
    whole = cells.read_text()
    cells.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    said = memcap("check", "capacity")
    assert said[0] == 2
    assert said[2].startswith("memcap: base=reference: is not of the cells of ")
    cells.write_text(whole.replace("setting,", "settings,"))
    rule = f"cannot be read: {cells} has other columns than this program writes"
    assert memcap("check", "capacity") == (2, "", f"memcap: base=reference: {rule}; make reference writes it\n")
    cells.unlink()
    assert memcap("check", "capacity")[0] == 2
