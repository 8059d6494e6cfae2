"""A cell that goes on from a checkpoint ends as if it had not stopped, to the byte, on every engine."""

from __future__ import annotations

import ctypes
import dataclasses

import pytest

from bench.engines import api, native_engine
from bench.engines.cuda.engine import CudaEngine
from bench.engines.native_engine import NativeEngine
from bench.engines.packs import epoch_flops, plan
from bench.engines.task import Progress, is_state_of
from bench.engines.torch_engine import TorchEngine
from bench.protocol.cells import Cell, Status
from tests.engines.host_device import HostDevice
from tests.engines.training import ENGINES, engine_named, every, train, untimed

# All that outlasts an epoch: moments of every optimizer, the order of batches, draws of each step, the best validation, rates by epoch.
PROTOCOLS = [
    Cell(n_samples=24, width=5, depth=2),
    Cell(n_samples=40, width=13, depth=2, optimizer="sgd", momentum=0.9, learning_rate=0.01, max_norm=1.0),
    Cell(n_samples=40, width=13, depth=2, amsgrad=True, dropout=0.1, n_val=8, dtype="float64"),
    Cell(n_samples=40, width=13, depth=1, optimizer="adamw", weight_decay=0.01, batch_size=16, shuffle=True, input_noise=0.1),
    Cell(n_samples=40, width=13, depth=2, lr_schedule="cosine", dtype="tf32", trainable="readout", l1=1e-4),
    Cell(n_samples=20, width=9, depth=0, target="rademacher", loss="hinge", n_val=8),
    Cell(n_samples=40, width=13, depth=1, target="labels", n_classes=5, loss="cross_entropy", weight_decay=0.01, n_val=8),
    Cell(n_samples=24, width=5, depth=1, n_outputs=3),
]
EPOCHS = 60
CELLS = [dataclasses.replace(cell, tau=1e-30, max_epochs=EPOCHS) for cell in PROTOCOLS]


def reports(engine, cells, begun=api.NONE_BEGUN, **asked):
    for pack in plan(cells, kind=engine.kind, slots=engine.slots, workers=1):
        yield from engine.train(pack, begun=begun, **asked)


def saved_often(engine, cells):
    """How the cells end, and all their checkpoints."""
    outcomes, checkpoints = {}, []
    for report in reports(engine, cells):
        checkpoints += report.checkpoints
        outcomes |= {outcome.cell: outcome for outcome in report.outcomes}
    return outcomes, checkpoints


@pytest.fixture
def often(monkeypatch):
    """Cells are saved whenever an engine looks, which is often."""
    monkeypatch.setattr(api, "CHECKPOINT_S", 0.0)
    monkeypatch.setattr(native_engine, "REPORT_S", 0.0)


def long_enough(name: str) -> list[Cell]:
    """CPU threads are looked at from another: the cells are long enough to be seen."""
    return [dataclasses.replace(cell, max_epochs=100 * EPOCHS) for cell in CELLS] if name.startswith("native") else CELLS


@pytest.mark.parametrize("name", every(*ENGINES))
def test_a_cell_that_goes_on_from_any_checkpoint_ends_as_one_that_was_never_saved(name, monkeypatch, often):
    cells = long_enough(name)
    with monkeypatch.context() as never:
        never.setattr(api, "CHECKPOINT_S", 1e9)
        undisturbed, none = saved_often(engine_named(name), cells)
    assert not none
    expected = {cell: untimed(outcome) for cell, outcome in undisturbed.items()}
    checkpoints = []
    # A thread may train a cell before another has the time to look.
    for _ in range(50):
        outcomes, more = saved_often(engine_named(name), cells)
        assert {cell: untimed(outcome) for cell, outcome in outcomes.items()} == expected
        checkpoints += [one for one in more if 0 < one.epoch < one.cell.max_epochs]
        if {one.cell for one in checkpoints} == set(cells):
            break
    by_cell = {cell: [one for one in checkpoints if one.cell == cell] for cell in cells}
    for place in (0, -1):
        begun = {cell: own[place] for cell, own in by_cell.items()}
        went_on = {outcome.cell: outcome for report in reports(engine_named(name), cells, begun) for outcome in report.outcomes}
        assert {cell: untimed(outcome) for cell, outcome in went_on.items()} == expected
        # The time is that of both.
        assert all((outcome.train_time_s or 0) > 0 for outcome in went_on.values())


