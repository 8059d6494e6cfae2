"""Every engine against the plain PyTorch loop, one network at a time: the same losses for every protocol."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from bench.protocol.cells import Cell, Status
from tests.engines.training import ENGINES, TENSOR_CORES_ON_HOST, engine_named, train
from tests.engines.witness import plain_loop

BASE = Cell(n_samples=37, d_in=3, depth=3, width=13, tau=1e-6, max_epochs=50, dtype="float64", learning_rate=0.01)

REGULARIZERS = {
    "none": {},
    "weight_decay": {"weight_decay": 0.01},
    "l1": {"l1": 1e-3},
    "dropout": {"dropout": 0.2},
    "input_noise": {"input_noise": 0.1},
    "max_norm": {"max_norm": 1.0},
    "early_stopping": {"n_val": 20, "patience": 5},
    "all at once": {
        "weight_decay": 0.01,
        "l1": 1e-3,
        "dropout": 0.1,
        "input_noise": 0.1,
        "max_norm": 1.0,
        "n_val": 20,
        "patience": 40,
    },
}
OPTIMIZERS = {
    "sgd": {"optimizer": "sgd"},
    "momentum": {"optimizer": "sgd", "momentum": 0.9},
    "adam": {"optimizer": "adam"},
    "amsgrad": {"optimizer": "adam", "amsgrad": True},
    "adamw": {"optimizer": "adamw"},
}
ACTIVATIONS = ("relu", "leaky_relu", "tanh", "gelu", "silu", "sigmoid")
OTHERS = {
    "batches in order": {"batch_size": 10},
    "batches shuffled, with dropout and noise": {"batch_size": 10, "shuffle": True, "dropout": 0.1, "input_noise": 0.1},
    "readout": {"trainable": "readout"},
    "readout with everything": {
        "trainable": "readout",
        "batch_size": 10,
        "amsgrad": True,
        "max_norm": 0.5,
        "weight_decay": 0.01,
        "dropout": 0.1,
    },
    "cosine": {"lr_schedule": "cosine"},
    "step": {"lr_schedule": "step"},
    "linear": {"depth": 0},
    "linear with noise": {"depth": 0, "input_noise": 0.2},
    "one sample": {"n_samples": 1},
    "one unit": {"width": 1, "depth": 1, "d_in": 1},
    "eps and betas": {"eps": 1e-3, "beta1": 0.8, "beta2": 0.9},
    **{
        f"init {init}": {"init": init, "init_scale": 0.5}
        for init in ("he_normal", "he_uniform", "xavier_uniform", "orthogonal", "torch_default", "uniform")
    },
    **{
        f"{target} targets, {scaling}": {"target": target, "target_scaling": scaling, "n_val": 10}
        for target in ("normal", "uniform", "rademacher")
        for scaling in ("none", "standardize", "minmax")
    },
}
PRODUCT = {
    f"{o}, {r}, {a}": {**OPTIMIZERS[o], **REGULARIZERS[r], "activation": a}
    for o in OPTIMIZERS
    for r in REGULARIZERS
    for a in ACTIVATIONS
}
ONE_CHANGE = {**OPTIMIZERS, **REGULARIZERS, **{activation: {"activation": activation} for activation in ACTIVATIONS}}
HINGE = {"loss": "hinge", "target": "rademacher"}
UNDER_THE_HINGE = (*ONE_CHANGE, *(name for name in OTHERS if name.startswith(("batches", "readout", "linear"))))
HINGES = {f"hinge, {name}": (ONE_CHANGE | OTHERS)[name] | HINGE for name in UNDER_THE_HINGE}
CASES = {name: dataclasses.replace(BASE, **changes) for name, changes in (PRODUCT | OTHERS | HINGES).items()}


@pytest.fixture(scope="module", params=ENGINES)
def engine(request):
    return engine_named(request.param)


@pytest.fixture(scope="module")
def outcomes(engine):
    """All cases trained together, in as few packs as they allow."""
    return train(list(CASES.values()), engine=engine)


# The witness is slow, and the same for every engine.
plain = functools.cache(plain_loop)


def assert_same_curve(cell, outcome, tolerance, epochs=None):
    tau, val_mse = plain(cell, epochs)
    if epochs is None:
        assert outcome.epochs_run == len(tau) - 1
        assert outcome.final_tau == pytest.approx(tau[-1], rel=tolerance)
    compared = 0
    for point in outcome.curve:
        if point.epoch < len(tau):
            assert point.tau == pytest.approx(tau[point.epoch], rel=tolerance)
            if cell.n_val:
                assert point.val_mse == pytest.approx(val_mse[point.epoch], rel=tolerance)
            compared += 1
    assert compared >= min(14, len(tau))


@pytest.mark.parametrize("name", CASES)
def test_float64_losses_are_those_of_the_plain_loop(name, outcomes):
    assert_same_curve(CASES[name], outcomes[CASES[name]], tolerance=1e-8)


@pytest.mark.gpu
def test_losses_on_cuda_are_those_of_the_plain_loop():
    outcomes = train(list(CASES.values()), device="cuda")
    for cell in CASES.values():
        assert_same_curve(cell, outcomes[cell], tolerance=1e-8)


def median_difference(outcomes, epochs):
    """Over all cases: the largest relative difference from the plain loop's losses up to this epoch."""
    largest = []
    for cell, outcome in outcomes.items():
        tau, _ = plain(cell, epochs)
        largest.append(max(abs(point.tau / tau[point.epoch] - 1) for point in outcome.curve if point.epoch < len(tau)))
    return np.median(largest)


