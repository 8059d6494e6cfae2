"""Where cells train changes no result: shards of them by processes of their own, as bytes; what is refused, in one line."""

from __future__ import annotations

import itertools
import math
import os
import pickle
import stat
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

import bench
from bench.engines import native_engine
from bench.engines.packs import budget_flops
from bench.machine.child import environment
from bench.protocol.cells import Checkpoint, Outcome, Status
from bench.runs.executors import jobs, shard, slurm
from bench.runs.executors.api import Tally, Wanted
from bench.runs.executors.deal import CELL_FLOPS, deal
from bench.runs.executors.options import Slurm
from bench.runs.executors.shard import train_shard
from bench.runs.executors.submitted import CommandLine
from bench.runs.training import Training
from bench.store import provenance
from bench.store.checkpoints import Checkpoints
from bench.store.claims import Claimed, claim
from bench.store.cut import cuts, forget_cuts, read_shard, write_cut
from bench.store.folder import held
from bench.store.parts import Store
from tests.runs.alike import assert_alike, trainings

CELLS = bench.expand(depth=[0, 1, 2], width=[4, 8], n_samples=[8, 16], seed=range(2), max_epochs=60, n_val=4)
WANTED = Wanted(device="cpu", threads=1, n_predictions=3, jacobian_rank=True)


def cut_of(folder, cells, number, wanted=WANTED):
    """A run folder whose cells are dealt out."""
    folder.mkdir(parents=True, exist_ok=True)
    Store(folder).write_plan(cells)
    return write_cut(folder, deal(cells, number), wanted._asdict())


def test_a_deal_is_the_same_for_the_same_cells_and_no_shard_has_much_more_than_its_share():
    cells = bench.expand(depth=[1, 4], width=[2, 64], n_samples=[4, 300], seed=range(7), max_epochs=100)
    for number in (1, 2, 5, len(cells), 10 * len(cells)):
        shards = deal(cells, number)
        assert shards == deal(list(cells), number)
        assert sorted(c.cell_id for c in itertools.chain(*shards)) == sorted(c.cell_id for c in cells)
        costs = [[budget_flops(cell) + CELL_FLOPS for cell in own] for own in shards]
        totals = [sum(own) for own in costs]
        assert len(shards) == min(number, len(cells)) and min(map(len, shards)) > 0
        # Without its last cell, which is its cheapest, no shard has more than any other.
        assert all(total - min(own) <= min(totals) for total, own in zip(totals, costs, strict=True))


def test_shards_by_command_lines_in_any_order_leave_what_one_run_does_byte_for_byte(memcap, tmp_path):
    bench.run(CELLS, run_dir=tmp_path / "one", device="cpu", n_predictions=3, jacobian_rank=True)
    cut = cut_of(tmp_path / "other", CELLS, 3)
    for number in (2, 0, 1):
        assert memcap("shard", str(cut), str(number)).status == 0
    assert_alike(tmp_path / "one", tmp_path / "other")


def test_a_shard_that_is_begun_again_trains_what_is_missing_and_nothing_else(tmp_path):
    cut = cut_of(tmp_path, CELLS, 2)
    train_shard(cut, 0)
    part = min((tmp_path / "cells").iterdir())
    before = part.read_bytes()
    train_shard(cut, 0)
    train_shard(cut, 1)
    assert len(Store(tmp_path).statuses()) == len(CELLS) and trainings(tmp_path) == {1} and part.read_bytes() == before


