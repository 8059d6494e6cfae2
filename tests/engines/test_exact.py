"""Cells whose result is known by theory: every engine must land on it."""

from __future__ import annotations

import dataclasses
import functools
import importlib

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from bench.protocol.cells import Cell, Status
from bench.protocol.networks import functional_dim, initial_layers, n_params
from bench.protocol.noise import Data, training_data
from tests.engines.training import engine_named, native_builds
from tests.engines.training import train as train_on
from tests.engines.witness import Network


@pytest.fixture(params=["torch", native_builds()[0]])
def engine(request):
    return engine_named(request.param)


@pytest.fixture
def train(engine):
    return functools.partial(train_on, engine=engine)


LINEAR = Cell(
    depth=0,
    d_in=5,
    n_samples=40,
    optimizer="sgd",
    learning_rate=0.15,
    init_scale=1e-9,
    dtype="float64",
    tau=1e-9,
    max_epochs=600,
)


def design(cell: Cell) -> np.ndarray:
    """Inputs with a column of ones for the bias."""
    return np.hstack([training_data(cell).inputs, np.ones((cell.n_samples, 1))])


def seeds(cell: Cell, count: int) -> list[Cell]:
    return [dataclasses.replace(cell, data_seed=seed, init_seed=seed) for seed in range(count)]


def mse(outcome) -> float:
    return outcome.final_tau * outcome.target_variance


def test_linear_regression_leaves_the_share_of_variance_that_theory_says(train):
    """N * MSE is chi-squared with N - d - 1 degrees of freedom: mean 1 - (d+1)/N, variance 2 (N-d-1) / N**2."""
    errors = np.array([mse(outcome) for outcome in train(seeds(LINEAR, 400)).values()])
    n, free = LINEAR.n_samples, LINEAR.n_samples - LINEAR.d_in - 1
    variance = 2 * free / n**2
    assert abs(errors.mean() - free / n) < 4 * np.sqrt(variance / len(errors))
    assert 0.8 < errors.var() / variance < 1.2


def test_linear_regression_memorizes_as_many_samples_as_it_has_parameters(train):
    cell = dataclasses.replace(LINEAR, d_in=30, n_samples=6, tau=1e-6, learning_rate=0.03)
    assert {outcome.status for outcome in train(seeds(cell, 20)).values()} == {Status.MEMORIZED}


def test_gradient_descent_reaches_tau_at_exactly_the_epoch_that_theory_says(train):
    """From w = 0 with step eta: residuals along the left singular vectors u_i shrink by 1 - 2 eta s_i**2 / N an epoch."""
    cell = dataclasses.replace(LINEAR, d_in=12, n_samples=20, tau=0.5, learning_rate=0.05)
    outcomes = train(seeds(cell, 30))
    for own, outcome in outcomes.items():
        y = training_data(own).targets
        u, s, _ = np.linalg.svd(design(own), full_matrices=False)
        parts = (u.T @ y) ** 2
        rest = y @ y - parts.sum()
        factors = (1 - 2 * cell.learning_rate * s**2 / cell.n_samples) ** 2
        tau = np.array(
            [(parts @ factors**t + rest) / cell.n_samples / outcome.target_variance for t in range(cell.max_epochs + 1)]
        )
        below = np.flatnonzero(tau <= cell.tau)
        assert outcome.epoch_to_tau == (below[0] if len(below) else None)
    assert sum(outcome.epoch_to_tau is not None for outcome in outcomes.values()) > 15


def test_weight_decay_leaves_the_ridge_floor(train):
    """L2 of strength wd adds wd/2 * |w|**2 to the MSE, bias included: lam = wd/2."""
    cell = dataclasses.replace(LINEAR, weight_decay=0.4, max_epochs=2000)
    for own, outcome in train(seeds(cell, 10)).items():
        y = training_data(own).targets
        u, s, _ = np.linalg.svd(design(own), full_matrices=True)
        squares = np.zeros(cell.n_samples)
        squares[: len(s)] = s**2
        shrink = cell.n_samples * cell.weight_decay / 2
        floor = np.mean((shrink / (squares + shrink)) ** 2 * (u.T @ y) ** 2)
        assert mse(outcome) == pytest.approx(floor, rel=1e-9)


