"""Runs: resume, repair, failure, interruption; and the results that come back."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import bench
from bench.engines.api import NONE_BEGUN
from bench.engines.choice import EngineSpec
from bench.engines.packs import Pack, plan
from bench.engines.torch_engine import TorchEngine
from bench.machine import cores
from bench.protocol.cells import FIELDS, Cell, Outcome, Status
from bench.runs.executors import local
from bench.store import provenance
from bench.store.parts import PENDING, Design, Store
from bench.store.schema import RUNG_COLUMNS, memorized_bits
from tests.engines.training import train, untimed
from tests.machine.test_signals import lives
from tests.turns import alone

CELLS = bench.expand(depth=1, width=[8, 16], n_samples=[8, 32], seed=range(2), tau=0.1, max_epochs=150)


def results(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns=["train_time_s"])


def test_a_run_returns_one_row_for_each_cell_in_order_with_what_the_engine_measured():
    table = bench.run(CELLS, engine="torch", device="cpu")
    assert list(table["cell_id"]) == [cell.cell_id for cell in CELLS]
    direct = train(CELLS)
    for cell, (_, row) in zip(CELLS, table.iterrows(), strict=True):
        outcome = direct[cell]
        assert {name: row[name] for name in FIELDS if getattr(cell, name) is not None} == {
            name: getattr(cell, name) for name in FIELDS if getattr(cell, name) is not None
        }
        assert row["status"] == outcome.status
        assert row["final_tau"] == outcome.final_tau
        assert (None if pd.isna(row["epoch_to_tau"]) else row["epoch_to_tau"]) == outcome.epoch_to_tau
        assert [None if pd.isna(row[name]) else row[name] for name in RUNG_COLUMNS] == list(outcome.rung_epochs)
        assert row["functional_dim"] == row["n_params"] - cell.width
        assert row["memorized_bits"] == pytest.approx(cell.n_samples * max(0, 0.5 * math.log2(1 / outcome.final_tau)))
        assert row["bits_per_param"] == pytest.approx(row["memorized_bits"] / row["n_params"])
        assert row["train_time_s"] > 0
        assert (row["engine"], row["device"]) == ("torch", "cpu")
    assert set(table["status"]) == {"memorized", "censored"}


def test_steps_to_tau_are_epochs_times_batches():
    table = bench.run([Cell(n_samples=25, batch_size=10, depth=1, tau=0.3)])
    assert table["steps_to_tau"].iloc[0] == 3 * table["epoch_to_tau"].iloc[0] > 0


def test_a_second_run_trains_nothing_and_returns_the_same(tmp_path, monkeypatch):
    first = bench.run(CELLS, run_dir=tmp_path)
    parts = sorted(path.name for path in (tmp_path / "cells").iterdir())
    monkeypatch.setattr(TorchEngine, "train", lambda *args, **kwargs: pytest.fail("trained again"))
    pd.testing.assert_frame_equal(bench.run(CELLS, run_dir=tmp_path), first)
    assert sorted(path.name for path in (tmp_path / "cells").iterdir()) == parts
    assert [run["cells_trained"] for run in provenance.read(tmp_path)] == [len(CELLS), 0]


def test_no_cells_are_refused_and_a_folder_keeps_its_plan(tmp_path):
    table = bench.run(CELLS, run_dir=tmp_path)
    with pytest.raises(bench.GridError, match=r"^cells=\[\]: names no cell to train; give one or more, as bench\.expand makes"):
        bench.run([], run_dir=tmp_path)
    pd.testing.assert_frame_equal(Store(tmp_path).read_cells(), table)


def test_a_larger_grid_trains_only_what_is_new_and_reports_only_what_is_planned(tmp_path):
    bench.run(CELLS[:3], run_dir=tmp_path)
    grown = bench.run(CELLS[1:], run_dir=tmp_path)
    assert list(grown["cell_id"]) == [cell.cell_id for cell in CELLS[1:]]
    assert provenance.read(tmp_path)[-1]["cells_trained"] == len(CELLS) - 3


def test_fresh_forgets_the_folder_and_nothing_else(tmp_path):
    bench.run(CELLS[:2], run_dir=tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    bench.run(CELLS[:2], run_dir=tmp_path, fresh=True)
    assert [run["cells_trained"] for run in provenance.read(tmp_path)] == [2]
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("damage", ["truncated", "not parquet", "another schema"])
def test_a_part_that_cannot_be_read_is_named_and_its_cells_are_trained_again(damage, tmp_path, capsys):
    first = bench.run(CELLS[:4], run_dir=tmp_path)
    (part,) = (tmp_path / "cells").iterdir()
    if damage == "truncated":
        part.write_bytes(part.read_bytes()[:-100])
    elif damage == "not parquet":
        part.write_text("hello")
    else:
        pq.write_table(pq.read_table(part).drop_columns(["tau"]), part)
    second = bench.run(CELLS[:4], run_dir=tmp_path)
    assert f"memcap: {part} " in capsys.readouterr().out
    assert provenance.read(tmp_path)[-1]["cells_trained"] == 4
    pd.testing.assert_frame_equal(results(second), results(first))


@pytest.mark.parametrize("flips", [50, pytest.param(300, marks=pytest.mark.exhaustive)])
def test_a_flipped_bit_in_a_part_is_never_taken_for_a_result(flips, tmp_path):
    first = bench.run(CELLS[:4], run_dir=tmp_path)
    (part,) = (tmp_path / "cells").iterdir()
    intact = part.read_bytes()
    rng = np.random.default_rng(0)
    for place, bit in zip(rng.integers(0, len(intact), flips), rng.integers(0, 8, flips), strict=True):
        part.write_bytes(intact[:place] + bytes([intact[place] ^ (1 << int(bit))]) + intact[place + 1 :])
        read = Store(tmp_path).read_cells()
        if (read["status"] != PENDING).any():
            pd.testing.assert_frame_equal(read, first)


@pytest.mark.parametrize("kind", ["curves", "predictions"])
def test_cells_that_lost_their_curves_or_predictions_are_trained_again(kind, tmp_path, capsys):
    bench.run(CELLS[:2], run_dir=tmp_path, n_predictions=4)
    (part,) = (tmp_path / kind).iterdir()
    part.write_text("hello")
    bench.run(CELLS[:2], run_dir=tmp_path, n_predictions=4)
    assert f"memcap: {part} " in capsys.readouterr().out
    assert provenance.read(tmp_path)[-1]["cells_trained"] == 2
    assert Store(tmp_path).read_predictions().groupby("cell_id").size().tolist() == [4, 4]


def test_two_trainings_of_a_cell_are_never_mixed_into_one_curve(tmp_path):
    store = Store(tmp_path)
    for epochs in (90, 40):
        (outcome,) = train([Cell(n_samples=8, depth=1, max_epochs=epochs, tau=1e-6)]).values()
        store.write([outcome._replace(cell=CELLS[0])])
    assert store.read_curves()["epoch"].max() == 40


def test_failed_cells_are_rows_with_a_reason_and_are_tried_again(tmp_path, monkeypatch):
    def break_at_width_16(self, pack, **options):
        if pack.cells[0].width == 16:
            raise RuntimeError("out of\nmemory")
        return train_as_ever(self, pack, **options)

    train_as_ever = TorchEngine.train
    with monkeypatch.context() as broken:
        broken.setattr(TorchEngine, "train", break_at_width_16)
        table = bench.run(CELLS, run_dir=tmp_path, engine="torch", device="cpu")
    failed = table[table["status"] == "failed"]
    assert len(failed) == len(CELLS) // 2
    assert set(failed["reason"]) == {"RuntimeError: out of memory"}
    assert failed["final_tau"].isna().all()
    again = bench.run(CELLS, run_dir=tmp_path)
    assert not (again["status"] == "failed").any()
    assert provenance.read(tmp_path)[-1]["cells_trained"] == len(CELLS) // 2


def test_a_half_written_part_is_not_a_part(tmp_path, monkeypatch):
    """A crash between writing and renaming leaves a partial file, which no reader takes for a part."""
    outcomes = list(train(CELLS[:2]).values())

    def crash(source, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as crashing:
        crashing.setattr(os, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            Store(tmp_path).write(outcomes)
    store = Store(tmp_path)
    assert store.finished_ids() == set()
    assert store.unreadable == {}
    store.write(outcomes)
    assert store.finished_ids() == {outcome.cell.cell_id for outcome in outcomes}


def test_planned_cells_without_an_outcome_are_pending_rows(tmp_path):
    store = Store(tmp_path)
    store.write_plan(CELLS)
    store.write(list(train(CELLS[:3]).values()))
    table = store.read_cells()
    assert list(table["status"] == PENDING) == [False] * 3 + [True] * (len(CELLS) - 3)
    assert list(table["width"]) == [cell.width for cell in CELLS]


def test_curves_and_predictions_are_kept_where_asked(tmp_path):
    cell = Cell(n_samples=20, n_val=10, depth=1, max_epochs=50)
    bench.run([cell], run_dir=tmp_path, engine="torch", device="cpu", n_predictions=8)
    outcome = train([cell], n_predictions=8)[cell]
    curves, predictions = Store(tmp_path).read_curves(), Store(tmp_path).read_predictions()
    assert list(zip(curves["epoch"], curves["tau"], curves["val_mse"], strict=True)) == [
        (p.epoch, p.tau, p.val_mse) for p in outcome.curve
    ]
    assert curves["epoch"].iloc[[0, -1]].tolist() == [0, outcome.epochs_run]
    assert list(zip(predictions["target"], predictions["prediction"], strict=True)) == list(outcome.predictions)
    assert len(predictions) == 8


def test_final_predictions_are_those_that_final_tau_measures():
    """They come from the state in which the cell ended, though its pack trained on."""
    cells = [Cell(n_samples=30, depth=2, data_seed=s, tau=0.2, max_epochs=400) for s in range(4)]
    for outcome in train(cells, n_predictions=30).values():
        target, prediction = np.array(outcome.predictions).T
        assert np.mean((target - prediction) ** 2) / outcome.target_variance == pytest.approx(outcome.final_tau, rel=1e-4)
        assert outcome.final_tau <= 0.2


def test_memorized_bits_are_the_rate_distortion_of_a_gaussian():
    cell = Cell(n_samples=100)
    assert memorized_bits(cell, 0.25) == 100
    assert memorized_bits(cell, 3.0) == 0
    assert memorized_bits(cell, 0.0) == math.inf
    assert memorized_bits(cell, math.nan) is None
    assert memorized_bits(dataclasses.replace(cell, target="uniform"), 0.25) is None


def test_provenance_tells_what_ran_and_names_no_host(tmp_path):
    bench.run(CELLS[:1], run_dir=tmp_path, engine="torch", device="cpu", config="asked: 1\n")
    (run,) = json.loads((tmp_path / "provenance.json").read_text())["runs"]
    assert run["packages"]["torch"] and run["python"] and run["cpu"]["model"]
    assert (run["engine"], run["device"], run["cells_planned"], run["config"]) == ("torch", "cpu", 1, {"asked": 1})
    assert run["wall_time_s"] > 0
    assert os.uname().nodename not in (tmp_path / "provenance.json").read_text() or len(os.uname().nodename) < 4


BUSY = bench.expand(depth=2, width=16, n_samples=[64, 128], seed=range(3), max_epochs=600, tau=1e-4)


def in_workers(cells, threads=2, begun=NONE_BEGUN):
    engine = TorchEngine("cpu")
    packs = plan(cells, kind=engine.kind, slots=engine.slots, workers=threads)
    reports = local._in_workers(packs, EngineSpec("torch", "cpu"), threads, 0, False, begun)
    return {outcome.cell: outcome for report in reports for outcome in report.outcomes}


def test_worker_processes_give_the_same_bytes_as_this_process():
    here, there = train(BUSY), in_workers(BUSY)
    assert {cell: untimed(outcome) for cell, outcome in here.items()} == {
        cell: untimed(outcome) for cell, outcome in there.items()
    }


def test_worker_processes_go_on_with_cells_that_were_saved(monkeypatch):
    here = train(BUSY)
    with monkeypatch.context() as often:
        often.setattr("bench.engines.api.CHECKPOINT_S", 0.0)
        (pack, *_) = plan(BUSY[:1], kind=TorchEngine("cpu").kind, slots=TorchEngine("cpu").slots, workers=1)
        begun = {one.cell: one for report in TorchEngine("cpu").train(pack) for one in report.checkpoints}
    # A cell that is at its end begins there, with the curve of another: so it is told that it went on.
    marked = begun[BUSY[0]]._replace(cell=BUSY[1])
    there = in_workers(BUSY, begun={**begun, BUSY[1]: marked})
    assert {c: untimed(o) for c, o in there.items() if c != BUSY[1]} == {c: untimed(o) for c, o in here.items() if c != BUSY[1]}
    assert untimed(there[BUSY[1]]) != untimed(here[BUSY[1]])


def test_a_worker_that_dies_fails_its_own_pack_and_no_other(monkeypatch):
    give = local._Worker.give

    def give_and_kill(self, pack, begun):
        give(self, pack, begun)
        if pack.cells[0].n_samples == 128:
            self.process.send_signal(signal.SIGKILL)

    monkeypatch.setattr(local._Worker, "give", give_and_kill)
    outcomes = in_workers(BUSY)
    assert {c: o.reason for c, o in outcomes.items() if o.status is Status.FAILED} == {
        c: "the worker process ended with exit status -9" for c in BUSY if c.n_samples == 128
    }
    assert len(outcomes) == len(BUSY)


def test_closing_the_executor_ends_its_workers():
    packs = [Pack((cell,), 1) for cell in BUSY]
    reports = local._in_workers(packs, EngineSpec("torch", "cpu"), 2, 0, False, NONE_BEGUN)
    next(reports)
    workers = list(reports.gi_frame.f_locals["workers"].values())
    reports.close()
    assert [worker.process.poll() for worker in workers] == [-9, -9]


@pytest.mark.parametrize(
    ("engine", "threads", "signals", "status"),
    [
        ("auto", 2, [signal.SIGINT] * 3, 130),
        ("auto", 2, [signal.SIGTERM], 143),
        pytest.param("auto", 2, [signal.SIGHUP, signal.SIGTERM], 129, marks=pytest.mark.exhaustive),
        *(pytest.param("torch", n, [signal.SIGINT] * 3, 130, marks=pytest.mark.exhaustive) for n in (1, 2)),
        pytest.param("torch", 2, [signal.SIGTERM], 143, marks=pytest.mark.exhaustive),
        pytest.param("torch", 2, [signal.SIGKILL], -9, marks=pytest.mark.exhaustive),
    ],
)
def test_a_signal_stops_within_a_second_keeps_what_is_finished_and_says_how_to_go_on(
    engine, threads, signals, status, tmp_path
):
    """Also one that comes again and again. No child lives on, and the same command goes on."""
    command = [
        sys.executable,
        "-m",
        "bench",
        "grid=smoke",
        "grid.n_samples=[16,512]",
        "grid.width=[8,64]",
        "max_epochs=600000",
        f"engine={engine}",
        "grid.depth=[1,8]",
        # So that some end soon, by an engine that is slow too.
        "tau=0.5",
        f"threads={threads}",
        f"run_dir={tmp_path}",
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that runs the tests in the background has its children ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 90
    while not list(tmp_path.glob("cells/*.parquet")):
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()
        time.sleep(0.05)
    children = children_of(process.pid)
    with alone():
        sent = time.monotonic()
        for number in signals:
            process.send_signal(number)
            time.sleep(0.05)
        try:
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
        ended = time.monotonic()
        while any(map(lives, children)):
            assert time.monotonic() - ended < 1
            time.sleep(0.01)
    # A second, and what a host that does other things takes beside it to end three processes.
    assert ended - sent < 3
    assert process.returncode == status
    assert "Traceback" not in errors
    assert not children or engine == "torch"
    table = Store(tmp_path).read_cells()
    assert set(table["status"]) > {PENDING}
    if status > 0:
        stopped = "memcap: stopped; finished cells are kept, and the same command goes on from there"
        assert [line for line in errors.splitlines() if line.startswith("memcap: ")] == ["memcap: stopping", stopped]
        (run,) = provenance.read(tmp_path)
        assert run["cells_trained"] == (table["status"] != PENDING).sum()


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_progress_lines_count_the_ends_of_cells(capsys, monkeypatch):
    monkeypatch.setattr("bench.machine.bar.LINE_EVERY_S", 0.0)
    bench.run(CELLS, progress=True)
    last = capsys.readouterr().err.strip().splitlines()[-1]
    table = bench.run(CELLS)
    memorized = int((table["status"] == "memorized").sum())
    assert last.startswith(
        f"100 % of the work: {len(CELLS)}/{len(CELLS)} cells; {memorized} memorized, {len(CELLS) - memorized} censored; "
    )


def test_available_cores_respect_the_quota_of_the_control_group(monkeypatch, tmp_path):
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(cores, "CGROUP_CPU_MAX", quota)
    own = cores.available_cores()
    quota.write_text("100000 100000\n")
    assert cores.available_cores() == 1
    quota.write_text("max 100000\n")
    assert cores.available_cores() == own


def test_an_outcome_of_a_failure_holds_no_numbers():
    outcome = Outcome(Cell(), Status.FAILED, reason="because")
    assert {name for name in outcome._fields if getattr(outcome, name) not in (None, (), (None,) * 4)} == {
        "cell",
        "status",
        "reason",
    }


@pytest.mark.parametrize("fresh", [False, True])
def test_files_of_another_s_are_neither_overwritten_nor_removed(tmp_path, fresh):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "mine.png").touch()
    with pytest.raises(bench.GridError) as error:
        bench.run(bench.Cell(), run_dir=tmp_path, fresh=fresh)
    assert str(error.value) == (
        f"run_dir={tmp_path}: holds figures, but no run that they belong to; name a new folder, or the folder of a run"
    )
    assert [path.name for path in tmp_path.rglob("*")] == ["figures", "mine.png"]


def test_a_search_that_is_stopped_before_it_trains_leaves_a_folder_that_it_goes_on_in(tmp_path, monkeypatch):
    network, search = bench.Cell(d_in=2, depth=1, width=4, tau=0.1, max_epochs=50), bench.Search(ratio=3.0, most_cells=8)

    def stop(path, write):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("bench.runs.run.write_atomically", stop)
        with pytest.raises(KeyboardInterrupt):
            bench.run(network, search=search, run_dir=tmp_path, config="")
    assert Store(tmp_path).design() == (Design.SEARCH, 3.0)
    assert set(Store(tmp_path).read_cells()["status"]) == {"pending"}
    assert len(bench.run(network, search=search, run_dir=tmp_path, config="")) == 8


@pytest.mark.parametrize("removed", range(4))
def test_forgetting_that_is_interrupted_leaves_a_folder_that_can_still_be_used(tmp_path, monkeypatch, removed):
    cell = bench.Cell(d_in=2, depth=1, width=4, n_samples=8, tau=0.1, max_epochs=20)
    bench.run(cell, run_dir=tmp_path, config="")
    unlink, count = Path.unlink, itertools.count()

    def interrupted(self, **options):
        if next(count) == removed:
            raise KeyboardInterrupt
        unlink(self, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bench.run(cell, run_dir=tmp_path, fresh=True)
    assert len(bench.run(cell, run_dir=tmp_path, fresh=True)) == 1
