"""optimizer=lm against independent solutions, least squares, the ceiling of relu networks, and itself in other company."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

import bench
from bench.engines import api, lm_engine
from bench.engines.choice import EngineSpec, make_engine
from bench.engines.derivatives import Jacobian, outputs, shape_of, smoothed_slopes
from bench.engines.levenberg import FEW_TRIES, FIRST_STRAIN, LEAST, MOST_TRIES, START, Networks, solve
from bench.engines.lm_engine import LmEngine
from bench.engines.packs import Pack, plan
from bench.engines.squares import residuals, weights
from bench.protocol.cells import Cell, Status
from bench.protocol.jacobian import jacobian
from bench.protocol.networks import Layer, functional_dim, initial_layers, n_trained
from bench.protocol.noise import training_data
from bench.statistics.evidence import Lever, pulled_by
from tests.engines.training import train, untimed
from tests.engines.witness import Network, mean_loss

BASE = Cell(optimizer="lm", dtype="float64", max_epochs=500, tau=1e-12, n_samples=40, d_in=5, depth=2, width=7)
ACTIVATIONS = ("relu", "leaky_relu", "tanh", "gelu", "silu", "sigmoid")
HINGE = {"loss": "hinge", "target": "rademacher"}


def cell(**changes) -> Cell:
    return dataclasses.replace(BASE, **changes)


def seeds(one: Cell, count: int) -> list[Cell]:
    return [dataclasses.replace(one, data_seed=seed, init_seed=seed) for seed in range(count)]


def by_lm(cells: list[Cell], **asked):
    return train(cells, engine=LmEngine("cpu"), **asked)


class Smoothed(torch.autograd.Function):
    """relu or leaky relu, whose derivative is the mean slope within a width of each number."""

    @staticmethod
    def forward(ctx, z, width, leak):
        ctx.save_for_backward(z)
        ctx.width, ctx.leak = width, leak
        return torch.where(z > 0, z, leak * z)

    @staticmethod
    def backward(ctx, *grads):
        (z,) = ctx.saved_tensors
        above = ((z + ctx.width) / (2 * ctx.width)).clamp(0, 1)
        return grads[0] * (above + ctx.leak * (1 - above)), None, None


class Witness:
    """One network: residuals and their Jacobian by autograd, its parameters as one vector, its steps by QR."""

    def __init__(self, of: Cell, smoothing: float):
        self.cell, self.network, self.smoothing = of, Network(of), smoothing
        data = training_data(of)
        self.x, self.y, self.variance = torch.from_numpy(data.inputs), torch.from_numpy(data.targets), data.target_variance
        self.trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]

    def said(self):
        x = self.x
        kinked = self.cell.activation in ("relu", "leaky_relu") and self.smoothing > 0
        for linear in self.network.affine[:-1]:
            z = linear(x)
            if kinked:
                width = self.smoothing * math.sqrt(float((z.detach() ** 2).mean()))
                x = Smoothed.apply(z, width, 0.01 if self.cell.activation == "leaky_relu" else 0.0)
            else:
                x = self.network.activation(z)
        return self.network.affine[-1](x)[:, 0]

    def residuals(self):
        """What is squared in the loss: of the hinge max(0, 1 - y f), up to the sign."""
        f = self.said()
        return torch.relu(1 - self.y * f) if self.cell.loss == "hinge" else f - self.y

    def jacobian(self) -> np.ndarray:
        rows = [
            torch.cat([g.reshape(-1) for g in torch.autograd.grad(r, self.trained, retain_graph=True)])
            for r in self.residuals()
        ]
        return torch.stack(rows).numpy()

    def step(self, damping: float) -> np.ndarray:
        """The least-squares solution of J d = -r, sqrt(damping) d = 0."""
        rows, r = self.jacobian(), self.residuals().detach().numpy()
        stacked = np.vstack([rows, math.sqrt(damping) * np.eye(rows.shape[1])])
        return np.linalg.lstsq(stacked, np.concatenate([-r, np.zeros(rows.shape[1])]), rcond=None)[0]

    def move(self, step: np.ndarray) -> None:
        with torch.no_grad():
            parts = torch.from_numpy(step).split([parameter.numel() for parameter in self.trained])
            for parameter, part in zip(self.trained, parts, strict=True):
                parameter += part.view_as(parameter)

    def tau(self) -> float:
        with torch.no_grad():
            return float(mean_loss(self.cell, self.said(), self.y)) / self.variance


def plain_lm(of: Cell, iterations: int) -> list[float]:
    """tau before each iteration, of one network; the rules of damping as Madsen, Nielsen and Tingleff write them."""
    kinked = of.depth > 0 and of.activation in ("relu", "leaky_relu")
    one = Witness(of, 1.0 if kinked else 0.0)
    damping, taus, stuck = math.nan, [one.tau()], False
    for _ in range(iterations):
        rows = one.jacobian()
        largest = (rows**2).sum(0).max()
        damping = max(START * largest if math.isnan(damping) else damping, LEAST * largest)
        before, strain = damping, FIRST_STRAIN
        slope = rows.T @ one.residuals().detach().numpy()
        for _ in range(FEW_TRIES if stuck and one.smoothing else MOST_TRIES):
            step = one.step(damping)
            one.move(step)
            n = of.n_samples * one.variance
            gain = (taus[-1] - one.tau()) * n / (step @ (damping * step - slope))
            if one.tau() < taus[-1]:
                damping *= max(1 / 3, 1 - (2 * gain - 1) ** 3)
                stuck = False
                break
            one.move(-step)
            damping, strain = damping * strain, 2 * strain
        else:
            damping, stuck = before, True
        one.smoothing *= 0.97
        taus.append(one.tau())
    return taus


STEPS = [cell(activation=activation) for activation in ACTIVATIONS]
STEPS += [cell(n_samples=200), cell(n_samples=200, activation="tanh"), cell(depth=0), cell(trainable="readout", depth=1)]
STEPS += [cell(**HINGE), cell(n_samples=200, **HINGE), cell(n_samples=200, activation="silu", **HINGE)]


def batch_of(cells: list[Cell]):
    data = [training_data(one) for one in cells]
    flat = [np.concatenate([part.ravel() for layer in initial_layers(one) for part in layer]) for one in cells]
    return [torch.from_numpy(np.stack(own)) for own in (flat, [d.inputs for d in data], [d.targets for d in data])]


@pytest.mark.parametrize("smoothing", [0.0, 0.5])
@pytest.mark.parametrize(
    "one", STEPS, ids=lambda one: f"{one.activation} {one.loss} {one.n_samples} {one.depth} {one.trainable}"
)
def test_a_step_is_that_of_an_independent_solution_from_the_same_point(one, smoothing):
    cells, shape = seeds(one, 3), shape_of(one)
    flat, inputs, targets = batch_of(cells)
    said = outputs(flat, inputs, shape)
    residual = residuals(said, targets, shape)
    widths = torch.full((3,), smoothing, dtype=torch.float64)
    own = Jacobian(flat, inputs, weights(said, targets, shape), widths, shape)
    by_samples = one.n_samples <= n_trained(one)
    full = own.full()
    system = own.gram() if by_samples else full.mT @ full
    damping = START * own.squares().amax(1)
    step, solved = solve(own, system, residual, own.transposed_times(residual), damping, by_samples=by_samples)
    assert solved.all()
    for number, alone in enumerate(cells):
        witness = Witness(alone, smoothing)
        signs = np.where(one.loss == "hinge", -targets[number].numpy(), 1.0)[:, None]
        np.testing.assert_allclose(full[number].numpy(), signs * witness.jacobian(), rtol=1e-9, atol=1e-12)
        expected = witness.step(float(damping[number]))
        assert np.linalg.norm(step[number].numpy() - expected) <= 1e-8 * np.linalg.norm(expected)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_a_smoothed_slope_is_the_mean_slope_within_the_width(activation):
    z = torch.linspace(-2, 2, 41, dtype=torch.float64).reshape(1, 41, 1)
    width = 0.7 * float(z.square().mean().sqrt())
    grid = z + width * torch.linspace(-1, 1, 20001, dtype=torch.float64)
    leak = 0.01 if activation == "leaky_relu" else 0.0
    expected = torch.where(grid > 0, torch.ones_like(grid), leak * torch.ones_like(grid)).mean(2, keepdim=True)
    torch.testing.assert_close(smoothed_slopes(z, torch.tensor([0.7]).double(), activation), expected, rtol=0, atol=1e-4)
    sharp = smoothed_slopes(z, torch.zeros(1).double(), activation)
    assert torch.equal(sharp, torch.where(z > 0, torch.ones_like(z), leak * torch.ones_like(z)))


@pytest.mark.parametrize("one", STEPS[:10], ids=lambda one: f"{one.activation} {one.n_samples} {one.depth} {one.trainable}")
def test_the_jacobian_is_that_of_the_protocol(one):
    shape = shape_of(one)
    flat, inputs, targets = batch_of([one])
    weighs = weights(outputs(flat, inputs, shape), targets, shape)
    own = Jacobian(flat, inputs, weighs, torch.zeros(1).double(), shape).full()[0].numpy()
    np.testing.assert_allclose(own, jacobian(one, initial_layers(one), inputs[0].numpy()), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", [{}, HINGE], ids=["mse", "hinge"])
def test_losses_are_those_of_a_plain_loop_over_one_network(activation, loss):
    one = cell(activation=activation, max_epochs=12, n_samples=30, depth=1, tau=1e-300, **loss)
    for alone, outcome in by_lm(seeds(one, 3)).items():
        tau = plain_lm(alone, 12)
        assert len(outcome.curve) > 8
        for point in outcome.curve:
            # Of squares near zero the sum is known to the square of what a residual is.
            assert point.tau == pytest.approx(tau[point.epoch], rel=1e-8, abs=1e-20)


def features_of(one: Cell) -> np.ndarray:
    """What the trained layer sees, with ones for the bias."""
    x = training_data(one).inputs
    for weight, bias in initial_layers(one)[:-1]:
        x = np.maximum(x @ weight.T + bias, 0)
    return np.hstack([x, np.ones((len(x), 1))])


@pytest.mark.parametrize("one", [cell(depth=0), cell(depth=1, trainable="readout"), cell(depth=2, trainable="readout")])
def test_what_is_linear_takes_one_step_to_least_squares_as_damping_goes_to_zero(one, monkeypatch):
    monkeypatch.setattr("bench.engines.levenberg.START", 1e-13)
    for alone, outcome in by_lm(seeds(dataclasses.replace(one, max_epochs=1), 5)).items():
        features, y = features_of(alone), training_data(alone).targets
        best = float(np.mean((y - features @ np.linalg.lstsq(features, y, rcond=None)[0]) ** 2))
        assert outcome.epochs_run == 1 and outcome.curve[0].tau > 1.01 * outcome.curve[1].tau
        assert outcome.final_tau * outcome.target_variance == pytest.approx(best, rel=1e-8)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("depth", "width"), [(1, 12), (2, 8)])
def test_half_the_ceiling_is_memorized_to_a_millionth_of_the_residual(activation, depth, width):
    """By all networks whose slopes have no jumps, and by most of the others."""
    shaped = cell(activation=activation, depth=depth, width=width, d_in=6)
    cells = seeds(dataclasses.replace(shaped, n_samples=int(0.45 * functional_dim(shaped))), 5)
    outcomes = by_lm(cells, jacobian_rank=True).values()
    assert sum(outcome.status is Status.MEMORIZED for outcome in outcomes) >= (3 if "relu" in activation else 5)
    for outcome in outcomes:
        if outcome.status is Status.MEMORIZED:
            assert outcome.final_tau <= 1e-12
            assert outcome.jacobian_rank == outcome.cell.n_samples


def test_relu_networks_never_fit_more_samples_than_the_ceiling():
    shaped = cell(depth=1, width=10, d_in=6, tau=1e-8, max_epochs=300)
    ceiling = functional_dim(shaped)
    below, above = (seeds(dataclasses.replace(shaped, n_samples=n), 8) for n in (ceiling * 9 // 10, ceiling + 1))
    assert sum(outcome.status is Status.MEMORIZED for outcome in by_lm(below).values()) >= 5
    for outcome in by_lm(above).values():
        assert outcome.status is Status.CENSORED and outcome.best_tau > 1e-8


@pytest.mark.parametrize("changes", [{}, {"activation": "tanh", "n_samples": 120}, {**HINGE, "n_samples": 150}])
def test_an_iteration_never_raises_the_loss(changes):
    for outcome in by_lm(seeds(cell(max_epochs=60, **changes), 5)).values():
        taus = [point.tau for point in outcome.curve]
        assert all(after <= before for before, after in itertools.pairwise(taus))
        assert outcome.final_tau == outcome.best_tau


def test_who_cannot_move_any_more_stands_still_to_the_end_of_its_budget_and_is_censored(monkeypatch):
    """Linear regression beyond its dimensions: the first iterations find the optimum, and no later one finds less."""
    jacobians = []
    monkeypatch.setattr(lm_engine, "iterate", lambda *a, own=lm_engine.iterate: (jacobians.append(1), own(*a)))
    one = cell(depth=0, n_samples=30, n_val=10)
    outcome = by_lm([one])[one]
    assert (outcome.status, outcome.epochs_run, outcome.reason) == (Status.CENSORED, one.max_epochs, None)
    assert len(jacobians) < 60
    assert outcome.curve[-1].epoch == one.max_epochs and outcome.curve[-1].val_mse == outcome.curve[-20].val_mse
    features, y = features_of(one), training_data(one).targets
    best = np.mean((y - features @ np.linalg.lstsq(features, y, rcond=None)[0]) ** 2)
    assert outcome.final_tau * outcome.target_variance == pytest.approx(best, rel=1e-12)


def test_a_network_that_overflows_ends_as_diverged_and_leaves_its_neighbours_alone():
    good, bad = cell(max_epochs=30), cell(max_epochs=30, init_scale=1e160)
    outcomes = by_lm([good, bad])
    assert outcomes[bad].status is Status.DIVERGED and outcomes[bad].reason == "train MSE not finite at epoch 0"
    assert outcomes[good].final_tau == pytest.approx(by_lm([good])[good].final_tau, rel=1e-8)


def test_a_singular_system_takes_more_damping():
    """Of a network without a living unit only the output's bias has a derivative: all rows of J are the same."""
    dead = cell(depth=1, init="uniform", init_scale=1e-300, n_samples=10, max_epochs=60)
    outcome = by_lm([dead])[dead]
    assert outcome.status is Status.CENSORED
    y = training_data(dead).targets
    assert outcome.final_tau == pytest.approx(1.0, rel=1e-9) and np.isfinite(y).all()


