"""The comparison: every side trains the same networks, and a side that fails or disagrees is named, never a number."""

from __future__ import annotations

import dataclasses
import math
import mmap
import re

import numpy as np
import pandas as pd
import pytest

from bench.commands import compare
from bench.engines.packs import epoch_flops
from bench.engines.peak import peak_gflops, peak_name
from bench.machine import usage
from bench.machine.cores import available_cores
from bench.peers import comparison, registry
from bench.peers.problem import problem_of
from bench.peers.registry import OURS, PEERS, why_not
from bench.peers.worker import PeerError, Trained, Worker, _train
from bench.protocol.cells import Cell
from bench.report import plots, terminal
from bench.report.lines import WHOLE, block_text
from bench.store.claims import claim
from tests.engines.training import NOT_BUILT
from tests.engines.witness import plain_loop

SHAPE = Cell(d_in=3, width=12, depth=2, n_samples=40)
EPOCHS = 6

# What this process has loaded anyway is asked here; the others each have a process of their own.
HERE = ("native", "torch", "vmap", "loop")

CPU = [name for name, peer in PEERS.items() if "cpu" in peer.devices]

# A program in C++ is compiled for each size of pack, Keras and Hydra take seconds to start.
SLOW = ("compile", "keras", "multirun")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.gpu] * ("cpu" not in peer.devices) + [pytest.mark.exhaustive] * (name in SLOW))
        for name, peer in PEERS.items()
    ],
)
def test_every_peer_trains_the_networks_of_the_plain_loop(name):
    device = "cpu" if "cpu" in PEERS[name].devices else "cuda:0"
    reason = why_not(name, device)
    if reason is not None:
        pytest.skip(f"{PEERS[name].label} {reason}")
    cells = [Cell(d_in=3, width=12, depth=2, n_samples=40, data_seed=seed, init_seed=seed) for seed in (5, 6, 7)]
    losses = (
        np.array([plain_loop(cell, EPOCHS)[0][:EPOCHS] for cell in cells])
        * np.var(problem_of(cells, EPOCHS).targets, axis=1)[:, None]
    )
    if name in HERE:
        packs = [_train(name, device, cells, EPOCHS, pack).losses for pack in (3, 1)]
    else:
        worker = Worker(name, device)
        try:
            packs = [worker.train(cells, EPOCHS, pack).losses for pack in (3, 1)]
        finally:
            worker.close()
    for mine in packs:
        known = ~np.isnan(mine)
        assert mine.shape == (3, EPOCHS)
        assert known.sum() >= 3 * (5 if name in OURS else EPOCHS)
        assert mine[known] == pytest.approx(losses[known], rel=1e-4)


# Fields of a shape at which dropping tells; 16 networks and 100 epochs take a peer in Python some seconds.
DROPPING = Cell(d_in=3, width=16, depth=2, n_samples=40, dropout=0.1, regularization="dropout")


class Peer:
    """Trains by a peer, in this process, what a change makes of the cells."""

    def __init__(self, name: str, change=lambda cell: cell):
        self.name, self.change = name, change

    def train(self, cells, epochs, pack):
        return _train(self.name, "cpu", [self.change(cell) for cell in cells], epochs, pack)


def dropping(name: str, worker, epochs: int = 100) -> comparison._Side:
    """A side that has been timed once and checked, with so many epochs."""
    made = comparison._Side(name, worker, networks=4, pack=4, gflops=[8.0, 4.0], joules_per_tflop=[2.0, math.nan])
    comparison._check(made, DROPPING, flops=epochs * comparison.CHECKED * epoch_flops(DROPPING))
    if made.error is None:
        made.last = Trained(1.0, made.checked[:4], 100.0, math.nan)
    return made


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.exhaustive] * (name in SLOW)) for name in CPU])
def test_every_peer_drops_and_measures_without_masks(name):
    pytest.importorskip("bench.engines._native", reason=NOT_BUILT)
    reason = why_not(name, "cpu")
    if reason is not None:
        pytest.skip(f"{PEERS[name].label} {reason}")
    worker = Peer(name) if name in HERE else Worker(name, "cpu")
    try:
        # The engine's masks are held to the witness's elsewhere.
        one, engine = dropping(name, worker), dropping("native", Peer("native"))
    finally:
        if isinstance(worker, Worker):
            worker.close()
    assert one.error is None
    assert one.checked[:, 0] == pytest.approx(engine.checked[:, 0], rel=1e-5)
    off, allowed = comparison._later(engine, engine.checked, one.checked)
    assert abs(math.log1p(off)) <= math.log1p(allowed) < 0.1