def random_features(cell: Cell) -> np.ndarray:
    first = initial_layers(cell)[0]
    return np.hstack([np.maximum(training_data(cell).inputs @ first.weight.T + first.bias, 0), np.ones((cell.n_samples, 1))])


def least_squares(cell: Cell) -> float:
    """What the best readout of a cell's random features leaves."""
    features, y = random_features(cell), training_data(cell).targets
    return float(np.mean((y - features @ np.linalg.lstsq(features, y, rcond=None)[0]) ** 2))


READOUT = Cell(
    depth=1,
    width=6,
    d_in=10,
    trainable="readout",
    optimizer="sgd",
    momentum=0.9,
    learning_rate=0.05,
    dtype="float64",
    tau=1e-8,
    max_epochs=3000,
)


def test_random_features_memorize_up_to_one_sample_more_than_they_are(train):
    """h features and a bias are h + 1 equations: N = h + 1 is fitted exactly, N = h + 2 is not, in any number of epochs."""
    at, above = (dataclasses.replace(READOUT, n_samples=READOUT.width + extra) for extra in (1, 2))
    # Where the features are nearly dependent, gradient descent would take for ever: three seeds whose slowest direction decays in the budget.
    conditioned = [own for own in seeds(at, 100) if np.linalg.svd(random_features(own))[1][-1] > 0.15][:3]
    assert len(conditioned) == 3
    assert {outcome.status for outcome in train(conditioned).values()} == {Status.MEMORIZED}
    for own, outcome in train(seeds(above, 3)).items():
        assert outcome.status is Status.CENSORED
        assert mse(outcome) >= least_squares(own) * (1 - 1e-9) > READOUT.tau


def test_random_features_leave_the_share_of_variance_that_theory_says(train):
    cell = dataclasses.replace(READOUT, n_samples=36, learning_rate=0.1, max_epochs=1000)
    outcomes = train(seeds(cell, 150))
    for own, outcome in outcomes.items():
        assert mse(outcome) == pytest.approx(least_squares(own), rel=1e-3)
        assert mse(outcome) >= least_squares(own) * (1 - 1e-9)
    free = cell.n_samples - cell.width - 1
    error = np.sqrt(2 * free / cell.n_samples**2 / len(outcomes))
    assert abs(np.mean([mse(o) for o in outcomes.values()]) - free / cell.n_samples) < 4 * error


def test_no_validation_error_gets_below_the_variance_of_the_noise(train):
    """At every epoch the mean over seeds is at least Var(y) = 1, however well the training set is fitted."""
    cell = Cell(n_samples=64, n_val=400, width=32, depth=2, max_epochs=300, tau=1e-3)
    outcomes = train(seeds(cell, 60)).values()
    epochs = [point.epoch for point in min(outcomes, key=lambda o: o.epochs_run).curve][:-1]
    curves = np.array([[{p.epoch: p.val_mse for p in outcome.curve}[epoch] for epoch in epochs] for outcome in outcomes])
    error = curves.std(axis=0) / np.sqrt(len(curves))
    assert (curves.mean(axis=0) > 1 - 4 * error).all()
    assert np.median([outcome.final_tau for outcome in outcomes]) < 0.1


def test_one_sample_is_memorized_by_the_output_bias_alone(train):
    cell = Cell(depth=0, n_samples=1, d_in=1, tau=1e-4, learning_rate=0.05)
    assert {outcome.status for outcome in train(seeds(cell, 10)).values()} == {Status.MEMORIZED}


SIGNS = dataclasses.replace(LINEAR, target="rademacher", loss="hinge", momentum=0.9, learning_rate=0.1)


