"""One network after the other: a plain loop of torch.optim, for whatever cannot be stacked."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor

from bench.modules.activations import applied
from bench.modules.losses import Loss
from bench.modules.networks import Prepared, kept_buffers
from bench.modules.orders import batches
from bench.modules.randomness import drawn, stream
from bench.modules.trials import Clock, Curve, Job, stopped_at

# Epochs between looks at the clock and at what was reached.
LOOK = 16


def train(own: Prepared, job: Job, deadline: float, clock: Clock = time.process_time) -> Curve:
    """Losses on the whole batch at epochs 0, 1, ..., until it memorized, diverged, was stopped or had its epochs; or until the
    deadline by this clock, which cuts it off.
    """
    trial = job.trial
    module, count = own.module, len(own.batch)
    params = dict(module.named_parameters())
    optimizer = own.recipe.build({name: value for name, value in params.items() if value.requires_grad})
    threshold = own.scale.goal(trial.tau)
    losses = [_measured(own, trial.loss)]
    with drawn(stream("training", job.seed)), torch.enable_grad():
        for epoch in range(trial.max_epochs):
            for places in batches(job.seed, epoch, count, trial.batch_size, shuffle=trial.shuffle):
                _step(own, trial.loss, optimizer, places)
            losses.append(_measured(own, trial.loss))
            if not np.isfinite(losses[-1]) or (losses[-1] <= threshold and not job.to_end):
                break
            if epoch % LOOK == 0:
                if trial.stop is not None and stopped_at(trial.stop, np.array(losses)) is not None:
                    break
                if clock() > deadline:
                    return Curve(np.array(losses), True)
    return Curve(np.array(losses), False)


def _step(own: Prepared, loss: Loss, optimizer: torch.optim.Optimizer, places: Tensor | None) -> None:
    batch = own.batch if places is None else own.batch.map(lambda x: x[places], lambda y: y[places])

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss.of(applied(own.call, lambda: own.module(*batch.inputs)), batch.targets)
        if value.requires_grad:
            value.backward()
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
