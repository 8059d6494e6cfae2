"""On a real SLURM of one node: the same bytes as on this machine, also where jobs are queued again, meet their limit or are cancelled."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

import bench
from bench.machine.child import environment
from bench.runs.executors import jobs, slurm
from bench.runs.executors.api import ClusterError, Wanted
from bench.runs.inquiry import Diagnose
from bench.runs.training import Training
from bench.store import provenance
from bench.store.cut import cuts
from bench.store.parts import Store
from tests.conftest import ROOT
from tests.runs import slurmd
from tests.runs.alike import assert_alike, trainings

pytestmark = pytest.mark.skipif(not slurmd.found(), reason=slurmd.INSTALL)

# Time for a task to start and for some cells to end in it.
LIMITS_AFTER_S = 9.0

SHORT = bench.expand(depth=[1, 2], width=[4, 8], n_samples=[8, 16], seed=range(2), max_epochs=100)


def busy(count: int) -> list[bench.Cell]:
    """Cells that end with their budget alone, each of which takes a core with AVX-512 some 0.3 s."""
    return bench.expand(depth=2, width=32, n_samples=128, seed=range(count), tau=1e-15, max_epochs=30_000)


@pytest.fixture(scope="module")
def conf(tmp_path_factory):
    with slurmd.cluster(tmp_path_factory.mktemp("slurm")) as conf:
        yield conf


@pytest.fixture(autouse=True)
def _here(conf, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", str(conf))
    monkeypatch.setattr(slurm, "LOOK_EVERY_S", 0.25)


def run(cells, folder, *, time_min=10, signal_s=90, **options):
    how = bench.Slurm(shards=2, time_min=time_min, signal_s=signal_s)
    return bench.run(cells, run_dir=folder, device="cpu", threads=1, executor=how, **options)


class Meanwhile:
    """A run in a thread; what it raised, if it did."""

    def __init__(self, cells, folder, **how):
        self.error: BaseException | None = None
        self._folder = folder
        self._thread = threading.Thread(target=self._run, args=(cells, folder, how), daemon=True)
        self._thread.start()

    def _run(self, cells, folder, how):
        try:
            run(cells, folder, **how)
        except BaseException as error:
            self.error = error

    def job(self) -> str:
        """Its job, once cells have ended in it."""
        while not Store(self._folder).statuses():
            assert self._thread.is_alive(), self.error
            time.sleep(0.1)
        return jobs.submitted(cuts(self._folder)[0]).id

    def is_alive(self) -> bool:
        return self._thread.is_alive()


def ask(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_an_array_job_of_shards_leaves_what_this_machine_does_byte_for_byte(tmp_path, capsys):
    bench.run(SHORT, run_dir=tmp_path / "here", device="cpu")
    run(SHORT, tmp_path / "there")
    assert_alike(tmp_path / "here", tmp_path / "there")
    assert f"memcap: {len(SHORT)} cells in 2 shards, SLURM job" in capsys.readouterr().out
    entry = provenance.read(tmp_path / "there")[-1]
    assert (entry["executor"], entry["cells_trained"]) == ("slurm", len(SHORT))


def test_what_slurm_refuses_is_one_line_and_status_74(memcap):
    status, _, err = memcap("grid=smoke", "executor=slurm", "executor.slurm.partition=moon", "run_dir=mine")
    assert (status, err.count("\n")) == (74, 2 if "%" in err else 1)
    assert (
        "memcap: SLURM refused the job: invalid partition specified: moon; Batch job submission failed: Invalid partition name"
        in err
    )


def restarts(task: str) -> int:
    """How often a task has been queued again."""
    told = subprocess.run(["scontrol", "show", "job", task], capture_output=True, text=True).stdout
    return max((int(word.partition("=")[2]) for word in told.split() if word.startswith("Restarts=")), default=0)


@pytest.mark.exhaustive
def test_tasks_that_are_preempted_and_that_come_to_their_time_limit_are_queued_again_and_go_on(conf, tmp_path):
    """One by scontrol requeue, as an administrator would; the other by a limit of a minute, which is the least. SLURM looks at
    limits every 30 s, and tells of one that comes within `signal_s` and as much again.
    """
    cells = busy(60)
    bench.run(cells[::12], run_dir=tmp_path / "here", device="cpu")
    slurmd.wait_before_limits(conf, LIMITS_AFTER_S)
    running = Meanwhile(cells, tmp_path / "there", time_min=1, signal_s=55)
    job = running.job()
    ask("scontrol", "requeue", f"{job}_0")
    seen = [0, 0]
    while running.is_alive():
        seen = [max(before, restarts(f"{job}_{task}")) for task, before in enumerate(seen)]
        time.sleep(0.5)
    assert running.error is None and min(seen) >= 1
    assert_alike(tmp_path / "here", tmp_path / "there")
    assert trainings(tmp_path / "there") == {1}
    assert Store(tmp_path / "there").statuses() == dict.fromkeys((cell.cell_id for cell in cells), "censored")


@pytest.mark.exhaustive
def test_a_job_goes_on_without_its_command_and_after_scancel_the_same_command_goes_on(tmp_path, capsys):
    """kill -9 of the command that waits; the next one waits for the same job, which is cancelled; the third trains what is left."""
    cells = busy(36)
    bench.run(cells[::6], run_dir=tmp_path / "here", device="cpu")
    code = f"from tests.runs.test_slurm import busy, run; run(busy(36), {str(tmp_path / 'there')!r})"
    waits = subprocess.Popen([sys.executable, "-c", code], env=environment(), cwd=ROOT)
    while not Store(tmp_path / "there").statuses():
        assert waits.poll() is None
        time.sleep(0.1)
    waits.kill()
    waits.wait()
    running = Meanwhile(cells, tmp_path / "there")
    job = running.job()
    while "waiting for it" not in (told := capsys.readouterr().out):
        assert running.is_alive(), running.error
        time.sleep(0.1)
    assert told.endswith(f"memcap: SLURM job {job} of an earlier command is still at work here; waiting for it\n")
    ask("scancel", job)
    while running.is_alive():
        time.sleep(0.1)
    # What was left went into a job of its own.
    assert running.error is None
    assert_alike(tmp_path / "here", tmp_path / "there")
    assert trainings(tmp_path / "there") == {1}
    assert Store(tmp_path / "there").statuses() == dict.fromkeys((cell.cell_id for cell in cells), "censored")


@pytest.mark.exhaustive
def test_a_job_that_is_cancelled_is_one_line_and_what_had_ended_is_kept(tmp_path):
    cells = busy(36)
    running = Meanwhile(cells, tmp_path)
    job = running.job()
    ask("scancel", job)
    while running.is_alive():
        time.sleep(0.1)
    kept = len(Store(tmp_path).statuses())
    assert isinstance(running.error, ClusterError) and 0 < kept < len(cells)
    told = f"SLURM job {job}: {len(cells) - kept} cells have no result: shard 0, 1 CANCELLED (it was cancelled)"
    assert str(running.error) == told


@pytest.mark.exhaustive
def test_a_job_whose_time_is_over_is_cancelled_and_what_had_ended_is_kept(tmp_path, monkeypatch):
    """As that of a diagnosis, whose cells nobody asks for again."""
    cells, store = busy(36), Store(tmp_path)
    store.write_plan(cells)
    how = bench.Slurm(shards=2, time_min=10)
    training = Training(store, slurm.OnSlurm(how, Wanted(device="cpu", threads=1), tmp_path), progress=False)

    def clock() -> float:
        """The time is over when the first have ended."""
        return math.inf if store.statuses() else 0.0

    monkeypatch.setattr("bench.runs.training.time", SimpleNamespace(perf_counter=clock, monotonic=time.monotonic))
    training.train(cells, until=1.0)
    assert ask("squeue", "--noheader", "--states=PENDING,RUNNING,COMPLETING") == ""
    assert 0 < len(store.statuses()) < len(cells) and training.asked == training.trained
    assert not (tmp_path / "shards").exists()


@pytest.mark.exhaustive
def test_a_shard_that_fails_says_why_in_one_line(tmp_path):
    with pytest.raises(ClusterError) as error:
        bench.run(SHORT, run_dir=tmp_path, device="cuda", executor=bench.Slurm(shards=1))
    assert "cells have no result: shard 0 FAILED (device=cuda: is not on this machine: PyTorch sees 0 CUDA devices" in str(
        error.value
    )
    assert "\n" not in str(error.value)


@pytest.mark.exhaustive
def test_searches_and_diagnoses_take_the_same_rounds_on_a_cluster(tmp_path):
    for name, cells, options in (
        ("search", bench.expand(depth=1, width=4, max_epochs=50), {"search": bench.Search(most_cells=10)}),
        ("diagnosis", bench.expand(depth=1, width=16, n_samples=4, seed=range(2)), {"diagnosis": Diagnose(budget_s=1e9)}),
    ):
        bench.run(cells, run_dir=tmp_path / name / "here", device="cpu", **options)
        run(cells, tmp_path / name / "there", **options)
        assert_alike(tmp_path / name / "here", tmp_path / name / "there")
        rounds = [provenance.read(tmp_path / name / where)[-1]["rounds_trained"] for where in ("here", "there")]
        assert rounds[0] == rounds[1] > 1
