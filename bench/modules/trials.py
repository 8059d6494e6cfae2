"""How one network is trained and measured: the settings of a trial, and how it ended."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from bench.modules.losses import RAISED, Loss, Scale, first_line
from bench.modules.optimizers import Recipe
from bench.protocol.grid import GridError

TRAIN, EVAL = "train", "eval"

# A loss beyond this many times that before training and that of the best constant has diverged.
BLOWN_UP = 2.0

# Points of a learning curve that are kept: half of them evenly spaced, half by the logarithm of the epoch.
MOST_POINTS = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Stop:
    """A stopping rule: after `patience` epochs in a row whose loss on the batch is not below the least so far by `gain`.

    scikit-learn's `n_iter_no_change` and `tol` are these.
    """

    patience: int
    gain: float = 0.0

    def __post_init__(self) -> None:
        if type(self.patience) is not int or self.patience < 1:
            raise GridError("stop.patience", self.patience, "must be a whole number of at least 1", "give for example 10")
        if isinstance(self.gain, bool) or not isinstance(self.gain, int | float) or not 0 <= self.gain < math.inf:
            raise GridError("stop.gain", self.gain, "must be a number of at least 0", "give for example 1e-4")

    def epoch(self, losses: np.ndarray) -> int | None:
        """The epoch at which it stops; losses[0] is that before training."""
        least, waited = float(losses[0]), 0
        for epoch, loss in enumerate(losses.tolist()[1:], start=1):
            waited = 0 if loss < least - self.gain else waited + 1
            least = min(least, loss)
            if waited > self.patience:
                return epoch
        return None


_STOP = "it is given the losses so far, two after the first epoch"

Rule = Stop | Callable[[Sequence[float]], bool]


def stopped_at(rule: Rule | None, losses: np.ndarray) -> int | None:
    """The epoch at which a rule stops a training with these losses, None where it does not.

    Raises:
        GridError: a function that is the rule raises.

    >>> stopped_at(Stop(2, 0.1), np.array([1.0, 0.5, 0.45, 0.44, 0.43, 0.1])), stopped_at(None, np.ones(9))
    (4, None)
    """
    if rule is None:
        return None
    if isinstance(rule, Stop):
        return rule.epoch(losses)
    told = losses.tolist()
    try:
        return next((epoch for epoch in range(1, len(told)) if rule(told[: epoch + 1])), None)
    except RAISED as error:
        raise GridError("stop", getattr(rule, "__name__", "function"), f"raised {first_line(error)}", _STOP) from error


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """What a training is, beside the network and the batch. What has a default here is as the user has it.

    `init`: "asked", "default" (torch's own, by reset_parameters) or "rescaled" (each layer's weights so that its outputs have
    variance 1); `gain`: a factor on all weights; `standard_inputs`, `standard_targets`: shifted and scaled to mean 0 and
    variance 1; `noise_targets`: targets of other samples; `n_samples`: so many of them; `dropout`, `batch_statistics`:
    whether dropout acts, whether BatchNorm normalizes by each batch's own statistics alone; `output`: whether the last
    activation acts; `double`: in float64; `mode`, `measured`: train or eval; `shaped`: targets in the shape of the outputs;
    `whole`: every parameter is trained.
    """

    recipe: Recipe
    loss: Loss
    max_epochs: int
    tau: float
    batch_size: int | None = None
    shuffle: bool = True
    stop: Rule | None = None
    mode: str = TRAIN
    measured: str = EVAL
    init: str = "asked"
    gain: float = 1.0
    standard_inputs: bool = False
    standard_targets: bool = False
    noise_targets: bool = False
    n_samples: int | None = None
    dropout: bool = True
    batch_statistics: bool = False
    output: bool = True
    double: bool = False
    shaped: bool = False
    whole: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """A trial with a seed. `to_end`: it goes on when it has memorized, as whoever asked would."""

    trial: Trial
    seed: int
    to_end: bool = False


class Curve(NamedTuple):
    """Losses at epochs 0, 1, ... of a training; `cut`: it had not ended when its time was over."""

    losses: np.ndarray
    cut: bool


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Ended:
    """How a job ended.

    `epoch_to_tau`: None where tau was never reached; `best`, `best_epoch`, `last`: the least tau, when, and the last one;
    `stopped`: by its rule; `cut`: before its end, for want of time; `losses`: at the epochs `epochs`; `together`: beside
    others, else alone; `scale`: of tau; `tau`: the threshold.
    """

    epoch_to_tau: int | None
    best: float
    best_epoch: int
    last: float
    epochs_run: int
    stopped: bool
    cut: bool
    epochs: np.ndarray
    losses: np.ndarray
    together: bool
    scale: Scale
    tau: float

    @property
    def memorized(self) -> bool:
        """Whether tau was reached at any epoch."""
        return self.epoch_to_tau is not None

    @property
    def diverged(self) -> bool:
        """Whether the loss stopped being a finite number, or is beyond twice what it was and what the best constant has."""
        return not self.last <= BLOWN_UP * max(1.0, self.scale.tau(float(self.losses[0])))

    @property
    def lost(self) -> bool:
        """Whether tau was reached, and is not any more."""
        return self.memorized and not float(self.losses[-1]) <= self.scale.goal(self.tau)


def ended(curve: Curve, trial: Trial, scale: Scale, *, to_end: bool, together: bool) -> Ended:
    """What came of a training with this curve; what is beyond its own end is left out."""
    losses, cut = curve
    end = min(len(losses) - 1, trial.max_epochs)
    finite = np.isfinite(losses[: end + 1])
    if not finite.all():
        end = int(np.argmin(finite))
    at = stopped_at(trial.stop, losses[: end + 1])
    stopped = at is not None and at < end
    end = at if at is not None else end
    taus = (losses[: end + 1].astype(float) - scale.floor) / scale.width
    reached = np.flatnonzero(losses[: end + 1] <= scale.goal(trial.tau))
    first = int(reached[0]) if len(reached) else None
    if first is not None and not to_end:
        end, stopped = first, False
        taus = taus[: end + 1]
    known = np.where(np.isfinite(taus), taus, math.inf)
    few = min(end + 1, MOST_POINTS // 2)
    both = (np.linspace(0, end, few), np.geomspace(1, max(end, 1), few)) if end >= MOST_POINTS else (np.arange(end + 1),)
    kept = np.unique(np.concatenate(both).round().astype(int))
    return Ended(
        epoch_to_tau=first,
        best=float(known.min()),
        best_epoch=int(known.argmin()),
        last=float(taus[-1]),
        epochs_run=end,
        stopped=stopped or (at is not None and first is None),
        cut=cut,
        epochs=kept,
        losses=losses[kept].astype(float),
        together=together,
        scale=scale,
        tau=trial.tau,
    )
