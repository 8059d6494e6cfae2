"""On a real SLURM of one node: the same bytes as on this machine, also where jobs are queued again, meet their limit or are cancelled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import bench
from bench.machine.child import environment
from bench.runs.executors import jobs, slurm
from bench.runs.executors.api import ClusterError
from bench.store import provenance
from bench.store.cut import cuts
from bench.store.parts import Store
from tests.runs import slurmd
from tests.runs.alike import assert_alike

pytestmark = pytest.mark.skipif(not slurmd.found(), reason=slurmd.INSTALL)

# Some end at once; each shard trains for seconds.
LONG = bench.expand(depth=[1, 2], width=[16, 32], n_samples=[64, 128], seed=range(6), tau=1e-6, max_epochs=8000)
SHORT = bench.expand(depth=[1, 2], width=[4, 8], n_samples=[8, 16], seed=range(2), max_epochs=100)


@pytest.fixture(scope="module")
def conf(tmp_path_factory):
    with slurmd.cluster(tmp_path_factory.mktemp("slurm")) as conf:
        yield conf


@pytest.fixture(autouse=True)
def _here(conf, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", str(conf))
    monkeypatch.setattr(slurm, "LOOK_EVERY_S", 0.25)


def run(cells, folder, **how):
    """Also what fails ends here, in a thread of its own or in this one."""
    return bench.run(
        cells, run_dir=folder, device="cpu", threads=1, executor=bench.Slurm(**{"shards": 2, "time_min": 10, **how})
    )


def reference(cells, folder):
    return bench.run(cells, run_dir=folder, device="cpu")


class Meanwhile:
    """A run in a thread; what it raised, if it did."""

    def __init__(self, cells, folder, **how):
        self.error: BaseException | None = None
        self._folder = folder
        self._thread = threading.Thread(target=self._run, args=(cells, folder, how))
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

    def wait(self):
        self._thread.join(120)
        assert not self._thread.is_alive()


def ask(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def trained(folder):
    """How often each cell has been trained."""
    return Store(folder)._read_parts("cells").to_pandas()["cell_id"].value_counts()


def test_an_array_job_of_shards_leaves_what_this_machine_does_byte_for_byte(tmp_path, capsys):
    reference(SHORT, tmp_path / "here")
    run(SHORT, tmp_path / "there")
    assert_alike(tmp_path / "here", tmp_path / "there")
    assert f"memcap: {len(SHORT)} cells in 2 shards, SLURM job" in capsys.readouterr().out
    entry = provenance.read(tmp_path / "there")[-1]
    assert (entry["executor"], entry["cells_trained"]) == ("slurm", len(SHORT))


def test_what_slurm_refuses_is_one_line_and_status_74(memcap):
    status, out, err = memcap("grid=smoke", "executor=slurm", "executor.slurm.partition=moon", "run_dir=mine")
    assert (status, err.count("\n")) == (74, 2 if "%" in err else 1)
    assert (
        "memcap: SLURM refused the job: invalid partition specified: moon; Batch job submission failed: Invalid partition name"
        in err
    )


@pytest.mark.exhaustive
def test_a_job_that_is_preempted_is_queued_again_and_goes_on(tmp_path):
    """By scontrol requeue, as an administrator would, in the midst of training."""
    reference(LONG, tmp_path / "here")
    running = Meanwhile(LONG, tmp_path / "there")
    ask("scontrol", "requeue", running.job())
    kept = Store(tmp_path / "there").statuses()
    running.wait()
    assert running.error is None
    assert_alike(tmp_path / "here", tmp_path / "there")
    counts = trained(tmp_path / "there")
    assert kept and set(counts) == {1}


@pytest.mark.exhaustive
def test_a_job_at_its_time_limit_is_told_before_and_queued_again_and_goes_on(tmp_path):
    """A limit of a minute, which is the least; the signal comes some 55 s before it."""
    reference(LONG, tmp_path / "here")
    running = Meanwhile(LONG, tmp_path / "there", shards=1, time_min=1, signal_s=57)
    job = running.job()
    restarts = 0
    while running._thread.is_alive():
        told = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True).stdout
        restarts = max([restarts, *(int(word.partition("=")[2]) for word in told.split() if word.startswith("Restarts="))])
        time.sleep(0.2)
    running.wait()
    assert running.error is None and restarts >= 1
    assert_alike(tmp_path / "here", tmp_path / "there")
    assert set(trained(tmp_path / "there")) == {1}


@pytest.mark.exhaustive
def test_after_scancel_what_had_ended_is_kept_and_the_same_command_goes_on(tmp_path):
    reference(LONG, tmp_path / "here")
    running = Meanwhile(LONG, tmp_path / "there")
    job = running.job()
    ask("scancel", job)
    running.wait()
    left = len(LONG) - len(trained(tmp_path / "there"))
    assert isinstance(running.error, ClusterError)
    assert str(running.error) == f"SLURM job {job}: {left} cells have no result: shard 0, 1 CANCELLED (it was cancelled)"
    assert 0 < left < len(LONG)
    run(LONG, tmp_path / "there")
    assert_alike(tmp_path / "here", tmp_path / "there")
    assert set(trained(tmp_path / "there")) == {1}


@pytest.mark.exhaustive
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_job_goes_on_without_the_command_that_waits_for_it_and_the_same_command_waits_again(number, tmp_path, capsys):
    reference(LONG, tmp_path / "here")
    code = f"""
import sys
import bench
from bench.machine.signals import listen
from tests.runs.test_slurm import LONG, run
listen()
run(LONG, {str(tmp_path / "there")!r})
"""
    waits = subprocess.Popen([sys.executable, "-c", code], env=environment(), cwd=os.getcwd(), start_new_session=True)
    while not Store(tmp_path / "there").statuses():
        assert waits.poll() is None
        time.sleep(0.1)
    waits.send_signal(number)
    waits.wait(20)
    capsys.readouterr()
    run(LONG, tmp_path / "there")
    assert "of an earlier command is still at work here; waiting for it" in capsys.readouterr().out
    assert_alike(tmp_path / "here", tmp_path / "there")
    assert set(trained(tmp_path / "there")) == {1}


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
    networks = bench.expand(depth=1, width=4, max_epochs=50)
    inquiry = bench.expand(depth=1, width=4, n_samples=12, max_epochs=50, seed=range(2))
    from bench.runs.inquiry import Diagnose

    for name, cells, options in (
        ("search", networks, {"search": bench.Search(most_cells=12)}),
        # So long that time leaves nothing out, which would depend on the machine.
        ("diagnosis", inquiry, {"diagnosis": Diagnose(budget_s=1e9)}),
    ):
        bench.run(cells, run_dir=tmp_path / name / "here", device="cpu", **options)
        bench.run(cells, run_dir=tmp_path / name / "there", device="cpu", executor=bench.Slurm(shards=2), **options)
        assert_alike(tmp_path / name / "here", tmp_path / name / "there")