@pytest.mark.parametrize("name", [*ENGINES, TENSOR_CORES_ON_HOST])
def test_float32_losses_are_those_of_the_plain_loop_for_twenty_epochs(name):
    """With TF32 for a single factor of the backward pass alone the median would be 7e-6 and more."""
    outcomes = train([dataclasses.replace(cell, dtype="float32") for cell in CASES.values()], engine=engine_named(name))
    for cell, outcome in outcomes.items():
        assert_same_curve(cell, outcome, tolerance=1e-3, epochs=21)
    assert median_difference(outcomes, 21) < 3e-6


def test_tf32_losses_are_those_of_the_plain_loop_until_a_factor_rounds_to_the_other_side(engine):
    """After three updates most have not; without the rounding of any one factor the median would be 1e-5 and more."""
    outcomes = train([dataclasses.replace(cell, dtype="tf32", max_epochs=20) for cell in CASES.values()], engine=engine)
    for cell, outcome in outcomes.items():
        tau, _ = plain(cell, 6)
        for point in outcome.curve[: len(tau)]:
            assert point.tau == pytest.approx(tau[point.epoch], rel=1e-3)
    assert median_difference(outcomes, 4) < 2e-6


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    width=st.integers(1, 300),
    depth=st.integers(0, 20),
    n_samples=st.integers(1, 3000),
    d_in=st.integers(1, 40),
    batch_size=st.none() | st.integers(50, 4000),
    activation=st.sampled_from(ACTIVATIONS),
    dtype=st.sampled_from(["float64", "float32"]),
)
@example(width=256, depth=2, n_samples=70, d_in=3, batch_size=None, activation="relu", dtype="float64")
@example(width=300, depth=2, n_samples=70, d_in=3, batch_size=None, activation="relu", dtype="float64")
@example(width=300, depth=2, n_samples=70, d_in=3, batch_size=None, activation="relu", dtype="float32")
def test_any_shape_trains_like_the_plain_loop(engine, width, depth, n_samples, d_in, batch_size, activation, dtype):
    """In float32 one full-batch update: deep networks are chaotic, and rounding alone leads them apart after a few."""
    double = dtype == "float64"
    cell = Cell(
        width=width,
        depth=depth,
        n_samples=n_samples,
        d_in=d_in,
        batch_size=batch_size if double else None,
        activation=activation,
        dtype=dtype,
        max_epochs=3 if double else 1,
        tau=1e-9,
        learning_rate=1e-3,
    )
    (outcome,) = train([cell], engine=engine).values()
    tau, _ = plain(cell, None)
    assert outcome.epochs_run == len(tau) - 1
    assert [point.tau for point in outcome.curve] == pytest.approx(
        [tau[point.epoch] for point in outcome.curve], rel=1e-8 if double else 1e-3, abs=1e-12
    )


