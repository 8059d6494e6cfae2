"""Networks train as a plain loop trains them: against the torch engine, the least squares, and each other."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import bench
from bench.engines import record
from bench.modules import alone, together
from bench.modules.batches import Batch, Shapes, noise
from bench.modules.losses import Scale
from bench.modules.networks import quiet
from bench.modules.orders import batches
from bench.modules.questions import question
from bench.modules.randomness import drawn
from bench.modules.traced import traced
from bench.modules.training import Trainer
from bench.modules.trials import Curve, Job, Stop, ended, stopped_at
from bench.protocol.cells import Cell
from bench.protocol.noise import training_data
from tests.engines.training import train
from tests.engines.witness import Network
from tests.modules.cases import mlp

CELL = Cell(depth=2, width=8, d_in=3, n_samples=24, dtype="float64", max_epochs=50, tau=1e-9, learning_rate=0.01)
PROTOCOLS = {
    "adam": (CELL, lambda own: torch.optim.Adam(own, lr=0.01)),
    "sgd": (
        dataclasses.replace(CELL, optimizer="sgd", momentum=0.9, learning_rate=0.02, activation="tanh"),
        lambda own: torch.optim.SGD(own, lr=0.02, momentum=0.9),
    ),
    "adamw": (
        dataclasses.replace(CELL, optimizer="adamw", weight_decay=0.01, regularization="weight_decay"),
        lambda own: torch.optim.AdamW(own, lr=0.01, weight_decay=0.01),
    ),
}


def asked_of(cell: Cell, optimizer):
    data = training_data(cell)
    batch = (torch.from_numpy(data.inputs), torch.from_numpy(data.targets))
    return question(lambda: Network(cell), batch, optimizer=optimizer, max_epochs=cell.max_epochs, tau=cell.tau)


def trained(asked, seeds, trial=None):
    trainer = Trainer(asked.source, asked.batch, asked.facts, asked.device)
    jobs = [Job(trial or asked.trial, seed, to_end=True) for seed in seeds]
    assert trainer.train(jobs, float("inf")) == []
    return [trainer.results[job] for job in jobs], trainer


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("count", [1, 3])
def test_our_own_network_as_a_module_has_the_curves_of_the_torch_engine(name, count, monkeypatch):
    """Alone and stacked, to 1e-8 in each of 50 epochs in float64; and the same epoch at which a tau on the way is reached."""
    cell, optimizer = PROTOCOLS[name]
    monkeypatch.setattr(record, "curve_epochs", lambda max_epochs: frozenset(range(max_epochs + 1)))
    (outcome,) = train([cell]).values()
    known = [point.tau for point in outcome.curve]
    assert [point.epoch for point in outcome.curve] == list(range(51)) and known[50] < 0.8 * known[0]
    ended, trainer = trained(asked_of(cell, optimizer), range(count))
    assert [own.together for own in ended] == [count > 1] * count and trainer.why_alone == []
    for own in ended:
        np.testing.assert_allclose((own.losses - own.scale.floor) / own.scale.width, known, rtol=1e-8)
    halfway = dataclasses.replace(cell, tau=math.sqrt(known[50] * min(1.0, known[0])))
    (outcome,) = train([halfway]).values()
    ended, _ = trained(asked_of(halfway, optimizer), range(count))
    assert 0 < outcome.epoch_to_tau < 50 and {own.epoch_to_tau for own in ended} == {outcome.epoch_to_tau}


def one_after_the_other(asked, jobs):
    trainer = Trainer(asked.source, asked.batch, asked.facts, asked.device)
    return [alone.train(trainer.prepare(job), job, float("inf")).losses for job in jobs]


def stacked(asked, jobs):
    trainer = Trainer(asked.source, asked.batch, asked.facts, asked.device)
    return [curve.losses for curve in together.train([trainer.prepare(job) for job in jobs], jobs, float("inf"))]


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.out = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 1)

    def forward(self, x):
        return self.out(self.lstm(x)[0][:, -1])


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.block, self.out = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), nn.Linear(8, 1)

    def forward(self, x):
        return self.out(self.block(x).mean(dim=1))


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(3, 8), nn.Linear(2, 8)
        self.out = nn.Linear(8, 2)

    def forward(self, x, z):
        return self.out(torch.relu(self.one(x) + self.other(z)))


def convolution():
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 1))


def normalized():
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))


DRAWS = torch.Generator().manual_seed(0)
KINDS = {
    "mlp": (lambda: mlp(3, 8, 1, activation=nn.Tanh), (torch.randn(12, 3, generator=DRAWS),), 1),
    "convolution": (convolution, (torch.randn(6, 1, 6, 6, generator=DRAWS),), 1),
    "lstm": (Recurrent, (torch.randn(6, 4, 3, generator=DRAWS),), 1),
    "transformer": (Block, (torch.randn(6, 3, 8, generator=DRAWS),), 1),
    "batch normalization": (normalized, (torch.randn(12, 3, generator=DRAWS),), 1),
    "two inputs": (TwoInputs, (torch.randn(6, 3, generator=DRAWS), torch.randn(6, 2, generator=DRAWS)), 2),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", [None, 3])
def test_networks_that_train_together_train_as_each_does_alone(kind, batch_size):
    """Three draws, at three rates, to rounding, which normalization by batches of three makes larger."""
    make, inputs, outputs = KINDS[kind]
    batch = Batch(tuple(x.double() for x in inputs), torch.randn(len(inputs[0]), outputs, dtype=torch.float64, generator=DRAWS))
    asked = question(lambda: make().double(), batch, batch_size=batch_size, max_epochs=6, optimizer=("adam", 0.01))
    jobs = []
    for seed, factor in ((0, 1.0), (1, 0.1), (2, 3.0)):
        trial = asked.trial
        jobs.append(Job(dataclasses.replace(trial, recipe=trial.recipe.scaled(factor)), seed, to_end=True))
    with quiet():
        for own, other in zip(stacked(asked, jobs), one_after_the_other(asked, jobs), strict=True):
            np.testing.assert_allclose(own[:7], other[:7], rtol=1e-8)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "batch normalization"])
@pytest.mark.parametrize("batch_size", [None, 3])
def test_what_is_traced_after_so_many_steps_trains_as_each_does_alone(kind, batch_size, monkeypatch):
    """To rounding over 120 epochs, more than there are steps before the trace; the statistics of batches are not traced."""
    make, inputs, outputs = KINDS[kind]
    batch = Batch(tuple(x.double() for x in inputs), torch.randn(len(inputs[0]), outputs, dtype=torch.float64, generator=DRAWS))
    asked = question(lambda: make().double(), batch, batch_size=batch_size, max_epochs=120, optimizer=("adam", 0.003))
    jobs = []
    for seed, factor in ((0, 1.0), (1, 0.1), (2, 2.0)):
        jobs.append(Job(dataclasses.replace(asked.trial, recipe=asked.trial.recipe.scaled(factor)), seed, to_end=True))
    kept, same = [], together._same
    monkeypatch.setattr(together, "_same", lambda *given: kept.append(same(*given)) or kept[-1])
    with quiet():
        for own, other in zip(stacked(asked, jobs), one_after_the_other(asked, jobs), strict=True):
            assert len(own) == len(other) == 121
            np.testing.assert_allclose(own, other, rtol=1e-6)
    # What was traced gave the same numbers, and was used.
    assert sum(one is not None for one in kept) >= 1


WARNED = """
import warnings, torch, bench
from bench.modules import together
torch.set_num_threads(1)
warnings.simplefilter("error", DeprecationWarning)
warnings.simplefilter("error", FutureWarning)
kept, same = [], together._same
together._same = lambda *given: kept.append(same(*given)) or kept[-1]
net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
found = bench.capacity(net, ((4,), (1,)), max_epochs=120, search=bench.Search(most_cells=6))
print(any(kept), str(found)[:3])
print(bench.diagnose(net, shapes=((4, 4), (4, 1)), max_epochs=120, optimizer=("adam", 0.03)).verdict.cause)
"""


def test_nothing_is_deprecated_that_a_user_would_be_warned_of():
    done = subprocess.run([sys.executable, "-c", WARNED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("True N50"), done.stderr
    assert not any("torch.jit" in path.read_text(encoding="utf-8") for path in Path(bench.__file__).parent.glob("modules/*.py"))


class Counted(TorchDispatchMode):
    """Counts the operators that are called."""

    n_calls = 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        self.n_calls += 1
        return operator(*args, **kwargs or {})


def test_a_traced_function_leaves_out_what_does_nothing_and_never_gives_its_argument_itself():
    def function(x, y):
        return x.expand(3, 2) * 1, x.T.T.view(3, 2) + y.view(3, 2), (x + y) * (x + y)

    x, y = torch.randn(3, 2, generator=DRAWS), torch.randn(3, 2, generator=DRAWS)
    run = traced(function, [x, y])
    with Counted() as counted:
        gave = run(x, y)
    with Counted() as untraced:
        function(x, y)
    # Without the product with 1, turning twice, and a sum that is there.
    assert counted.n_calls <= untraced.n_calls - 4
    for own, other in zip(gave, function(x, y), strict=True):
        assert torch.equal(own, other)
    assert gave[0].data_ptr() != x.data_ptr()
    # What writes over its argument is left as it is.
    changed = traced(lambda own: (own.clone().relu_() * 1,), [x])(x)
    assert torch.equal(changed[0], x.relu())


def test_a_linear_layer_meets_the_least_squares():
    asked = question(nn.Linear(8, 1), shapes=((40, 8), (40, 1)), optimizer=("adam", 0.05), max_epochs=1500)
    ended, _ = trained(asked, range(4))
    for seed, own in zip(range(4), ended, strict=True):
        batch = noise(Shapes(((40, 8),), (40, 1)), seed)
        design = np.hstack([batch.inputs[0].double().numpy(), np.ones((40, 1))])
        targets = batch.targets.double().numpy()
        residual = targets - design @ np.linalg.lstsq(design, targets, rcond=None)[0]
        assert own.last == pytest.approx((residual**2).mean() / targets.var(), rel=1e-4)


def test_the_rank_of_a_network_with_a_dead_half_is_that_of_its_live_half():
    def make(width, dead):
        network = mlp(3, width, 1, activation=nn.ReLU).double()
        with torch.no_grad():
            network[0].bias[width - dead :] = -1e3
        return network

    torch.manual_seed(0)
    whole = make(16, 8)
    half = make(8, 0)
    with torch.no_grad():
        half[0].weight.copy_(whole[0].weight[:8])
        half[0].bias.copy_(whole[0].bias[:8])
        half[2].weight.copy_(whole[2].weight[:, :8])
    x, y = torch.randn(100, 3), torch.randn(100, 1)
    dead, live = (question(lambda own=own: own, (x, y)).facts for own in (whole, half))
    assert dead.rank == live.rank == 8 * 5 + 1 - 8
    assert [own.dead for own in dead.units] == [0.5]


class Residual(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.skip, self.branch, self.scale = nn.Linear(3, 1), mlp(3, 8, 1, activation=nn.ReLU), scale

    def forward(self, x):
        return self.skip(x) + self.scale * self.branch(x)


def test_a_residual_branch_that_is_scaled_by_0_leaves_the_linear_model():
    x, y = torch.randn(20, 3, generator=DRAWS).double(), torch.randn(20, 1, generator=DRAWS).double()
    torch.manual_seed(0)
    whole = Residual(0.0).double()
    questions = [question(lambda own=own: own, (x, y), max_epochs=40, optimizer=("sgd", 0.1)) for own in (whole, whole.skip)]
    (of_whole,), (of_skip,) = (trained(asked, [0])[0] for asked in questions)
    np.testing.assert_allclose(of_whole.losses, of_skip.losses, rtol=1e-12)


def test_the_module_and_the_global_random_states_stay_as_they_were():
    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    trained(question(network, (torch.randn(8, 3, generator=DRAWS), torch.randn(8, 1, generator=DRAWS)), max_epochs=2), [0, 1])
    assert torch.equal(torch.get_rng_state(), states[0]) and random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]  # noqa: NPY002
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert network.training and all(own.grad is None for own in network.parameters())


def test_weights_inputs_targets_and_orders_of_one_seed_are_no_two_of_them_the_same_numbers():
    for seed in range(3):
        own = noise(Shapes(((16, 4), (16, 4)), (16, 4)), seed)
        with drawn(seed):
            weights = torch.randn(16, 4)
        assert not any(torch.equal(one, other) for one, other in itertools.combinations((*own.inputs, own.targets, weights), 2))
        before = torch.randperm(16, generator=torch.Generator().manual_seed(seed))
        orders = [batches(seed, epoch, 16, 15, shuffle=True) for epoch in range(9)]
        assert not any(torch.equal(torch.cat(own), before) for own in orders)  # pyright: ignore[reportArgumentType]


def test_a_seed_that_waits_for_the_first_use_of_a_gpu_is_left_alone(monkeypatch):
    """torch queues what is asked of CUDA before it is used; the last call wins."""
    queued = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda.random, "_lazy_call", lambda call, **how: queued.append(call))
    with drawn(0):
        torch.rand(())
    assert queued == []


def test_a_given_network_is_drawn_anew_with_the_spread_that_its_own_weights_have():
    network = mlp(4, 400, 1, activation=nn.ReLU)
    nn.init.uniform_(network[0].weight, -0.01, 0.01)
    nn.init.zeros_(network[0].bias)
    asked = question(network, shapes=((8, 4), (8, 1)))
    one, same, other = (asked.source.draw(seed) for seed in (1, 1, 2))
    assert torch.equal(one[0].weight, same[0].weight) and not torch.equal(one[0].weight, other[0].weight)
    assert float(one[0].weight.detach().std()) == pytest.approx(0.01 / 3**0.5, rel=0.05)
    assert not one[0].bias.any()
    assert float(one[2].weight.detach().std()) == pytest.approx(0.05 / 3**0.5, rel=0.1)


def test_dropout_is_drawn_for_each_network_and_that_is_said():
    network = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1))
    ended, trainer = trained(question(network, shapes=((8, 3), (8, 1)), max_epochs=3), [0, 1])
    assert not any(own.together for own in ended)
    assert trainer.why_alone == ["it draws random numbers in training, as dropout does, and each network has its own"]


class Counting(nn.Module):
    """After three passes in training mode it is another function: a counter of Python's, a tensor or a generator kept."""

    def __init__(self, kind):
        super().__init__()
        self.linear, self.kind, self.own = nn.Linear(3, 1), kind, {"steps": 0}
        self.draws, self.last = np.random.default_rng(0), torch.zeros(())

    def forward(self, x):
        output = self.linear(x)
        if self.kind == "own" and self.training:
            self.own["steps"] += 1
            output = output * (1 + (self.own["steps"] > 3))
        if self.kind == "last":
            self.last = self.last + output.detach().mean()
        return output + float(self.draws.random()) if self.kind == "draws" else output