MIXED = [
    cell(max_epochs=20),
    cell(max_epochs=20, activation="tanh", tau=0.01),
    cell(max_epochs=20, n_samples=150, n_val=7),
    cell(max_epochs=20, **HINGE),
]


@pytest.mark.parametrize("slots", [1, 3, 64])
def test_trained_together_equals_trained_alone_within_rounding(slots):
    cells = [own for one in MIXED for own in seeds(one, 7)]
    together = by_lm(cells[::-1], slots=slots)
    for one in cells[::3]:
        alone, beside = by_lm([one])[one], together[one]
        assert (alone.status, alone.epoch_to_tau, alone.epochs_run) == (beside.status, beside.epoch_to_tau, beside.epochs_run)
        np.testing.assert_allclose([p.tau for p in alone.curve], [p.tau for p in beside.curve], rtol=1e-8)


def test_a_network_that_goes_on_from_a_checkpoint_ends_as_one_that_was_never_saved(monkeypatch):
    cells = [cell(max_epochs=40, data_seed=seed, n_val=5) for seed in range(2)]
    expected = {one: untimed(by_lm([one])[one]) for one in cells}
    monkeypatch.setattr(api, "CHECKPOINT_S", 0.0)
    monkeypatch.setattr(lm_engine, "CHUNK_S", 0.0)
    engine = LmEngine("cpu")
    for one in cells:
        (pack,) = plan([one], kind=engine.kind, slots=engine.slots, workers=1)
        saved = [each for report in engine.train(pack) for each in report.checkpoints]
        assert len(saved) > 20
        for checkpoint in (saved[0], saved[-1]):
            (outcome,) = [o for report in engine.train(pack, begun={one: checkpoint}) for o in report.outcomes]
            assert untimed(outcome) == expected[one]


