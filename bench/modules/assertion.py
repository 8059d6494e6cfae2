"""`bench.assert_memorizes`: a test of somebody's own suite that fails when a network stops fitting one batch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from bench.modules.clocks import own_time
from bench.modules.diagnosis import diagnosed
from bench.modules.networks import quiet
from bench.modules.questions import check_budget, check_whole, question
from bench.modules.traced import ready
from bench.modules.training import Trainer
from bench.modules.trials import EVAL, Ended, Job
from bench.statistics.evidence import Cause

# A test takes at most so many seconds; what training leaves is for the diagnosis of one that fails, this share at least.
MOST_S, OF_DIAGNOSIS = 10.0, 0.25

# What is left for the diagnosis of one that took all of it to train.
LEAST_S = 0.1


def assert_memorizes(
    module: object,
    batch: object = None,
    *,
    tau: float = 0.01,
    within_epochs: int = 1000,
    shapes: object = None,
    arguments: Mapping[str, Any] | None = None,
    loss: object = "mse",
    optimizer: object = "adam",
    seed: int = 0,
    budget_s: float | None = MOST_S,
    device: str | None = None,
) -> str:
    """Train a copy of a network on one batch, and fail with the two lines of a diagnosis if it does not memorize it.

    All samples are in each step, in one order; dropout is off. The same seed gives the same result.

    Args:
        module, batch, shapes, arguments, loss, optimizer, device: as of `bench.diagnose`.
        tau: the share of what the best constant leaves that may be left.
        within_epochs: passes over the batch in which that has to be reached.
        seed: of the initial weights.
        budget_s: seconds that all of it may take, of this process's own time (`bench.modules.clocks.own_time`), so that a busy
            machine fails no test; None: as many as its epochs do.

    Returns:
        One line: at which epoch tau was reached, and what was turned off.

    Raises:
        AssertionError: it does not memorize; the verdict, and what to change.
        bench.GridError: a value that cannot be, or a module that raises.

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 32), torch.nn.ReLU(), torch.nn.Dropout(0.2), torch.nn.Linear(32, 1))
    >>> x = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    >>> assert_memorizes(net, (x, x[:, :1] * x[:, 1:2]), optimizer=("adam", 0.01))
    'memorized at epoch ...: tau 0.00... of 0.01; turned off: dropout'
    """
    check_budget(budget_s)
    check_whole("within_epochs", within_epochs)
    # What is loaded once in a process is not the network's time.
    ready()
    since, clock = datetime.now(UTC), own_time()
    with quiet():
        asked = question(
            module,
            batch,
            shapes=shapes,
            arguments=arguments,
            loss=loss,
            optimizer=optimizer,
            max_epochs=within_epochs,
            tau=tau,
            seeds=(seed,),
            device=device,
            ranked=False,
        )
        trainer = Trainer(asked.source, asked.batch, asked.facts, asked.device, clock)
        trial = dataclasses.replace(asked.trial, dropout=False, measured=EVAL)
        off = ["dropout"] if asked.facts.random else []
        job = Job(trial, seed)
        limit_s = math.inf if budget_s is None else (1 - OF_DIAGNOSIS) * budget_s
        late = trainer.train([job], limit_s)
        if not late and trainer.results[job].memorized:
            ended = trainer.results[job]
            told = f"; turned off: {', '.join(off)}" if off else ""
            return f"memorized at epoch {ended.epoch_to_tau}: tau {ended.best:.2g} of {tau:g}{told}"
    why = diagnosed(asked, None if budget_s is None else max(LEAST_S, budget_s - clock()), clock, since=since)
    if late:
        reached = f"not within {limit_s:g} s; give more with budget_s, or a smaller batch"
    else:
        reached = _reached(trainer.results[job], within_epochs)
    because, change = why.verdict.sentences[0], "; ".join(why.verdict.code) or "see bench.diagnose"
    if why.verdict.cause is Cause.NOTHING:
        # As asked it memorizes, so that what was given to this training alone is the cause.
        held, change = ("time", "give more with budget_s") if late else ("the draw, or training without dropout", change)
        because = f"Perhaps held back by {held}. {because}"
    raise AssertionError(f"{asked.source.name} does not memorize the batch: {reached}\n{because}\n{change}")


def _reached(own: Ended, epochs: int) -> str:
    best = f"{own.best:.3g} at best, at epoch {own.best_epoch}, not {own.tau:g}"
    if not math.isfinite(own.last):
        return f"the loss diverged at epoch {own.epochs_run} of {epochs}; tau is {best}"
    diverged = ", diverged" if own.diverged else ""
    return f"tau is {own.last:.3g} after {own.epochs_run} of {epochs} epochs{diverged}; {best}"