@pytest.mark.parametrize("kind", ["own", "last", "draws"])
def test_a_network_that_counts_its_passes_trains_alone_and_that_is_said(kind):
    ended, trainer = trained(question(Counting(kind), shapes=((8, 3), (8, 1)), max_epochs=3), [0, 1])
    assert not any(own.together for own in ended)
    why = f"each pass changes its {kind}, which is no parameter and no buffer, and each network has its own"
    assert trainer.why_alone == [why]
    assert question(Counting("none"), shapes=((8, 3), (8, 1))).facts.kept is None


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 1)

    def forward(self, x):
        return self.linear(x) if float(self.linear.weight.detach().sum()) > 0 else -self.linear(x)


def test_a_network_that_branches_on_its_numbers_trains_alone_and_that_is_said():
    ended, trainer = trained(question(Branching(), shapes=((8, 3), (8, 1)), max_epochs=3), [0, 1])
    assert not any(own.together for own in ended)
    assert len(trainer.why_alone) == 1 and trainer.why_alone[0].startswith("torch cannot stack it (")


def test_an_optimizer_that_steps_over_all_numbers_at_once_trains_alone():
    asked = question(
        nn.Linear(3, 1), shapes=((4, 3), (4, 1)), optimizer=lambda own: torch.optim.LBFGS(own, lr=0.5), max_epochs=20
    )
    ended, trainer = trained(asked, [0, 1])
    assert all(own.memorized for own in ended)
    assert trainer.why_alone == ["LBFGS steps over a whole network at once"]