def test_a_checkpoint_of_another_size_begins_anew(monkeypatch):
    """A file may hold anything, and a cell whose file is cut short is trained all the same."""
    one = cell(max_epochs=40)
    expected = untimed(by_lm([one])[one])
    monkeypatch.setattr(api, "CHECKPOINT_S", 0.0)
    monkeypatch.setattr(lm_engine, "CHUNK_S", 0.0)
    engine = LmEngine("cpu")
    (pack,) = plan([one], kind=engine.kind, slots=engine.slots, workers=1)
    saved = next(each for report in engine.train(pack) for each in report.checkpoints)
    for state in (b"", saved.state[:-8], saved.state + bytes(8)):
        (outcome,) = [o for r in engine.train(pack, begun={one: saved._replace(state=state)}) for o in r.outcomes]
        assert untimed(outcome) == expected


def test_who_has_just_found_no_step_tries_few_until_slopes_are_exact(monkeypatch):
    """Each try is a factorization: one that failed cost ten of them each time, for hundreds of iterations."""
    counts: list[int] = []
    monkeypatch.setattr("bench.engines.levenberg.solve", lambda *args, **kw: counts.append(1) or solve(*args, **kw))
    own, iterate = [], lm_engine.iterate

    def watched(networks, shape):
        few = bool(networks.stuck) and bool(networks.smoothing > 0)
        counts.clear()
        iterate(networks, shape)
        own.append((few, bool(networks.stuck), len(counts)))

    monkeypatch.setattr(lm_engine, "iterate", watched)
    one = cell(n_samples=3 * n_trained(BASE), tau=1e-300)
    by_lm([one])
    failing = {few: {tries for was_few, stuck, tries in own if stuck and was_few is few} for few in (False, True)}
    assert failing == {False: {MOST_TRIES}, True: {FEW_TRIES}}


