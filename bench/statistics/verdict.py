"""Why a network did not memorize: a table of evidence in, one verdict out. Pure: no training, no files."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from enum import StrEnum

import pandas as pd

from bench.protocol.cells import FIELDS, Cell
from bench.protocol.networks import width_for
from bench.statistics.confirmation import MAJORITY, Answer, memorizable, needed, stands_out, works
from bench.statistics.evidence import COLUMNS, HALVED, LEVER_FIELDS, Lever
from bench.statistics.settings import same, spell
from bench.statistics.survival import wilson_interval

# More alternatives than these are in the table, not in the sentence.
MOST_NAMED = 4

# Where fewer seeds than this memorize for sure, the draw is no cause.
LUCK = 0.1

# What no variant changes.
UNTESTED = "Not tested: the scale of inputs and targets, the output activation."


# What torch.nn.Linear and torch.optim do where nothing is said (torch 2.9), and what AdamW does beside.
TORCH = {
    "init": "torch_default",
    "init_scale": 1.0,
    "learning_rate": 0.001,
    "momentum": 0.0,
    "beta1": 0.9,
    "beta2": 0.999,
    "eps": 1e-8,
    "amsgrad": False,
    "weight_decay": 0.0,
}
CLASSES = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}
ADAMW_DECAY = 0.01


class Cause(StrEnum):
    """What held a cell back, where it is not one lever (`bench.statistics.evidence.Lever`)."""

    NOTHING = "memorizable as it is"
    LUCK = "luck of the draw"
    DEPTH = "depth"
    CAPACITY = "capacity"
    UNDECIDED = "undecided"


# How large a change is: of settings, then of epochs, of the network, of the samples, of the task. Up to epochs it is the
# training that changes.
TUNING = 1
_CLASSES = {Lever.BUDGET: TUNING, Lever.ACTIVATION: 2, Lever.NETWORK: 2, Lever.SAMPLES: 3, Lever.TASK: 4}


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

    A network of more dimensions, or fewer samples, mean capacity only where the samples are beyond the functional dimension, or
    where more epochs and other rates were tried and what is left does not fall any more. Where it falls it is the budget,
    if that too is confirmed on fresh seeds, and undecided if not. Changes of the task are no remedies.

    Args:
        evidence: see above.
        left_out: changes that there was no time for, in words.
    """
    asked, tried = evidence.iloc[0], evidence.iloc[1:]
    if pending := int(evidence["n_pending"].sum()):
        return _undecided(f"{pending} cells have no result yet; the same command goes on from there")
    if asked["n_seeds"] == 0:
        return _undecided("the cell that was asked about has no result")
    if memorizable(int(asked["n_memorized"]), int(asked["n_seeds"])) is Answer.YES:
        epoch = f"by epoch {asked['median_epoch_to_tau']:.0f} in the median"
        text = f"Memorizable as it is: {_count(asked)} memorized ({_interval(asked)}), {epoch}."
        return Verdict(Cause.NOTHING, (), asked["setting"], (text, *_unlike_torch(asked)))
    own = [row for _, row in tried.iterrows() if row["levers"] and Lever.TASK not in _levers(row)]
    answers = {row["setting"]: _answer(row, asked, evidence) for row in own}
    remedies = sorted((row for row in own if answers[row["setting"]] is Answer.YES), key=_cost_of)
    perhaps = [row for row in own if answers[row["setting"]] is Answer.OPEN and row["n_seeds"] and _share(row) >= MAJORITY]
    found = _remedied(asked, evidence, remedies, perhaps) if remedies else _without_remedy(asked, evidence, perhaps)
    sentences = [*found.sentences, *_luck(asked), *_diverging(asked, own), *_other_tasks(tried), *_without_results(tried)]
    return dataclasses.replace(found, sentences=(*sentences, *_not_tried(left_out), UNTESTED, *_unlike_torch(asked)))


