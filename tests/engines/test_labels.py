"""Cells on random labels, against what is known of them exactly: Cover's law, the convex optimum, the bits of chance."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy.optimize import linprog, minimize
from scipy.stats import binom

from bench.engines.record import RecordTable
from bench.protocol.cells import Cell, Status
from bench.protocol.labels import stored_by
from bench.protocol.noise import training_data
from tests.engines.training import train, untimed

LABELS = Cell(target="labels", n_classes=2, loss="cross_entropy", criterion="recall", depth=0, d_in=10, dtype="float64")

# Inputs in general position have 2 * sum over k <= d of (N - 1 choose k) separable labellings of 2**N with a bias (Cover 1965).
SEPARABLE = {n: binom.cdf(10, n - 1, 0.5) for n in (15, 18, 20, 22, 24, 30)}


def is_separable(cell):
    """By linear programming: weights w with y (w x + b) >= 1 for all samples, or a proof that there are none."""
    data = training_data(cell)
    signs = 2 * data.targets - 1
    rows = -signs[:, None] * np.hstack([data.inputs, np.ones((cell.n_samples, 1))])
    found = linprog(np.zeros(rows.shape[1]), A_ub=rows, b_ub=-np.ones(len(rows)), bounds=(None, None), method="highs")
    assert found.status in (0, 2)  # Solved, or infeasible.
    return found.status == 0


def optimum(cell):
    """(least cross-entropy in nats, its outputs) of a linear softmax on the cell's data, by BFGS on the convex loss."""
    data = training_data(cell)
    x = np.hstack([data.inputs, np.ones((cell.n_samples, 1))])
    onehot = np.eye(cell.n_classes)[data.targets.astype(int)]

    def loss(flat):
        z = x @ flat.reshape(-1, cell.n_classes)
        z = z - z.max(1, keepdims=True)
        sums = np.exp(z).sum(1, keepdims=True)
        slope = x.T @ (np.exp(z) / sums - onehot) / cell.n_samples
        return float(np.mean(np.log(sums[:, 0]) - (z * onehot).sum(1))), slope.ravel()

    start = np.zeros(x.shape[1] * cell.n_classes)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 5000})
    return found.fun, x @ found.x.reshape(-1, cell.n_classes)


def test_the_shares_of_cover_are_those_of_the_literature():
    assert [round(share, 3) for share in SEPARABLE.values()] == [0.971, 0.834, 0.676, 0.5, 0.339, 0.068]


def test_a_linear_network_recalls_what_is_separable_and_its_share_is_covers():
    cells = [
        dataclasses.replace(LABELS, n_samples=n, data_seed=seed, init_seed=seed, learning_rate=0.1, max_epochs=3000)
        for n in (15, 22, 30)
        for seed in range(40)
    ]
    outcomes = train(cells)
    separable = {cell: is_separable(cell) for cell in cells}
    for n in (15, 22, 30):
        own = [cell for cell in cells if cell.n_samples == n]
        low, high = binom.ppf([0.0005, 0.9995], len(own), SEPARABLE[n])
        assert low <= sum(separable[cell] for cell in own) <= high
    recalled = {cell for cell in cells if outcomes[cell].status is Status.MEMORIZED}
    assert all(separable[cell] and outcomes[cell].recalled == cell.n_samples for cell in recalled)
    # What a budget of 3000 epochs leaves.
    assert len(recalled) >= 0.95 * sum(separable.values())


def test_far_beyond_capacity_a_linear_network_ends_at_the_convex_optimum():
    cell = dataclasses.replace(LABELS, n_classes=4, d_in=5, n_samples=300, learning_rate=0.02, max_epochs=2500)
    outcome = train([cell])[cell]
    least, said = optimum(cell)
    assert outcome.final_tau * outcome.target_variance == pytest.approx(least, rel=1e-8)
    best = stored_by(said, training_data(cell).targets.astype(int))
    assert outcome.label_bits == pytest.approx(best.label_bits, rel=1e-6)
    # No temperature betters an optimum over all weights.
    assert outcome.calibrated_bits == pytest.approx(best.label_bits, rel=1e-6)


def test_far_beyond_capacity_a_linear_softmax_keeps_half_a_nat_for_each_effective_parameter():
    """By Wilks's theorem twice the nats gained over the truth, which is chance, are chi-squared."""
    cells = [dataclasses.replace(LABELS, n_classes=4, d_in=5, n_samples=2000, data_seed=seed) for seed in range(80)]
    bits = [(math.log(4) - optimum(cell)[0]) * cell.n_samples / math.log(2) for cell in cells]
    effective = 3 * 6
    error = math.sqrt(effective / 2) / math.log(2) / math.sqrt(len(bits))
    assert np.mean(bits) == pytest.approx(effective / (2 * math.log(2)), abs=4 * error)