def test_networks_that_begin_together_are_joined_at_once(monkeypatch):
    """One after the other each would copy all before it."""
    joined, sizes = Networks.joined, []
    monkeypatch.setattr(Networks, "joined", lambda self, *others: sizes.append(len(others)) or joined(self, *others))
    by_lm(seeds(cell(max_epochs=2, tau=1e-300), 40), slots=64)
    assert [size for size in sizes if size] == [39]


def test_predictions_are_those_of_the_final_network():
    one = cell(n_samples=20)
    outcome = by_lm([one], n_predictions=20)[one]
    said, targets = np.array(outcome.predictions).T[::-1]
    assert np.mean((said - targets) ** 2) / outcome.target_variance == pytest.approx(outcome.final_tau, rel=1e-6)
    assert (targets == training_data(one).targets).all()


def test_a_pack_of_two_shapes_is_refused():
    with pytest.raises(ValueError, match=r"^a pack of the lm engine holds cells of one shape, not of 2; make packs with "):
        next(LmEngine("cpu").train(Pack((cell(), cell(n_samples=41)), 2)))


def test_no_other_engine_takes_its_cells_and_it_takes_no_others():
    assert LmEngine("cpu").supports(cell()) and not LmEngine("cpu").supports(Cell())
    for name in ("torch", "native"):
        assert not make_engine(EngineSpec(name, "cpu")).supports(cell())


