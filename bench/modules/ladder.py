"""A trial -> the variants to train beside it, in stages, to find out what held it back."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable

from bench.modules.causes import Finding, Held, Why
from bench.modules.losses import NAMED, Kind
from bench.modules.optimizers import named
from bench.modules.probe import Facts
from bench.modules.trials import EVAL, TRAIN, Trial
from bench.runs.ladder import ADAM_RATES, FEWER, LEAST_FEWER, LEAST_SAMPLES, LEAST_STEPS, MOMENTUM, RATE_FACTORS
from bench.statistics.evidence import Lever

# Around the asked rate. Data of any scale are met here, so further than in the ladder of a cell.
FACTORS = (0.001, 0.01, *RATE_FACTORS, 30.0)

# Of Adam; small networks stand more than the others.
ADAMS = (*ADAM_RATES, 0.03, 0.1)

# Factors on all weights.
GAINS = (0.1, 10.0)

# Enough to see whether what is left still falls.
MORE_EPOCHS = 5


def repaired(asked: Trial, findings: Iterable[Finding]) -> Trial:
    """With what arithmetic says must be changed."""
    changes = {name: value for finding in findings if finding.sure for name, value in finding.change}
    return dataclasses.replace(asked, **changes)


def singles(base: Trial, facts: Facts, spoken_for: Collection[Why], n_samples: int) -> list[Trial]:
    """One lever at a time; and what a look spoke for together with rates, Adam and epochs."""
    longer = _longer(base, n_samples)
    made = [*_stops(base), *_modes(base, facts), *_unregularized(base, facts), *_spoken_for(base, spoken_for)]
    made += [*rates(base), *_adams(base), longer, *_scaled(base), *_inits(base), *_momentum(base), *_batches(base, n_samples)]
    made += [*_losses(base), *_outputs(base, facts), dataclasses.replace(base, double=True)]
    for own in _spoken_for(base, spoken_for):
        made += [*rates(own), *_adams(own)]
        own = _longer(own, n_samples)
        made += [own, *rates(own), *_adams(own)]
    return _unique(base, made)


def pairs(base: Trial, facts: Facts, n_samples: int) -> list[Trial]:
    """Two levers at a time, and what costs nothing together."""
    longer = _longer(base, n_samples)
    made = [*rates(longer), *_adams(longer), *_momentum(longer), *_inits(longer), *_scaled(longer), *_losses(longer)]
    plain = base
    for change in (*_unregularized(base, facts)[-1:], *_scaled(base)[-1:]):
        plain = _merged(plain, change, base)
    for own in (plain, *_scaled(base)[-1:], *_inits(base)[:1], *_losses(base), *_outputs(base, facts)):
        made += [own, *rates(own), *_adams(own)]
        own = _longer(own, n_samples)
        made += [own, *rates(own), *_adams(own)]
    return _unique(base, made)


def longest(base: Trial, closest: Trial, n_samples: int) -> list[Trial]:
    """More epochs still, of the trial as asked and of what left the least."""
    twice = [_longer(_longer(own, n_samples), n_samples) for own in (base, closest)]
    return _unique(base, [made for own in twice for made in (own, *rates(own), *_losses(own))])


def others(base: Trial, closest: Trial, n_samples: int, n_outputs: int, n_params: int) -> list[Trial]:
    """Fewer samples, as asked and as what left the least; and the targets of other samples."""
    steps = max(LEAST_FEWER, math.ceil(math.log(max(1.0, 2 * n_samples * n_outputs / max(1, n_params)), FEWER)))
    made = []
    for own in dict.fromkeys((base, closest)):
        for count in (n_samples // FEWER**k for k in range(1, steps + 1)):
            if count >= LEAST_SAMPLES:
                batch = own.batch_size and max(1, min(own.batch_size, n_samples) * count // n_samples)
                longer = min(MORE_EPOCHS, n_samples // count) * own.max_epochs
                made.append(dataclasses.replace(own, n_samples=count, batch_size=batch, max_epochs=longer))
        made.append(dataclasses.replace(own, noise_targets=True))
    return _unique(base, made)


def _unique(base: Trial, made: Iterable[Trial]) -> list[Trial]:
    return [own for own in dict.fromkeys(made) if own != base]


def _merged(one: Trial, other: Trial, base: Trial) -> Trial:
    changed = {field.name: getattr(other, field.name) for field in dataclasses.fields(Trial)}
    return dataclasses.replace(one, **{name: value for name, value in changed.items() if value != getattr(base, name)})


def _spoken_for(base: Trial, spoken_for: Collection[Why]) -> list[Trial]:
    made = []
    if Held.SCALE in spoken_for:
        made += _scaled(base)
    if Held.LOSS in spoken_for:
        made += _losses(base)
    if Lever.INITIALISATION in spoken_for:
        made += _inits(base)
    return made


def rates(own: Trial) -> list[Trial]:
    """At rates around its own."""
    return [dataclasses.replace(own, recipe=own.recipe.scaled(factor)) for factor in FACTORS]


def _adams(own: Trial) -> list[Trial]:
    if own.recipe.kind is named("adam", None, ()).kind and not own.recipe.decays:
        # Its rates are tried anyway.
        return []
    return [dataclasses.replace(own, recipe=named("adam", rate, own.recipe.names)) for rate in ADAMS]


def _momentum(own: Trial) -> list[Trial]:
    if own.recipe.kind is not named("sgd", None, ()).kind or own.recipe.groups[0].option("momentum"):
        return []
    return [dataclasses.replace(own, recipe=own.recipe.with_momentum(MOMENTUM))]


def _longer(own: Trial, n_samples: int) -> Trial:
    steps = math.ceil(n_samples / min(own.batch_size or n_samples, n_samples))
    return dataclasses.replace(own, max_epochs=max(MORE_EPOCHS * own.max_epochs, math.ceil(LEAST_STEPS / steps)))


def _stops(own: Trial) -> list[Trial]:
    return [dataclasses.replace(own, stop=None)] if own.stop is not None else []


def _modes(own: Trial, facts: Facts) -> list[Trial]:
    """The other modes of training and measuring; without running statistics, where batches are normalized."""
    if not facts.modes_differ:
        return []
    made = [dataclasses.replace(own, measured=TRAIN if own.measured == EVAL else EVAL)]
    made.append(dataclasses.replace(own, mode=TRAIN if own.mode == EVAL else EVAL))
    return [*made, *([dataclasses.replace(own, batch_statistics=True)] if facts.n_norms else [])]


def _unregularized(own: Trial, facts: Facts) -> list[Trial]:
    """Without dropout, without weight decay, and without both."""
    made = [dataclasses.replace(own, dropout=False)] if facts.random else []
    if own.recipe.decays:
        made += [dataclasses.replace(plain, recipe=plain.recipe.without_decay()) for plain in (own, *made)]
    return made


def _scaled(own: Trial) -> list[Trial]:
    """Inputs, targets, and both standardised; targets only where they are numbers to the loss."""
    inputs = dataclasses.replace(own, standard_inputs=True)
    if own.loss.kind is not Kind.NUMBERS:
        return [inputs]
    return [inputs, dataclasses.replace(own, standard_targets=True), dataclasses.replace(inputs, standard_targets=True)]


def _inits(own: Trial) -> list[Trial]:
    return [dataclasses.replace(own, init="rescaled"), *(dataclasses.replace(own, gain=gain) for gain in GAINS)]


def _losses(own: Trial) -> list[Trial]:
    """The mean squared error in place of another loss that takes numbers of the outputs' shape."""
    if own.loss.name == "mse" or own.loss.kind is Kind.CLASSES or own.loss.name in ("bce_with_logits",):
        return []
    if own.loss.kind is Kind.OWN:
        return []
    return [dataclasses.replace(own, loss=NAMED["mse"])]


def _batches(own: Trial, n_samples: int) -> list[Trial]:
    if own.batch_size is None or own.batch_size >= n_samples:
        return []
    made = [dataclasses.replace(own, batch_size=None)]
    return [*made, *([] if own.shuffle else [dataclasses.replace(own, shuffle=True)])]


def _outputs(own: Trial, facts: Facts) -> list[Trial]:
    """Without the output activation, where the loss takes any number."""
    if facts.call is None or not own.output or own.loss.name == "bce":
        return []
    return [dataclasses.replace(own, output=False)]
