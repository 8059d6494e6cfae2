"""Why a network did not memorize: a table of evidence in, one verdict out. Pure: no training, no files.

What is decided stands here, how it is said in `bench.statistics.wording`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import pandas as pd

from bench.protocol.cells import SECOND_ORDER
from bench.statistics import wording
from bench.statistics.confirmation import MAJORITY, Answer, memorizable, needed, stands_out, works
from bench.statistics.evidence import (
    HALVED,
    LEVER_FIELDS,
    OWN_FIELDS,
    Cause,
    Lever,
    beyond_dimension,
    by_second_order,
    counts_of,
    draw_decides,
    halving,
    levers_of,
    past_tau,
    same_network,
    share_of,
)
from bench.statistics.settings import same

# How large a change is: of settings, then of epochs, of the network, of the samples, of the task. Up to epochs it is the
# training that changes.
TUNING = 1
_SOLVED = 1.5
_CLASSES = {Lever.BUDGET: TUNING, Lever.ACTIVATION: 2, Lever.NETWORK: 2, Lever.SAMPLES: 3, Lever.TASK: 4}

# Capacity is not said where more epochs, four times as many on the ladder, leave less than this share: what falls as slowly as
# a root of the epochs still falls.
FLAT = 0.9


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """One cause; what else the smallest change that works has to change with it; that change; and all of it in sentences.

    `change` is the `setting` of a row of the evidence, None where nothing that was tried is confirmed to work.
    """

    cause: Cause | Lever
    together_with: tuple[Lever, ...]
    change: str | None
    sentences: tuple[str, ...]


def verdict(evidence: pd.DataFrame, left_out: Sequence[str] = ()) -> Verdict:
    """The verdict over a cell, the first row of `bench.statistics.evidence.evidence`, from what came of its variants.

    A change is confirmed on fresh seeds, beside the cell as asked (`bench.statistics.confirmation`); where there are none, as
    in a grid of variants, by all seeds, each change with its share of the level. The smallest confirmed change decides: one of
    settings before more epochs before another network before fewer samples; then the one with the most samples, the fewest
    levers, the least training. Levers are named that the change does not work without; the largest of them is the cause.

    Where training by optimizer=lm alone is confirmed, the cell is limited by its optimizer: the network holds its samples.
    Where lm was tried and does not memorize it either, or its system is too large to be, a sentence says so.

    A network of more dimensions, or fewer samples, mean capacity only where the samples are beyond the functional dimension, or
    where more epochs and other rates were tried and what is left does not fall any more. Where it falls it is the budget,
    if that too is confirmed on fresh seeds, and undecided if not. Changes of the task are no remedies.

    What trained on past tau tells whether what was memorized is kept: it is lost where clearly more than half of the seeds that
    reach tau end above it.

    Args:
        evidence: see above.
        left_out: changes that there was no time for, in words.
    """
    if pending := int(evidence["n_pending"].sum()):
        return _undecided(f"{pending} cells have no result yet; the same command goes on from there")
    evidence, past = past_tau(evidence)
    asked, tried = evidence.iloc[0], evidence.iloc[1:]
    if asked["n_seeds"] == 0:
        return _undecided("the cell that was asked about has no result")
    lost = _is_lost(past)
    kept = wording.past_the_threshold(asked, past, lost=lost)
    if memorizable(*_all_seeds(asked)) is Answer.YES:
        head = kept if lost else [wording.memorizable_as_it_is(asked), *kept]
        cause = Cause.LOST if lost else Cause.NOTHING
        sentences = (*head, *wording.not_tried(left_out), *wording.unlike_torch(asked))
        return Verdict(cause, (), None if lost else asked["setting"], sentences)
    own = [row for _, row in tried.iterrows() if row["levers"] and Lever.TASK not in levers_of(row)]
    answers = {row["setting"]: _answer(row, asked, evidence) for row in own}
    remedies = sorted((row for row in own if answers[row["setting"]] is Answer.YES), key=_cost_of)
    perhaps = [row for row in own if answers[row["setting"]] is Answer.OPEN and row["n_seeds"] and share_of(row) >= MAJORITY]
    if remedies and _is_by_second_order(remedies[0], asked):
        text = wording.optimizer_limited(remedies[0], asked, evidence)
        found = Verdict(Cause.OPTIMIZER, (), remedies[0]["setting"], (text,))
        solved = []
    else:
        found = _remedied(asked, evidence, remedies, perhaps) if remedies else _without_remedy(asked, evidence, perhaps)
        row = by_second_order(evidence)
        confirmed = row is not None and answers.get(row["setting"]) is Answer.YES
        solved = [] if confirmed else wording.nor_by_second_order(row, asked)
    sentences = [
        *found.sentences,
        *solved,
        *kept,
        *wording.luck(asked),
        *wording.diverging(asked, own),
        *wording.other_tasks(tried),
    ]
    sentences += [
        *wording.without_results(tried),
        *wording.with_one_seed(asked, tried),
        *wording.not_tried(left_out),
        wording.UNTESTED,
        *wording.unlike_torch(asked),
    ]
    return dataclasses.replace(found, sentences=tuple(sentences))


def _all_seeds(row: pd.Series) -> tuple[int, int]:
    return int(row["n_memorized"]), int(row["n_seeds"])


def _is_lost(past: pd.DataFrame) -> bool:
    """Whether the cell as asked, trained on past tau, ends above it in clearly more than half of the seeds that reach it."""
    own = past[past["levers"] == Lever.TASK]
    return len(own) > 0 and memorizable(int(own["n_lost"].iloc[0]), int(own["n_reached"].iloc[0])) is Answer.YES


def _answer(row: pd.Series, asked: pd.Series, evidence: pd.DataFrame) -> Answer:
    """Whether a change clearly works."""
    if row["n_fresh"]:
        return works(int(row["n_fresh_memorized"]), int(row["n_fresh"]), int(row["n_fresh_asked"]))
    if not row["n_seeds"]:
        return Answer.NO
    found = stands_out(*_all_seeds(row), *_all_seeds(asked), among=max(1, len(evidence) - 1))
    return Answer.OPEN if found is Answer.YES and evidence["n_fresh"].any() else found


def _remedied(asked: pd.Series, evidence: pd.DataFrame, remedies: list[pd.Series], perhaps: list[pd.Series]) -> Verdict:
    best = remedies[0]
    known, not_shown = _needed_levers(best, evidence)
    *others, largest = known
    # A network of another size that holds fewer samples is one thing, capacity.
    others = [lever for lever in others if not (lever == Lever.NETWORK and largest == Lever.SAMPLES)]
    cause = _cause(largest, best, asked)
    sentences = [wording.smallest_change(best, asked, evidence, fewer=largest == Lever.SAMPLES), *not_shown]
    sentences += wording.listed("Also confirmed", _alternatives(remedies, asked))
    sentences += wording.listed("Perhaps too, unconfirmed", _alternatives([best, *perhaps], asked))
    if cause == Cause.CAPACITY:
        unproven = _capacity_unproven(asked, evidence, perhaps)
        sentences = [*wording.what_it_takes(asked, evidence, remedies), *sentences]
        if unproven is not None:
            return dataclasses.replace(unproven, sentences=(*unproven.sentences, *sentences))
    return Verdict(cause, tuple(others), best["setting"], (wording.held_back(cause, others), *sentences))


def _needed_levers(remedy: pd.Series, evidence: pd.DataFrame) -> tuple[list[Lever], list[str]]:
    """The levers that a remedy does not work without, and what is open about the others; all where none is shown to be."""
    levers = levers_of(remedy)
    if len(levers) == 1:
        return levers, []
    # Beyond the dimension there is no doubt that the asked network cannot hold its samples.
    sure = {Lever.NETWORK, Lever.SAMPLES} if beyond_dimension(evidence.iloc[0]) else set()
    known, not_shown = [lever for lever in levers if lever in sure], []
    for lever in (lever for lever in levers if lever not in sure):
        row = _taken_away(lever, remedy, evidence)
        if row is not None and needed(*counts_of(remedy), *counts_of(row)) is Answer.YES:
            known.append(lever)
        else:
            not_shown.append(wording.not_shown(lever, row))
    return [lever for lever in levers if lever in known] or levers, not_shown


def _taken_away(lever: Lever, remedy: pd.Series, evidence: pd.DataFrame) -> pd.Series | None:
    """The row that takes one lever away from a remedy."""
    own = {*LEVER_FIELDS[lever], *(("batch_size", "max_epochs") if lever == Lever.SAMPLES else ())}
    own |= {"learning_rate"} if lever == Lever.OPTIMIZER else set()
    others = [other for other in levers_of(remedy) if other != lever]
    for _, row in evidence.iterrows():
        if levers_of(row) == others and all(same(row[name], remedy[name]) for name in OWN_FIELDS if name not in own):
            return row
    return None


def _without_remedy(asked: pd.Series, evidence: pd.DataFrame, perhaps: list[pd.Series]) -> Verdict:
    nothing_works = wording.nothing_works(evidence)
    if beyond_dimension(asked):
        text = f"Held back by capacity: {nothing_works}."
        beside = wording.budget_beside(asked, evidence)
        return Verdict(Cause.CAPACITY, (), None, (text, *wording.dimensions(asked), *beside))
    if (falling := _budget(evidence)) is not None:
        return falling
    slower = [row for _, row in evidence.iterrows() if row["levers"] == Lever.LEARNING_RATE and row["n_seeds"]]
    slower = [row for row in slower if row["learning_rate"] < asked["learning_rate"] and not row["n_diverged"]]
    if asked["n_diverged"] >= MAJORITY * asked["n_seeds"] and slower:
        text = f"Held back by the learning rate, which is too high; beyond that, {nothing_works}."
        return Verdict(Lever.LEARNING_RATE, (), None, (text,))
    if draw_decides(asked):
        return Verdict(Cause.LUCK, (), None, (f"No change is confirmed to do better: {nothing_works}.",))
    return _unclear(asked, perhaps) if perhaps else _undecided(nothing_works)


def _unclear(asked: pd.Series, perhaps: list[pd.Series]) -> Verdict:
    """These may work."""
    return _undecided(wording.may_work(asked, max(perhaps, key=lambda row: (share_of(row), -_class_of(row)))))


def _undecided(why: str) -> Verdict:
    return Verdict(Cause.UNDECIDED, (), None, (f"Undecided: {why}.",))


def _capacity_unproven(asked: pd.Series, evidence: pd.DataFrame, perhaps: list[pd.Series]) -> Verdict | None:
    """What is said in place of capacity where the training may still be it; None where it was shown not to be."""
    if beyond_dimension(asked):
        return None
    if (falling := _budget(evidence)) is not None:
        return falling
    if tuned := [row for row in perhaps if _class_of(row) <= TUNING]:
        return _unclear(asked, tuned)
    levers = set().union(*(levers_of(row) for _, row in evidence.iterrows()))
    if Lever.BUDGET not in levers or not levers & {Lever.LEARNING_RATE, Lever.OPTIMIZER}:
        return _undecided("capacity, or the training: more epochs and other rates were not tried")
    if (pair := _falls(evidence, FLAT)) is not None:
        before, after = pair
        text = f"{after['setting']} leaves {wording.left(after)}, where {before['max_epochs']} epochs leave"
        return _undecided(f"capacity, or the budget: {text} {wording.left(before)}")
    return None


def _falls(evidence: pd.DataFrame, share: float, levers: Iterable[str] | None = None) -> tuple[pd.Series, pd.Series] | None:
    """Of trainings that differ in their epochs alone the longest two, where the last leaves at most `share` of the other."""
    fields = [name for name in OWN_FIELDS if name != "max_epochs"]
    rows = [row for row in same_network(evidence) if levers is None or row["levers"] in levers]
    longest = sorted((row for row in rows if Lever.BUDGET in levers_of(row)), key=lambda row: row["median_final_tau"])
    for after in longest:
        twins = [row for row in rows if all(same(row[name], after[name]) for name in fields)]
        *shorter, last = sorted(twins, key=lambda row: row["max_epochs"])
        if last is after and shorter and after["median_final_tau"] <= share * shorter[-1]["median_final_tau"]:
            return shorter[-1], after
    return None


def _budget(evidence: pd.DataFrame) -> Verdict | None:
    """The budget, where epochs alone still halve what is left at the longest that was tried, and fresh seeds confirm it."""
    if _falls(evidence, HALVED, levers=("", str(Lever.BUDGET))) is None or halving(evidence) is None:
        return None
    beyond = f"Beyond that, {wording.nothing_works(evidence)}."
    text = f"Held back by the budget: training had not ended. {wording.halved(evidence)} {beyond}"
    return Verdict(Lever.BUDGET, (), None, (text,))


def _alternatives(rows: list[pd.Series], asked: pd.Series) -> list[pd.Series]:
    """The rows after the first that are more than one before them with a needless lever, or with another value."""
    kept: list[tuple[set[Lever], list[str], pd.Series]] = []
    for row in rows:
        levers, fields = set(levers_of(row)), [name for name in OWN_FIELDS if not same(row[name], asked[name])]
        if not any(other < levers or (other == levers and own == fields) for other, own, _ in kept):
            kept.append((levers, fields, row))
    return [row for _, _, row in kept[1:]]


def class_of(levers: Sequence[Lever]) -> int:
    """How large a change of these levers is, the smallest first."""
    return _CLASSES.get(levers[-1], 0)


def _class_of(row: pd.Series) -> int:
    return class_of(levers_of(row))


def _is_by_second_order(row: pd.Series, asked: pd.Series) -> bool:
    """Whether a row changes the optimizer to lm and neither network nor samples."""
    return bool(row["optimizer"] == SECOND_ORDER != asked["optimizer"] and _class_of(row) <= TUNING)


def _cost_of(row: pd.Series) -> tuple[float, ...]:
    # Another training by gradients, of more epochs as well, is the smaller change.
    size = _SOLVED if row["optimizer"] == SECOND_ORDER and _class_of(row) <= TUNING else _class_of(row)
    return (size, -row["n_samples"], len(levers_of(row)), row["cost"])


def _cause(largest: Lever, remedy: pd.Series, asked: pd.Series) -> Cause | Lever:
    if largest == Lever.NETWORK and remedy["functional_dim"] <= asked["functional_dim"]:
        return Cause.DEPTH
    return Cause.CAPACITY if largest in (Lever.NETWORK, Lever.SAMPLES) else largest
