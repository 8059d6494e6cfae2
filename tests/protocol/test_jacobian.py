"""The Jacobian of a trained network and its rank: against autograd, against theory, and the same out of every engine."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch

import bench
from bench.engines import record
from bench.protocol.activations import ACTIVATIONS
from bench.protocol.cells import Cell, Status
from bench.protocol.jacobian import jacobian, rank
from bench.protocol.networks import functional_dim, initial_layers, n_params
from bench.protocol.noise import training_data
from bench.store import provenance
from tests.engines.training import ENGINES, engine_named, every, native_builds, train
from tests.engines.witness import Network


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("trainable", ["all", "readout"])
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_the_jacobian_is_that_of_autograd(depth, trainable, activation):
    cell = Cell(d_in=3, width=5, depth=depth, activation=activation, trainable=trainable, init="torch_default", dtype="float64")
    inputs = training_data(dataclasses.replace(cell, n_samples=7)).inputs
    network = Network(cell)
    params = {name: param.detach() for name, param in network.named_parameters() if param.requires_grad}
    parts = torch.func.jacrev(lambda p: torch.func.functional_call(network, p, (torch.from_numpy(inputs),)))(params)
    theirs = torch.cat([part.flatten(1) for part in parts.values()], dim=1).detach().numpy()
    np.testing.assert_allclose(jacobian(cell, initial_layers(cell), inputs), theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("d_in", "width", "dimensions"), [(3, 4, 17), (10, 6, 67)])
def test_a_hidden_layer_of_relus_has_p_minus_h_dimensions_at_random_weights(d_in, width, dimensions):
    """One hidden layer attains the bound over enough inputs (Grigsby et al. 2022)."""
    cell = Cell(d_in=d_in, width=width, depth=1)
    cell = dataclasses.replace(cell, n_samples=3 * n_params(cell))
    assert rank(cell, initial_layers(cell)) == functional_dim(cell) == dimensions


def test_fewer_samples_than_dimensions_are_all_the_directions_there_are():
    cell = Cell(d_in=10, width=6, depth=1, n_samples=20)
    assert rank(cell, initial_layers(cell)) == 20


def test_the_rank_of_weights_that_are_not_finite_is_none():
    layers = [layer._replace(bias=layer.bias + np.inf) for layer in initial_layers(Cell(activation="silu"))]
    with np.errstate(invalid="ignore"):
        assert rank(Cell(activation="silu"), layers) is None


BASE = Cell(n_samples=40, d_in=3, width=5, depth=2, max_epochs=20, learning_rate=0.01, dtype="float64")
TRAINED = [
    BASE,
    *(dataclasses.replace(BASE, activation=activation) for activation in ACTIVATIONS if activation != BASE.activation),
    dataclasses.replace(BASE, trainable="readout"),
    dataclasses.replace(BASE, depth=0),
    dataclasses.replace(BASE, dropout=0.2, batch_size=13, shuffle=True),
    dataclasses.replace(BASE, dtype="float32", width=23, n_samples=150),
    dataclasses.replace(BASE, n_samples=5, tau=0.4, max_epochs=400),
]
# Its predictions are not those of its weights in full.
ROUNDED = dataclasses.replace(BASE, dtype="tf32")


@pytest.mark.parametrize("name", every(*ENGINES))
def test_the_weights_whose_rank_is_taken_are_those_that_predict(name, monkeypatch):
    handed = {}
    monkeypatch.setattr(record, "rank", lambda cell, layers: handed.update({cell: layers}))
    outcomes = train(TRAINED, engine=engine_named(name), n_predictions=40, jacobian_rank=True)
    for cell in TRAINED:
        signal = training_data(cell).inputs[:40]
        for weight, bias in handed[cell][:-1]:
            signal = ACTIVATIONS[cell.activation].value(signal @ weight.T + bias)
        outputs = (signal @ handed[cell][-1].weight.T + handed[cell][-1].bias)[:, 0]
        predicted = np.array(outcomes[cell].predictions)[:, 1]
        np.testing.assert_allclose(outputs, predicted, rtol=0, atol=1e-12 if cell.dtype == "float64" else 1e-5)


@pytest.fixture(scope="module")
def ranks() -> dict[Cell, int | None]:
    """By the torch engine."""
    return {cell: outcome.jacobian_rank for cell, outcome in train([*TRAINED, ROUNDED], jacobian_rank=True).items()}


@pytest.mark.parametrize("name", every(*ENGINES))
def test_every_engine_comes_to_the_same_rank(name, ranks):
    assert all(0 < ranks[cell] <= min(cell.n_samples, functional_dim(cell)) for cell in TRAINED)
    assert ranks[dataclasses.replace(BASE, depth=0)] == BASE.d_in + 1
    outcomes = train([*TRAINED, ROUNDED], engine=engine_named(name), jacobian_rank=True)
    assert {cell: outcome.jacobian_rank for cell, outcome in outcomes.items()} == ranks


@pytest.mark.parametrize("engine", ["torch", native_builds()[0].split()[0]])
def test_the_column_is_null_until_it_is_asked_for_and_then_stays(engine, tmp_path):
    engine_named("torch" if engine == "torch" else native_builds()[0])
    diverging = Cell(n_samples=32, optimizer="sgd", learning_rate=100.0, max_epochs=200)
    cells = [dataclasses.replace(BASE, init_seed=seed) for seed in range(3)] + [diverging]
    trained = []
    for asked in (False, True, True, False):
        table = bench.run(cells, run_dir=tmp_path, engine=engine, device="cpu", jacobian_rank=asked)
        trained.append(provenance.read(tmp_path)[-1]["cells_trained"])
        assert table["jacobian_rank"].isna().tolist() == ([True] * 4 if trained == [4] else [False] * 3 + [True])
    # A diverged network has no rank, and is not trained again for want of one.
    assert table["status"].iloc[-1] == Status.DIVERGED
    assert trained == [4, 3, 0, 0]
    alone = bench.run(cells, engine=engine, device="cpu", jacobian_rank=True)
    pd.testing.assert_series_equal(alone["jacobian_rank"], table["jacobian_rank"])


def test_worker_processes_take_ranks_too(monkeypatch):
    from bench.runs.executors import local

    monkeypatch.setattr(local, "FLOPS_WORTH_A_WORKER", 1)
    cells = [dataclasses.replace(BASE, depth=depth) for depth in (1, 2)]
    table = bench.run(cells, engine="torch", device="cpu", threads=2, jacobian_rank=True)
    here = train(cells, jacobian_rank=True)
    assert table["jacobian_rank"].tolist() == [here[cell].jacobian_rank for cell in cells]


def test_a_cell_whose_jacobian_would_be_too_large_is_trained_once(tmp_path, monkeypatch):
    for module in ("bench.protocol.jacobian", "bench.store.parts"):
        monkeypatch.setattr(f"{module}.MOST_NUMBERS", 10)
    cells = bench.expand(width=4, n_samples=8, max_epochs=3)
    for _ in range(2):
        table = bench.run(cells, run_dir=tmp_path, engine="torch", device="cpu", jacobian_rank=True)
        assert table["jacobian_rank"].isna().all()
    trained = [run["cells_trained"] for run in json.loads((tmp_path / "provenance.json").read_text())["runs"]]
    assert trained == [1, 0]
