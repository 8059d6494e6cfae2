"""A run that was killed at any moment goes on: cells in training from where they were saved, to the byte; nothing finished is lost."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import threading
import time

import pytest

import bench
from bench.engines import api, native_engine
from bench.engines.api import TrainReport
from bench.engines.choice import EngineSpec
from bench.engines.cuda.engine import CudaEngine
from bench.engines.native_engine import NativeEngine, instruction_sets
from bench.machine.child import environment
from bench.protocol.cells import Checkpoint, Outcome, Status
from bench.runs import training
from bench.runs.executors import here, local
from bench.runs.executors.api import Wanted
from bench.runs.executors.deal import deal
from bench.runs.executors.shard import train_shard
from bench.runs.training import Training
from bench.store.checkpoints import Checkpoints
from bench.store.claims import Claimed
from bench.store.cut import write_cut
from bench.store.parts import Store
from tests.conftest import ROOT
from tests.engines.host_device import HostDevice
from tests.runs.alike import assert_alike, trainings

# They end with their budget alone. One is short, the others take some seconds.
LONG = bench.expand(depth=2, width=32, n_samples=128, seed=range(2), tau=1e-15, n_val=8, dropout=0.1, max_epochs=12_000)
SHORT = [dataclasses.replace(LONG[0], max_epochs=20)]

# A process of its own, that saves its cells often, and is killed when two are saved and the other has ended.
CODE = """
import os, signal, sys
import bench
from bench.engines import api, native_engine
from bench.runs import training
from bench.store.checkpoints import Checkpoints
from bench.store.parts import Store
native_engine.REPORT_S = 0.01
api.CHECKPOINT_S = training.KEEP_EVERY_S = training.FLUSH_EVERY_S = 0.05
write = Checkpoints.write
def written(self, checkpoints):
    write(self, checkpoints)
    if len(checkpoints) == 2 and Store(sys.argv[2]).statuses():
        os.kill(os.getpid(), signal.SIGKILL)
Checkpoints.write = written
import pytest
from tests.runs.test_checkpoints import run
run(sys.argv[1], sys.argv[2], pytest.MonkeyPatch())
"""

# Epochs of a long cell: with all of them none is over before it is saved.
SHARES = {"native": 1, "torch": 40, "cuda": 200}


def cells_of(engine: str) -> list[bench.Cell]:
    return [*SHORT, *(dataclasses.replace(cell, max_epochs=cell.max_epochs // SHARES[engine]) for cell in LONG)]


def on_host(*_) -> CudaEngine:
    return CudaEngine([HostDevice(epochs=(5,))], products="fma")


def run(engine, folder, monkeypatch):
    """A run by an engine, that for CUDA with its kernels on this host."""
    if engine == "cuda":
        monkeypatch.setattr(here, "resolve", lambda *_: EngineSpec("cuda", "cuda"))
        for module in (here, local):
            monkeypatch.setattr(module, "make_engine", on_host)
    bench.run(cells_of(engine), run_dir=folder, device="auto", engine=engine, threads=1 if engine == "torch" else 3)


def kill_midway(engine, folder):
    """A run that is killed once its short cell has ended and the long ones have been saved; what was saved."""
    killed = subprocess.run([sys.executable, "-c", CODE, engine, str(folder)], env=environment(), cwd=ROOT)
    cells = cells_of(engine)
    assert killed.returncode == -signal.SIGKILL and Store(folder).statuses().keys() == {cells[0].cell_id}
    return Checkpoints(folder).read(cells)


@pytest.mark.parametrize("engine", list(SHARES))
def test_a_run_that_was_killed_goes_on_from_where_its_cells_were_saved_and_ends_as_if_it_had_not(
    engine, tmp_path, capsys, monkeypatch
):
    run(engine, tmp_path / "one", monkeypatch)
    begun = kill_midway(engine, tmp_path / "two")
    assert all(0 < one.epoch < one.cell.max_epochs for one in begun.values())
    capsys.readouterr()
    run(engine, tmp_path / "two", monkeypatch)
    assert "memcap: 2 cells go on from where they were saved\n" in capsys.readouterr().out
    assert_alike(tmp_path / "one", tmp_path / "two")
    assert trainings(tmp_path / "two") == {1} and not (tmp_path / "two" / "checkpoints").exists()


def saved_by(folder, cells, **changed) -> list[Checkpoint]:
    """Checkpoints of cells in a folder, as the native engine here makes them, but for what is `changed`."""
    engine = NativeEngine(1)
    found = {}
    for report in engine.train(bench.engines.packs.Pack(tuple(cells), 1)):
        found |= {one.cell: one._replace(**changed) for one in report.checkpoints}
    Store(folder).write_plan(cells)
    Checkpoints(folder).write(list(found.values()))
    return list(found.values())


@pytest.fixture
def often(monkeypatch):
    """Cells are saved whenever the engine looks after them, many times in a training."""
    monkeypatch.setattr(api, "CHECKPOINT_S", 0.0)
    monkeypatch.setattr(native_engine, "REPORT_S", 0.01)


def test_cells_that_others_had_begun_begin_anew_with_a_line(tmp_path, often, capsys):
    """Of another instruction set, and of another engine: results of both would be neither's."""
    here = f"engine=native on cpu {instruction_sets()[0]}"
    bench.run(LONG, run_dir=tmp_path / "one", device="cpu", engine="native")
    for name, changed, there in (
        ("set", {"device": "cpu vax"}, "engine=native on cpu vax"),
        ("engine", {"engine": "torch", "device": "cpu"}, "engine=torch on cpu"),
    ):
        assert len(saved_by(tmp_path / name, LONG, **changed)) == 2
        capsys.readouterr()
        bench.run(LONG, run_dir=tmp_path / name, device="cpu", engine="native")
        assert capsys.readouterr().out == f"memcap: 2 cells had begun on {there}, and begin anew on {here}\n"
        assert_alike(tmp_path / "one", tmp_path / name)