@pytest.mark.parametrize("engine", ["auto", "torch"])
def test_a_run_of_both_gives_each_cell_to_its_engine(engine):
    cells = bench.expand(optimizer=["adam", "lm"], depth=1, width=6, n_samples=20, seed=range(2), max_epochs=200)
    table = bench.run(cells, engine=engine, device="cpu")
    assert list(table["engine"] == "lm") == list(table["optimizer"] == "lm")
    assert (
        set(table["status"]) <= {"memorized", "censored"} and (table.query("optimizer == 'lm'")["status"] == "memorized").all()
    )
    assert set(table.query("optimizer == 'lm'")["dtype"]) == {"float64"}


def test_lm_is_not_diagnosed_and_as_a_variant_it_is_another_optimizer():
    with pytest.raises(bench.GridError, match=r"^optimizer=lm: is not diagnosed, since .*; diagnose it by optimizer=adam, or "):
        bench.diagnose(cell())
    asked = Cell(batch_size=8, lr_schedule="cosine")
    assert pulled_by(cell(n_samples=asked.n_samples, d_in=asked.d_in, width=asked.width, tau=asked.tau), asked) == [
        Lever.OPTIMIZER
    ]


@pytest.mark.gpu_torch
def test_on_cuda_losses_are_those_of_the_cpu():
    cells = [own for one in MIXED for own in seeds(one, 3)]
    there = train(cells, engine=LmEngine("cuda"))
    for one, outcome in by_lm(cells).items():
        np.testing.assert_allclose([p.tau for p in there[one].curve], [p.tau for p in outcome.curve], rtol=1e-6)


def test_layers_come_back_as_they_went_in():
    one = cell(max_epochs=1, tau=0.999999)
    flat, _, _ = batch_of([one])
    back = lm_engine._layers_of(flat[0].numpy(), shape_of(one))
    for own, layer in zip(back, initial_layers(one), strict=True):
        assert isinstance(own, Layer) and (own.weight == layer.weight).all() and (own.bias == layer.bias).all()
