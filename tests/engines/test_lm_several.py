"""optimizer=lm on labels and on several outputs, against independent solutions, convex optima and the other engines' rules."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

import bench
from bench.engines import api, lm_engine
from bench.engines.derivatives import Jacobian, outputs, shape_of
from bench.engines.levenberg import FIRST_STRAIN, LEAST, MOST_TRIES, START, solve
from bench.engines.lm_engine import LmEngine
from bench.engines.packs import plan
from bench.engines.squares import labels_right, mean_loss, residuals, weights
from bench.protocol.cells import Cell, Status
from bench.protocol.networks import initial_layers, n_out, n_trained
from bench.protocol.noise import training_data
from bench.report.build import build
from tests.engines.training import train, untimed
from tests.engines.witness import Network

LABELS = Cell(
    target="labels",
    n_classes=4,
    loss="cross_entropy",
    criterion="recall",
    optimizer="lm",
    dtype="float64",
    activation="tanh",
    depth=1,
    width=6,
    d_in=5,
    n_samples=20,
    max_epochs=200,
)
OUTPUTS = Cell(n_outputs=3, optimizer="lm", dtype="float64", activation="tanh", depth=1, width=6, d_in=5, n_samples=14)
OUTPUTS = dataclasses.replace(OUTPUTS, tau=1e-12, max_epochs=200)


def of(base: Cell, **changes) -> Cell:
    return dataclasses.replace(base, **changes)


def seeds(one: Cell, count: int) -> list[Cell]:
    return [of(one, data_seed=seed, init_seed=seed) for seed in range(count)]


def by_lm(cells: list[Cell], **asked):
    return train(cells, engine=LmEngine("cpu"), **asked)


class Witness:
    """One network by autograd: its loss, and the generalized Gauss-Newton matrix and the gradient of a sum over samples."""

    def __init__(self, cell: Cell):
        data = training_data(cell)
        self.cell, self.network, self.variance = cell, Network(cell), data.target_variance
        self.x, self.y = torch.from_numpy(data.inputs), torch.from_numpy(data.targets)
        self.trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]

    def said(self):
        return self.network(self.x)

    def loss(self) -> float:
        with torch.no_grad():
            if self.cell.has_labels:
                return float(torch.nn.functional.cross_entropy(self.said(), self.y.long()))
            return float(torch.nn.functional.mse_loss(self.said(), self.y))

    def system(self) -> tuple[np.ndarray, np.ndarray]:
        """(J'SJ, J'e): S and e are the second and first derivatives of half of what is lowered, sample by sample."""
        said = self.said()
        rows = [
            torch.cat([g.reshape(-1) for g in torch.autograd.grad(one, self.trained, retain_graph=True)])
            for one in said.reshape(-1)
        ]
        jacobian = torch.stack(rows).numpy().reshape(*said.shape, -1)
        said = said.detach().numpy()
        if self.cell.has_labels:
            p = np.exp(said - said.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            second = np.einsum("nc,cd->ncd", p, np.eye(p.shape[1])) - np.einsum("nc,nd->ncd", p, p)
            first = p - np.eye(p.shape[1])[self.y.numpy().astype(int)]
        else:
            second = np.broadcast_to(np.eye(said.shape[1]), (*said.shape, said.shape[1]))
            first = said - self.y.numpy()
        matrix = np.einsum("ncp,ncd,ndq->pq", jacobian, second, jacobian)
        return matrix, np.einsum("ncp,nc->p", jacobian, first)

    def move(self, step: np.ndarray) -> None:
        with torch.no_grad():
            parts = torch.from_numpy(step).split([parameter.numel() for parameter in self.trained])
            for parameter, part in zip(self.trained, parts, strict=True):
                parameter += part.view_as(parameter)


def plain_lm(cell: Cell, iterations: int) -> list[float]:
    """tau before each iteration, of one network whose slopes have no jumps, by Madsen, Nielsen and Tingleff's rules."""
    one, damping = Witness(cell), math.nan
    halves = 2 * cell.n_samples if cell.has_labels else cell.n_samples * cell.n_outputs
    taus = [one.loss() / one.variance]
    for _ in range(iterations):
        matrix, slope = one.system()
        largest = np.diag(matrix).max()
        damping = max(START * largest if math.isnan(damping) else damping, LEAST * largest)
        before, strain, loss = damping, FIRST_STRAIN, one.loss()
        for _ in range(MOST_TRIES):
            step = np.linalg.solve(matrix + damping * np.eye(len(slope)), -slope)
            one.move(step)
            gain = (loss - one.loss()) * halves / (step @ (damping * step - slope))
            if one.loss() < loss:
                damping *= max(1 / 3, 1 - (2 * gain - 1) ** 3)
                break
            one.move(-step)
            damping, strain = damping * strain, 2 * strain
        else:
            damping = before
        taus.append(one.loss() / one.variance)
    return taus


