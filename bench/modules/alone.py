"""One network after the other: a plain loop of torch.optim, for whatever cannot be stacked."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor

from bench.modules.activations import applied
from bench.modules.batches import Batch
from bench.modules.clocks import Clock
from bench.modules.losses import Loss
from bench.modules.networks import Prepared, kept_buffers
from bench.modules.orders import batches
from bench.modules.randomness import drawn, stream
from bench.modules.trials import Curve, Job, stopped_at

# Epochs between looks at the clock and at what was reached.
LOOK = 16


def train(own: Prepared, job: Job, deadline: float, clock: Clock = time.process_time) -> Curve:
    """Losses on the whole batch at epochs 0, 1, ..., until it memorized, diverged, was stopped or had its epochs; or until the
    deadline by this clock, which cuts it off. Where nothing is trained, one epoch tells all.
    """
    trial = job.trial
    module, count = own.module, len(own.batch)
    params = dict(module.named_parameters())
    trained = {name: params[name] for name in own.recipe.names if name in params and params[name].requires_grad}
    if not trained:
        return Curve(np.array([_measured(own, trial.loss)] * 2), False)
    optimizer = own.recipe.build(trained)
    threshold = own.scale.goal(trial.tau)
    whole = trial.batch_size is None or trial.batch_size >= count
    # Where one pass is the loss that is measured and the loss of the next step, it is taken once.
    once = whole and own.judged is own.module and not isinstance(optimizer, torch.optim.LBFGS)
    losses: list[float] = []
    with drawn(stream("training", job.seed)), torch.enable_grad():
        for epoch in range(trial.max_epochs):
            value = _value(own, trial.loss, own.batch) if once else None
            losses.append(_measured(own, trial.loss) if value is None else float(value.detach()))
            # Before training nothing is over, however small the loss.
            if epoch and (not np.isfinite(losses[-1]) or (losses[-1] <= threshold and not job.to_end)):
                return Curve(np.array(losses), False)
            if epoch % LOOK == 1:
                if trial.stop is not None and stopped_at(trial.stop, np.array(losses)) is not None:
                    return Curve(np.array(losses), False)
                if clock() > deadline:
                    return Curve(np.array(losses), True)
            if value is not None:
                optimizer.zero_grad()
                _descend(value)
                optimizer.step()  # pyright: ignore[reportCallIssue]
                continue
            for places in batches(job.seed, epoch, count, trial.batch_size, shuffle=trial.shuffle):
                _step(own, trial.loss, optimizer, places)
        losses.append(_measured(own, trial.loss))
    return Curve(np.array(losses), False)


def _value(own: Prepared, loss: Loss, batch: Batch) -> Tensor:
    return loss.of(applied(own.call, lambda: own.module(*batch.inputs)), batch.targets)


def _descend(value: Tensor) -> None:
    """Gradients of a loss; none where no parameter moves it."""
    if value.requires_grad:
        value.backward()


def _step(own: Prepared, loss: Loss, optimizer: torch.optim.Optimizer, places: Tensor | None) -> None:
    batch = own.batch if places is None else own.batch.map(lambda x: x[places], lambda y: y[places])

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = _value(own, loss, batch)
        _descend(value)
        return value.detach()

    if isinstance(optimizer, torch.optim.LBFGS):
        optimizer.step(closure)  # pyright: ignore[reportArgumentType, reportCallIssue]
    else:
        closure()
        optimizer.step()


def _measured(own: Prepared, loss: Loss) -> float:
    """The loss on the whole batch, in the mode of measuring."""
    judged = own.judged
    if judged is not own.module:
        with torch.no_grad():
            state = own.module.state_dict()
            judged.load_state_dict(state)
    with torch.no_grad(), kept_buffers(judged):
        return float(loss.of(applied(own.call, lambda: judged(*own.batch.inputs)), own.batch.targets))
