"""`memcap check capacity`: what it finds, what it leaves, and how it ends."""

from __future__ import annotations

import dataclasses
import json

import pandas as pd
import pytest

import bench
from bench.commands import check_capacity
from bench.commands.line import compose
from bench.engines import torch_engine
from bench.gates import train
from bench.gates.learned import write
from bench.runs import run as runs
from bench.store.parts import Store


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
    assert out.endswith("memcap: passed; what was found is in mine\n")
    kept = json.loads((tmp_path / "mine" / "check.json").read_text())
    tests = ["training", "first epochs", "epochs to tau", "share that memorizes", "N50", "bytes"]
    assert [finding["test"] for finding in kept["findings"]] == tests
    settings = pd.read_csv(tmp_path / "mine" / "tables" / "check_settings.csv")
    assert settings["n_cells"].tolist() == [3]
    assert (tmp_path / "mine" / "tables" / "README.md").exists()
    assert "base: reference" in (tmp_path / "mine" / "config.yaml").read_text()


def test_a_program_that_learns_something_else_is_found_also_where_results_of_the_old_one_are_kept(
    memcap, tmp_path, small, monkeypatch
):
    assert memcap("check", "capacity", "run_dir=mine", "engine=torch")[0] == 0
    rates = torch_engine.learning_rates
    monkeypatch.setattr(torch_engine, "learning_rates", lambda cell, epochs: 1.1 * rates(cell, epochs))
    status, out, _ = memcap("check", "capacity", "run_dir=mine", "engine=torch", "threads=1")
    assert status == 1
    assert "the losses of 1 of 1 settings differ in the first 20 epochs: usual" in out
    assert out.endswith("memcap: failed; what was found is in mine\n")


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
    for asked in ("base=half", "base=old head=half"):
        status, _, err = memcap("check", "capacity", *asked.split())
        assert status == 2
    rule = "has no result of 2 of its 2 cells; run it to its end first"
    assert memcap("check", "capacity", "base=half")[2] == f"memcap: base=half: {rule}\n"
    runs.run(cells[:1], run_dir=tmp_path / "less")
    rule = "1 cells are in only one of base and head; train both from the same grid"
    assert memcap("check", "capacity", "base=old", "head=less")[::2] == (2, f"memcap: base=old: {rule}\n")


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