def least_parting_plane(cell: Cell) -> float:
    """The largest coefficient of the plane that keeps every sign on its side with margin 1, and has it least; infinite without one."""
    sides = training_data(cell).targets[:, None] * design(cell)
    n, size = sides.shape
    one, ones = np.eye(size), np.ones((size, 1))
    bounded = np.vstack([np.hstack([-sides, np.zeros((n, 1))]), np.hstack([one, -ones]), np.hstack([-one, -ones])])
    found = linprog(np.eye(size + 1)[-1], A_ub=bounded, b_ub=np.repeat([-1.0, 0.0], [n, 2 * size]), bounds=(None, None))
    return found.fun if found.success else np.inf


def test_the_hinge_memorizes_the_signs_that_a_plane_parts_and_no_others(train):
    """Of 2 (d_in + 1) points in general position a plane parts half of all patterns of signs (Cover 1965)."""
    cell = dataclasses.replace(SIGNS, d_in=4, n_samples=10, max_epochs=3000)
    outcomes = train(seeds(cell, 80))
    planes = {own: least_parting_plane(own) for own in outcomes}
    assert abs(np.mean(np.isfinite(list(planes.values()))) - 1 / 2) < 4 * np.sqrt(1 / 4 / len(planes))
    # Where only a steep plane parts them, gradient descent would take for ever.
    assert {outcomes[own].status for own, size in planes.items() if size < 2} == {Status.MEMORIZED}
    assert {outcomes[own].status for own, size in planes.items() if size == np.inf} == {Status.CENSORED}


def test_under_the_hinge_margins_beyond_1_are_memorized_to_the_last_bit(engine):
    """Momentum carries the predictions beyond equal signs; there the loss is zero, where the squared error turns them back."""
    cell = dataclasses.replace(SIGNS, n_samples=3, tau=1e-300)
    alike = [own for own in seeds(cell, 80) if len(set(training_data(own).targets)) == 1]
    assert len(alike) > 4
    for outcome in train_on(alike, engine=engine, n_predictions=3).values():
        assert (outcome.status, outcome.final_tau) == (Status.MEMORIZED, 0.0)
        assert all(target * prediction >= 1 for target, prediction in outcome.predictions)
    squared = [dataclasses.replace(own, loss="mse") for own in alike]
    assert {outcome.status for outcome in train_on(squared, engine=engine).values()} == {Status.CENSORED}


def test_equal_inputs_with_different_targets_are_never_memorized(monkeypatch, train, engine):
    twins = Data(np.zeros((2, 3)), np.array([1.0, -2.0]), float(np.var([1.0, -2.0])))
    module = importlib.import_module("bench.engines.torch_state" if engine.name == "torch" else "bench.engines.draws")
    monkeypatch.setattr(module, "training_data", lambda cell: twins)
    outcome = next(iter(train([Cell(n_samples=2, d_in=3, max_epochs=3000, dtype="float64")]).values()))
    assert outcome.status is Status.CENSORED
    assert outcome.final_tau == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(("d_in", "width"), [(3, 4), (10, 6)])
def test_the_functions_of_a_relu_network_have_p_minus_h_dimensions(d_in, width):
    """The rank of the Jacobian at a random point over many inputs; one hidden layer attains the bound (Grigsby et al. 2022)."""
    cell = Cell(d_in=d_in, width=width, depth=1, dtype="float64", n_samples=1)
    network = Network(cell)
    inputs = torch.from_numpy(np.random.default_rng(0).standard_normal((5 * n_params(cell), d_in)))
    params = dict(network.named_parameters())
    jacobian = torch.func.jacrev(lambda p: torch.func.functional_call(network, p, (inputs,)))(params)
    rows = torch.cat([part.flatten(1) for part in jacobian.values()], dim=1)
    assert torch.linalg.matrix_rank(rows) == functional_dim(cell) == n_params(cell) - width