def _answer(row: pd.Series, asked: pd.Series, evidence: pd.DataFrame) -> Answer:
    """Whether a change clearly works."""
    if row["n_fresh"]:
        return works(int(row["n_fresh_memorized"]), int(row["n_fresh"]), int(row["n_fresh_asked"]))
    counts = [int(value) for value in (row["n_memorized"], row["n_seeds"], asked["n_memorized"], asked["n_seeds"])]
    found = stands_out(*counts, among=max(1, len(evidence) - 1)) if row["n_seeds"] else Answer.NO
    return Answer.OPEN if found is Answer.YES and evidence["n_fresh"].any() else found


def _remedied(asked: pd.Series, evidence: pd.DataFrame, remedies: list[pd.Series], perhaps: list[pd.Series]) -> Verdict:
    best = remedies[0]
    named, open_levers = _needed_levers(best, evidence)
    *others, largest = named
    # A network of another size that holds fewer samples is one thing, capacity.
    others = [lever for lever in others if not (lever == Lever.NETWORK and largest == Lever.SAMPLES)]
    cause = _cause(largest, best, asked)
    what = "Of fewer samples it memorizes, confirmed" if largest == Lever.SAMPLES else "The smallest change confirmed"
    sentences = [
        f"{what}, of {_tried(evidence)} tried: {best['setting']} ({_outcome(best)}; as asked {_asked_beside(best, asked)})."
    ]
    sentences += open_levers
    sentences += _listed("Also confirmed", _alternatives(remedies, asked)) + _listed(
        "Perhaps too, unconfirmed", _alternatives([best, *perhaps], asked)
    )
    if cause == Cause.CAPACITY:
        unproven = _capacity_unproven(asked, evidence, perhaps)
        sentences = [*_what_it_takes(asked, evidence, remedies), *sentences]
        if unproven is not None:
            return dataclasses.replace(unproven, sentences=(*unproven.sentences, *sentences))
    held = f"Held back by {_named(cause)}"
    if others:
        held += f", together with {_list([_named(lever) for lever in others])}"
    return Verdict(cause, tuple(others), best["setting"], (f"{held}.", *sentences))


def _needed_levers(remedy: pd.Series, evidence: pd.DataFrame) -> tuple[list[Lever], list[str]]:
    """The levers that a remedy does not work without, and what is open about the others; all where none is shown to be."""
    levers = _levers(remedy)
    if len(levers) == 1:
        return levers, []
    # Beyond the dimension there is no doubt that the asked network cannot hold its samples.
    sure = {Lever.NETWORK, Lever.SAMPLES} if _beyond_dimension(evidence.iloc[0]) else set()
    known, sentences = [lever for lever in levers if lever in sure], []
    for lever in (lever for lever in levers if lever not in sure):
        row = _taken_away(lever, remedy, evidence)
        answer = Answer.OPEN if row is None else needed(*_counts(remedy), *_counts(row))
        if answer is Answer.YES:
            known.append(lever)
        else:
            seen = "which was not tried" if row is None else "{} of {} do".format(*_counts(row))
            sentences.append(f"Whether {_named(lever)} is needed for it is not shown: without that, {seen}.")
    return [lever for lever in levers if lever in known] or levers, sentences


def _taken_away(lever: Lever, remedy: pd.Series, evidence: pd.DataFrame) -> pd.Series | None:
    """The row that takes one lever away from a remedy."""
    own = {*LEVER_FIELDS[lever], *(("batch_size", "max_epochs") if lever == Lever.SAMPLES else ())}
    own |= {"learning_rate"} if lever == Lever.OPTIMIZER else set()
    others = [other for other in _levers(remedy) if other != lever]
    for _, row in evidence.iterrows():
        if _levers(row) == others and all(same(row[name], remedy[name]) for name in _FIELDS if name not in own):
            return row
    return None


_FIELDS = [name for name in FIELDS if name in COLUMNS]


