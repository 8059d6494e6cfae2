"""What was looked at and what was trained -> one verdict, in sentences and as code to change."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from bench.modules.batches import Batch
from bench.modules.causes import Finding, Held, Why
from bench.modules.changes import code, largest, levers, words
from bench.modules.inquiry import Inquiry, Tally
from bench.modules.losses import Kind
from bench.modules.trials import TRAIN, Trial
from bench.statistics.confirmation import MAJORITY, Answer, memorizable
from bench.statistics.evidence import LUCK, Cause, Lever
from bench.statistics.survival import wilson_interval
from bench.statistics.wording import MOST_NAMED

# What is arithmetic, the nearest to the loss first.
_ORDER = (Held.DATA, Held.SHAPES, Held.PART, Held.LOSS, Held.OUTPUT, Held.CONTRADICTION, Held.LINEAR)

# Draws that memorize, where others do not, that make it the draw where no change does better.
FEW_HITS = 2

OUTSIDE = (
    "In a copy of your network on your data nothing keeps it from memorizing: if yours does not, look at your loop (zero_grad,"
    " backward, step, the same batch), at shapes and at the mode."
)


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """One cause; what has to change with it; the change that was confirmed, in words (None where none was); the code for it;
    and all of it in sentences, the first of which is the verdict.
    """

    cause: Why
    together_with: tuple[Why, ...]
    change: str | None
    code: tuple[str, ...]
    sentences: tuple[str, ...]


def verdict(inquiry: Inquiry) -> Verdict:
    """The verdict over what an inquiry found."""
    asked = inquiry.asked.trial
    own = inquiry.tally(asked)
    # What is sure speaks for a cause of _ORDER.
    sure = sorted((one for one in inquiry.findings if one.sure), key=lambda one: _ORDER.index(one.about))  # pyright: ignore[reportArgumentType]
    if sure and sure[0].about is Held.DATA:
        return Verdict(Held.DATA, (), None, (sure[0].code,), (f"Held back by {Held.DATA}: {sure[0].text}.",))
    if all(one.cut for one in own.ladder) and not sure:
        text = "Undecided: there was no time to train the network as asked; give more with budget_s."
        return Verdict(Cause.UNDECIDED, (), None, (), (text,))
    made = _made(inquiry, own, sure)
    return dataclasses.replace(made, sentences=(*made.sentences, *_beside(inquiry, own, made)))


def _made(inquiry: Inquiry, own: Tally, sure: list[Finding]) -> Verdict:
    # Of a loss that takes classes what is sure is that it says nothing.
    blind = inquiry.asked.trial.loss.kind is Kind.CLASSES and any(one.about is Held.LOSS for one in sure)
    if blind or any(one.about in (Held.SHAPES, Held.CONTRADICTION) for one in sure):
        return _by_arithmetic(inquiry, sure)
    if inquiry.loses:
        return _lost(inquiry, own)
    if inquiry.answer is Answer.YES:
        return _other_mode(inquiry, own) if inquiry.other_mode else _nothing(inquiry, own)
    if sure:
        return _by_arithmetic(inquiry, sure)
    if inquiry.remedy is not None and Lever.SAMPLES in levers(inquiry.remedy, inquiry.asked.trial):
        return _before_fewer(inquiry, inquiry.remedy)
    if inquiry.remedy is not None:
        return _remedied(inquiry, inquiry.remedy)
    return _without(inquiry, own)


def _nothing(inquiry: Inquiry, own: Tally) -> Verdict:
    first = f"Memorizable as it is: {_count(own)} memorized{_interval(own)}, by epoch {_epoch(own)} in the median."
    return Verdict(Cause.NOTHING, (), "as asked", (), (first, OUTSIDE))


def _other_mode(inquiry: Inquiry, own: Tally) -> Verdict:
    """Of a network that was handed over in evaluation mode, where dropout is off and statistics stay, and memorizes in it."""
    asked = inquiry.asked.trial
    beside = inquiry.tally(dataclasses.replace(asked, mode=TRAIN))
    in_training = f"In training mode, measured in {_mode(asked.measured)}, {_count(beside)} do." if beside.ladder else ""
    if not beside.ladder or sum(one.memorized for one in beside.every) >= MAJORITY * len(beside.every):
        made = _nothing(inquiry, own)
        note = f"It came in evaluation mode. {in_training}".rstrip()
        return dataclasses.replace(made, sentences=(*made.sentences, note))
    first = f"Held back by {Held.MODE}: the network came in evaluation mode, in which {_count(own)} memorized."
    advice = "module.eval() before training, as it came; or less of what training mode adds"
    return Verdict(Held.MODE, (), None, (advice,), (first, in_training))


def _mode(mode: str) -> str:
    return "evaluation mode" if mode == "eval" else "training mode"


def _lost(inquiry: Inquiry, own: Tally) -> Verdict:
    hits = [one for one in own.every if one.memorized]
    best, last = float(np.median([one.best for one in hits])), float(np.median([one.last for one in hits]))
    at = float(np.median([one.best_epoch for one in hits]))
    lost = sum(one.lost for one in hits)
    first = (
        f"Memorized and then lost, by {lost} of {len(own.every)} seeds: tau is {best:.2g} at best, at epoch {at:.0f}, and"
        f" {_tau(last)} at the end."
    )
    stop = f"stop when the loss is low enough, by epoch {at:.0f}, or lower the rate from there on"
    if inquiry.remedy is None:
        return Verdict(Held.LOST, (), None, (stop,), (first,))
    found = inquiry.tally(inquiry.remedy)
    ended = found.fresh or found.ladder
    kept = sum(one.memorized and not one.lost for one in ended)
    first_word, which = ("", "fresh seeds") if found.fresh else ("Perhaps ", "seeds; the weights could not be drawn anew")
    more = f"{first_word}{words(inquiry.remedy, inquiry.asked.trial)} keeps it, in {kept} of {len(ended)} {which}."
    advice = (*code(inquiry.remedy, inquiry.asked.trial), f"# or {stop}")
    return Verdict(Held.LOST, (), _change(inquiry), advice, (first, more))


def _by_arithmetic(inquiry: Inquiry, sure: list[Finding]) -> Verdict:
    """What no training mends; and what came of mending it."""
    asked, first = inquiry.asked.trial, sure[0]
    assert first.about is not None
    sentences = [f"Held back by {first.about}: {first.text}."]
    together: tuple[Why, ...] = tuple(one.about for one in sure[1:] if one.about not in (None, first.about))
    sentences += [f"Besides, {one.text}." for one in sure[1:]]
    advice = tuple(dict.fromkeys(one.code for one in sure if one.code))
    if inquiry.remedy is not None:
        pulled = levers(inquiry.remedy, asked)
        mended = {one.about for one in sure}
        together += tuple(lever for lever in pulled if lever not in mended and lever not in together)
        sentences.append(_confirmed(inquiry, inquiry.remedy))
        own = tuple(line for line in code(inquiry.remedy, asked) if line not in advice)
        advice = (*advice, *own) if not first.change else code(inquiry.remedy, asked)
    elif any(not one.change for one in sure):
        closest = inquiry.closest
        if inquiry.tally(closest).ladder:
            best = f"; the closest, {words(closest, asked)}, {_left(inquiry, closest)}" if closest != asked else ""
            floor = " above that floor" if first.about is Held.CONTRADICTION else ""
            sentences.append(f"As asked tau {_left(inquiry, asked)} is left{floor}{best}.")
    elif inquiry.base != asked:
        found = inquiry.tally(inquiry.base)
        if found.ladder:
            change = words(inquiry.base, asked)
            text = f"With {change}, {_count(found)} memorize, and {_tau(found.left)} is left"
            sentences.append(f"{text}; as asked {_left(inquiry, asked)}.")
    return Verdict(first.about, together, _change(inquiry), advice, tuple(sentences))


def _change(inquiry: Inquiry) -> str | None:
    remedy = inquiry.remedy
    return None if remedy is None or not inquiry.tally(remedy).fresh else words(remedy, inquiry.asked.trial)


def _remedied(inquiry: Inquiry, remedy: Trial) -> Verdict:
    asked = inquiry.asked.trial
    pulled = levers(remedy, asked)
    cause: Why = largest(pulled, inquiry.spoken_for)
    others = tuple(lever for lever in pulled if lever != cause)
    said = [finding.text for finding in inquiry.findings if finding.about == cause]
    if inquiry.diverges and (calm := _calm(inquiry)) is not None:
        said = [_too_high(inquiry, calm)]
        others = tuple(lever for lever in (cause, *others) if lever is not Lever.LEARNING_RATE)
        cause = Lever.LEARNING_RATE
    elif cause is Lever.LEARNING_RATE:
        which = "low" if remedy.recipe.rate > asked.recipe.rate else "high"
        scale = " for data of this scale" if which == "high" and Held.SCALE in inquiry.spoken_for else ""
        said = [f"{asked.recipe.rate:g} is too {which}{scale}"]
    elif cause is Held.MODE:
        said = [finding.text for finding in inquiry.findings if finding.text.startswith("trained in ")]
    elif cause is Lever.SAMPLES:
        cause = Cause.CAPACITY
    # Without fresh draws nothing was confirmed.
    confirmed = bool(inquiry.tally(remedy).fresh)
    held = f"{'Held' if confirmed else 'Perhaps held'} back by {_named(cause)}"
    if others:
        held += f", together with {' and '.join(_named(one) for one in others)}"
    first = f"{held}{': ' + said[0] if said else ''}."
    return Verdict(cause, others, _change(inquiry), code(remedy, asked), (first, _confirmed(inquiry, remedy)))


def _before_fewer(inquiry: Inquiry, remedy: Trial) -> Verdict:
    """Where fewer samples alone memorize: what a look before training spoke for comes first, if it leaves at most half."""
    own = _remedied(inquiry, remedy)
    first = _falling(inquiry, f"Beyond that it is capacity. {own.sentences[1]}")
    if first is None or not isinstance(first.cause, Held) or first.cause not in inquiry.spoken_for:
        return own
    return dataclasses.replace(first, together_with=(*first.together_with, Cause.CAPACITY), change=own.change)


def _named(cause: Why) -> str:
    article = cause in (Cause.CAPACITY, Lever.REGULARIZATION) or isinstance(cause, Held)
    return str(cause) if article else f"the {cause}"


def _confirmed(inquiry: Inquiry, remedy: Trial) -> str:
    own, asked = inquiry.tally(remedy), inquiry.asked.trial
    tried = len(inquiry.tried) - 1
    if not own.fresh:
        return f"What works, of {tried} tried: {words(remedy, asked)} ({_count(own)}; the weights could not be drawn anew)."
    low, high = wilson_interval(own.fresh_hits, len(own.fresh))
    beside = "none can" if inquiry.impossible else f"{own.beside_hits} of {len(own.beside)}"
    return (
        f"The smallest change confirmed, of {tried} tried: {words(remedy, asked)} ({own.fresh_hits} of {len(own.fresh)} fresh"
        f" seeds, {100 * low:.0f} to {100 * high:.0f} %, median epoch {_epoch(own)}; as asked {beside})."
    )


def _calm(inquiry: Inquiry) -> Trial | None:
    """The largest lower rate at which no seed diverges."""
    asked = inquiry.asked.trial
    lower = [own for own in inquiry.tried if levers(own, inquiry.base) == (Lever.LEARNING_RATE,)]
    lower = [own for own in lower if own.recipe.rate < asked.recipe.rate]
    calm = [own for own in lower if inquiry.tally(own).ladder and not any(one.diverged for one in inquiry.tally(own).ladder)]
    return max(calm, key=lambda own: own.recipe.rate, default=None)


def _too_high(inquiry: Inquiry, calm: Trial) -> str:
    asked = inquiry.asked.trial
    every = inquiry.tally(asked).every
    return (
        f"{asked.recipe.rate:g} is too high for data of this scale: {sum(one.diverged for one in every)} of {len(every)} seeds"
        f" diverged, none at {calm.recipe.rate:g}, which leaves tau {_tau(inquiry.tally(calm).left)}"
    )


def _without(inquiry: Inquiry, own: Tally) -> Verdict:
    """Nothing was confirmed to work."""
    asked = inquiry.asked.trial
    nothing = _nothing_works(inquiry)
    if inquiry.diverges and (calm := _calm(inquiry)) is not None:
        first = f"Held back by the learning rate: {_too_high(inquiry, calm)}."
        return Verdict(Lever.LEARNING_RATE, (), None, code(calm, asked), (first, f"Beyond that, {nothing}."))
    hits = sum(one.memorized for one in own.every)
    if hits >= FEW_HITS or wilson_interval(hits, len(own.every))[0] >= LUCK:
        low, high = wilson_interval(hits, len(own.every))
        first = (
            f"Luck of the draw: as asked {hits} of {len(own.every)} draws of the initial weights memorize, {100 * low:.0f} to"
            f" {100 * high:.0f} %."
        )
        advice = ("draw the initial weights anew until it memorizes, or make the network wider",)
        return Verdict(Cause.LUCK, (), None, advice, (first, f"No change is confirmed to do better: {nothing}."))
    short = [one for one in inquiry.findings if one.about is Cause.CAPACITY]
    # Of data that are no noise, fewer numbers may tell more outputs.
    if short and not isinstance(inquiry.asked.batch, Batch):
        first = f"Held back by capacity: {short[0].text}."
        return Verdict(Cause.CAPACITY, (), None, ("make the network wider, or give fewer samples",), (first, f"{nothing}."))
    if (falling := _falling(inquiry, f"None memorizes: {nothing}.")) is not None:
        return falling
    return Verdict(Cause.UNDECIDED, (), None, (), (f"Undecided: {nothing}.",))


def _falling(inquiry: Inquiry, beyond: str) -> Verdict | None:
    """More epochs, or what left the least, where that halves what is left, and fresh seeds confirm it; and what is beyond."""
    asked = inquiry.asked.trial
    longer = [own for own in inquiry.tried if levers(own, asked) == (Lever.BUDGET,)]
    for trial in (*sorted(longer, key=lambda own: -own.max_epochs), inquiry.nearest):
        own, pulled = inquiry.tally(trial), levers(trial, asked)
        halved, seeds = inquiry.halved(trial)
        if pulled and seeds and memorizable(halved, seeds) is Answer.YES:
            cause = largest(pulled, inquiry.spoken_for)
            others = tuple(lever for lever in pulled if lever != cause)
            beside = f", together with {' and '.join(map(_named, others))}" if others else ""
            first = (
                f"Held back by {_named(cause)}{beside}, as far as could be tried: {words(trial, asked)} leaves"
                f" {_tau(own.left)}, where as asked {_tau(inquiry.tally(asked).left)} is left; at most half, in {halved} of"
                f" {seeds} fresh seeds."
            )
            return Verdict(cause, others, None, code(trial, asked), (first, beyond))
    return None


def _nothing_works(inquiry: Inquiry) -> str:
    asked = inquiry.asked.trial
    changes = [own for own in inquiry.tried if own != asked and not own.noise_targets and inquiry.tally(own).ladder]
    if not changes:
        return f"no change was tried; as asked tau {_left(inquiry, asked)} is left"
    best = max(changes, key=lambda own: inquiry.tally(own).share)
    if inquiry.tally(best).hits:
        what = f"the most, {words(best, asked)}, has {_count(inquiry.tally(best))}"
        return f"of {len(changes)} changes none is confirmed; {what}"
    closest = inquiry.closest
    return (
        f"none of {len(changes)} changes memorizes; as asked tau {_left(inquiry, asked)} is left, and by the"
        f" closest, {words(closest, asked)}, {_tau(inquiry.tally(closest).left)}"
    )


def _beside(inquiry: Inquiry, own: Tally, made: Verdict) -> list[str]:
    """What else was seen, whatever the verdict."""
    asked, told = inquiry.asked.trial, []
    stopped = [one for one in own.every if one.stopped]
    if stopped:
        epoch = float(np.median([one.epochs_run for one in stopped]))
        told.append(
            f"The stopping rule ended {len(stopped)} of {len(own.every)} trainings, at epoch {epoch:.0f} in the median."
        )
    hits = sum(one.memorized for one in own.every)
    if 0 < hits < len(own.every) and made.cause not in (Cause.NOTHING, Cause.LUCK, Held.LOST, Held.MODE):
        told.append(f"As asked the draw decides now and then: {_count(own)} memorized{_interval(own)}.")
    good = [one for one in inquiry.tried if one not in (asked, inquiry.remedy) and inquiry.good(one)]
    alike = {levers(inquiry.remedy, asked)} if inquiry.remedy is not None else set()
    listed = []
    for one in good:
        pulled = levers(one, asked)
        if Lever.TASK not in pulled and pulled not in alike and not any(set(other) <= set(pulled) for other in alike):
            alike.add(pulled)
            listed.append(f"{words(one, asked)} ({_count(inquiry.tally(one))})")
    if listed and made.cause is not Cause.NOTHING:
        more = f"; and {len(listed) - MOST_NAMED} more" if len(listed) > MOST_NAMED else ""
        told.append(f"Perhaps too, unconfirmed: {'; '.join(listed[:MOST_NAMED])}{more}.")
    for noise in (one for one in inquiry.tried if one.noise_targets):
        beside = inquiry.tally(noise)
        if levers(noise, inquiry.base) == (Lever.TASK,) and beside.ladder:
            verb = "memorizes too" if beside.share >= MAJORITY else "is not memorized either"
            told.append(f"Noise, the targets of other samples, {verb}: {_count(beside)}, and tau {_tau(beside.left)} is left.")
    if inquiry.left_out:
        late = [one for one in inquiry.left_out if all(own.cut for own in inquiry.tally(one).ladder)]
        names = [words(one, asked) for one in late if one != asked]
        if names:
            more = f"; and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
            named = "; ".join(names[:MOST_NAMED])
            told.append(f"Not tried to the end for want of time (give more with budget_s): {named}{more}.")
    if inquiry.asked.source.kept:
        which = ", ".join(inquiry.asked.source.kept[:MOST_NAMED])
        told.append(f"Not drawn anew, since nothing says how: {which}; give a function that makes the network.")
    for reason in inquiry.trainer.why_alone:
        told.append(f"Trained one after the other: {reason}.")
    return told


def _count(own: Tally) -> str:
    return f"{sum(one.memorized for one in own.every)} of {len(own.every)} seeds"


def _interval(own: Tally) -> str:
    low, high = wilson_interval(sum(one.memorized for one in own.every), len(own.every))
    return f" (95 %: {100 * low:.0f} to {100 * high:.0f} %)" if len(own.every) > 1 else ""


def _epoch(own: Tally) -> str:
    epochs = [one.epoch_to_tau if one.epoch_to_tau is not None else math.inf for one in own.every]
    middle = float(np.median(epochs))
    return f"{middle:.0f}" if math.isfinite(middle) else "never"


def _left(inquiry: Inquiry, trial: Trial) -> str:
    own = inquiry.tally(trial)
    return _tau(own.left) if own.ladder else "what was not trained"


def _tau(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "everything (diverged)"
