"""How training ends on every engine: where the plain loop ends, with a status, and measured in evaluation mode."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bench.protocol.cells import NO_TAU, Cell, Status
from tests.engines.protocols import BASE, HINGE
from tests.engines.training import ENGINES, engine_named, every, train
from tests.engines.witness import plain


@pytest.fixture(scope="module", params=every(*ENGINES))
def engine(request):
    return engine_named(request.param)


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


def test_a_cell_past_tau_is_the_one_that_stops_and_goes_on_to_the_end_of_its_budget(engine):
    """Adam at this rate memorizes and does not keep it; up to where the one stops, the curves are equal to the last bit."""
    stops = Cell(depth=0, d_in=1000, n_samples=20, learning_rate=0.01, tau=1e-8, max_epochs=1500)
    past = dataclasses.replace(stops, tau=NO_TAU)
    outcomes = train([stops, past], engine=engine)
    assert outcomes[stops].status is Status.MEMORIZED
    assert outcomes[past].epochs_run == past.max_epochs
    assert outcomes[past].best_tau <= stops.tau < outcomes[past].final_tau
    goes_on = {point.epoch: point for point in outcomes[past].curve}
    shared = [point for point in outcomes[stops].curve if point.epoch in goes_on]
    assert len(shared) > 20 and shared == [goes_on[point.epoch] for point in shared]


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