@pytest.mark.parametrize("name", ["torch", "cuda on the host"])
def test_only_what_is_left_of_a_cell_is_trained(name, often):
    cell = CELLS[0]
    _, checkpoints = saved_often(engine_named(name), [cell])
    begun = {cell: next(one for one in checkpoints if one.epoch > EPOCHS // 3)}
    flops = sum(report.flops for report in reports(engine_named(name), [cell], begun))
    assert flops == pytest.approx((EPOCHS - begun[cell].epoch) * epoch_flops(cell))


def test_a_checkpoint_of_another_engine_device_or_kernel_is_not_gone_on_from(often):
    engine = CudaEngine([HostDevice(epochs=(5,))], products="fma")
    cells = CELLS[:1]
    _, checkpoints = saved_often(engine, cells)
    saved = checkpoints[-1]
    assert saved.kernel
    whole = EPOCHS * epoch_flops(cells[0])
    for other in (saved._replace(engine="native"), saved._replace(device="another"), saved._replace(kernel="another")):
        assert sum(report.flops for report in reports(engine, cells, {cells[0]: other})) == pytest.approx(whole)
    assert sum(report.flops for report in reports(engine, cells, {cells[0]: saved})) < whole


def test_a_cell_that_was_early_stopped_memorized_or_diverged_does_so_after_a_checkpoint_too(often):
    """What decides it is in the record and the state: the best validation and its epoch, rungs, curves."""
    ends = [
        Cell(n_samples=12, width=24, depth=1, n_val=24, patience=60, tau=1e-30, max_epochs=4000),
        Cell(n_samples=8, width=32, depth=1, tau=1e-4, learning_rate=0.003),
        Cell(n_samples=16, width=16, depth=2, optimizer="sgd", learning_rate=0.8, max_epochs=4000, tau=1e-30),
    ]
    undisturbed = train(ends)
    _, checkpoints = saved_often(TorchEngine("cpu"), ends)
    for cell in ends:
        begun = {cell: [one for one in checkpoints if one.cell == cell][-1]}
        (outcome,) = [outcome for report in reports(TorchEngine("cpu"), [cell], begun) for outcome in report.outcomes]
        assert untimed(outcome) == untimed(undisturbed[cell])
    assert {Status.EARLY_STOPPED, Status.MEMORIZED} <= {outcome.status for outcome in undisturbed.values()}


@pytest.mark.parametrize(
    "engine", [TorchEngine("cpu"), CudaEngine([HostDevice(epochs=(5,))], products="fma")], ids=["torch", "cuda"]
)
def test_of_many_cells_those_with_the_most_work_behind_them_are_saved_up_to_a_limit(engine, monkeypatch, often):
    cells = [dataclasses.replace(CELLS[0], init_seed=seed) for seed in range(6)]
    (pack,) = plan(cells, kind=engine.kind, slots=engine.slots, workers=1)
    monkeypatch.setattr(api, "CHECKPOINT_BYTES", 1)
    at_least = {len(report.checkpoints) for report in engine.train(pack)}
    monkeypatch.setattr(api, "CHECKPOINT_BYTES", 4 * len(cells) * 4096)
    assert at_least <= {0, 1} and {len(report.checkpoints) for report in engine.train(pack)} == {0, len(cells)}


@pytest.mark.parametrize(
    "engine", [NativeEngine(1), CudaEngine([HostDevice(epochs=(5,))], products="fma")], ids=["native", "cuda"]
)
def test_a_cell_begins_anew_where_a_file_holds_what_no_engine_saves_of_it(engine, monkeypatch):
    """A size of another cell's, and an epoch beyond its last: the core would write where no array is."""
    cell = CELLS[0]
    (expected,) = [outcome for report in reports(engine, [cell]) for outcome in report.outcomes]
    with monkeypatch.context() as often:
        often.setattr(api, "CHECKPOINT_S", 0.0)
        often.setattr(native_engine, "REPORT_S", 0.0)
        saved = next(one for _ in range(50) for one in saved_often(engine, [dataclasses.replace(cell, max_epochs=6000)])[1])
    assert is_state_of(cell, saved.state) or saved.epoch > cell.max_epochs
    far = Progress.from_buffer_copy(saved.state)
    far.epoch = cell.max_epochs + 1
    for state in (saved.state[:-8], saved.state + bytes(8), bytes(far) + saved.state[ctypes.sizeof(far) :], b""):
        begun = {cell: saved._replace(cell=cell, state=state)}
        (outcome,) = [outcome for report in reports(engine, [cell], begun) for outcome in report.outcomes]
        assert untimed(outcome) == untimed(expected)
