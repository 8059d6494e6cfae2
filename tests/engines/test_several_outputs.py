"""Labels and several outputs in the fused core: bytes do not depend on company, threads or barriers, and small losses keep their digits."""

from __future__ import annotations

import dataclasses
import math
import random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.engines.choice import native_is_built
from bench.engines.torch_engine import TorchEngine
from bench.protocol.cells import NO_TAU, Cell, Status
from bench.protocol.networks import initial_layers
from bench.protocol.noise import training_data
from tests.engines.protocols import ACTIVATIONS
from tests.engines.test_packing import mixed_cells
from tests.engines.test_shapes import within
from tests.engines.training import ENGINES, NOT_BUILT, TENSOR_CORES_ON_HOST, engine_named, every, train, untimed
from tests.engines.witness import plain

if not native_is_built():
    pytest.skip(NOT_BUILT, allow_module_level=True)

from bench.engines import _native
from bench.engines.cuda.engine import CudaEngine
from bench.engines.native_engine import NativeEngine
from tests.engines.host_device import HostDevice

LABELS = {"target": "labels", "loss": "cross_entropy"}


def of_several(count: int, seed: int) -> list[Cell]:
    """Cells of all kinds, on labels by either criterion and on several targets; few outputs and more than a vector has numbers."""
    pick = random.Random(seed).choice
    cells = []
    for i, cell in enumerate(mixed_cells(count, seed)):
        own = {"n_outputs": pick([2, 3, 8, 40])} if i % 3 == 0 else {"n_classes": pick([2, 5, 10, 33]), **LABELS}
        criterion = {"criterion": pick(["tau", "recall"])} if i % 3 else {}
        cells.append(dataclasses.replace(cell, **own, **criterion))
    return cells


# Whose samples are dealt to several shares, and with more outputs than units.
SHARED = [
    Cell(n_samples=1100, width=width, depth=1, dtype=dtype, n_val=60, max_epochs=2, tau=1e-9, **own)
    for width, dtype in ((8, "float32"), (70, "float32"), (9, "float64"), (70, "tf32"))
    for own in ({"n_outputs": 5}, {"n_classes": 12, **LABELS}, {"n_classes": 3, "batch_size": 520, **LABELS})
]


def bytes_of(cells: list[Cell], engine) -> dict[Cell, str]:
    return {cell: untimed(outcome) for cell, outcome in train(cells, engine=engine, n_predictions=5).items()}


FASTEST, *SLOWER = _native.instruction_sets()
BUILDS = [FASTEST, *(pytest.param(build, marks=pytest.mark.exhaustive) for build in SLOWER)]


@pytest.mark.parametrize("build", BUILDS)
def test_a_cell_is_the_same_to_the_byte_alone_in_any_order_and_on_any_number_of_threads(build):
    cells = of_several(60, seed=5) + SHARED
    alone = {cell: bytes_of([cell], NativeEngine(1, build))[cell] for cell in cells}
    for threads, seed in ((1, 1), (3, 2)):
        assert bytes_of(random.Random(seed).sample(cells, len(cells)), NativeEngine(threads, build)) == alone


def cuda(*devices: HostDevice, products="fma") -> CudaEngine:
    return CudaEngine(devices, products=products)


@pytest.mark.parametrize("products", ["fma", "3xtf32"])
def test_threads_teams_pauses_and_company_do_not_enter_into_the_results_of_blocks(products):
    # Only cells of float32 are the tensor cores' by choice, whose model is slow.
    takes = {"fma": {"float32", "float64", "tf32"}, "3xtf32": {"float32"}}[products]
    mixed, shared = ([cell for cell in cells if cell.dtype in takes] for cells in (of_several(24, seed=7), SHARED))
    if products == "3xtf32":
        mixed, shared = mixed[:8], shared[:3]
    alone = bytes_of(mixed + shared, cuda(HostDevice(epochs=(10**6,)), products=products))
    threads = HostDevice(threads=5, descending=True, epochs=(1, 7))
    assert bytes_of((mixed + shared)[::-1], cuda(threads, products=products)) == alone
    team = HostDevice(threads=2, places=4 * len(shared), team=4, epochs=(30,))
    assert bytes_of(shared, cuda(team, products=products)) == {cell: alone[cell] for cell in shared}
    assert max(launch.team for launch in team.launches) == 4


