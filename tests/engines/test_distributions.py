"""Every engine against the plain PyTorch loop on seeds of their own: both take as many epochs to tau, in distribution."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import ks_2samp

from bench.protocol.cells import Cell
from tests.engines.protocols import HINGE, ONE_CHANGE
from tests.engines.training import ENGINES, engine_named, every, train
from tests.engines.witness import plain

SMALL = Cell(n_samples=6, d_in=4, depth=1, width=8, tau=0.4, max_epochs=30, learning_rate=0.05)
CHANGES = ONE_CHANGE | {"hinge": HINGE, "tf32": {"dtype": "tf32"}}

# One of each kind for `make test`, which shows that the losses of each are the same; the others for `make test-all`.
OF_EACH_KIND = ("momentum", "early_stopping", "gelu", "hinge", "tf32")


@pytest.mark.parametrize("name", every(*ENGINES))
@pytest.mark.parametrize(
    "change", [change if change in OF_EACH_KIND else pytest.param(change, marks=pytest.mark.exhaustive) for change in CHANGES]
)
def test_epochs_to_tau_are_distributed_like_those_of_the_plain_loop(change, name):
    """200 seeds a side, and different seeds on each side, so that the samples are independent."""
    cells = [dataclasses.replace(SMALL, **CHANGES[change], data_seed=seed, init_seed=seed) for seed in range(400)]
    ours = [outcome.epochs_run for outcome in train(cells[:200], engine=engine_named(name)).values()]
    theirs = [len(plain(other, None)[0]) - 1 for other in cells[200:]]
    assert np.std(ours) > 0
    assert ks_2samp(ours, theirs).pvalue > 0.01