def _without_remedy(asked: pd.Series, evidence: pd.DataFrame, perhaps: list[pd.Series]) -> Verdict:
    if above := _beyond_dimension(asked):
        text = f"Held back by capacity: {_nothing_works(evidence)}."
        return Verdict(Cause.CAPACITY, (), None, (text, *above, *_budget_beside(asked, evidence)))
    if (falling := _budget(asked, evidence)) is not None:
        return falling
    slower = [row for _, row in evidence.iterrows() if row["levers"] == Lever.LEARNING_RATE and row["n_seeds"]]
    slower = [row for row in slower if row["learning_rate"] < asked["learning_rate"] and not row["n_diverged"]]
    if asked["n_diverged"] >= MAJORITY * asked["n_seeds"] and slower:
        text = f"Held back by the learning rate, which is too high; beyond that, {_nothing_works(evidence)}."
        return Verdict(Lever.LEARNING_RATE, (), None, (text,))
    if wilson_interval(int(asked["n_memorized"]), int(asked["n_seeds"]))[0] >= LUCK:
        return Verdict(Cause.LUCK, (), None, (f"No change is confirmed to do better: {_nothing_works(evidence)}.",))
    return _unclear(asked, perhaps) if perhaps else _undecided(_nothing_works(evidence))


def _nothing_works(evidence: pd.DataFrame) -> str:
    """What was tried, at most how many seeds memorized, and what was left at least; never against the table."""
    asked, tried = evidence.iloc[0], evidence.iloc[1:]
    tried = tried[(tried["n_seeds"] > 0) & ~tried["levers"].str.contains(Lever.TASK)]
    if tried.empty:
        return f"no change was tried; as asked {_left(asked)} is left"
    shares = tried["n_memorized"] / tried["n_seeds"]
    if shares.max() > 0:
        best = tried.iloc[int(shares.to_numpy().argmax())]
        return f"of {len(tried)} changes none is confirmed; the most, {best['setting']}, has {_count(best)}"
    text = f"none of {len(tried)} changes memorizes"
    same = tried[(tried["n_samples"] >= asked["n_samples"]) & tried["median_final_tau"].notna()]
    same = same.sort_values(["n_diverged", "median_final_tau"], kind="stable")
    if same.empty:
        return text
    closest = same.iloc[0]
    return f"{text}; as asked {_left(asked)} is left, and by the closest, {closest['setting']}, {_left(closest)}"


def _unclear(asked: pd.Series, perhaps: list[pd.Series]) -> Verdict:
    """These may work."""
    best = max(perhaps, key=lambda row: (_share(row), -_class_of(row)))
    more = "" if best["n_fresh"] else "; give more seeds, grid.seed=[0,1,2,3,4,5,6,7,8,9], from Python seeds=range(10)"
    return _undecided(
        f"{_count(asked)} memorize as asked ({_interval(asked)}), and of the changes at most {_count(best)}"
        f" ({best['setting']}), which is not confirmed{more}"
    )


def _undecided(why: str) -> Verdict:
    return Verdict(Cause.UNDECIDED, (), None, (f"Undecided: {why}.",))


def _capacity_unproven(asked: pd.Series, evidence: pd.DataFrame, perhaps: list[pd.Series]) -> Verdict | None:
    """What is said in place of capacity where the training may still be it; None where it was shown not to be."""
    if _beyond_dimension(asked):
        return None
    if (falling := _budget(asked, evidence)) is not None:
        return falling
    if tuned := [row for row in perhaps if _class_of(row) <= TUNING]:
        return _unclear(asked, tuned)
    levers = set().union(*(_levers(row) for _, row in evidence.iterrows()))
    if Lever.BUDGET not in levers or not levers & {Lever.LEARNING_RATE, Lever.OPTIMIZER}:
        return _undecided("capacity, or the training: more epochs and other rates were not tried")
    if (pair := _falls(evidence)) is not None:
        before, after = pair
        text = f"{after['setting']} leaves {_left(after)}, where {before['max_epochs']} epochs leave {_left(before)}"
        return _undecided(f"capacity, or the budget: {text}")
    return None


def _same_network(evidence: pd.DataFrame) -> list[pd.Series]:
    """The rows of the asked network on all its samples."""
    other = (Lever.NETWORK, Lever.ACTIVATION, Lever.SAMPLES, Lever.TASK)
    rows = [row for _, row in evidence.iterrows() if row["n_seeds"] and not any(lever in _levers(row) for lever in other)]
    return [row for row in rows if math.isfinite(row["median_final_tau"])]


