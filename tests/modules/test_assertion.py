"""`bench.assert_memorizes` in a test suite of somebody's own."""

from __future__ import annotations

import functools
import re
import subprocess
import sys

import pytest
import torch
from torch import nn

import bench
from bench.modules import assertion
from tests.conftest import ROOT
from tests.modules.cases import Detached, mlp
from tests.modules.test_training import KINDS

DRAWS = torch.Generator().manual_seed(0)
BATCH = torch.randn(12, 4, generator=DRAWS), torch.randn(12, 1, generator=DRAWS)


def network():
    return nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 1))


def test_a_network_that_memorizes_passes_and_what_was_turned_off_is_said():
    first = bench.assert_memorizes(network, BATCH, optimizer=("adam", 0.01))
    assert first.startswith("memorized at epoch ") and first.endswith("; turned off: dropout")
    torch.manual_seed(99)
    assert bench.assert_memorizes(network, BATCH, optimizer=("adam", 0.01)) == first


def test_one_that_does_not_fails_with_the_verdict_and_the_change():
    with pytest.raises(AssertionError) as error:
        bench.assert_memorizes(Detached, (BATCH[0][:, :2], BATCH[1]), optimizer=("adam", 0.01), within_epochs=200, budget_s=8)
    reached, why, change = str(error.value).splitlines()
    number = r"[\d.e-]+"
    told = rf"Detached does not memorize the batch: tau is {number} after 200 of 200 epochs; {number} at best, at epoch \d+, not 0.01"
    assert re.fullmatch(told, reached)
    assert why.startswith("Held back by a part that does not train: no gradient reaches first.weight, first.bias")
    assert change == "remove the detach() or no_grad() behind them, or use them in forward"


def test_a_rate_that_is_too_small_is_told_with_the_one_that_works():
    with pytest.raises(AssertionError) as error:
        bench.assert_memorizes(
            lambda: mlp(4, 64, 1, activation=nn.ReLU), BATCH, optimizer=("adam", 1e-5), within_epochs=100, budget_s=40
        )
    _, why, change = str(error.value).splitlines()
    assert why.startswith("Held back by the learning rate")
    assert change.startswith("optimizer = torch.optim.Adam(module.parameters(), lr=")


def test_a_loss_that_diverges_is_told_with_its_epoch():
    """Linear regression at a rate beyond 2 over the curvature: its weights grow to infinity."""
    x = torch.arange(1.0, 7.0)[:, None]
    with pytest.raises(AssertionError) as error:
        bench.assert_memorizes(nn.Linear(1, 1), (x, x), optimizer=("sgd", 0.5), within_epochs=90, budget_s=8)
    told = (
        r"Linear does not memorize the batch: the loss diverged at epoch \d\d of 90; tau is \S+ at best, at epoch 0, not 0.01"
    )
    assert re.fullmatch(told, str(error.value).splitlines()[0])


def test_where_time_ran_out_it_is_not_called_memorizable_as_it_is(monkeypatch):
    class Late(assertion.Trainer):
        def train(self, jobs, deadline):
            return list(jobs)

    monkeypatch.setattr(assertion, "Trainer", Late)
    make = functools.partial(mlp, 4, 64, 1, activation=nn.ReLU)
    with pytest.raises(AssertionError) as error:
        bench.assert_memorizes(make, BATCH, optimizer=("adam", 0.02), tau=0.1, budget_s=80)
    reached, why, change = str(error.value).splitlines()
    assert reached.endswith("not within 60 s; give more with budget_s, or a smaller batch")
    assert why.startswith("Perhaps held back by time. Memorizable as it is: ") and change == "give more with budget_s"


def test_it_may_have_no_limit_of_time_and_none_that_is_no_time():
    linear = nn.Linear(4, 1), (BATCH[0][:3], BATCH[1][:3])
    assert bench.assert_memorizes(*linear, optimizer=("adam", 0.1), budget_s=None).startswith("memorized at epoch ")
    for budget_s in (0, True, "10", float("inf")):
        with pytest.raises(bench.GridError, match=r"budget_s=.*must be null or a positive number of seconds"):
            bench.assert_memorizes(*linear, budget_s=budget_s)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("kind", KINDS)
def test_networks_of_every_kind_memorize_a_batch(kind):
    make, inputs, outputs = KINDS[kind]
    targets = torch.randn(len(inputs[0]), outputs, generator=torch.Generator().manual_seed(1))
    given = inputs if len(inputs) > 1 else inputs[0]
    assert bench.assert_memorizes(make, (given, targets), optimizer=("adam", 0.02), tau=0.05).startswith("memorized at epoch ")


def test_the_plugin_adds_a_fixture_and_imports_no_torch_until_it_is_asked(tmp_path):
    (tmp_path / "test_own.py").write_text(
        "import sys\n\n\ndef test_nothing():\n    assert 'torch' not in sys.modules\n\n\n"
        "def test_own(assert_memorizes):\n    import torch\n\n    assert_memorizes(torch.nn.Linear(4, 1), shapes=((3, 4), (3, 1)),"
        " optimizer=('adam', 0.1))\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:memcap",
        "-p",
        "bench.modules.plugin",
        "-p",
        "no:cacheprovider",
        "test_own.py",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