def test_of_two_processes_with_one_shard_one_trains_and_the_other_finds_it_done(tmp_path):
    """As where a task is queued again while its former process still lives."""
    cut = cut_of(tmp_path, CELLS, 1)
    command = [sys.executable, "-m", "bench", "shard", str(cut), "0"]
    running = [subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = sorted(process.communicate(timeout=60)[0].splitlines()[-1] for process in running)
    assert told == [f"memcap: shard 0: {left} of {len(CELLS)} cells to train" for left in (0, len(CELLS))]
    assert [process.returncode for process in running] == [0, 0]
    assert not list(cut.glob(".*.claim"))


def test_a_shard_that_is_taken_away_writes_no_more(tmp_path, monkeypatch):
    """By fresh=true, and by another coordinator that deals out anew."""
    cut = cut_of(tmp_path, CELLS, 1)

    class Slow(shard.Here):
        def train(self, cells, begun):
            for report in super().train(cells, begun):
                forget_cuts(tmp_path)
                yield report

    monkeypatch.setattr(shard, "Here", Slow)
    with pytest.raises(Claimed, match="was removed while this process wrote into it, so this one has stopped"):
        train_shard(cut, 0)
    assert not (tmp_path / "cells").exists()
    assert not cuts(tmp_path)


def test_fresh_forgets_the_shards_of_a_former_run_first(tmp_path):
    cut = cut_of(tmp_path, CELLS, 1)
    with claim(cut, "shard-0") as own, held(tmp_path, fresh=True):
        assert not own.holds()
    assert not (tmp_path / "shards").exists()


def test_a_run_here_takes_the_shards_away_that_a_former_command_has_dealt_out(tmp_path):
    cut = cut_of(tmp_path, CELLS[:2], 2)
    with claim(cut, "shard-0") as own:
        assert set(bench.run(CELLS[:2], run_dir=tmp_path, device="cpu")["status"]) <= {"memorized", "censored"}
        assert not own.holds()
    with pytest.raises(bench.GridError, match="is no cut of a run: it is done, or was taken over"):
        train_shard(cut, 1)


def test_a_coordinator_leaves_the_files_alone_that_a_living_shard_is_writing(tmp_path):
    cut_of(tmp_path, CELLS, 1)
    (tmp_path / "cells").mkdir()
    name = ".part-00000000-0123abcd.parquet.89abcdef.partial"
    for age_s, kept in ((1, True), (2 * 3600, False)):
        (tmp_path / "cells" / name).write_text("half")
        os.utime(tmp_path / "cells" / name, (time.time() - age_s,) * 2)
        with held(tmp_path, fresh=False):
            assert (tmp_path / "cells" / name).exists() == kept


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("shard",), ": is not a cut and a number; write memcap shard RUN_DIR/shards/CUT NUMBER"),
        (("shard", "a", "-1"), "a -1: is not a cut and a number; write memcap shard RUN_DIR/shards/CUT NUMBER"),
        (
            ("shard", "nowhere", "0"),
            "shard=nowhere: is no cut of a run: it is done, or was taken over; name a folder of RUN_DIR/shards, as in memcap shard"
            " results/default/shards/0a1b2c3d 0",
        ),
    ],
)
def test_a_shard_that_is_not_there_is_one_line(arguments, message, memcap):
    assert memcap(*arguments) == (2, "", f"memcap: {message}\n")


def test_a_shard_beyond_the_last_is_refused(tmp_path):
    cut = cut_of(tmp_path, CELLS[:1], 5)
    with pytest.raises(bench.GridError, match=r"shard=1: is no shard of .*; shards are counted from 0"):
        read_shard(cut, 1)
    (cut / "cut.parquet").write_text("half")
    with pytest.raises(bench.GridError, match="holds no cut that can be read"):
        read_shard(cut, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["executor.slurm.shards=0"], "executor.slurm.shards=0: must be at least 1; give 1 or more"),
        (["executor.slurm.time_min=0"], "executor.slurm.time_min=0: must be at least 1; give 1 or more"),
        (["executor.slurm.cluster=moon"], "executor.slurm.cluster=moon: is not a cluster; choose from: slurm, local"),
        (
            ["executor.slurm.partition=[1]"],
            "executor.slurm.partition=[1]: must be a text or null; memcap executor=slurm --cfg=job shows the settings",
        ),
        (
            ["executor.slurm.mem_gb=-1.5"],
            "executor.slurm.mem_gb=-1.5: must be a positive number or null; memcap executor=slurm --cfg=job shows the settings",
        ),
        (
            ["+executor.slurm.shard=3"],
            "executor.slurm.shard=3: is no setting of executor=slurm; choose from: shards, array_parallelism, time_min, signal_s,"
            " requeues, cpus_per_task, mem_gb, partition, gres, constraint, qos, account, cluster",
        ),
        (["executor=ray", "executor.ray.num_cpus=0"], "executor.ray.num_cpus=0: must be at least 1; give 1 or more"),
        (
            ["executor=ray", "executor.ray.address=ray://head:10001"],
            "executor.ray.address=ray://head:10001: is an address of Ray Client, through which a task says nothing before it has "
            "ended; run memcap on a node of the cluster, with auto or the host:port of its head",
        ),
        (["executor=ray", "device=cuda:3"], "device=cuda:3: names a GPU of one machine; choose auto, cpu or cuda"),
    ],
)
def test_a_setting_of_a_cluster_that_cannot_be_is_one_line(settings, message, memcap, tmp_path):
    assert memcap("grid=smoke", "executor=slurm", *settings) == (2, "", f"memcap: {message}\n")
    assert not (tmp_path / "results").exists()


