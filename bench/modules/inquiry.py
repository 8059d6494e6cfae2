"""What a diagnosis trains: the network as asked, variants of it in stages, and fresh seeds for what stands out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from bench.modules.causes import Finding, Held, Why
from bench.modules.changes import levers, size, without
from bench.modules.ladder import LOWER, MUCH_LOWER, Ladder, repaired
from bench.modules.questions import Question
from bench.modules.training import Trainer
from bench.modules.trials import EVAL, TRAIN, Ended, Job, Trial
from bench.protocol.cells import MAX_SEED
from bench.statistics.confirmation import LOOKS, MAJORITY, MOST_TRIED, TRIED_IN_A_STAGE, Answer, memorizable, needed, works
from bench.statistics.evidence import HALVED, Lever

# Without a limit of its own a diagnosis takes so long, or this many times what the network as asked took, whichever is more.
LEAST_TIME_S, TIMES_ASKED = 30.0, 15.0

# So long as asked, where the loss compares all pairs; and who ended before this share of its epochs tells no more.
QUADRATIC_S, LEAST_SHARE = 3.0, 0.01

# Findings of arithmetic on the loss.
ARITHMETIC = (Held.SHAPES, Held.OUTPUT, Held.LINEAR)

# Of the time that is left, a stage of the ladder may take so much.
SCREENING = 0.6

# Changes that leave at most so many times what the closest leaves are as close: the smallest of them is told.
AS_CLOSE = 1.1

# And this share of all is for what is told where nothing is confirmed.
RESERVED = 0.15


@dataclasses.dataclass(frozen=True, slots=True)
class Tally:
    """What came of a trial: with the seeds of the ladder, on fresh seeds, and as asked on the same fresh seeds."""

    ladder: tuple[Ended, ...]
    fresh: tuple[Ended, ...]
    beside: tuple[Ended, ...]

    @property
    def hits(self) -> int:
        """Seeds of the ladder that memorized."""
        return sum(own.memorized for own in self.ladder)

    @property
    def share(self) -> float:
        """Their share; 0 where none has a result."""
        return self.hits / len(self.ladder) if self.ladder else 0.0

    @property
    def fresh_hits(self) -> int:
        """Fresh seeds that memorized."""
        return sum(own.memorized for own in self.fresh)

    @property
    def beside_hits(self) -> int:
        """As asked, on the same."""
        return sum(own.memorized for own in self.beside)

    @property
    def every(self) -> tuple[Ended, ...]:
        """Of all seeds."""
        return (*self.ladder, *self.fresh)

    @property
    def left(self) -> float:
        """The median of the least tau of the seeds of the ladder; infinite where none has a result."""
        return float(np.median([own.best for own in self.ladder])) if self.ladder else math.inf


class Inquiry:
    """The rounds of a diagnosis. After `run`, `remedy` is the change that was confirmed, if any, and `tried` are all trials."""

    def __init__(self, asked: Question, findings: Iterable[Finding], trainer: Trainer, budget_s: float | None):
        self.asked, self.trainer, self._budget_s = asked, trainer, budget_s
        self.findings = tuple(findings)
        self.base = repaired(asked.trial, self.findings)
        # Arithmetic says that the network as asked cannot memorize: it need not be trained beside a change to know that.
        self.impossible = any(own.sure and own.about in ARITHMETIC for own in self.findings)
        self.spoken_for: frozenset[Why] = frozenset(own.about for own in self.findings if own.about is not None)
        self._fresh = self._more_seeds(LOOKS[-1]) if asked.source.drawable or not asked.source.is_instance else []
        self.seeds = asked.seeds if self._fresh else asked.seeds[:1]
        self.tried: dict[Trial, None] = {asked.trial: None}
        self.left_out: dict[Trial, None] = {}
        self.remedy: Trial | None = None
        # `loses`, of the seeds of the ladder alone, so that it is known before anything else is trained.
        self.loses_asked = False
        self.started = trainer.clock()
        self.deadline = math.inf
        self._left_to_try = MOST_TRIED

    def run(self) -> None:
        """Train until a change is confirmed, nothing is left to try, or the time is over."""
        self.started = started = self.trainer.clock()
        if self._budget_s is not None:
            self.deadline = started + self._budget_s
        trial = self.asked.trial
        # A loss of all pairs takes long, and nobody wants it.
        quadratic = any(own.sure and own.about is Held.SHAPES for own in self.findings)
        short = started + QUADRATIC_S if quadratic else self.deadline
        self._train([trial], self.seeds, min(short, self.deadline))
        first = self.tally(trial).ladder
        self.loses_asked = sum(one.lost for one in first) > MAJORITY * len(self.seeds)
        if self._budget_s is None:
            # Whoever is stopped early took less than the epochs that were asked for.
            ran = [own.epochs_run for own in self.tally(trial).ladder]
            share = max(1, sum(ran)) / max(1, len(ran) * trial.max_epochs)
            took = 0.0 if quadratic else (self.trainer.clock() - started) / max(share, LEAST_SHARE)
            self.deadline = started + max(LEAST_TIME_S, TIMES_ASKED * took)
        self._luck()
        if self.answer is Answer.YES and not self.loses and not self.other_mode:
            return
        for stage in self._stages():
            new = [own for own in dict.fromkeys(stage()) if own not in self.tried]
            # A part of the time is kept to confirm what is found.
            now = self.trainer.clock()
            until = started + (1 - RESERVED) * (self.deadline - started)
            until = now + SCREENING * (until - now)
            # The smallest change first: beside many others, which take fewer epochs, it would be the first to be given up.
            self._train([own for own in new if levers(own, trial) == (Lever.BUDGET,)], self.seeds, until)
            self._train(new, self.seeds, until)
            self.tried |= dict.fromkeys(own for own in new if self.tally(own).ladder)
            self.remedy = self._confirm(new)
            if self.remedy is not None and Lever.SAMPLES not in levers(self.remedy, trial):
                return
            if self.remedy is not None:
                # Fewer samples are the last resort: what of the others helps is told first.
                break
        self._settle()

    def _stages(self) -> Iterator[Callable[[], list[Trial]]]:
        variants = Ladder(self.base, self.asked.facts, self.spoken_for, self.trainer.n_samples, self.diverges)
        if self.loses or (self.answer is Answer.YES and self.other_mode):
            # Training longer or on other samples tells nothing here.
            yield self._calmer
            return
        if any(own.sure and not own.change for own in self.findings):
            # What no training mends: rates alone, to see whether it gets to what can be reached.
            yield lambda: variants.rates(self.base)
            return
        if self.base != self.asked.trial:
            yield lambda: [self.base]
        yield variants.singles
        yield variants.pairs
        yield lambda: variants.longest(self.closest)
        # What helps is known before samples are taken away.
        self._falling()
        yield lambda: variants.others(self.closest, self._outputs)

    def _calmer(self) -> list[Trial]:
        """What keeps what was memorized, lower rates, where it is lost; and the other mode."""
        own = self.asked.trial
        factors = (*LOWER, *MUCH_LOWER) if self.loses else ()
        made = [dataclasses.replace(own, recipe=own.recipe.scaled(factor)) for factor in factors]
        return [*made, *([dataclasses.replace(own, mode=TRAIN)] if self.other_mode else [])]

    @property
    def share(self) -> float:
        """Of its time, how much is over: 0 as long as it is not known how much it has."""
        return (self.trainer.clock() - self.started) / (self.deadline - self.started)

    @property
    def _outputs(self) -> int:
        output = self.asked.facts.output
        return max(1, getattr(output, "numel", lambda: 1)() // max(1, self.trainer.n_samples))

    @property
    def other_mode(self) -> bool:
        """Whether the network came in evaluation mode, and training mode is another."""
        return self.asked.trial.mode == EVAL and self.asked.facts.modes_differ

    @property
    def answer(self) -> Answer:
        """Whether the network as asked memorizes clearly more often than not."""
        every = self.tally(self.asked.trial).every
        hits = sum(own.memorized for own in every)
        if not self._fresh and every:
            return Answer.YES if hits == len(every) else Answer.NO
        return memorizable(hits, len(every)) if every else Answer.OPEN

    @property
    def loses(self) -> bool:
        """Whether most that memorize lose it again before the end."""
        every = self.tally(self.asked.trial).every
        return sum(own.lost for own in every) > MAJORITY * len(every)

    @property
    def closest(self) -> Trial:
        """The trial on all samples and true targets that left the least."""
        same = [own for own in self.tried if own.n_samples is None and not own.noise_targets]
        return min(same, key=lambda own: self.tally(own).left)

    @property
    def nearest(self) -> Trial:
        """The smallest change of those that left about as little as the closest."""
        most = AS_CLOSE * self.tally(self.closest).left
        same = [own for own in self.tried if own.n_samples is None and not own.noise_targets and self.tally(own).left <= most]
        return min(same, key=lambda own: (*size(levers(own, self.asked.trial), self.spoken_for), self.tally(own).left))

    def halved(self, trial: Trial) -> tuple[int, int]:
        """On how many fresh seeds a change leaves at most half of what is left as asked, of how many both came to an end on."""
        known = self.trainer.results
        jobs = [(self._job(trial, seed), self._job(self.asked.trial, seed)) for seed in self._fresh]
        both = [(known[own], known[asked]) for own, asked in jobs if own in known and asked in known]
        ended = [(own, asked) for own, asked in both if not own.cut and not asked.cut]
        return sum(own.best <= HALVED * asked.best for own, asked in ended), len(ended)

    def tally(self, trial: Trial) -> Tally:
        """What is known of a trial."""
        known = self.trainer.results
        fresh = [seed for seed in self._fresh if self._job(trial, seed) in known]
        both = [seed for seed in fresh if self._job(self.asked.trial, seed) in known]
        own = fresh if trial == self.asked.trial or self.impossible else both
        return Tally(
            tuple(known[job] for job in (self._job(trial, seed) for seed in self.seeds) if job in known),
            tuple(known[self._job(trial, seed)] for seed in own),
            tuple(known[self._job(self.asked.trial, seed)] for seed in both),
        )

    def _to_end(self, trial: Trial) -> bool:
        """Whoever asked goes on when it has memorized; so does what must keep it."""
        return trial == self.asked.trial or self.loses_asked

    def _job(self, trial: Trial, seed: int) -> Job:
        return Job(trial, seed, self._to_end(trial))

    def _train(self, trials: Iterable[Trial], seeds: Iterable[int], deadline: float | None = None) -> bool:
        """Have results of these trials with these seeds; False where there is no time for all."""
        jobs = [self._job(trial, seed) for trial in trials for seed in seeds]
        late = self.trainer.train(jobs, self.deadline if deadline is None else deadline)
        self.left_out |= dict.fromkeys(job.trial for job in late)
        return not late

    def _luck(self) -> None:
        """More seeds of the network as asked, where some memorize and it is open whether most do."""
        if not any(own.memorized for own in self.tally(self.asked.trial).ladder):
            return
        for look in LOOKS:
            if self.answer is Answer.OPEN or len(self.tally(self.asked.trial).every) < LOOKS[0]:
                self._train([self.asked.trial], self._fresh[: max(0, look - len(self.seeds))])

    def good(self, trial: Trial) -> bool:
        """Whether a change succeeded with most seeds of the ladder."""
        own = self.tally(trial)
        if any(one.scale.width != one.scale.constant - one.scale.floor for one in own.ladder):
            # Of so few samples the targets are equal, and tell nothing.
            return False
        if self.loses:
            return bool(own.ladder) and sum(one.memorized and not one.lost for one in own.ladder) >= MAJORITY * len(own.ladder)
        return own.share >= MAJORITY

    def _confirm(self, new: list[Trial]) -> Trial | None:
        """The first of the best trials that fresh seeds confirm, without the levers that it does not need."""
        asked = self.asked.trial
        good = [own for own in new if own in self.tried and self.good(own) and Lever.TASK not in levers(own, asked)]
        for candidate in sorted(good, key=self._rank)[: min(TRIED_IN_A_STAGE, self._left_to_try)]:
            if not self._fresh:
                return candidate
            self._left_to_try -= 1
            if self._works(candidate) is Answer.YES:
                return self._reduced(candidate)
        return None

    def _rank(self, trial: Trial) -> tuple[float, ...]:
        own = self.tally(trial)
        pulled = levers(trial, self.asked.trial)
        spoken = set(self.spoken_for)
        if self.diverges and Lever.LEARNING_RATE in pulled and trial.recipe.rate < self.asked.trial.recipe.rate:
            spoken.add(Lever.LEARNING_RATE)
        ends = sorted(one.epoch_to_tau if one.epoch_to_tau is not None else math.inf for one in own.ladder)
        return (-own.share, *size(pulled, spoken), ends[len(ends) // 2] if ends else math.inf)

    @property
    def diverges(self) -> bool:
        """Whether most seeds diverge as asked."""
        every = self.tally(self.asked.trial).every
        return bool(every) and sum(own.diverged for own in every) >= MAJORITY * len(every)

    def _works(self, trial: Trial) -> Answer:
        """Fresh seeds for a change and for the network as asked, until it is clear whether the change works better."""
        answer = Answer.OPEN
        for look in LOOKS:
            beside = [] if self.impossible else [self.asked.trial]
            if not self._train([*beside, trial], self._fresh[:look]):
                return answer
            own = self.tally(trial)
            answer = works(self._successes(own.fresh), len(own.fresh), self._successes(own.beside))
            if answer is not Answer.OPEN:
                return answer
        return answer

    def _successes(self, ended: Iterable[Ended]) -> int:
        """Where the network as asked loses what it memorized, a success is one that keeps it."""
        return sum(own.memorized and not (self.loses_asked and own.lost) for own in ended)

    def _reduced(self, remedy: Trial) -> Trial:
        """The remedy without each lever that it works as well without, the largest first; fresh seeds decide."""
        asked, kept = self.asked.trial, set(levers(self.base, self.asked.trial))
        while True:
            left = [lever for lever in levers(remedy, asked) if lever not in kept]
            if len(levers(remedy, asked)) < 2 or not left:
                return remedy
            less = without(left[-1], remedy, asked)
            kept.add(left[-1])
            seeds = self._fresh[: max(LOOKS[0], len(self.tally(remedy).fresh))]
            self._train([less], self.seeds)
            self.tried[less] = None
            if not self._train([less], seeds):
                return remedy
            own, full = self.tally(less), self.tally(remedy)
            if needed(full.fresh_hits, len(full.fresh), own.fresh_hits, len(own.fresh)) is Answer.YES:
                continue
            if self._works(less) is Answer.YES:
                remedy = less

    def _settle(self) -> None:
        """More seeds as asked, where some memorize: the share of draws that do."""
        if any(own.memorized for own in self.tally(self.asked.trial).every):
            self._train([self.asked.trial], self._fresh)
        self._falling()

    def _falling(self) -> None:
        """Fresh seeds for the most epochs and for what left the least, if that is much less."""
        asked = self.asked.trial
        longer = [own for own in self.tried if levers(own, self.base) == (Lever.BUDGET,)]
        for own in (max(longer, key=lambda own: own.max_epochs, default=asked), self.nearest):
            if own != asked and self.tally(own).left <= HALVED * self.tally(asked).left:
                for look in LOOKS:
                    if look == LOOKS[0] or memorizable(*self.halved(own)) is Answer.OPEN:
                        self._train([asked, own], self._fresh[:look])

    def _more_seeds(self, count: int) -> list[int]:
        """The seeds that follow the asked ones; after the largest comes 0."""
        used, made, seed = set(self.asked.seeds), [], max(self.asked.seeds)
        while len(made) < count:
            seed = (seed + 1) % (MAX_SEED + 1)
            if seed not in used:
                made.append(seed)
        return made