def batch_of(cells: list[Cell]):
    data = [training_data(one) for one in cells]
    flat = [np.concatenate([part.ravel() for layer in initial_layers(one) for part in layer]) for one in cells]
    arrays = (flat, [d.inputs for d in data], [d.targets.ravel() for d in data])
    return [torch.from_numpy(np.stack(own)) for own in arrays]


STEPS = [of(LABELS, n_samples=n, activation=activation) for n in (8, 60) for activation in ("tanh", "relu", "gelu")]
STEPS += [of(OUTPUTS, n_samples=n) for n in (6, 60)]
STEPS += [of(LABELS, depth=0), of(LABELS, depth=2, trainable="readout"), of(OUTPUTS, depth=2)]


@pytest.mark.parametrize(
    "one", STEPS, ids=lambda one: f"{one.loss} {one.activation} {one.n_samples} {one.depth} {one.trainable}"
)
def test_a_step_is_that_of_an_independent_solution_from_the_same_point(one):
    cells, shape = seeds(one, 3), shape_of(one)
    flat, inputs, targets = batch_of(cells)
    said = outputs(flat, inputs, shape)
    residual = residuals(said, targets, shape)
    own = Jacobian(flat, inputs, weights(said, targets, shape), torch.zeros(3).double(), shape)
    by_samples = one.n_samples * n_out(one) <= n_trained(one)
    full = own.full()
    system = own.gram() if by_samples else full.mT @ full
    damping = START * own.squares().amax(1)
    step, solved = solve(own, system, residual, own.transposed_times(residual), damping, by_samples=by_samples)
    assert solved.all()
    for number, alone in enumerate(cells):
        matrix, slope = Witness(alone).system()
        np.testing.assert_allclose((full.mT @ full)[number].numpy(), matrix, rtol=1e-8, atol=1e-10)
        expected = np.linalg.solve(matrix + float(damping[number]) * np.eye(len(slope)), -slope)
        assert np.linalg.norm(step[number].numpy() - expected) <= 1e-8 * np.linalg.norm(expected)
        assert float(mean_loss(said, targets, shape)[number]) == pytest.approx(Witness(alone).loss(), rel=1e-12)


@pytest.mark.parametrize("one", [of(LABELS, criterion="tau", tau=1e-9, n_samples=50), of(OUTPUTS, n_samples=40)])
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "silu"])
def test_losses_are_those_of_a_plain_loop_over_one_network(one, activation):
    for alone, outcome in by_lm(seeds(of(one, activation=activation, max_epochs=12), 3)).items():
        tau = plain_lm(alone, 12)
        assert len(outcome.curve) > 8
        for point in outcome.curve:
            assert point.tau == pytest.approx(tau[point.epoch], rel=1e-7)


def test_linear_classification_ends_at_the_convex_optimum():
    """Beyond what a plane separates: multinomial regression has one optimum, which L-BFGS finds too."""
    one = of(LABELS, depth=0, n_samples=80, criterion="tau", tau=1e-9, max_epochs=100)
    for alone, outcome in by_lm(seeds(one, 4)).items():
        data = training_data(alone)
        x, y = np.hstack([data.inputs, np.ones((80, 1))]), data.targets.astype(int)

        def loss(flat, x=x, y=y):
            said = x @ flat.reshape(6, 4)
            logs = said - np.logaddexp.reduce(said, axis=1, keepdims=True)
            slope = x.T @ (np.exp(logs) - np.eye(4)[y]) / 80
            return -logs[np.arange(80), y].mean(), slope.ravel()

        best = minimize(
            loss, np.zeros(24), jac=True, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 1e-15, "gtol": 1e-10}
        )
        assert outcome.status is Status.CENSORED
        assert outcome.final_tau * outcome.target_variance == pytest.approx(best.fun, rel=1e-9)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_labels_are_recalled_to_the_last_and_told_as_other_engines_tell_them(activation):
    cells = seeds(of(LABELS, activation=activation, width=12, n_samples=40), 5)
    outcomes = by_lm(cells, n_predictions=40)
    assert sum(outcome.status is Status.MEMORIZED for outcome in outcomes.values()) >= 4
    for outcome in outcomes.values():
        right = sum(target == said for target, said in outcome.predictions)
        assert outcome.recalled == right and len(outcome.predictions) == 40
        assert (outcome.status is Status.MEMORIZED) == (right == 40)
        if outcome.status is Status.MEMORIZED:
            assert outcome.epoch_to_tau == outcome.epoch_to_recall == outcome.epochs_run
            assert outcome.calibrated_bits == pytest.approx(80) and 0 < outcome.label_bits < 80
            assert outcome.epoch_to_recall_99 <= outcome.epoch_to_recall