def test_checkpoints_that_are_damaged_or_of_another_version_are_told_and_cells_begin_anew(tmp_path, often, capsys, monkeypatch):
    file = tmp_path / "checkpoints" / "run.parquet"
    saved_by(tmp_path, LONG)
    whole = file.read_bytes()
    capsys.readouterr()
    for damaged in (whole[:-100], whole[: len(whole) // 2] + b"\0\0\0\0\0\0\0\0" + whole[len(whole) // 2 + 8 :], b""):
        file.write_bytes(damaged)
        kept = Checkpoints(tmp_path)
        assert kept.read(LONG) == {} and list(kept.unreadable) == ["checkpoints/run.parquet"]
    with monkeypatch.context() as older:
        older.setattr("bench.store.checkpoints._VERSIONS", {"program": "0.0.1", "protocol": 1})
        saved_by(tmp_path, LONG)
    bench.run(LONG, run_dir=tmp_path, device="cpu", engine="native")
    told = capsys.readouterr().out
    assert told.startswith(f"memcap: {file} is of {{'program': '0.0.1', 'protocol': 1}}, and this program of")
    assert told.endswith("; its cells begin anew\n") and told.count("\n") == 1


def test_checkpoints_of_cells_that_are_not_asked_for_wait_until_they_are(tmp_path, often, capsys):
    saved_by(tmp_path, LONG)
    bench.run(SHORT, run_dir=tmp_path, device="cpu", engine="native")
    assert "go on" not in capsys.readouterr().out
    bench.run(LONG, run_dir=tmp_path, device="cpu", engine="native")
    assert "memcap: 2 cells go on from where they were saved\n" in capsys.readouterr().out
    assert not (tmp_path / "checkpoints").exists()


def test_a_fresh_run_goes_on_from_nothing(tmp_path, often, capsys):
    saved_by(tmp_path, LONG)
    bench.run(LONG, run_dir=tmp_path, device="cpu", engine="native", fresh=True)
    assert "go on" not in capsys.readouterr().out


def test_each_shard_has_checkpoints_of_its_own_and_finds_those_of_its_cells_in_any(tmp_path, often, capsys):
    bench.run(LONG, run_dir=tmp_path / "one", device="cpu", engine="native")
    saved_by(tmp_path / "two", LONG)
    cut = write_cut(tmp_path / "two", deal(LONG, 2), Wanted(engine="native", device="cpu", threads=1)._asdict())
    capsys.readouterr()
    for number in range(2):
        train_shard(cut, number)
        assert "memcap: 1 cells go on from where they were saved\n" in capsys.readouterr().out
        # Others may be at work with theirs.
        assert (tmp_path / "two" / "checkpoints" / "run.parquet").exists()
    assert_alike(tmp_path / "one", tmp_path / "two")


class Slow:
    """An executor whose first report is followed by none for long."""

    stores, notice = False, None

    def __init__(self, reports):
        self._reports, self.waits = reports, threading.Event()

    def train(self, cells, begun):
        yield from self._reports
        assert self.waits.wait(30)


def checkpoint_of(cell, epoch=1):
    return Checkpoint(cell, epoch, "native", "cpu", b"record", b"state")


def test_what_has_ended_is_written_within_ten_seconds_however_long_the_next_report_takes(tmp_path, monkeypatch):
    """And what was saved with it, whose file goes when all have ended."""
    assert training.FLUSH_EVERY_S <= 5 and training.KEEP_EVERY_S + api.CHECKPOINT_S <= 45
    monkeypatch.setattr(training, "FLUSH_EVERY_S", 0.1)
    monkeypatch.setattr(training, "KEEP_EVERY_S", 0.1)
    ended = Outcome(SHORT[0], Status.CENSORED, epochs_run=1, curve=bench.protocol.cells.Curve([0], [1.0]))
    executor = Slow([TrainReport([ended], 1.0, checkpoints=[checkpoint_of(LONG[0])]), TrainReport([], 0.0)])
    thread = threading.Thread(target=Training(Store(tmp_path), executor, progress=False).train, args=([*SHORT, *LONG],))
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not (Store(tmp_path).statuses() and Checkpoints(tmp_path).read(LONG)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        executor.waits.set()
        thread.join()
    assert not (tmp_path / "checkpoints").exists()


def test_checkpoints_that_cannot_be_written_cost_a_line_and_no_results(tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bench.store.checkpoints.write_atomically", full)
    ended = Outcome(SHORT[0], Status.CENSORED, epochs_run=1, curve=bench.protocol.cells.Curve([0], [1.0]))

    class Interrupted(Slow):
        def train(self, cells, begun):
            yield from self._reports
            raise KeyboardInterrupt

    executor = Interrupted([TrainReport([ended], 1.0, checkpoints=[checkpoint_of(LONG[0])])])
    with pytest.raises(KeyboardInterrupt):
        Training(Store(tmp_path), executor, progress=False).train([*SHORT, *LONG])
    assert set(Store(tmp_path).statuses().values()) == {"censored"}
    assert capsys.readouterr().out == "memcap: cells in training are not saved any more: [Errno 28] No space left on device\n"


def test_what_is_written_between_reports_fails_where_training_can_tell(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "FLUSH_EVERY_S", 0.05)

    def taken():
        raise Claimed("another run")

    ended = Outcome(SHORT[0], Status.CENSORED, epochs_run=1, curve=bench.protocol.cells.Curve([0], [1.0]))

    class Going(Slow):
        def train(self, cells, begun):
            yield from self._reports
            for _ in range(200):
                time.sleep(0.05)
                yield TrainReport([], 0.0)

    with pytest.raises(Claimed, match="another run"):
        Training(Store(tmp_path, taken), Going([TrainReport([ended], 1.0)]), progress=False).train(SHORT)


@pytest.mark.clock
def test_checkpoints_cost_less_than_a_hundredth_of_the_training(monkeypatch, tmp_path):
    """At the least what saving and writing takes, so often as it is done: measured by saving all the time."""
    cell = dataclasses.replace(LONG[0], width=256, n_samples=256, max_epochs=400)
    interval_s = api.CHECKPOINT_S
    monkeypatch.setattr(native_engine, "REPORT_S", 0.01)

    def trained(every_s):
        monkeypatch.setattr(api, "CHECKPOINT_S", every_s)
        count, began = 0, time.process_time()
        for report in NativeEngine(1).train(bench.engines.packs.Pack((cell,), 1)):
            if report.checkpoints:
                Checkpoints(tmp_path).write(report.checkpoints)
                count += len(report.checkpoints)
        return count, time.process_time() - began

    plain = min(trained(1e9)[1] for _ in range(3))
    count, often = min((trained(0.0) for _ in range(3)), key=lambda one: one[1])
    assert count > 5 and (often - plain) / count < 0.01 * interval_s
