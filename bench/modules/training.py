"""Jobs -> how they ended: what can train together does, by packs that fit the memory; the rest one after the other."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence

import torch

from bench.modules import alone, together
from bench.modules.batches import Batch, Shapes, noise
from bench.modules.clocks import Clock
from bench.modules.losses import Scale
from bench.modules.networks import Prepared, prepared
from bench.modules.probe import Facts
from bench.modules.randomness import drawn, stream
from bench.modules.sources import Source
from bench.modules.threads import CACHED, OF_OUTPUTS, OF_PARAMETERS, as_many_as_pay
from bench.modules.together import CannotStack
from bench.modules.trials import TRAIN, Curve, Ended, Job, Trial, ended
from bench.protocol.grid import GridError

# Numbers that a pack of networks may hold. On a CPU as many as its caches do, since more at once are no faster; on a GPU two
# gigabytes of float32.
MOST_NUMBERS = {"cpu": CACHED}
MOST_ELSEWHERE = 2**29

# Fields in which trials that train together may differ, beside rates and epochs.
APART = ("init", "gain", "standard_inputs", "standard_targets", "noise_targets", "stop")


class Trainer:
    """Trains jobs on one network and batch, each once; `why_alone` says why some could not train together, in words."""

    def __init__(
        self,
        source: Source,
        batch: Batch | Shapes,
        facts: Facts,
        device: torch.device,
        clock: Clock = time.process_time,
        told: Callable[[], None] = lambda: None,
    ):
        """`batch`: data, or shapes: each seed has noise of its own; `clock`: of deadlines; `told`: called as one ends."""
        self.clock, self._told = clock, told
        self.source, self.batch, self.facts, self.device = source, batch, facts, device
        self.results: dict[Job, Ended] = {}
        self.why_alone: list[str] = []
        self._scales: dict[tuple, Scale] = {}

    def train(self, jobs: Iterable[Job], deadline: float) -> list[Job]:
        """Train what has no result yet, or was cut; returns the jobs that there was no time for, of each pack the last."""
        new = [job for job in dict.fromkeys(jobs) if job not in self.results or self.results[job].cut]
        packs: dict[object, list[Job]] = {}
        for job in new:
            packs.setdefault(_alike(job.trial), []).append(job)
        late: list[Job] = []
        # What trains together first, since it takes the least time for each. What one leaves of its share is for the next.
        waiting = sorted(packs.values(), key=lambda own: (self._cannot(own[0].trial) is not None, max(map(self._steps, own))))
        for number, own in enumerate(waiting):
            now = self.clock()
            share = len(own) / sum(map(len, waiting[number:]))
            late += self._pack(own, now + share * (deadline - now))
        return late

    def _steps(self, job: Job) -> int:
        count = job.trial.n_samples or self.n_samples
        size = min(job.trial.batch_size or count, count)
        return job.trial.max_epochs * -(-count // size)

    @property
    def n_samples(self) -> int:
        """Samples of the batch."""
        return len(self.batch) if isinstance(self.batch, Batch) else self.batch.targets[0]

    def _pack(self, jobs: list[Job], deadline: float) -> list[Job]:
        with as_many_as_pay(self.numbers):
            return self._packed(jobs, deadline)

    def _packed(self, jobs: list[Job], deadline: float) -> list[Job]:
        if self.clock() > deadline:
            return jobs
        reason = self._cannot(jobs[0].trial)
        if reason is None and len(jobs) > 1:
            late: list[Job] = []
            room = max(1, MOST_NUMBERS.get(self.device.type, MOST_ELSEWHERE) // self.numbers)
            jobs = sorted(jobs, key=self._steps)
            for start in range(0, len(jobs), room):
                part = jobs[start : start + room]
                try:
                    late += self._together(part, deadline) if self.clock() < deadline else part
                except CannotStack as error:
                    reason = str(error)
                    late += self._alone(part, deadline)
        else:
            late = self._alone(jobs, deadline)
        if reason is not None and reason not in self.why_alone:
            self.why_alone.append(reason)
        return late

    def _cannot(self, trial: Trial) -> str | None:
        """Why networks of this trial cannot train together, where that is known beforehand."""
        if not trial.recipe.stacks:
            return f"{trial.recipe.kind.__name__} steps over a whole network at once"
        if self.facts.kept is not None:
            return f"each pass changes its {self.facts.kept}, which is no parameter and no buffer, and each network has its own"
        if self.facts.random and trial.dropout and TRAIN in (trial.mode, trial.measured):
            return "it draws random numbers in training, as dropout does, and each network has its own"
        return None

    @property
    def numbers(self) -> int:
        """Numbers that a network takes in training."""
        return max(1, OF_PARAMETERS * self.facts.n_params + OF_OUTPUTS * self.facts.n_outputs)

    def prepare(self, job: Job) -> Prepared:
        """The network of a job, drawn and ready to train."""
        batch = self.batch if isinstance(self.batch, Batch) else noise(self.batch, job.seed)
        batch = batch.map(lambda own: own.to(self.device), lambda own: own.to(self.device))
        network = self.source.draw(job.seed).to(self.device)
        scales = self._scales if isinstance(self.batch, Batch) else {}
        with drawn(stream("changes", job.seed)):
            return prepared(
                network,
                batch,
                job.trial,
                call=self.facts.call,
                seed=job.seed,
                modes_differ=self.facts.modes_differ,
                scales=scales,
            )

    def _together(self, jobs: Sequence[Job], deadline: float) -> list[Job]:
        networks = [self.prepare(job) for job in jobs]

        def over(place: int, curve: Curve) -> None:
            own, job = networks[place], jobs[place]
            self.results[job] = ended(curve, job.trial, own.scale, to_end=job.to_end, together=True)
            self._told()

        try:
            curves = together.train(networks, jobs, deadline, self.clock, over)
        except torch.OutOfMemoryError as error:
            if len(jobs) == 1:
                raise _too_large(self.source.name, self.device) from error
            half = len(jobs) // 2
            return [*self._together(jobs[:half], deadline), *self._together(jobs[half:], deadline)]
        for place, curve in enumerate(curves):
            over(place, curve)
        return [job for job, curve in zip(jobs, curves, strict=True) if curve.cut]

    def _alone(self, jobs: Sequence[Job], deadline: float) -> list[Job]:
        for number, job in enumerate(jobs):
            if self.clock() > deadline:
                return list(jobs[number:])
            own = self.prepare(job)
            try:
                curve = alone.train(own, job, deadline, self.clock)
            except torch.OutOfMemoryError as error:
                raise _too_large(self.source.name, self.device) from error
            self.results[job] = ended(curve, job.trial, own.scale, to_end=job.to_end, together=False)
            self._told()
            if curve.cut:
                return list(jobs[number:])
        return []


def _too_large(name: str, device: torch.device) -> GridError:
    rule = f"does not fit into the memory of {device} beside its gradients and its optimizer's state"
    return GridError("module", name, rule, "give a smaller batch_size or fewer samples, or device='cpu'")


def _alike(trial: Trial) -> object:
    """What trials have in common that may train together."""
    own = {field.name: field.default for field in dataclasses.fields(Trial) if field.name in APART}
    return dataclasses.replace(trial, **own, max_epochs=0, recipe=trial.recipe.scaled(1 / trial.recipe.rate))