def test_a_stopping_rule_stops_where_scikit_learn_does():
    losses = np.array([1.0, 0.9, 0.9, 0.89995, 0.8999, 0.8, 0.8, 0.8, 0.8])
    assert stopped_at(Stop(2, 1e-3), losses) == 4
    assert stopped_at(Stop(3, 1e-3), losses) is None
    assert stopped_at(lambda told: told[-1] < 0.85, losses) == 5


def test_a_loss_at_the_goal_has_reached_tau_however_it_rounds():
    """One comparison decides when a training ends, when it reached tau and whether it lost it."""
    draws = np.random.default_rng(0)
    trial = question(nn.Linear(3, 1), shapes=((8, 3), (8, 1))).trial
    for _ in range(300):
        floor, constant, tau = float(draws.uniform(0, 0.5)), float(draws.uniform(0.6, 2)), float(draws.uniform(0.001, 0.5))
        scale = Scale(floor, constant)
        own = dataclasses.replace(trial, tau=tau)
        over = np.nextafter(scale.goal(tau), 9)
        made = ended(Curve(np.array([9.0, scale.goal(tau)]), False), own, scale, to_end=True, together=False)
        assert made.epoch_to_tau == 1 and not made.lost
        assert ended(Curve(np.array([9.0, over]), False), own, scale, to_end=True, together=False).epoch_to_tau is None
        assert ended(Curve(np.array([9.0, 0.0, over]), False), own, scale, to_end=True, together=False).lost


