"""The comparison: every side trains the same networks, and a side that fails or disagrees is named, never a number."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from bench import comparison, energy, plots
from bench.cells import Cell
from bench.peak import peak_gflops, peak_name
from bench.peers import PEERS, why_not
from bench.peers.problem import problem_of
from bench.peers.worker import PeerError, Trained, Worker
from tests.witness import plain_loop

SHAPE = Cell(d_in=3, width=12, depth=2, n_samples=40)
EPOCHS = 15


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_trains_the_networks_of_the_plain_loop(name):
    reason = why_not(name, "cpu")
    if reason is not None:
        pytest.skip(f"{PEERS[name].label} {reason}")
    cells = [Cell(d_in=3, width=12, depth=2, n_samples=40, data_seed=seed, init_seed=seed) for seed in (5, 6, 7)]
    losses = plain_loop(cells[0], EPOCHS)[0] * np.var(problem_of(cells, EPOCHS).targets[0])
    worker = Worker(name, "cpu")
    try:
        packs = {3: worker.train(cells, EPOCHS, 3).losses, 1: worker.train(cells, EPOCHS, 1).losses}
    finally:
        worker.close()
    for mine in packs.values():
        known = ~np.isnan(mine)
        assert known.sum() >= (10 if name in ("native", "torch") else EPOCHS)
        assert mine[known] == pytest.approx(losses[:EPOCHS][known], rel=1e-4)


def test_a_peer_that_raises_says_why_and_its_process_goes_on():
    worker = Worker("loop", "cpu")
    try:
        with pytest.raises(PeerError, match=r"^ValueError: need at least one array to stack$"):
            worker.train([], 1, 1)
        assert worker.train([SHAPE], 2, 1).losses.shape == (2,)
    finally:
        worker.close()


def side(name: str, gflops: list[float], losses: list[float], error: str | None = None) -> comparison._Side:
    trained = Trained(1.0, np.array(losses, dtype=np.float32), 100.0)
    return comparison._Side(
        name, worker=None, networks=4, pack=4, gflops=gflops, joules_per_tflop=[math.nan] * 2, last=trained, error=error
    )  # type: ignore[arg-type]


def table_of(*sides: comparison._Side) -> pd.DataFrame:
    return pd.DataFrame(comparison._rows(SHAPE, EPOCHS, list(sides), [100.0, 50.0], "cpu"))


def test_ratios_are_medians_over_rounds_of_the_same_round():
    table = table_of(side("native", [80.0, 40.0], [1.0]), side("loop", [8.0, 2.0], [1.0])).set_index("peer")
    assert table.loc["native", "of_peak"] == pytest.approx(0.8)
    assert table.loc["loop", ["slower", "slower_low", "slower_high"]].tolist() == [15, 10, 20]
    summary = comparison.summary(table.reset_index()).set_index("peer")
    assert summary.loc["loop", ["n_shapes", "slower", "of_peak"]].tolist() == pytest.approx([1, 15, 0.06])


@pytest.mark.parametrize("wrong", [[1.0, 1.01], [1.0, math.nan], [math.inf, 1.0]])
def test_losses_that_differ_are_named(wrong):
    table = table_of(
        side("native", [80.0, 40.0], [1.0, math.nan]), side("loop", [8.0, 2.0], [1.0, 1.0]), side("vmap", [9.0, 9.0], wrong)
    )
    assert comparison.disagreeing(table)["peer"].tolist() == ["vmap"]


def test_a_peer_that_failed_has_a_reason_and_no_speed():
    table = table_of(side("loop", [8.0, 2.0], [1.0]), side("keras", [], [1.0], error="ImportError: no backend"))
    failed = table.set_index("peer").loc["keras"]
    assert failed["error"] == "ImportError: no backend"
    assert math.isnan(failed["gflops"])
    assert comparison.disagreeing(table).empty
    assert comparison.summary(table).set_index("peer").loc["keras", "n_shapes"] == 0
    plots.speeds(table)


def test_sizes_of_a_call_keep_within_its_flops():
    from bench.packs import epoch_flops

    for width, depth, n_samples in ((16, 1, 64), (64, 4, 1024), (128, 11, 4096)):
        shape = Cell(d_in=8, width=width, depth=depth, n_samples=n_samples)
        count, epochs = comparison._size(shape, networks=64, epochs=2000, flops=4e10)
        floor = comparison.LEAST_EPOCHS * max(2, comparison.available_cores()) * epoch_flops(shape)
        assert count * epochs * epoch_flops(shape) <= max(4e10, floor)


def test_the_peak_is_more_than_a_loop_reaches():
    assert peak_name("cpu") in ("fma", "gemm")
    assert peak_gflops("cpu", 1) > 1


def test_energy_is_the_sum_of_the_packages_and_no_number_where_there_are_none(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    assert math.isnan(energy.joules())
    for name, value in {"intel-rapl:0": 2_000_000, "intel-rapl:1": 500_000, "intel-rapl:0:0": 1_000_000}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{value}\n")
    assert energy.joules() == 2.5
    (tmp_path / "intel-rapl:1" / "energy_uj").unlink()
    assert math.isnan(energy.joules())


def command(folder, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-m", "bench.compare", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_leaves_tables_a_figure_and_provenance(tmp_path):
    done = command(
        tmp_path,
        "peers=[torch,loop]",
        "rounds=1",
        "flops=1.0e+7",
        "shapes.variants=[{width: 4, depth: 1, n_samples: 8}]",
        "run_dir=out",
    )
    assert done.returncode == 0, done.stderr
    assert "torch loop" in done.stdout
    table = pd.read_csv(tmp_path / "out/tables/comparison.csv")
    assert table["peer"].tolist() == ["torch", "loop"]
    assert table["loss_difference"].max() < 1e-3
    for name in ("tables/summary.csv", "figures/comparison.png", "figures/comparison.svg", "provenance.json", "config.yaml"):
        assert (tmp_path / "out" / name).stat().st_size > 0


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "peers=[julia]",
            "memcap: peers=julia: is not a peer; choose from: native, torch, jax, vmap, compile, loop, multirun, keras",
        ),
        (
            "peers=[]",
            "memcap: peers=[]: must be a list of names; choose from: native, torch, jax, vmap, compile, loop, multirun, keras",
        ),
        ("rounds=0", "memcap: rounds=0: must be a whole number of at least 1; see conf/compare.yaml"),
        ("flops=-1", "memcap: flops=-1: must be a positive number; give for example 4.0e+10"),
        ("round=3", "memcap: round: is not a setting; did you mean rounds?"),
        ("shapes.widht=3", "memcap: shapes.widht: is not a setting; did you mean shapes.width?"),
    ],
)
def test_a_wrong_setting_is_one_line(tmp_path, argument, message):
    done = command(tmp_path, argument)
    assert (done.returncode, done.stderr.strip(), list(tmp_path.iterdir())) == (2, message, [])