def test_several_outputs_are_memorized_below_their_ceiling_and_their_jacobian_has_a_rank_of_all():
    cells = seeds(of(OUTPUTS, width=12), 5)  # 111 parameters, 42 numbers
    for outcome in by_lm(cells, jacobian_rank=True, n_predictions=3).values():
        assert outcome.status is Status.MEMORIZED and outcome.final_tau <= 1e-12
        assert outcome.jacobian_rank == 42
        first = training_data(outcome.cell).targets[:3, 0]
        assert [target for target, _ in outcome.predictions] == first.tolist()
        np.testing.assert_allclose([said for _, said in outcome.predictions], first, atol=1e-5)


@pytest.mark.parametrize("one", [of(LABELS, criterion="tau", tau=1e-12, n_samples=60), of(OUTPUTS, n_samples=60)])
def test_an_iteration_never_raises_the_loss(one):
    for outcome in by_lm(seeds(of(one, activation="relu", max_epochs=60), 5)).values():
        taus = [point.tau for point in outcome.curve]
        assert all(after <= before for before, after in itertools.pairwise(taus))


def test_a_known_label_keeps_the_digits_of_its_loss_and_no_label_is_right_without_a_number():
    shape = shape_of(of(LABELS, n_samples=3))
    said = torch.tensor([[50.0, 0, 0, 0, 0, 800.0, 0, 0, math.nan, 0, 0, 0]], dtype=torch.float64)
    targets = torch.tensor([[0.0, 0.0, 0.0]], dtype=torch.float64)
    assert labels_right(said, targets, shape).tolist() == [1]
    known = said[:, :4], targets[:, :1], shape_of(of(LABELS, n_samples=1))
    assert float(mean_loss(*known)) == pytest.approx(3 * math.exp(-50), rel=1e-12)
    assert float(residuals(*known)[0, 0]) == pytest.approx(-3 * math.exp(-50), rel=1e-12)
    assert float(weights(*known)[0, 0, 0]) == pytest.approx(3 * math.exp(-50), rel=1e-12)
    # A label that seems impossible has a large residual, which is a number.
    wrong = said[:, 4:8], targets[:, :1], shape_of(of(LABELS, n_samples=1))
    assert float(mean_loss(*wrong)) == pytest.approx(800) and torch.isfinite(residuals(*wrong)).all()


@pytest.mark.parametrize("one", [LABELS, of(LABELS, criterion="tau", tau=0.05, n_val=6), of(OUTPUTS, n_val=4)])
def test_trained_together_equals_trained_alone_and_a_checkpoint_goes_on(one, monkeypatch):
    cells = seeds(of(one, max_epochs=40, n_samples=24), 4)
    together = by_lm(cells[::-1])
    for alone in cells:
        mine, beside = by_lm([alone])[alone], together[alone]
        assert (mine.status, mine.epoch_to_tau, mine.recalled) == (beside.status, beside.epoch_to_tau, beside.recalled)
        np.testing.assert_allclose([p.tau for p in mine.curve], [p.tau for p in beside.curve], rtol=1e-7)
    expected = untimed(by_lm(cells[:1])[cells[0]])
    monkeypatch.setattr(api, "CHECKPOINT_S", 0.0)
    monkeypatch.setattr(lm_engine, "CHUNK_S", 0.0)
    engine = LmEngine("cpu")
    (pack,) = plan(cells[:1], kind=engine.kind, slots=engine.slots, workers=1)
    saved = [each for report in engine.train(pack) for each in report.checkpoints]
    (outcome,) = [o for report in engine.train(pack, begun={cells[0]: saved[len(saved) // 2]}) for o in report.outcomes]
    assert untimed(outcome) == expected


def test_a_run_of_labels_by_lm_has_its_n50_and_its_page(tmp_path):
    fields = {"target": "labels", "n_classes": 3, "loss": "cross_entropy", "optimizer": "lm", "dtype": "float64"}
    cells = bench.expand(**fields, depth=1, width=3, d_in=3, n_samples=[6, 12, 24, 48], seed=range(4), max_epochs=60)
    table = bench.run(cells, run_dir=tmp_path, device="cpu")
    assert set(table["engine"]) == {"lm"} and table["recalled"].notna().all()
    (row,) = bench.capacities(table).to_dict("records")
    assert 6 < row["n50"] < 48
    assert build(tmp_path).exists()