def _falls(evidence: pd.DataFrame, levers: Iterable[str] | None = None) -> tuple[pd.Series, pd.Series] | None:
    """Of trainings that differ in their epochs alone, the longest two, where the longest leaves at most HALVED of the other."""
    fields = [name for name in _FIELDS if name != "max_epochs"]
    rows = [row for row in _same_network(evidence) if levers is None or row["levers"] in levers]
    longest = sorted((row for row in rows if Lever.BUDGET in _levers(row)), key=lambda row: row["median_final_tau"])
    for after in longest:
        twins = [row for row in rows if all(same(row[name], after[name]) for name in fields)]
        *shorter, last = sorted(twins, key=lambda row: row["max_epochs"])
        if last is after and shorter and after["median_final_tau"] <= HALVED * shorter[-1]["median_final_tau"]:
            return shorter[-1], after
    return None


def _budget(asked: pd.Series, evidence: pd.DataFrame) -> Verdict | None:
    """The budget, where epochs alone still halve what is left at the longest that was tried, and fresh seeds confirm it."""
    pair = _falls(evidence, levers=("", str(Lever.BUDGET)))
    if pair is None or (confirmed := _halved(evidence)) is None:
        return None
    text = f"Held back by the budget: training had not ended. {confirmed} Beyond that, {_nothing_works(evidence)}."
    return Verdict(Lever.BUDGET, (), None, (text,))


def _halved(evidence: pd.DataFrame) -> str | None:
    """What epochs alone do to what is left, where fresh seeds confirm that they halve it."""
    asked = evidence.iloc[0]
    for row in sorted(_same_network(evidence), key=lambda row: -row["max_epochs"]):
        hits, trials = int(row["n_fresh_halved"]), int(row["n_fresh"])
        if row["levers"] == Lever.BUDGET and trials and memorizable(hits, trials) is Answer.YES:
            low, high = wilson_interval(hits, trials)
            return (
                f"{row['setting']} leaves {_left(row)}, where as asked {_left(asked)} is left: at most half, in {hits} of"
                f" {trials} fresh seeds ({_percent(low, high)})."
            )
    return None


def _budget_beside(asked: pd.Series, evidence: pd.DataFrame) -> list[str]:
    """What is known of the budget where the capacity is too small anyway."""
    if confirmed := _halved(evidence):
        return [f"Training had not ended either: {confirmed}"]
    longer = [row for row in _same_network(evidence) if row["levers"] == Lever.BUDGET]
    if not longer:
        return []
    last = max(longer, key=lambda row: row["max_epochs"])
    return [f"As for the budget, {last['setting']} leaves {_left(last)}, where as asked {_left(asked)} is left."]


def _what_it_takes(asked: pd.Series, evidence: pd.DataFrame, remedies: list[pd.Series]) -> list[str]:
    """For the asked n_samples: the dimensions, the budget, and where the frontier of this network was seen."""
    sentences = [*_beyond_dimension(asked), *_budget_beside(asked, evidence)]
    if remedies[0]["n_samples"] == asked["n_samples"]:
        return sentences
    reached = max((row["n_samples"] for row in remedies if Lever.NETWORK not in _levers(row)), default=0)
    own = evidence[~evidence["levers"].str.contains(f"{Lever.NETWORK}|{Lever.TASK}")]
    beyond = own.loc[(own["n_samples"] > reached) & (own["n_samples"] <= asked["n_samples"]), "n_samples"].min()
    if asked["depth"] and reached:
        sentences.append(
            f"This network memorized {reached} samples and not {beyond}: its frontier lies between, at"
            f" {reached / asked['functional_dim']:.2g} to {beyond / asked['functional_dim']:.2g} of its functional dimension."
        )
    networks = evidence[(evidence["n_samples"] == asked["n_samples"]) & evidence["levers"].str.contains(Lever.NETWORK)]
    networks = networks[(networks["n_seeds"] > 0) & ~networks["levers"].str.contains(Lever.TASK)]
    if len(networks):
        best = networks.iloc[int((networks["n_memorized"] / networks["n_seeds"]).to_numpy().argmax())]
        most = f"at most {_count(best)}: {best['setting']}" if best["n_memorized"] else "no seed of any"
        sentences.append(
            f"Of {len(networks)} trainings of other networks none is confirmed to memorize all {asked['n_samples']} ({most})."
        )
    return sentences