@pytest.mark.parametrize("engine", [NativeEngine(2), cuda(HostDevice(epochs=(1, 9, 30)))], ids=["native", "cuda"])
def test_what_is_recalled_is_what_the_final_outputs_say_and_recall_ends_a_cell_at_once(engine):
    base = Cell(n_samples=30, width=16, depth=1, n_classes=7, tau=1e-9, max_epochs=400, dtype="float64", **LABELS)
    ends = [dataclasses.replace(base, criterion="recall", init_seed=seed, data_seed=seed) for seed in range(4)]
    goes_on = [dataclasses.replace(cell, criterion="tau") for cell in ends]
    outcomes = train([*ends, *goes_on], engine=engine, n_predictions=base.n_samples)
    for cell, other in zip(ends, goes_on, strict=True):
        outcome, longer = outcomes[cell], outcomes[other]
        assert outcome.status is Status.MEMORIZED
        assert outcome.recalled == cell.n_samples == sum(label == said for label, said in outcome.predictions)
        assert outcome.epochs_run == outcome.epoch_to_tau == outcome.epoch_to_recall == longer.epoch_to_recall
        assert longer.epochs_run == cell.max_epochs
        assert longer.final_tau < outcome.final_tau
    young = [dataclasses.replace(cell, max_epochs=5) for cell in goes_on]
    for cell, outcome in train(young, engine=engine, n_predictions=base.n_samples).items():
        assert [label for label, _ in outcome.predictions] == training_data(cell).targets.tolist()
        assert outcome.recalled == sum(label == said for label, said in outcome.predictions)
        assert outcome.recalled < cell.n_samples and outcome.epoch_to_recall is None


