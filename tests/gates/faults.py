"""Faults of training, planted in the witness: each a mistake that a program for training could make.

Each is a function that takes pytest's monkeypatch and changes what `tests.engines.witness.plain_loop` does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import pandas as pd
import torch

from bench.gates.learned import FIRST_EPOCHS, Learned
from bench.protocol.cells import Cell
from tests.engines import witness


def by_witness(cells: Iterable[Cell], base: Learned) -> Learned:
    """What the plain loop, with a fault or without one, learns of these cells of the base in its first epochs; the rest as there."""
    rows = []
    for cell in cells:
        tau, *_ = witness.plain_loop(cell, FIRST_EPOCHS + 1)
        epochs = base.curves.loc[base.curves["cell_id"] == cell.cell_id, "epoch"]
        rows += [(cell.cell_id, epoch, tau[epoch]) for epoch in epochs if epoch < len(tau)]
    return base._replace(curves=pd.DataFrame(rows, columns=list(base.curves)))


class OwnAdam(torch.optim.Optimizer):
    """Adam, or what a mistake makes of it."""

    def __init__(self, params, cell, *, corrects: bool = True, eps_inside: bool = False):
        super().__init__(params, {})
        self.cell, self.corrects, self.eps_inside = cell, corrects, eps_inside

    @torch.no_grad()
    def step(self, closure=None):
        cell = self.cell
        for param in self.param_groups[0]["params"]:
            state = self.state[param]
            if not state:
                state.update(count=0, first=torch.zeros_like(param), second=torch.zeros_like(param))
            state["count"] += 1
            grad = param.grad + cell.weight_decay * param
            state["first"].lerp_(grad, 1 - cell.beta1)
            state["second"].mul_(cell.beta2).addcmul_(grad, grad, value=1 - cell.beta2)
            one, two = (1 - beta ** state["count"] if self.corrects else 1.0 for beta in (cell.beta1, cell.beta2))
            second = state["second"] / two
            root = (second + cell.eps).sqrt() if self.eps_inside else second.sqrt() + cell.eps
            param.sub_(cell.learning_rate * state["first"] / one / root)


def _adam(monkeypatch, **mistakes: bool) -> None:
    make = witness.make_optimizer

    def made(cell, params):
        usual = cell.optimizer == "adam" and not cell.amsgrad and cell.lr_schedule == "constant"
        return OwnAdam(params, cell, **mistakes) if usual else make(cell, params)

    monkeypatch.setattr(witness, "make_optimizer", made)
    _without_schedule(monkeypatch, lambda cell, own: isinstance(own, OwnAdam))


class Constant:
    """In place of a schedule of torch's, which wants an optimizer of its own kind."""

    def step(self) -> None:
        pass


def _without_schedule(monkeypatch, where) -> None:
    """No schedule for the cells and optimizers `where` there is none to keep, since the rate is constant."""
    schedule = witness.make_schedule
    monkeypatch.setattr(witness, "make_schedule", lambda cell, own: Constant() if where(cell, own) else schedule(cell, own))


def none(monkeypatch) -> None:
    """Adam written out by hand, as it should be."""
    _adam(monkeypatch)


def no_bias_correction(monkeypatch) -> None:
    _adam(monkeypatch, corrects=False)


def eps_inside_the_root(monkeypatch) -> None:
    _adam(monkeypatch, eps_inside=True)


def dropout_in_evaluation(monkeypatch) -> None:
    forward = witness.Network.forward

    def dropped(self, x, masks=None):
        if masks is not None:
            self.last = masks
        elif hasattr(self, "last") and self.last.shape[-1] == len(x):
            masks = self.last
        return forward(self, x, masks)

    monkeypatch.setattr(witness.Network, "forward", dropped)


def new_targets_each_epoch(monkeypatch) -> None:
    loss = witness.mean_loss
    calls = [0]

    def drawn(cell, outputs, targets):
        if torch.is_grad_enabled():
            calls[0] += 1
            targets = torch.randn(targets.shape, generator=torch.Generator().manual_seed(calls[0])).to(targets)
        return loss(cell, outputs, targets)

    monkeypatch.setattr(witness, "mean_loss", drawn)


def last_partial_batch_dropped(monkeypatch) -> None:
    loss, make = witness.mean_loss, witness.make_optimizer
    partial = [False]

    def noted(cell, outputs, targets):
        if torch.is_grad_enabled():
            partial[0] = cell.batch_size is not None and len(targets) < min(cell.batch_size, cell.n_samples)
        return loss(cell, outputs, targets)

    def made(cell, params):
        optimizer = make(cell, params)
        if cell.batch_size is not None:
            step = optimizer.step
            optimizer.step = lambda *asked: None if partial[0] else step(*asked)
        return optimizer

    monkeypatch.setattr(witness, "mean_loss", noted)
    monkeypatch.setattr(witness, "make_optimizer", made)
    _without_schedule(monkeypatch, lambda cell, own: cell.batch_size is not None)


def tau_from_a_running_mean(monkeypatch) -> None:
    loss = witness.mean_loss
    seen: list[float] = []

    def averaged(cell, outputs, targets):
        value = loss(cell, outputs, targets)
        if torch.is_grad_enabled():
            seen.append(float(value.detach()))
            return value
        mean = math.fsum(seen[-10:]) / len(seen[-10:]) if seen else float(value)
        return torch.tensor(mean)

    monkeypatch.setattr(witness, "mean_loss", averaged)


def weight_decay_without_biases(monkeypatch) -> None:
    make = witness.make_optimizer

    def made(cell, params):
        optimizer = make(cell, [param for param in params if param.ndim > 1])
        optimizer.add_param_group({"params": [param for param in params if param.ndim == 1], "weight_decay": 0.0})
        return optimizer

    monkeypatch.setattr(witness, "make_optimizer", made)


def one_order_for_all_epochs(monkeypatch) -> None:
    draw = witness.permutation
    monkeypatch.setattr(witness, "permutation", lambda key, epoch, size: draw(key, 0, size))


def a_bias_that_is_not_trained(monkeypatch) -> None:
    make = witness.make_optimizer
    monkeypatch.setattr(witness, "make_optimizer", lambda cell, params: make(cell, params[:-1]))