def _beyond_dimension(asked: pd.Series) -> list[str]:
    """What the count of dimensions says against the asked samples: as with linear models, a share 1 - tau of them must fit."""
    least = asked["n_samples"] * (1 - asked["tau"])
    if asked["target"] == "rademacher" or least <= asked["functional_dim"]:
        return []
    if asked["depth"] == 0:
        return [
            f"A linear model fits any {asked['functional_dim']} samples (d_in + 1); of {asked['n_samples']} it leaves"
            f" {100 * (1 - asked['functional_dim'] / asked['n_samples']):.3g} % of the variance on average."
        ]
    text = (
        f"n_samples is {asked['n_samples'] / asked['functional_dim']:.3g} times the functional dimension"
        f" ({asked['functional_dim']}): no exact fit of generic continuous targets exists (Grigsby et al. 2022,"
        " arXiv 2209.04036)"
    )
    fields = ("d_in", "depth", "width", "activation", "trainable")
    width = width_for(Cell(**{name: _plain(asked[name]) for name in fields}), float(asked["n_samples"]))
    return [f"{text}; at depth {asked['depth']} no width below {width} has as many."] if width else [f"{text}."]


def _plain(value):
    """A number of a table as Python's own."""
    return value.item() if hasattr(value, "item") else value


def _luck(asked: pd.Series) -> list[str]:
    """How often the asked cell memorizes, where it surely does so now and then."""
    if wilson_interval(int(asked["n_memorized"]), int(asked["n_seeds"]))[0] < LUCK:
        return []
    return [f"As asked, the draw decides: {_count(asked)} memorized ({_interval(asked)})."]


def _diverging(asked: pd.Series, rows: list[pd.Series]) -> list[str]:
    """That the asked rate diverges, and the largest lower one that was not seen to."""
    if not asked["n_diverged"]:
        return []
    lower = [row for row in rows if row["levers"] == Lever.LEARNING_RATE and row["learning_rate"] < asked["learning_rate"]]
    calm = max(
        (row for row in lower if row["n_seeds"] and not row["n_diverged"]), key=lambda r: r["learning_rate"], default=None
    )
    beside = "" if calm is None else f", none of {calm['n_seeds']} at {calm['setting']}"
    diverged = f"{asked['n_diverged']} of {asked['n_seeds']} seeds diverged"
    return [f"The learning rate {asked['learning_rate']:g} is too high: {diverged}{beside}."]


def _other_tasks(tried: pd.DataFrame) -> list[str]:
    """What memorizes where the inputs, the targets or the threshold are others: no remedy, but telling."""
    rows = [row for _, row in tried.iterrows() if Lever.TASK in _levers(row) and row["n_seeds"] and _share(row) >= MAJORITY]
    return _listed("On another task it memorizes", rows)


def _without_results(tried: pd.DataFrame) -> list[str]:
    failed = int((tried["n_failed"] > 0).sum())
    return [f"{failed} changes have failed cells (the reasons are in cells.csv)."] if failed else []


def _not_tried(left_out: Sequence[str]) -> list[str]:
    if not left_out:
        return []
    more = f"; and {len(left_out) - MOST_NAMED} more" if len(left_out) > MOST_NAMED else ""
    return [f"Not tried for want of time (give more with budget_s): {'; '.join(left_out[:MOST_NAMED])}{more}."]


