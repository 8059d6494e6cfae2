"""On a Ray cluster: the same bytes as on this machine, also where a node is lost."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest
import ray
from ray.cluster_utils import Cluster

import bench
from bench.engines.api import NONE_BEGUN, TrainReport
from bench.protocol.cells import Checkpoint, Outcome, Status
from bench.runs.executors import ray as on_ray
from bench.runs.executors.api import ClusterError, Wanted
from bench.runs.inquiry import Diagnose
from bench.store import provenance
from bench.store.parts import Store
from tests.runs.alike import assert_alike, trainings

SHORT = bench.expand(depth=[1, 2], width=[4, 8], n_samples=[8, 16], seed=range(2), max_epochs=100)
# They end with their budget alone.
BUSY = bench.expand(depth=2, width=32, n_samples=128, seed=range(36), tau=1e-15, max_epochs=30_000)


@pytest.fixture(scope="module")
def three_nodes():
    """A cluster of three nodes of one CPU each, of which two can be taken away."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    try:
        yield cluster, nodes
    finally:
        cluster.shutdown()


def test_tasks_of_a_cluster_leave_what_this_machine_does_byte_for_byte(tmp_path):
    """A cluster that is this machine alone; a node has no GPU, and an address where none is does not answer."""
    bench.run(SHORT, run_dir=tmp_path / "here", device="cpu", n_predictions=3, jacobian_rank=True)
    bench.run(SHORT, run_dir=tmp_path / "there", executor=bench.Ray(), threads=2, n_predictions=3, jacobian_rank=True)
    assert_alike(tmp_path / "here", tmp_path / "there")
    entry = provenance.read(tmp_path / "there")[-1]
    assert (entry["executor"], entry["cells_trained"], sum(entry["cells_trained_by"].values())) == (
        "ray",
        len(SHORT),
        len(SHORT),
    )
    assert not ray.is_initialized()
    with pytest.raises(
        ClusterError, match=r"^Ray cannot be reached: ConnectionRefusedError: \[Errno 111\] Connection refused$"
    ):
        bench.run(SHORT, run_dir=tmp_path / "there", fresh=True, executor=bench.Ray(address="127.0.0.1:1"))


def test_what_ends_in_a_task_is_known_before_the_task_ends(monkeypatch):
    """Of a task of two threads: two cells that end at once, and one that outlasts any test."""
    monkeypatch.setattr(on_ray, "PACKS_PER_TASK", 1)
    endless = bench.expand(depth=2, width=32, n_samples=128, tau=1e-15, max_epochs=100_000_000)
    waiting = {cell.cell_id for cell in SHORT[:2]}
    executor = on_ray.OnRay(bench.Ray(num_cpus=2), Wanted(device="cpu"))
    assert executor.facts().threads == 2
    try:
        with closing(executor.train([*SHORT[:2], *endless], NONE_BEGUN)) as reports:
            while waiting:
                waiting -= {outcome.cell.cell_id for outcome in next(reports).outcomes}
    finally:
        executor.close()


@pytest.mark.parametrize("lost", [0, on_ray.RETRIES, on_ray.RETRIES + 1])
def test_a_pack_goes_on_where_it_was_saved_as_often_as_it_may_be_lost(lost):
    first, second = SHORT[:2]
    pack = on_ray._Pack(dict.fromkeys([first, second]), {})
    saved = Checkpoint(second, 7, "native", "cpu", b"", b"")
    gone = Checkpoint(first, 7, "native", "cpu", b"", b"")
    report = TrainReport([Outcome(first, Status.CENSORED)], 1.0, checkpoints=[gone]).joined(
        TrainReport([], 2.0, checkpoints=[saved])
    )
    assert (pack.noted(report).flops, list(pack.left), pack.begun) == (3.0, [second], {second: saved})
    assert [pack.may_go_on(ray.exceptions.WorkerCrashedError()) for _ in range(lost)] == [
        number < on_ray.RETRIES for number in range(lost)
    ]
    assert not pack.may_go_on(ray.exceptions.RayTaskError("task", "traceback", ValueError("no")))
    with pytest.raises(bench.GridError, match="is not here"):
        pack.may_go_on(ray.exceptions.RayTaskError("task", "traceback", bench.GridError("device", "cuda", "is not here", "")))


@pytest.mark.exhaustive
def test_what_no_node_has_is_one_line_and_searches_and_diagnoses_take_the_same_rounds(three_nodes, tmp_path):
    cluster, _ = three_nodes
    where = bench.Ray(address=cluster.address)
    for how, device, needs in (
        (bench.Ray(address=cluster.address, num_cpus=2), "cpu", "2 CPUs"),
        (where, "cuda", "1 CPUs and 1 GPUs"),
    ):
        with pytest.raises(ClusterError, match=rf"^Ray: none of 3 nodes has {needs}, which a task is to take$"):
            bench.run(SHORT, run_dir=tmp_path / "refused", device=device, executor=how)

    for name, cells, options in (
        ("search", bench.expand(depth=1, width=4, max_epochs=50), {"search": bench.Search(most_cells=10)}),
        # So long that time leaves nothing out, which would depend on the machine.
        (
            "diagnosis",
            bench.expand(depth=1, width=4, n_samples=12, max_epochs=50, seed=range(2)),
            {"diagnosis": Diagnose(budget_s=1e9)},
        ),
    ):
        bench.run(cells, run_dir=tmp_path / name / "here", device="cpu", **options)
        bench.run(cells, run_dir=tmp_path / name / "there", device="cpu", executor=where, **options)
        assert_alike(tmp_path / name / "here", tmp_path / name / "there")


@pytest.mark.exhaustive
def test_packs_of_a_node_that_is_lost_run_elsewhere(three_nodes, tmp_path):
    """Last, since the cluster has two nodes then."""
    cluster, nodes = three_nodes
    bench.run(BUSY[::6], run_dir=tmp_path / "here", device="cpu")
    lost = []

    def lose():
        while not Store(tmp_path / "there").statuses():
            time.sleep(0.05)
        lost.append(len(Store(tmp_path / "there").statuses()))
        cluster.remove_node(nodes[-1], allow_graceful=False)

    thread = threading.Thread(target=lose, daemon=True)
    thread.start()
    bench.run(BUSY, run_dir=tmp_path / "there", device="cpu", executor=bench.Ray(address=cluster.address))
    thread.join()
    assert lost and 0 < lost[0] < len(BUSY)
    assert_alike(tmp_path / "here", tmp_path / "there")
    assert trainings(tmp_path / "there") == {1}
    assert Store(tmp_path / "there").statuses() == dict.fromkeys((cell.cell_id for cell in BUSY), "censored")