def test_time_that_is_too_short_gives_up_the_longest_and_the_last():
    asked = question(mlp(3, 8, 1, activation=nn.Tanh), shapes=((8, 3), (8, 1)), max_epochs=10**7, optimizer=("sgd", 1e-9))
    trainer = Trainer(asked.source, asked.batch, asked.facts, asked.device)
    short = dataclasses.replace(asked.trial, max_epochs=5)
    late = trainer.train([Job(asked.trial, 0), Job(short, 0), Job(asked.trial, 1)], time.process_time() + 0.5)
    assert set(late) == {Job(asked.trial, 0), Job(asked.trial, 1)} and not trainer.results[Job(short, 0)].cut
    # They count as trained in vain as far as they came, not as never tried; more time trains them to their end.
    assert all(trainer.results[job].cut and not trainer.results[job].memorized for job in late)


class Threads(nn.Module):
    """Keeps how many threads torch had in each pass."""

    seen: ClassVar[set[int]] = set()

    def __init__(self, width):
        super().__init__()
        self.first, self.last = nn.Linear(2, width), nn.Linear(width, 1)

    def forward(self, x):
        Threads.seen.add(torch.get_num_threads())
        return self.last(torch.tanh(self.first(x)))


def test_a_small_network_is_looked_at_and_trained_by_one_thread_and_a_large_one_by_all():
    """Two that wake each other in each pass take many times as long on a busy machine."""
    x, y = torch.randn(4, 2, generator=DRAWS), torch.randn(4, 1, generator=DRAWS)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for width, known in ((8, {1}), (180_000, {2})):
            Threads.seen.clear()
            bench.diagnose(Threads(width), (x, y), max_epochs=2, seeds=[0], budget_s=0.01)
            assert Threads.seen == known and torch.get_num_threads() == 2
        Threads.seen.clear()
        bench.capacity(Threads(8), ((2,), (1,)), max_epochs=2, search=bench.Search(most_cells=2))
        assert Threads.seen == {1}
    finally:
        torch.set_num_threads(before)