def test_unequal_frequencies_of_labels_alone_are_worth_half_a_nat_for_each_class_but_one():
    cells = [dataclasses.replace(LABELS, n_classes=5, d_in=1, n_samples=400, data_seed=seed) for seed in range(1000)]
    bits = [cell.n_samples * (math.log2(5) - training_data(cell).target_variance / math.log(2)) for cell in cells]
    error = math.sqrt(2) / math.log(2) / math.sqrt(len(bits))
    assert np.mean(bits) == pytest.approx(4 / (2 * math.log(2)), abs=4 * error)


def test_labels_of_one_class_are_recalled_by_the_bias():
    """Initial weights are so small that a step of the bias decides."""
    drawn = [dataclasses.replace(LABELS, n_samples=4, data_seed=seed, init_scale=1e-9, learning_rate=0.1) for seed in range(60)]
    cells = [cell for cell in drawn if len(set(training_data(cell).targets)) == 1]
    assert len(cells) >= 3
    for outcome in train(cells).values():
        assert outcome.target_variance == pytest.approx(math.log(2))
        assert (outcome.status, outcome.recalled) == (Status.MEMORIZED, 4)
        assert outcome.epoch_to_recall in (0, 1)


def test_two_equal_inputs_with_different_labels_would_cost_a_bit_each():
    said = np.array([[0.3, 0.3], [0.3, 0.3]])
    assert stored_by(said, np.array([0, 1])) == (0.0, 0.0)


def test_the_best_temperature_is_that_of_a_search_and_the_scale_of_the_outputs_does_not_matter():
    random = np.random.default_rng(3)
    said, labels = random.standard_normal((60, 5)) * 1.2, random.integers(5, size=60)
    said[np.arange(60), labels] += 2.0

    def cost(inverse):
        z = inverse * said
        return float(np.sum(np.log(np.exp(z).sum(1)) - z[np.arange(60), labels]))

    found = minimize(lambda inverse: cost(inverse[0]), [0.5], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
    bits = stored_by(said, labels)
    assert bits.calibrated_bits == pytest.approx(60 * math.log2(5) - found.fun / math.log(2), rel=1e-9)
    assert bits.label_bits == pytest.approx(60 * math.log2(5) - cost(1.0) / math.log(2), rel=1e-12)
    assert bits.calibrated_bits > bits.label_bits
    for scale in (1e-6, 7.0, 1e5):
        assert stored_by(said * scale, labels).calibrated_bits == pytest.approx(bits.calibrated_bits, rel=1e-9)


def test_outputs_that_speak_against_every_label_store_nothing():
    said = np.array([[5.0, 0.0], [0.0, 5.0]])
    assert stored_by(said, np.array([1, 0])) == (0.0, 0.0)
    assert stored_by(said, np.array([0, 1])).calibrated_bits == 2.0
    assert all(map(math.isnan, stored_by(np.array([[np.inf, 0.0]]), np.array([0]))))


def test_trained_together_is_trained_alone_on_labels():
    base = Cell(target="labels", n_classes=6, loss="cross_entropy", depth=2, width=9, d_in=4, n_samples=30, max_epochs=300)
    cells = [
        dataclasses.replace(base, init_seed=seed, data_seed=seed % 3, criterion=criterion, n_samples=n)
        for seed, (criterion, n) in enumerate([("recall", 30), ("tau", 30), ("recall", 8), ("recall", 31), ("tau", 25)])
    ]
    together = train(cells, slots=3)
    for cell in cells:
        assert untimed(train([cell])[cell]) == untimed(together[cell])


def test_a_record_of_labels_goes_on_from_where_it_was_saved():
    cell = dataclasses.replace(LABELS, n_samples=200, max_epochs=9)
    right = np.array([90, 197, 198, 150, 200])
    tau = np.linspace(1, 0.5, 5)
    whole, first, second = RecordTable(1), RecordTable(1), RecordTable(1)
    row, time_s = np.zeros(1, dtype=np.int64), np.ones(1)
    for table in (whole, first, second):
        table.begin(row, [cell], np.ones(1))
    whole.absorb(row, np.array([5]), row == 0, tau, tau[:0], time_s, right)
    first.absorb(row, np.array([3]), row > 0, tau[:3], tau[:0], time_s, right[:3])
    second.restore(0, first.saved(0))
    second.absorb(row, np.array([2]), row == 0, tau[3:], tau[:0], time_s, right[3:])
    outcomes = [table.outcomes(row, "none", "none", [()])[0] for table in (whole, second)]
    assert untimed(outcomes[0]) == untimed(outcomes[1])
    assert outcomes[0].status is Status.MEMORIZED
    assert (outcomes[0].epoch_to_recall_99, outcomes[0].epoch_to_recall, outcomes[0].recalled) == (2, 4, 200)
    assert outcomes[0].epoch_to_tau == 4
