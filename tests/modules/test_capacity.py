"""N50 of anybody's network."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

import bench
from bench.protocol.cells import Cell
from bench.protocol.networks import functional_dim
from tests.modules.cases import mlp


@pytest.mark.exhaustive
def test_our_own_network_as_a_module_holds_as_many_samples_as_its_cells_do():
    """The same search, on the same law of noise: intervals meet, and the rank is nearly the functional dimension."""
    cell = Cell(depth=1, width=8, d_in=4, init="torch_default", tau=0.1, learning_rate=0.01, max_epochs=1000)
    found = bench.capacity(
        lambda: mlp(4, 8, 1, activation=nn.ReLU),
        ((4,), (1,)),
        optimizer=("adam", 0.01),
        max_epochs=1000,
        tau=0.1,
        search=bench.Search(most_cells=60),
    )
    # A draw has a unit or two that are active on all samples, or on none.
    assert found.n_params == 49 and functional_dim(cell) - 3 <= found.rank <= functional_dim(cell) == 41
    counts = [round(found.n50 * factor) for factor in (0.6, 0.8, 1.0, 1.25, 1.6)]
    cells = bench.run(bench.expand(**{name: getattr(cell, name) for name in ("depth", "width", "d_in", "init", "tau")},
                                   learning_rate=0.01, max_epochs=1000, n_samples=counts, seed=range(12)))  # fmt: skip
    (known,) = bench.capacities(cells).to_dict("records")
    assert max(found.low, known["n50_low"]) < min(found.high, known["n50_high"])


@pytest.mark.exhaustive
def test_more_noise_than_a_linear_layer_has_weights_is_not_memorized():
    found = bench.capacity(nn.Linear(4, 1), ((4,), (1,)), optimizer=("adam", 0.1), search=bench.Search(most_cells=24))
    assert found.rank == 5 and found.n_params == 5
    trained = found.trained
    assert (trained.loc[trained["n_samples"] <= 5, "status"] == "memorized").all()
    assert not (trained.loc[trained["n_samples"] >= 8, "status"] == "memorized").any()
    assert str(found).startswith("N50 is ") and len(np.unique(trained["seed"])) == len(trained)
