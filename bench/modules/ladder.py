"""A trial -> the variants to train beside it, in stages, to find out what held it back; the likeliest first."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable

from bench.modules.causes import Finding, Held, Why
from bench.modules.losses import NAMED, Kind
from bench.modules.optimizers import named
from bench.modules.probe import Facts
from bench.modules.trials import EVAL, TRAIN, Trial
from bench.runs.ladder import ADAM_RATES, FEWER, LEAST_FEWER, LEAST_SAMPLES, LEAST_STEPS, MOMENTUM
from bench.statistics.evidence import Lever

# Factors on the asked rate, the likeliest first. Data of any scale are met here, so further than in the ladder of a cell.
HIGHER, LOWER, MUCH_LOWER = (10.0, 3.0, 30.0, 100.0), (0.3, 0.1), (0.01, 0.001)

# Of Adam; small networks stand more than the others.
ADAMS = (*ADAM_RATES, 0.03, 0.1)

# Rates as near as this factor are the same.
NEAR = 1.5

# Factors on all weights.
GAINS = (10.0, 0.1)

# Enough to see whether what is left still falls.
MORE_EPOCHS = 5


def repaired(asked: Trial, findings: Iterable[Finding]) -> Trial:
    """With what arithmetic says must be changed."""
    changes = {name: value for finding in findings if finding.sure for name, value in finding.change}
    return dataclasses.replace(asked, **changes)


@dataclasses.dataclass(frozen=True, slots=True)
class Ladder:
    """The variants of `base`. `spoken_for`: what looks before training spoke for; `diverges`: the asked rate is too high."""

    base: Trial
    facts: Facts
    spoken_for: Collection[Why]
    n_samples: int
    diverges: bool

    def singles(self) -> list[Trial]:
        """One lever at a time; and what a look spoke for together with rates and Adam."""
        base, longer = self.base, self._longer(self.base)
        told = self._told()
        made = [*self._stops(), *self._modes(), *self._unregularized(), *(self.rates(base) if self.diverges else ())]
        made += [*told, *self.rates(base), longer, *self._adams(base)]
        made += [*self._scaled(base), *self._inits(base), *self._momentum(base), *self._batches(), *self._losses(base)]
        made += self._outputs()
        for own in told:
            made += [*self.rates(own), *self._adams(own)]
        return self._unique(made)

    def pairs(self) -> list[Trial]:
        """Two levers at a time and three with more epochs, what costs nothing together, and more precision."""
        base, longer = self.base, self._longer(self.base)
        made = [*self.rates(longer), *self._adams(longer), *self._momentum(longer), *self._inits(longer)]
        made += [*self._scaled(longer), *self._losses(longer)]
        plain = base
        for change in (*self._unregularized()[-1:], *self._scaled(base)[-1:]):
            plain = self._merged(plain, change)
        changed = [
            *self._told(),
            plain,
            *self._scaled(base)[-1:],
            *self._inits(base)[:1],
            *self._losses(base),
            *self._outputs(),
        ]
        for own in dict.fromkeys((*map(self._longer, changed), *changed)):
            made += [own, *self.rates(own), *self._adams(own)]
        return self._unique([*made, dataclasses.replace(base, double=True)])

    def longest(self, closest: Trial) -> list[Trial]:
        """More epochs still, of the trial as asked and of what left the least."""
        twice = [self._longer(self._longer(own)) for own in (self.base, closest)]
        return self._unique(made for own in twice for made in (own, *self.rates(own), *self._losses(own)))

    def others(self, closest: Trial, n_outputs: int) -> list[Trial]:
        """Fewer samples, as asked and as what left the least; and the targets of other samples."""
        needed = 2 * self.n_samples * n_outputs / max(1, self.facts.n_params)
        steps = max(LEAST_FEWER, math.ceil(math.log(max(1.0, needed), FEWER)))
        made = []
        for own in dict.fromkeys((self.base, closest)):
            for count in (self.n_samples // FEWER**k for k in range(1, steps + 1)):
                if count >= LEAST_SAMPLES:
                    batch = own.batch_size and max(1, min(own.batch_size, self.n_samples) * count // self.n_samples)
                    longer = min(MORE_EPOCHS, self.n_samples // count) * own.max_epochs
                    made.append(dataclasses.replace(own, n_samples=count, batch_size=batch, max_epochs=longer))
            made.append(dataclasses.replace(own, noise_targets=True))
        return self._unique(made)

    def rates(self, own: Trial) -> list[Trial]:
        """At rates around its own: where the asked one diverges, at lower ones alone, but for standardised data."""
        standard = own.standard_inputs or own.standard_targets
        lower = (*LOWER[::-1], *MUCH_LOWER, LOWER[0]) if self.diverges else LOWER
        factors = (*(HIGHER if not self.diverges or standard else ()), *lower)
        return [dataclasses.replace(own, recipe=own.recipe.scaled(factor)) for factor in dict.fromkeys(factors)]

    def _unique(self, made: Iterable[Trial]) -> list[Trial]:
        return [own for own in dict.fromkeys(made) if own != self.base]

    def _merged(self, one: Trial, other: Trial) -> Trial:
        changed = {field.name: getattr(other, field.name) for field in dataclasses.fields(Trial)}
        return dataclasses.replace(one, **{name: value for name, value in changed.items() if value != getattr(self.base, name)})

    def _told(self) -> list[Trial]:
        """What looks before training spoke for."""
        made = []
        if Held.SCALE in self.spoken_for:
            made += self._scaled(self.base)
        if Held.LOSS in self.spoken_for:
            made += self._losses(self.base)
        if Lever.INITIALISATION in self.spoken_for:
            made += self._inits(self.base)
        return made

    def _adams(self, own: Trial) -> list[Trial]:
        """Plain Adam at its usual rates, but for those that are tried as rates of its own."""
        adams = [dataclasses.replace(own, recipe=named("adam", rate, own.recipe.names)) for rate in ADAMS]
        same = [one.recipe.rate for one in (own, *self.rates(own))]
        plain = own.recipe.groups[0].options == adams[0].recipe.scaled(own.recipe.rate / ADAMS[0]).groups[0].options
        return [one for one in adams if not (plain and any(1 / NEAR < rate / one.recipe.rate < NEAR for rate in same))]

    def _momentum(self, own: Trial) -> list[Trial]:
        if own.recipe.kind is not named("sgd", None, ()).kind or own.recipe.groups[0].option("momentum"):
            return []
        return [dataclasses.replace(own, recipe=own.recipe.with_momentum(MOMENTUM))]

    def _longer(self, own: Trial) -> Trial:
        steps = math.ceil(self.n_samples / min(own.batch_size or self.n_samples, self.n_samples))
        return dataclasses.replace(own, max_epochs=max(MORE_EPOCHS * own.max_epochs, math.ceil(LEAST_STEPS / steps)))

    def _stops(self) -> list[Trial]:
        return [dataclasses.replace(self.base, stop=None)] if self.base.stop is not None else []

    def _modes(self) -> list[Trial]:
        """The other modes of training and measuring; without running statistics, where batches are normalized."""
        own = self.base
        if not self.facts.modes_differ:
            return []
        made = [dataclasses.replace(own, measured=TRAIN if own.measured == EVAL else EVAL)]
        made.append(dataclasses.replace(own, mode=TRAIN if own.mode == EVAL else EVAL))
        return [*made, *([dataclasses.replace(own, batch_statistics=True)] if self.facts.n_norms else [])]

    def _unregularized(self) -> list[Trial]:
        """Without dropout, without weight decay, and without both."""
        own = self.base
        made = [dataclasses.replace(own, dropout=False)] if self.facts.random else []
        if own.recipe.decays:
            made += [dataclasses.replace(plain, recipe=plain.recipe.without_decay()) for plain in (own, *made)]
        return made

    def _scaled(self, own: Trial) -> list[Trial]:
        """Inputs, targets, and both standardised: of what is numbers, and not already so."""
        inputs = [dataclasses.replace(own, standard_inputs=True)] if self.facts.numbers and not own.standard_inputs else []
        if own.loss.kind is not Kind.NUMBERS or own.standard_targets:
            return inputs
        both = [dataclasses.replace(one, standard_targets=True) for one in inputs]
        return [*inputs, dataclasses.replace(own, standard_targets=True), *both]

    def _inits(self, own: Trial) -> list[Trial]:
        return [dataclasses.replace(own, init="rescaled"), *(dataclasses.replace(own, gain=gain) for gain in GAINS)]

    def _losses(self, own: Trial) -> list[Trial]:
        """The mean squared error in place of another loss that takes numbers of the outputs' shape."""
        if own.loss.name in ("mse", "bce_with_logits") or own.loss.kind in (Kind.CLASSES, Kind.OWN):
            return []
        return [dataclasses.replace(own, loss=NAMED["mse"])]

    def _batches(self) -> list[Trial]:
        own = self.base
        if own.batch_size is None or own.batch_size >= self.n_samples:
            return []
        made = [dataclasses.replace(own, batch_size=None)]
        return [*made, *([] if own.shuffle else [dataclasses.replace(own, shuffle=True)])]

    def _outputs(self) -> list[Trial]:
        """Without the output activation, where the loss takes any number."""
        if self.facts.call is None or not self.base.output or self.base.loss.name == "bce":
            return []
        return [dataclasses.replace(self.base, output=False)]