@pytest.mark.parametrize(("name", "dtype"), [*((name, "tf32") for name in ENGINES), (TENSOR_CORES_ON_HOST, "float32")])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    width=st.integers(1, 150),
    depth=st.integers(0, 4),
    n_samples=st.integers(1, 300),
    d_in=st.integers(1, 40),
    activation=st.sampled_from(ACTIVATIONS),
)
@example(width=63, depth=1, n_samples=1, d_in=1, activation="silu")
@example(width=65, depth=2, n_samples=33, d_in=9, activation="relu")
def test_any_shape_in_tf32_and_in_3xtf32_trains_like_the_plain_loop(name, dtype, width, depth, n_samples, d_in, activation):
    """Under SGD: Adam's first step takes the sign of a gradient, however small."""
    cell = Cell(
        width=width,
        depth=depth,
        n_samples=n_samples,
        d_in=d_in,
        activation=activation,
        dtype=dtype,
        optimizer="sgd",
        max_epochs=1,
        tau=1e-9,
        learning_rate=1e-3,
    )
    (outcome,) = train([cell], engine=engine_named(name)).values()
    tau, _ = plain(cell, None)
    tolerance = 1e-3 if dtype == "tf32" else 1e-5
    assert [point.tau for point in outcome.curve] == pytest.approx(
        [tau[point.epoch] for point in outcome.curve], rel=tolerance, abs=1e-6
    )


SMALL = Cell(n_samples=6, d_in=4, depth=1, width=8, tau=0.4, max_epochs=30, learning_rate=0.05)
KS_CHANGES = ONE_CHANGE | {"hinge": HINGE, "tf32": {"dtype": "tf32"}}


@pytest.mark.parametrize("change", KS_CHANGES)
def test_epochs_to_tau_are_distributed_like_those_of_the_plain_loop(change, engine):
    """200 seeds a side, and different seeds on each side, so that the samples are independent."""
    cells = [dataclasses.replace(SMALL, **KS_CHANGES[change], data_seed=seed, init_seed=seed) for seed in range(400)]
    ours = [outcome.epochs_run for outcome in train(cells[:200], engine=engine).values()]
    theirs = [len(plain(other, None)[0]) - 1 for other in cells[200:]]
    assert np.std(ours) > 0
    assert ks_2samp(ours, theirs).pvalue > 0.01


def test_dropout_is_off_when_tau_is_measured(engine):
    """At initialisation both cells hold the same weights: their taus are equal to the last bit."""
    kept = dataclasses.replace(BASE, max_epochs=1)
    dropped = dataclasses.replace(kept, dropout=0.5)
    outcomes = train([kept, dropped], engine=engine)
    assert outcomes[kept].curve[0] == outcomes[dropped].curve[0]


@pytest.mark.parametrize("loss", [{}, HINGE], ids=["mse", "hinge"])
def test_a_diverging_cell_has_a_status_an_epoch_and_no_number(loss, engine):
    cell = Cell(n_samples=32, optimizer="sgd", learning_rate=100.0, max_epochs=200, **loss)
    outcome = train([cell], engine=engine)[cell]
    tau, _ = plain(cell, None)
    assert outcome.status is Status.DIVERGED
    assert outcome.reason == f"train MSE not finite at epoch {len(tau) - 1}"
    assert outcome.epochs_run == len(tau) - 1
    assert not np.isfinite(outcome.final_tau)
    assert outcome.epoch_to_tau is None


def test_early_stopping_stops_where_the_plain_loop_stops(engine):
    cells = [
        Cell(n_samples=20, n_val=30, patience=3, depth=1, width=16, data_seed=s, max_epochs=500, dtype="float64", tau=1e-3)
        for s in range(10)
    ]
    outcomes = train(cells, engine=engine)
    for cell in cells:
        tau, val_mse = plain(cell, None)
        outcome = outcomes[cell]
        assert outcome.status is Status.EARLY_STOPPED
        assert (outcome.epochs_run, outcome.best_val_epoch) == (len(tau) - 1, int(np.argmin(val_mse)))
        assert outcome.best_val_mse == pytest.approx(val_mse.min(), rel=1e-8)
