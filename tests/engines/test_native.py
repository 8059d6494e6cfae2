"""The native engine: no cell sees another, whatever the order, the threads, or a stop and a start; Ctrl-C is quick."""

from __future__ import annotations

import json
import random
import sys
import time

import pytest

import bench
from bench.engines import ahead
from bench.engines.choice import native_is_built
from bench.engines.packs import Pack
from bench.machine import child
from bench.protocol.cells import Cell, Status
from tests.engines.test_packing import mixed_cells
from tests.engines.training import NOT_BUILT, train, untimed

if not native_is_built():
    pytest.skip(NOT_BUILT, allow_module_level=True)

from bench.engines import _native, cost
from bench.engines.native_engine import NativeEngine

# The fastest, which this processor takes; the others for `make test-all`.
FASTEST, *SLOWER = _native.instruction_sets()
BUILDS = [FASTEST, *(pytest.param(build, marks=pytest.mark.exhaustive) for build in SLOWER)]


def bytes_of(cells: list[Cell], engine: NativeEngine) -> dict[Cell, str]:
    return {cell: untimed(outcome) for cell, outcome in train(cells, engine=engine, n_predictions=5).items()}


@pytest.mark.parametrize("build", BUILDS)
def test_a_cell_is_the_same_to_the_byte_alone_in_any_order_and_on_any_number_of_threads(build):
    # And wide ones, whose products go in strips and whose weights in several pieces.
    wide = [Cell(depth=2, width=width, n_samples=70, d_in=3, max_epochs=3) for width in (64, 256, 300)]
    cells = mixed_cells(120, seed=5) + wide
    alone = {cell: bytes_of([cell], NativeEngine(1, build))[cell] for cell in cells}
    for threads, seed in ((1, 1), (2, 2), (4, 3)):
        assert bytes_of(random.Random(seed).sample(cells, len(cells)), NativeEngine(threads, build)) == alone


@pytest.mark.parametrize("build", BUILDS)
def test_a_run_that_was_stopped_and_goes_on_ends_as_if_it_had_not_been(build):
    cells = mixed_cells(60, seed=6)
    engine = NativeEngine(2, build)
    reports = engine.train(Pack(tuple(cells), 1))
    first = next(report for report in reports if report.outcomes)
    reports.close()
    done = {outcome.cell: untimed(outcome) for outcome in first.outcomes}
    rest = bytes_without_predictions([cell for cell in cells if cell not in done], build)
    assert done | rest == bytes_without_predictions(cells, build)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the memory that workers share")
@pytest.mark.parametrize("killed", [False, True], ids=["", "killed"])
def test_what_worker_processes_draw_is_what_the_engine_draws(monkeypatch, killed):
    """Where there is much to draw they do it while others train; where they die, the engine goes on."""
    started = []

    def starts(*arguments, **pipes):
        started.append(child.start(*arguments, **pipes))
        if killed:
            started[-1].kill()
        return started[-1]

    cells = mixed_cells(90, seed=8)
    by_itself = bytes_of(cells, NativeEngine(1))
    for name, value in {"DRAWS_WORTH_A_WORKER": 20, "BEGINNING": 1, "AHEAD": 2, "BATCH": 10, "start": starts}.items():
        monkeypatch.setattr(ahead, name, value)
    assert bytes_of(cells, NativeEngine(1)) == by_itself and not started  # It was asked for one thread.
    assert bytes_of(cells, NativeEngine(4)) == by_itself
    assert len(started) == 2 and all(process.returncode is not None for process in started)


def bytes_without_predictions(cells: list[Cell], build: str) -> dict[Cell, str]:
    return {cell: untimed(outcome) for cell, outcome in train(cells, engine=NativeEngine(3, build)).items()}


@pytest.mark.clock
def test_closing_stops_the_threads_within_a_second():
    cells = bench.expand(depth=4, width=64, n_samples=2000, max_epochs=10**6, tau=1e-9, seed=range(8))
    reports = NativeEngine(2).train(Pack(tuple(cells), 1))
    assert next(reports).outcomes == []
    started = time.monotonic()
    reports.close()
    assert time.monotonic() - started < 1