def _unlike_torch(asked: pd.Series) -> list[str]:
    """The settings that whoever writes torch.nn.Linear and an optimizer of torch.optim does not get."""
    theirs = TORCH | ({"weight_decay": ADAMW_DECAY} if asked["optimizer"] == "adamw" else {})
    other = [f"{spell(name, asked[name])} ({_value(value)})" for name, value in theirs.items() if not same(asked[name], value)]
    by = f"torch.nn.Linear under torch.optim.{CLASSES[asked['optimizer']]}"
    return [f"Unlike {by} as they come: {', '.join(other)}."] if other else []


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def _listed(words: str, rows: list[pd.Series]) -> list[str]:
    if not rows:
        return []
    listed = "; ".join(f"{row['setting']} ({_outcome(row)})" for row in rows[:MOST_NAMED])
    return [f"{words}: {listed}{f'; and {len(rows) - MOST_NAMED} more' if len(rows) > MOST_NAMED else ''}."]


def _alternatives(rows: list[pd.Series], asked: pd.Series) -> list[pd.Series]:
    """The rows after the first that are more than one before them with a needless lever, or with another value."""
    kept: list[tuple[set[Lever], list[str], pd.Series]] = []
    for row in rows:
        levers, fields = set(_levers(row)), [name for name in _FIELDS if not same(row[name], asked[name])]
        if not any(other < levers or (other == levers and own == fields) for other, own, _ in kept):
            kept.append((levers, fields, row))
    return [row for _, _, row in kept[1:]]


def class_of(levers: Sequence[Lever]) -> int:
    """How large a change of these levers is, the smallest first."""
    return _CLASSES.get(levers[-1], 0)


def _class_of(row: pd.Series) -> int:
    return class_of(_levers(row))


def _cost_of(row: pd.Series) -> tuple[float, ...]:
    return (_class_of(row), -row["n_samples"], len(_levers(row)), row["cost"])


def _cause(largest: Lever, remedy: pd.Series, asked: pd.Series) -> Cause | Lever:
    if largest == Lever.NETWORK and remedy["functional_dim"] <= asked["functional_dim"]:
        return Cause.DEPTH
    return Cause.CAPACITY if largest in (Lever.NETWORK, Lever.SAMPLES) else largest


def _levers(row: pd.Series) -> list[Lever]:
    return [Lever(name) for name in row["levers"].split(" + ") if name]


def _tried(evidence: pd.DataFrame) -> int:
    """Changes that have a result."""
    return int((evidence["n_seeds"].iloc[1:] > 0).sum())


def _counts(row: pd.Series) -> tuple[int, int]:
    """Successes and trials: on fresh seeds, where there are any."""
    fresh = row["n_fresh"] > 0
    return int(row["n_fresh_memorized" if fresh else "n_memorized"]), int(row["n_fresh" if fresh else "n_seeds"])


def _share(row: pd.Series) -> float:
    return row["n_memorized"] / row["n_seeds"]


def _outcome(row: pd.Series) -> str:
    hits, trials = _counts(row)
    return (
        f"{hits} of {trials} {'fresh ' * (row['n_fresh'] > 0)}seeds, {_percent(*wilson_interval(hits, trials))}, median epoch"
        f" {row['median_epoch_to_tau']:.0f}"
    )


def _asked_beside(row: pd.Series, asked: pd.Series) -> str:
    if row["n_fresh"]:
        return f"{row['n_fresh_asked']} of {row['n_fresh']}"
    return f"{asked['n_memorized']} of {asked['n_seeds']}"


def _count(row: pd.Series) -> str:
    return f"{row['n_memorized']} of {row['n_seeds']} seeds"


def _interval(row: pd.Series) -> str:
    return _percent(*wilson_interval(int(row["n_memorized"]), int(row["n_seeds"])))


def _percent(low: float, high: float) -> str:
    return f"{100 * low:.0f} to {100 * high:.0f} %"


def _left(row: pd.Series) -> str:
    return f"{100 * row['median_final_tau']:.3g} %" if math.isfinite(row["median_final_tau"]) else "everything (diverged)"


def _named(lever: str) -> str:
    return lever if lever in (Cause.CAPACITY, Lever.REGULARIZATION) else f"the {lever}"


def _list(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
