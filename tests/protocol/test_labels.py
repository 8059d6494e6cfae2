"""What the protocol says of labels and of several outputs: data, dimensions, ids, and what makes no sense."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

import bench
from bench.protocol.cells import Cell
from bench.protocol.grid import GridError, check
from bench.protocol.jacobian import jacobian
from bench.protocol.networks import functional_dim, initial_layers, n_out, n_params, n_trained
from bench.protocol.noise import training_data, validation_data

LABELS = Cell(target="labels", n_classes=10, loss="cross_entropy", n_samples=500, d_in=4)


def test_labels_are_nested_and_as_likely_and_tau_divides_by_the_entropy_of_their_frequencies():
    data = training_data(LABELS)
    fewer = training_data(dataclasses.replace(LABELS, n_samples=200))
    np.testing.assert_array_equal(data.targets[:200], fewer.targets)
    np.testing.assert_array_equal(data.inputs[:200], fewer.inputs)
    # The inputs are those of other targets.
    np.testing.assert_array_equal(data.inputs, training_data(Cell(n_samples=500, d_in=4)).inputs)
    counts = np.bincount(data.targets.astype(int), minlength=10)
    assert len(counts) == 10 and ((counts - 50) ** 2 / 50).sum() < 27.9  # chi-squared of 9 degrees, p = 0.001
    assert data.target_variance == pytest.approx(-sum(n / 500 * math.log(n / 500) for n in counts))
    others = [dataclasses.replace(LABELS, data_seed=1), dataclasses.replace(LABELS, n_classes=11)]
    assert all((training_data(other).targets != data.targets).any() for other in others)
    val = validation_data(dataclasses.replace(LABELS, n_val=300))
    assert (val.targets != data.targets[:300]).any() and val.target_variance == data.target_variance


def test_targets_of_several_outputs_are_nested_and_independent_and_tau_divides_by_their_mean_variance():
    cell = Cell(n_samples=400, n_outputs=3)
    data = training_data(cell)
    assert data.targets.shape == (400, 3)
    np.testing.assert_array_equal(data.targets[:100], training_data(dataclasses.replace(cell, n_samples=100)).targets)
    assert data.target_variance == pytest.approx(data.targets.var(axis=0).mean(), rel=1e-12)
    assert abs(np.corrcoef(data.targets.T)[np.triu_indices(3, 1)]).max() < 4 / math.sqrt(400)


def test_the_weights_below_the_outputs_do_not_depend_on_how_many_these_are():
    for init in ("he_normal", "orthogonal", "torch_default"):
        one, ten = (initial_layers(Cell(d_in=4, depth=2, width=5, init=init, n_outputs=n)) for n in (1, 10))
        for a, b in zip(one[:-1], ten[:-1], strict=True):
            np.testing.assert_array_equal(a.weight, b.weight)
        assert ten[-1].weight.shape == (10, 5) and ten[-1].bias.shape == (10,)
    assert n_out(LABELS) == 10 and n_params(LABELS) == sum(w.size + b.size for w, b in initial_layers(LABELS))


@pytest.mark.parametrize(
    "outputs", [{"n_outputs": 3}, {"target": "labels", "n_classes": 4}, {"target": "labels", "n_classes": 2}]
)
@pytest.mark.parametrize("activation", ["relu", "silu"])
@pytest.mark.parametrize("network", [{"depth": 0}, {"depth": 1}, {"depth": 2}, {"depth": 1, "trainable": "readout"}])
def test_the_functional_dimension_is_the_rank_of_the_jacobian(network, activation, outputs):
    """A softmax loses a dimension for each unit that the outputs see, and one. At depth 2 some relu units are never on."""
    cell = Cell(width=5, d_in=4, n_samples=400, activation=activation, init="torch_default", **outputs, **network)
    ranks = []
    for seed in range(4):
        own = dataclasses.replace(cell, init_seed=seed, data_seed=seed)
        derivatives = jacobian(own, initial_layers(own), training_data(own).inputs)
        assert derivatives.shape == (400 * n_out(cell), n_trained(cell))
        ranks.append(np.linalg.matrix_rank(derivatives))
    assert max(ranks) == functional_dim(cell)
    if activation == "silu" or cell.depth < 2:
        assert min(ranks) == functional_dim(cell)


def test_the_jacobian_of_several_outputs_is_that_of_finite_differences():
    cell = Cell(width=3, d_in=2, depth=2, n_samples=7, activation="tanh", n_outputs=3, init="torch_default")
    layers, inputs = initial_layers(cell), training_data(cell).inputs

    def said():
        fed = inputs
        for weight, bias in layers[:-1]:
            fed = np.tanh(fed @ weight.T + bias)
        return (fed @ layers[-1].weight.T + layers[-1].bias).ravel()

    columns = []
    for part in (part for layer in layers for part in layer):
        for place in np.ndindex(part.shape):
            part[place] += 1e-6
            above = said()
            part[place] -= 2e-6
            columns.append((above - said()) / 2e-6)
            part[place] += 1e-6
    np.testing.assert_allclose(jacobian(cell, layers, inputs), np.stack(columns, axis=1), atol=1e-8)


def test_the_ids_of_cells_without_labels_are_those_from_before():
    assert Cell().cell_id == "443e69320b4a3e85"
    assert Cell(depth=1, width=16, n_samples=64).cell_id == "e887ed014b6a4396"
    assert len({LABELS.cell_id, dataclasses.replace(LABELS, criterion="recall").cell_id, Cell(n_outputs=2).cell_id}) == 3


def test_labels_are_memorized_when_all_are_right_unless_tau_is_asked_for():
    asked = {"target": "labels", "n_classes": 3, "loss": "cross_entropy"}
    assert [cell.criterion for cell in bench.expand(**asked)] == ["recall"]
    assert [cell.criterion for cell in bench.expand(**asked, criterion="tau", tau=0.3)] == ["tau"]
    assert [cell.criterion for cell in bench.expand()] == ["tau"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"target": "labels"}, "target=labels: needs the number of classes; set n_classes, for example n_classes=10"),
        ({"target": "labels", "n_classes": 3}, "loss=mse: is not for labels, which are no numbers; set loss=cross_entropy"),
        (
            {"target": "labels", "n_classes": 3, "loss": "hinge"},
            "loss=hinge: needs targets of -1 and 1; set target=rademacher and target_scaling=none, or use loss=mse",
        ),
        ({"n_classes": 3}, "n_classes=3: needs labels; set target=labels, or use n_outputs"),
        ({"n_classes": 1}, "n_classes=1: must be at least 2; give a number of classes, or null for targets that are numbers"),
        ({"n_outputs": 0}, "n_outputs=0: must be at least 1; give 1 or more"),
        ({"loss": "cross_entropy"}, "loss=cross_entropy: needs labels; set target=labels and n_classes, or use loss=mse"),
        ({"criterion": "recall"}, "criterion=recall: needs labels; set target=labels and n_classes, or criterion=tau"),
        (
            {"n_outputs": 2, "loss": "hinge", "target": "rademacher"},
            "n_outputs=2: is not for loss=hinge, which has one output; use loss=mse",
        ),
        (
            {"n_outputs": 2, "target_scaling": "minmax"},
            "target_scaling=minmax: is for a single output; leave it out, or n_outputs",
        ),
        (
            {"target": "labels", "n_classes": 3, "loss": "cross_entropy", "target_scaling": "minmax"},
            "target_scaling=minmax: is not for labels, which are no numbers; leave it out",
        ),
        (
            {"target": "labels", "n_classes": 3, "loss": "cross_entropy", "n_outputs": 2},
            "n_outputs=2: is not for labels, whose outputs are the classes; set n_classes alone",
        ),
    ],
)
def test_what_makes_no_sense_is_one_line(fields, message):
    with pytest.raises(GridError) as error:
        check([Cell(**fields)])
    assert str(error.value) == message


def test_a_tau_that_labels_by_recall_do_not_use_is_refused():
    with pytest.raises(GridError) as error:
        bench.expand(target="labels", n_classes=3, loss="cross_entropy", tau=0.1)
    assert str(error.value) == "tau=0.1: has no effect without criterion=tau; set that too, or leave tau out"