def test_a_peer_that_forgets_dropout_or_measures_with_masks_is_named():
    def forgets(cell: Cell) -> Cell:
        return dataclasses.replace(cell, dropout=0.0, regularization="none")

    class Masked(Peer):
        """Gives losses that are off before the first update, as those under masks are."""

        def train(self, cells, epochs, pack):
            trained = super().train(cells, epochs, pack)
            return trained._replace(losses=trained.losses * np.where(np.arange(epochs) == 0, 1.05, 1).astype(np.float32))

    sides = [dropping("vmap", Peer("vmap")), dropping("loop", Peer("vmap", forgets)), dropping("keras", Masked("vmap"))]
    native = dropping("native", Peer("torch"))
    wrong = comparison.disagreeing(pd.DataFrame(comparison._rows(DROPPING, 100, [*sides, native], [100.0, 50.0], "cpu")))
    assert wrong["peer"].tolist() == ["loop", "keras"]
    said = [comparison.spelled_difference(row) for _, row in wrong.iterrows()]
    assert re.fullmatch(r"the later losses of torch loop are off by -0\.\d+, where chance explains 0\.\d+", said[0])
    assert said[1] == "the losses of Keras fit differ by 0.05"


def test_a_side_that_cannot_drop_has_a_reason_and_no_speed():
    class Refuses(Peer):
        def train(self, cells, epochs, pack):
            raise PeerError("NotImplementedError: dropout")

    table = pd.DataFrame(comparison._rows(DROPPING, 100, [dropping("vmap", Refuses("vmap"))], [100.0, 50.0], "cpu"))
    assert table["error"].tolist() == ["NotImplementedError: dropout"]
    assert comparison.disagreeing(table).empty
    assert terminal.compared_shape(table).startswith(
        "d_in 3, width 16, depth 2, n_samples 40, dropout 0.1: GFLOP/s of vmap: Not"
    )


def test_without_dropout_nothing_is_checked_beside_the_timed_calls():
    table = table_of(side("native", [80.0, 40.0], SAME), side("loop", [8.0, 2.0], SAME))
    assert table[["late_difference", "late_allowed"]].isna().all(axis=None)
    assert comparison.disagreeing(table).empty


def test_a_peer_that_raises_says_why_and_its_process_goes_on():
    worker = Worker("torch", "cpu")
    try:
        with pytest.raises(PeerError, match=r"^ValueError: need at least one array to stack$"):
            worker.train([], 1, 1)
        assert worker.train([SHAPE], 2, 1).losses.shape == (1, 2)
    finally:
        worker.close()


def side(name: str, gflops: list[float], losses: list[list[float]], error: str | None = None) -> comparison._Side:
    trained = Trained(1.0, np.array(losses, dtype=np.float32), 100.0, math.nan)
    return comparison._Side(
        name,
        worker=FakeWorker(),
        networks=4,
        pack=4,
        gflops=gflops,
        joules_per_tflop=[2.0, math.nan],
        last=trained,
        error=error,
    )