@pytest.mark.clock
def test_closing_does_not_wait_for_a_long_epoch():
    (cell,) = bench.expand(depth=8, width=300, n_samples=100_000, max_epochs=5, tau=1e-9)
    reports = NativeEngine(1).train(Pack((cell,), 1))
    next(reports)
    started = time.monotonic()
    reports.close()
    assert time.monotonic() - started < 1


def test_a_cell_that_cannot_be_held_fails_alone():
    huge = Cell(width=50_000, depth=2, n_samples=4)
    (small,) = bench.expand(depth=1, width=8, n_samples=20, max_epochs=20, tau=1e-9)
    engine = NativeEngine(2)
    outcomes = {outcome.cell: outcome for report in engine.train(Pack((huge, small), 1)) for outcome in report.outcomes}
    assert outcomes[huge].status is Status.FAILED
    assert outcomes[huge].reason == "ValueError: parameters or samples are more than 2**31 numbers; use engine=torch"
    assert untimed(outcomes[small]) == untimed(train([small], engine=engine)[small])


def test_progress_counts_the_epochs_that_were_trained():
    (cell,) = bench.expand(depth=1, width=8, n_samples=50, max_epochs=300, tau=1e-9)
    reports = list(NativeEngine(1).train(Pack((cell,), 1)))
    from bench.engines.packs import epoch_flops

    assert sum(report.flops for report in reports) == 300 * epoch_flops(cell)


def test_predictions_are_those_of_the_final_state():
    (cell,) = bench.expand(depth=2, width=16, n_samples=70, max_epochs=50, dtype="float64")
    outcome = train([cell], engine=NativeEngine(1), n_predictions=70)[cell]
    error = sum((target - prediction) ** 2 for target, prediction in outcome.predictions) / 70
    assert error / outcome.target_variance == pytest.approx(outcome.final_tau, rel=1e-12)


def test_an_instruction_set_that_is_not_here_is_an_error():
    with pytest.raises(ValueError, match="this processor has no sse9"):
        _native.Queue(1, "sse9")


def test_auto_takes_the_native_engine_on_a_cpu_and_the_table_names_the_instruction_set():
    table = bench.run(bench.expand(n_samples=8, max_epochs=5), device="cpu")
    assert (table["engine"][0], table["device"][0]) == ("native", f"cpu {_native.instruction_sets()[0]}")


def test_auto_leaves_to_torch_what_it_trains_faster_there_and_engine_native_does_not(monkeypatch, tmp_path, capsys):
    own = _native.instruction_sets()[0]
    monkeypatch.setitem(cost.FASTER_BY_TORCH, own, cost.Wide(depth=2, width=20, samples=16))
    wide = {"depth": 2, "width": 20, "n_samples": 20, "max_epochs": 5}
    less = [{"depth": 1}, {"width": 19}, {"n_samples": 15}, {"batch_size": 15}, {"dropout": 0.1}, {"input_noise": 0.1}]
    cells = [Cell(**wide), Cell(**wide | {"batch_size": 16}), *(Cell(**wide | fields) for fields in less)]
    table = bench.run(cells, device="cpu", run_dir=tmp_path / "auto")
    assert table["engine"].tolist() == ["torch"] * 2 + ["native"] * len(less)
    assert "memcap: engine=torch trains the 2 widest cells, which it is faster for\n" in capsys.readouterr().out
    (entry,) = json.loads((tmp_path / "auto" / "provenance.json").read_text())["runs"]
    assert entry["cells_left_to_torch"] == 2
    table = bench.run(cells, device="cpu", engine="native", run_dir=tmp_path / "native")
    assert table["engine"].tolist() == ["native"] * len(cells)


@pytest.mark.parametrize(
    ("fields", "by_torch"),
    [({}, True), ({"depth": 1}, False), ({"width": 1023}, False), ({"n_samples": 511}, False), ({"batch_size": 511}, False)],
)
def test_with_avx2_torch_has_what_is_wide_deep_and_large_and_with_avx512_nothing(fields, by_torch):
    cell = Cell(**{"depth": 2, "width": 1024, "n_samples": 512} | fields)
    assert cost.torch_is_faster(cell, "avx2") == by_torch
    assert not cost.torch_is_faster(cell, "avx512")