def test_what_a_cluster_needs_and_is_not_here_is_one_line_before_anything_is_written(memcap, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    rule = "needs SLURM's commands sbatch, srun and squeue, which are not here"
    remedy = "run memcap where sbatch is, or use executor.slurm.cluster=local"
    assert memcap("grid=smoke", "executor=slurm") == (2, "", f"memcap: executor=slurm: {rule}; {remedy}\n")
    for name, package in (("slurm", "submitit"), ("ray", "ray")):
        with monkeypatch.context() as without:
            without.setattr("importlib.util.find_spec", lambda name: None)
            status, out, err = memcap("grid=smoke", f"executor={name}")
        assert (
            (status, out) == (2, "")
            and f"which is not installed; pip install 'memcap[{name}]'\n" in err
            and package in err.lower()
        )
    assert not (tmp_path / "results").exists()
    with pytest.raises(
        bench.GridError, match="run_dir=null: is a folder that no other machine sees; name one that the nodes share"
    ):
        bench.run(CELLS, executor="slurm")


def test_devices_that_round_differently_are_told_and_counted():
    tally = Tally()
    tally.add(
        [Outcome(CELLS[0], Status.FAILED), *[Outcome(CELLS[0], Status.MEMORIZED, engine="native", device="cpu avx2")] * 3]
    )
    assert tally.notice() is None
    tally.add([Outcome(CELLS[0], Status.MEMORIZED, engine="torch", device="cpu")])
    assert tally.notice() is None
    tally.add([Outcome(CELLS[0], Status.MEMORIZED, engine="native", device="cpu avx512")])
    assert tally.notice() == "3 cells on cpu avx2, 1 cells on cpu avx512: results of different devices differ by rounding"
    assert tally.counts() == {"native on cpu avx2": 3, "native on cpu avx512": 1, "torch on cpu": 1}


# On any x86 there are two or more; elsewhere there is the portable build alone, and no second machine to stand in for.
@pytest.mark.skipif(len(native_engine.instruction_sets()) < 2, reason="this processor has one instruction set")
def test_a_run_on_machines_of_two_instruction_sets_says_so_and_provenance_counts_their_cells(tmp_path, monkeypatch, capsys):
    sets = native_engine.instruction_sets()

    class TwoMachines(shard.Here):
        def train(self, cells, begun):
            for own, cells_there in zip((sets[0], sets[-1]), (cells[:5], cells[5:]), strict=True):
                monkeypatch.setattr(native_engine, "instruction_sets", lambda own=own: [own])
                yield from shard.Here(WANTED).train(cells_there)

    monkeypatch.setattr("bench.runs.run.make_executor", lambda where, wanted, run_dir: TwoMachines(wanted))
    bench.run(CELLS, run_dir=tmp_path, device="cpu")
    counts = {f"cpu {sets[0]}": 5, f"cpu {sets[-1]}": len(CELLS) - 5}
    assert len(counts) == 2
    assert provenance.read(tmp_path)[-1]["cells_trained_by"] == {
        f"native on {device}": count for device, count in counts.items()
    }
    told = ", ".join(f"{counts[device]} cells on {device}" for device in sorted(counts))
    assert capsys.readouterr().out == f"memcap: {told}: results of different devices differ by rounding\n"


def test_submitit_carries_a_command_line_alone_in_a_folder_of_its_owner_and_its_tasks_leave_the_same_bytes(
    tmp_path, monkeypatch
):
    """With its local executor, which starts processes in place of a cluster's jobs."""
    bench.run(CELLS, run_dir=tmp_path / "one", device="cpu", n_predictions=3, jacobian_rank=True)
    monkeypatch.setattr(slurm, "LOOK_EVERY_S", 0.1)
    seen = {}
    submit = jobs.submit

    def spied(cut, shards, how):
        running = submit(cut, shards, how)
        seen["mode"] = stat.S_IMODE((cut / "jobs").stat().st_mode)
        pickles = [path for path in (cut / "jobs").rglob("*") if path.suffix == ".pkl"]
        # Written by submitit a moment ago, in a folder of this test's.
        seen["arguments"] = [pickle.loads(path.read_bytes()).function.__dict__ for path in pickles if "submitted" in path.name]
        seen["cut"] = cut
        return running

    monkeypatch.setattr(jobs, "submit", spied)
    # What a shard of before has left.
    Store(tmp_path / "other").write_plan(CELLS)
    Checkpoints(tmp_path / "other", "0123abcd-1").write([Checkpoint(CELLS[0], 1, "native", "cpu vax", b"record", b"state")])
    how = Slurm(cluster="local", shards=2)
    bench.run(CELLS, run_dir=tmp_path / "other", device="cpu", n_predictions=3, jacobian_rank=True, executor=how)
    assert seen["mode"] == 0o700
    lines = sorted(one["arguments"] for one in seen["arguments"])
    assert lines == [("shard", str(seen["cut"].resolve()), str(number)) for number in range(2)]
    assert all(set(one) == {"arguments"} for one in seen["arguments"])
    assert_alike(tmp_path / "one", tmp_path / "other")
    entry = provenance.read(tmp_path / "other")[-1]
    assert (entry["executor"], entry["cells_trained"], sum(entry["cells_trained_by"].values())) == (
        "slurm",
        len(CELLS),
        len(CELLS),
    )
    assert not (tmp_path / "other" / "shards").exists() and not (tmp_path / "other" / "checkpoints").exists()


def test_a_job_whose_time_is_over_is_ended_and_what_had_ended_in_it_is_kept(tmp_path, monkeypatch):
    """With submitit's local executor; `tests/runs/test_slurm.py` does so on SLURM."""
    monkeypatch.setattr(slurm, "LOOK_EVERY_S", 0.1)
    quick = bench.expand(depth=1, width=4, n_samples=8, seed=range(2), max_epochs=20)
    # Beyond any test's patience.
    endless = bench.expand(depth=2, width=32, n_samples=128, seed=range(2), tau=1e-15, max_epochs=100_000_000)
    store = Store(tmp_path)
    store.write_plan([*quick, *endless])
    executor = slurm.OnSlurm(Slurm(cluster="local", shards=2), Wanted(device="cpu", threads=2), tmp_path)
    training = Training(store, executor, progress=False)

    def clock() -> float:
        """The time is over when the quick ones have ended."""
        return math.inf if len(store.statuses()) == len(quick) else 0.0

    monkeypatch.setattr("bench.runs.training.time", SimpleNamespace(perf_counter=clock, monotonic=time.monotonic))
    training.train([*quick, *endless], until=1.0)
    assert set(store.statuses()) == {cell.cell_id for cell in quick}
    assert (training.asked, training.trained) == (len(quick), len(quick))
    assert not (tmp_path / "shards").exists()


def test_a_task_that_is_told_of_its_limit_as_its_command_ends_is_queued_again_all_the_same():
    line = CommandLine(["columns", "nosuch"])
    line._child = subprocess.Popen([sys.executable, "-c", ""])
    line._child.wait()
    assert line.checkpoint().function.__dict__ == {"arguments": ("columns", "nosuch")}
    with pytest.raises(SystemExit) as ended:
        line()
    assert ended.value.code == 2