class FakeWorker:
    """Takes a second for each pack and a tenth for each network, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def train(self, cells, epochs, pack):
        self.asked.append((len(cells), pack))
        return Trained(
            math.ceil(len(cells) / pack) + len(cells) / 10, np.ones((len(cells), epochs), dtype=np.float32), 100.0, math.nan
        )


def table_of(*sides: comparison._Side) -> pd.DataFrame:
    return pd.DataFrame(comparison._rows(SHAPE, EPOCHS, list(sides), [100.0, 50.0], "cpu"))


def test_ratios_are_medians_over_rounds_of_the_same_round():
    table = table_of(side("native", [80.0, 40.0], [[1.0]]), side("loop", [8.0, 2.0], [[1.0]])).set_index("peer")
    assert table.loc["native", "of_peak"] == pytest.approx(0.8)
    assert table.loc["loop", ["slower", "slower_low", "slower_high"]].tolist() == [15, 10, 20]
    assert table.loc["loop", "joules_per_tflop"] == 2


def test_a_summary_is_a_geometric_mean_over_shapes():
    first = table_of(side("native", [80.0, 40.0], [[1.0]]), side("loop", [8.0, 4.0], [[1.0]]))
    second = table_of(side("native", [80.0, 40.0], [[1.0]]), side("loop", [2.0, 1.0], [[1.0]]))
    summary = comparison.summary(pd.concat([first, second])).set_index("peer")
    assert summary.loc["loop", ["n_shapes", "slower", "slower_low", "slower_high"]].tolist() == pytest.approx([2, 20, 10, 40])
    assert summary.loc["loop", "of_peak"] == pytest.approx(0.04)


SAME = [[1.0, 1.0, 0.9, 0.8]] * 3
NOT_THE_SAME = {
    "one network, at once": [*SAME[:2], [1.0, 1.01, 0.9, 0.8]],
    "most networks, later": [SAME[0], *[[1.0, 1.0, 0.9, 0.81]] * 2],
    "no number": [*SAME[:2], [math.nan, 1.0, 0.9, 0.8]],
    "no number later": [*SAME[:2], [1.0, 1.0, 0.9, math.nan]],
    "infinite": [*SAME[:2], [math.inf, 1.0, 0.9, 0.8]],
}


@pytest.mark.parametrize("wrong", NOT_THE_SAME)
def test_losses_that_differ_are_named(wrong):
    ours = side("native", [80.0, 40.0], [[1.0, 1.0, math.nan, 0.8]] * 3)
    chaotic = side("jax", [8.0, 2.0], [*SAME[:2], [1.0, 1.0, 0.9, 0.9]])
    sides = [ours, side("loop", [8.0, 2.0], SAME), chaotic, side("vmap", [9.0, 9.0], NOT_THE_SAME[wrong])]
    assert comparison.disagreeing(table_of(*sides))["peer"].tolist() == ["vmap"]


def test_a_peer_that_failed_has_a_reason_and_no_speed():
    table = table_of(side("loop", [8.0, 2.0], [[1.0]]), side("keras", [], [[1.0]], error="ImportError: no backend"))
    failed = table.set_index("peer").loc["keras"]
    assert failed["error"] == "ImportError: no backend"
    assert math.isnan(failed["gflops"])
    assert comparison.disagreeing(table).empty
    summary = comparison.summary(table)
    assert summary.set_index("peer").loc["keras", "n_shapes"] == 0
    assert "keras: ImportError: no backend" in terminal.compared_shape(table)
    assert "nan" not in block_text(terminal.comparison_block(summary), WHOLE)
    labels = [label.get_text() for label in plots.speeds(table, summary).axes[0].get_yticklabels()]
    assert labels == ["torch loop"]


def test_every_round_begins_with_another_side():
    sides = [side(name, [], [[1.0]]) for name in ("native", "vmap", "loop")]
    order: list[str] = []
    for one in sides:
        one.worker.train = lambda cells, epochs, pack, name=one.name: (
            order.append(name) or Trained(1.0, np.ones((1, 1)), 1.0, math.nan)
        )
    for number in range(3):
        comparison._round(sides, number, [SHAPE], 1, "cpu")
    assert order == ["native", "vmap", "loop", "vmap", "loop", "native", "loop", "native", "vmap"]


@pytest.mark.parametrize(("name", "count", "pack"), [("vmap", 24, 24), ("vmap", 5, 5), ("native", 24, 24), ("loop", 24, 1)])
def test_packs_are_those_that_were_faster_in_a_trial(name, count, pack):
    """One network takes the fake 1.1 seconds, so a peer that trains one after the other trains one in its two seconds."""
    one = side(name, [], [[1.0]])
    comparison._warm_up(one, [SHAPE] * count, 3)
    assert one.pack == pack
    if name == "vmap":
        assert {pack for _, pack in one.worker.asked} == ({8, 24} if count > 8 else {1, 5})


def test_sizes_of_a_call_keep_within_its_flops():
    for width, depth, n_samples in ((16, 1, 64), (64, 4, 1024), (128, 11, 4096)):
        shape = Cell(d_in=8, width=width, depth=depth, n_samples=n_samples)
        count, epochs = comparison._size(shape, networks=64, epochs=2000, flops=4e10)
        floor = comparison.LEAST_EPOCHS * max(2, available_cores()) * epoch_flops(shape)
        assert count * epochs * epoch_flops(shape) <= max(4e10, floor)
        assert count % comparison.SMALL_PACK == 0 or count < comparison.SMALL_PACK


def test_the_peak_counts_the_operations_that_were_done():
    _native = pytest.importorskip("bench.engines._native", reason=NOT_BUILT)
    lanes = {"avx512": 16, "avx2": 8, "portable": 4}
    for name in _native.instruction_sets():
        assert _native.multiply_adds(name, False, 1000) == 2 * 1000 * 12 * lanes[name]
        assert _native.multiply_adds(name, True, 1000) == 2 * 1000 * 12 * lanes[name] / 2
    assert peak_name("cpu") == "fma"
    assert peak_gflops("cpu", 1) > 0


def test_energy_is_the_sum_of_the_packages_and_no_number_where_there_are_none(tmp_path, monkeypatch):
    monkeypatch.setattr(usage, "POWERCAP", tmp_path)
    assert math.isnan(usage.joules())
    for folder, (name, value) in {
        "intel-rapl:0": ("package-0", 2_000_000),
        "intel-rapl:1": ("package-1", 500_000),
        "intel-rapl:2": ("psys", 9_000_000),
        "intel-rapl:0:0": ("core", 1_000_000),
    }.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "name").write_text(f"{name}\n")
        (tmp_path / folder / "energy_uj").write_text(f"{value}\n")
    assert usage.joules() == 2.5
    (tmp_path / "intel-rapl:1" / "energy_uj").unlink()
    assert math.isnan(usage.joules())


def test_peak_memory_is_that_of_this_process_or_no_number(tmp_path, monkeypatch):
    usage.forget_peak_memory()
    before = usage.peak_memory_mb()
    # From the system: an array might get what other tests have given back.
    with mmap.mmap(-1, 50_000_000) as held:
        held.write(b"1" * 50_000_000)
    assert usage.peak_memory_mb() - before > 40
    monkeypatch.setattr(usage, "PROCESS", tmp_path / "none")
    usage.forget_peak_memory()
    assert math.isnan(usage.peak_memory_mb())


@pytest.mark.parametrize(
    ("loop", "message"),
    [
        (side("loop", [8.0, 2.0], [[2.0]]), "the losses of memcap, engine=native differ by 0.5"),
        (side("loop", [], [[1.0]], error="OSError: none"), "torch loop failed: OSError: none"),
    ],
)
def test_a_failure_or_losses_that_differ_are_an_exit_status(loop, message, tmp_path, monkeypatch, capsys):
    table = table_of(side("native", [80.0, 40.0], [[1.0]]), loop)
    monkeypatch.setattr(comparison, "compare", lambda *args, **kwargs: iter([table]))
    assert compare.main(["peers=[torch,loop]", f"run_dir={tmp_path}"]) == 1
    assert f"memcap: at d_in 3, width 12, depth 2, n_samples 40 {message}" in capsys.readouterr().err


def test_the_help_names_every_part_of_a_shape(memcap):
    printed = memcap("compare", "--help").out
    assert all(f" shapes.{name}=[" in printed for name in registry.SHAPE)


def test_the_command_leaves_tables_a_figure_and_provenance(memcap, tmp_path):
    small = [
        "rounds=1",
        "networks=2",
        "epochs=8",
        "shapes.variants=[{width: 4, depth: 1, n_samples: 8}]",
        "shapes.dropout=[0, 0.1]",
    ]
    command = ["compare", "peers=[torch,loop]", *small, "run_dir=out"]
    (tmp_path / "out").mkdir()
    with claim(tmp_path / "out", "compare"):
        refused = memcap(*command)
    assert refused.status == 75 and "memcap: out: another compare has written into it since" in refused.err
    assert list((tmp_path / "out").iterdir()) == []
    done = memcap(*command)
    assert done.status == 0, done.err
    assert "torch loop" in done.out
    assert "n_samples 8: GFLOP/s" in done.out and "n_samples 8, dropout 0.1: GFLOP/s" in done.out
    table = pd.read_csv(tmp_path / "out/tables/comparison.csv")
    assert table["peer"].tolist() == ["torch", "loop"] * 2
    assert table["dropout"].tolist() == [0, 0, 0.1, 0.1]
    assert table["loss_difference"].max() < 1e-3
    assert table["late_allowed"].isna().tolist() == [True, True, False, False]
    for name in (
        "tables/summary.csv",
        "tables/README.md",
        "figures/comparison.png",
        "figures/comparison.svg",
        "provenance.json",
        "config.yaml",
    ):
        assert (tmp_path / "out" / name).stat().st_size > 0


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "peers=[julia]",
            "memcap: peers=julia: is not a peer; choose from: native, cuda, cuda_3xtf32, torch, jax, vmap, compile, loop, multirun, keras",
        ),
        (
            "peers=[]",
            "memcap: peers=[]: must be a list of names; choose from: native, cuda, cuda_3xtf32, torch, jax, vmap, compile, loop, multirun, keras",
        ),
        ("rounds=0", "memcap: rounds=0: must be a whole number of at least 1; memcap compare --help lists the settings"),
        ("flops=-1", "memcap: flops=-1: must be a positive number; give for example 4.0e+10"),
        ("round=3", "memcap: round: is not a setting; did you mean rounds?"),
        (
            "run_dir=/dev/null",
            "memcap: run_dir=/dev/null: cannot be written to (File exists); name a folder that you can write to",
        ),
        (
            "shapes.variants=[{width: 4, activation: tanh}]",
            "memcap: shapes.variants=activation: is not part of a shape; a shape is d_in, width, depth, n_samples, dropout; all else is the same for every peer",
        ),
        ("shapes.widht=3", "memcap: shapes.widht: is not a setting; did you mean shapes.width?"),
    ],
)
def test_a_wrong_setting_is_one_line(memcap, tmp_path, argument, message):
    done = memcap("compare", argument)
    assert (done.status, done.err) == (2, f"{message}\n")
    assert list(tmp_path.iterdir()) == []