@pytest.mark.parametrize("engine", [TorchEngine("cpu"), NativeEngine(2), cuda(HostDevice())], ids=["torch", "native", "cuda"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_loss_of_a_label_that_is_all_but_sure_keeps_its_digits(engine, dtype):
    """One less a probability, in float32, is off by 6e-8 at least: more than all of these losses."""
    base = Cell(n_samples=1, d_in=1, depth=0, n_classes=6, init_scale=30.0, tau=1e-300, max_epochs=1, dtype=dtype, **LABELS)
    seen = 0
    for cell, outcome in train([dataclasses.replace(base, init_seed=seed) for seed in range(300)], engine=engine).items():
        data, (layer,) = training_data(cell), initial_layers(cell)
        weight, x = (array.astype(dtype).astype(np.longdouble) for array in (layer.weight, data.inputs))
        logits = (weight @ x[0]).astype(dtype).astype(np.longdouble)
        loss = float(np.logaddexp.reduce(logits - logits[int(data.targets[0])]))
        apart = np.delete(logits - logits[int(data.targets[0])], int(data.targets[0]))
        if apart.max() < -17 and apart.max() > -60:
            exact = float(np.log1p(np.sum(np.exp(apart))))
            assert outcome.curve[0].tau == pytest.approx(exact / math.log(6), rel=1e-5 if dtype == "float32" else 1e-13, abs=0)
            seen += 1
        elif loss > 1:
            assert outcome.curve[0].tau == pytest.approx(loss / math.log(6), rel=1e-6)
    assert seen > 10


@pytest.mark.parametrize("engine", [NativeEngine(2), cuda(HostDevice())], ids=["native", "cuda"])
def test_float32_labels_that_are_known_go_on_in_all_engines_alike(engine):
    """Losses and gradients far below 6e-8. Of the last cell exp saturates: none becomes 0, which is below any tau."""
    base = Cell(n_samples=4, d_in=10, depth=1, width=32, n_classes=4, tau=NO_TAU, max_epochs=40, learning_rate=0.1, **LABELS)
    plain_steps = dataclasses.replace(base, depth=0, optimizer="sgd", learning_rate=30.0)
    quicker = [dataclasses.replace(base, learning_rate=0.2), plain_steps]
    saturated = dataclasses.replace(plain_steps, momentum=0.9)
    cells = [base, *quicker, saturated]
    ours, theirs = train(cells), train(cells, engine=engine)
    for cell in cells:
        assert ours[cell].status is theirs[cell].status is Status.CENSORED
        assert ours[cell].recalled == theirs[cell].recalled == cell.n_samples
        assert 0 < ours[cell].final_tau < 1e-8
        curve = [point.tau for point in ours[cell].curve if point.epoch <= 20]
        assert curve == pytest.approx([point.tau for point in theirs[cell].curve][: len(curve)], rel=1e-3, abs=0)
    assert all(ours[cell].final_tau < 1e-15 for cell in quicker)
    least = 3 * math.exp(-87) / training_data(saturated).target_variance
    assert ours[saturated].final_tau == pytest.approx(least, rel=1e-5, abs=0) == theirs[saturated].final_tau


@pytest.mark.parametrize("engine", [NativeEngine(2), cuda(HostDevice())], ids=["native", "cuda"])
def test_no_label_of_a_loss_that_is_no_number_is_right_in_any_engine(engine):
    """Outputs that are no numbers have a first of the largest too, which some labels are."""
    base = Cell(n_samples=12, d_in=5, width=16, n_classes=4, tau=NO_TAU, max_epochs=40, **LABELS)
    cells = [
        dataclasses.replace(base, depth=depth, dtype=dtype, optimizer=optimizer, learning_rate=rate)
        for depth in (0, 1, 2)
        for dtype, optimizer, rate in (
            ("float32", "adam", 1e200),
            ("float64", "adam", 1e308),
            ("float64", "sgd", 1e308),
            ("float64", "sgd", 1e30),
        )
    ]
    ours, theirs = train(cells), train(cells, engine=engine)
    diverged = [cell for cell in cells if ours[cell].status is Status.DIVERGED]
    assert len(diverged) >= 11
    for cell in diverged:
        assert theirs[cell].status is Status.DIVERGED
        assert (ours[cell].epochs_run, ours[cell].recalled) == (theirs[cell].epochs_run, theirs[cell].recalled)
    # Of some a few losses are numbers still.
    assert {ours[cell].recalled > 0 for cell in diverged} == {False, True}


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    outputs=st.integers(2, 150),
    labels=st.booleans(),
    width=st.integers(1, 150),
    depth=st.integers(0, 4),
    n_samples=st.integers(1, 1000),
    d_in=st.integers(1, 40),
    activation=st.sampled_from(ACTIVATIONS),
)
@example(outputs=16, labels=True, width=8, depth=1, n_samples=65, d_in=3, activation="relu")
@example(outputs=300, labels=False, width=5, depth=2, n_samples=70, d_in=3, activation="tanh")
@pytest.mark.parametrize("name", every(*ENGINES[1:], TENSOR_CORES_ON_HOST))
def test_any_number_of_outputs_trains_like_the_plain_loop(name, outputs, labels, **shape):
    """Under SGD: Adam's first step takes the sign of a gradient, however small."""
    double = name != TENSOR_CORES_ON_HOST
    own = {"n_classes": outputs, **LABELS} if labels else {"n_outputs": outputs}
    cell = within(
        3e7 if double else 5e6,
        **shape,
        **own,
        dtype="float64" if double else "float32",
        optimizer="sgd",
        learning_rate=1e-3,
        max_epochs=2,
        tau=1e-9,
    )
    (outcome,) = train([cell], engine=engine_named(name)).values()
    tau, _ = plain(cell, None)
    assert [point.tau for point in outcome.curve] == pytest.approx(
        [tau[point.epoch] for point in outcome.curve], rel=1e-8 if double else 1e-5, abs=1e-12 if double else 1e-6
    )
