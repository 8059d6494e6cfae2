"""Worlds in which every training of a module succeeds with a known probability, and what its diagnosis says of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import numpy as np
from torch import nn

from bench.modules.inquiry import Inquiry
from bench.modules.losses import Scale
from bench.modules.questions import Question, question
from bench.modules.training import Trainer
from bench.modules.trials import Curve, Ended, Job, Trial, ended
from bench.modules.verdict import Verdict, verdict
from tests.modules.cases import mlp

SCALE = Scale(0.0, 1.0)


def asked(**settings: object) -> Question:
    """A small network on noise, with a ladder of all stages."""
    given = {"optimizer": ("sgd", 0.01), "batch_size": 4, "max_epochs": 40} | settings
    return question(lambda: mlp(3, 8, 1, activation=nn.Tanh), shapes=((16, 3), (16, 1)), **given)  # pyright: ignore[reportArgumentType]


class World(Trainer):
    """Trains nothing: a job memorizes with the probability of its trial, at a tau of 0.005, and ends at about 0.5 else.

    Taus vary by a factor of 3 either way, so that chance halves what is left now and then.
    """

    def __init__(self, own: Question, chance_of: Callable[[Trial], float], seed: int):
        super().__init__(own.source, own.batch, own.facts, own.device)
        self._chance_of, self._seed = chance_of, seed
        self.trained: list[Job] = []

    def train(self, jobs: Iterable[Job], deadline: float) -> list[Job]:
        """Every job has a result at once."""
        for job in dict.fromkeys(jobs):
            if job not in self.results:
                self.results[job] = self._ended(job, random.Random(f"{self._seed} {len(self.trained)}"))
                self.trained.append(job)
        return []

    def _ended(self, job: Job, draws: random.Random) -> Ended:
        left = 0.005 if draws.random() < self._chance_of(job.trial) else 0.5 * 3 ** draws.uniform(-1, 1)
        losses = np.concatenate([np.ones(job.trial.max_epochs), [left]])
        return ended(Curve(losses, False), job.trial, SCALE, to_end=job.to_end, together=True)


def diagnosed(own: Question, chance_of: Callable[[Trial], float], seed: int) -> tuple[Verdict, Inquiry]:
    """The verdict in a world, and the inquiry that led to it; no look before training speaks for anything."""
    inquiry = Inquiry(own, (), World(own, chance_of, seed), None)
    inquiry.run()
    return verdict(inquiry), inquiry
