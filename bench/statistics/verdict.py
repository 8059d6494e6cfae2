"""Why a network did not memorize: a table of evidence in, one verdict out. Pure: no training, no files."""

from __future__ import annotations

import dataclasses
import math
from enum import StrEnum

import numpy as np
import pandas as pd
from scipy import stats

from bench.protocol.cells import Cell
from bench.protocol.networks import functional_dim
from bench.statistics.evidence import Lever

# A change works where at least this share of its seeds memorized.
MAJORITY = 0.5

# And it clearly does where chance would set it this far apart from the asked cell at most this often.
CHANCE = 0.05

# Fewer seeds than these cannot pass such a test.
LEAST_TESTED = 3

# Training that more epochs take to this share of what was left had not ended.
STILL_FALLING = 0.5

# More alternatives than these are in the table, not in the sentence.
MOST_NAMED = 4

# No network wider than this is proposed.
WIDEST = 10**6


class Cause(StrEnum):
    """What held a cell back, where it is not one lever (`bench.statistics.evidence.Lever`)."""

    NOTHING = "memorizable as it is"
    DEPTH = "depth"
    CAPACITY = "capacity"
    UNDECIDED = "undecided"


# How large a change is: of settings, then of epochs, of the network, of the samples, of the task. Up to epochs it is the
# training that changes.
TUNING = 1
_CLASSES = {Lever.BUDGET: TUNING, Lever.NETWORK: 2, Lever.SAMPLES: 3, Lever.TASK: 4}


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """One cause; what else the smallest change that works had to change with it; that change; and all of it in sentences.

    `change` is the `setting` of a row of the evidence, None where nothing that was tried clearly works.
    """

    cause: Cause | Lever
    together_with: tuple[Lever, ...]
    change: str | None
    sentences: tuple[str, ...]


def verdict(evidence: pd.DataFrame) -> Verdict:
    """The verdict over a cell, the first row of `bench.statistics.evidence.evidence`, from what came of its variants.

    A change works where half of its seeds memorize, and clearly so where chance would set it that far apart from the asked cell
    at most CHANCE often (Fisher's exact test, one-sided; of three seeds, all against none). The smallest change that clearly
    works decides: one of settings (initialisation, rate, optimizer, batch, regularization, precision) before more epochs
    before another network before fewer samples; then the one with the most samples, the fewest levers, the least training. Its
    largest lever is the cause; no change that was tried works with fewer. A network of more dimensions and fewer samples mean
    capacity, a shallower network of fewer dimensions means depth. Where a change of the training
    alone works, but not clearly, beside a network or sample count that clearly does, it is undecided.

    Where no change memorized all samples, more epochs that leave at most STILL_FALLING of what was left mean the budget; else
    samples beyond the functional dimension mean capacity. Changes of the task (inputs, targets, threshold) are no remedies.
    """
    asked, tried = evidence.iloc[0], evidence.iloc[1:]
    pending = int(evidence["n_pending"].sum())
    if pending:
        return _undecided(f"{pending} cells have no result yet; the same command goes on from there")
    if asked["n_seeds"] == 0:
        return _undecided("the cell that was asked about has no result")
    if memorizes(asked):
        text = f"Memorizable as it is: {_count(asked)} memorized, by epoch {asked['median_epoch_to_tau']:.0f} in the median."
        return Verdict(Cause.NOTHING, (), asked["setting"], (text,))
    works = [row for _, row in tried.iterrows() if row["levers"] and memorizes(row)]
    clear = [row for row in works if Lever.TASK not in _levers(row) and _clearly_better(row, asked)]
    clear.sort(key=_cost_of)
    if not clear:
        found = _nothing_works(evidence, works)
    elif (smaller := [row for row in works if _class_of(row) < _class_of(clear[0])]) and _class_of(clear[0]) > TUNING:
        clearly = f" that are smaller than what clearly works, {clear[0]['setting']} ({_outcome(clear[0])}),"
        found = _unclear(asked, smaller, clearly)
    else:
        found = _remedied(asked, evidence, clear)
        if smaller:
            best = _most(smaller)
            perhaps = f"Perhaps less is enough: {best['setting']} ({_outcome(best)}), too few to tell."
            found = dataclasses.replace(found, sentences=(*found.sentences, perhaps))
    return dataclasses.replace(found, sentences=(*found.sentences, *_other_tasks(works), *_without_results(tried)))


def _remedied(asked: pd.Series, evidence: pd.DataFrame, remedies: list[pd.Series]) -> Verdict:
    best = remedies[0]
    *others, largest = _levers(best)
    named = "Of fewer samples it memorizes" if largest == Lever.SAMPLES else "The smallest change that works"
    sentences = [f"{named}: {best['setting']} ({_outcome(best)})."]
    if more := _alternatives(remedies):
        listed = "; ".join(f"{row['setting']} ({_outcome(row)})" for row in more[:MOST_NAMED])
        sentences.append(f"Also works: {listed}{f'; and {len(more) - MOST_NAMED} more' if len(more) > MOST_NAMED else ''}.")
    if largest == Lever.SAMPLES and not _beyond_dimension(asked) and (falling := _still_falling(asked, evidence)):
        return dataclasses.replace(falling, sentences=(*falling.sentences, *sentences))
    cause = _cause(largest, best, asked)
    # A network of another size that holds fewer samples is one thing, capacity.
    others = [lever for lever in others if not (lever == Lever.NETWORK and largest == Lever.SAMPLES)]
    held = f"Held back by {_named(cause)}"
    if others:
        held += f", together with {_list([_named(lever) for lever in others])}"
    if cause == Cause.CAPACITY:
        sentences = [*_what_it_takes(asked, evidence, remedies), *sentences]
    return Verdict(cause, tuple(others), best["setting"], (f"{held}.", *sentences))


def _alternatives(remedies: list[pd.Series]) -> list[pd.Series]:
    """The remedies after the first that are more than one before them with a needless lever beside it."""
    kept: list[pd.Series] = []
    for row in remedies:
        if not any(set(_levers(other)) <= set(_levers(row)) for other in kept):
            kept.append(row)
    return kept[1:]


def _nothing_works(evidence: pd.DataFrame, works: list[pd.Series]) -> Verdict:
    asked, tried = evidence.iloc[0], evidence.iloc[1:]
    if falling := _still_falling(asked, evidence):
        return falling
    if remedies := [row for row in works if Lever.TASK not in _levers(row)]:
        return _unclear(asked, remedies)
    text = "no change that was tried memorizes"
    same = tried[(tried["n_samples"] >= asked["n_samples"]) & tried["median_final_tau"].notna()]
    same = same.sort_values(["n_diverged", "median_final_tau"], kind="stable")
    if len(same):
        closest = same.iloc[0]
        text += f"; as asked {_left(asked)} is left, and by the closest, {closest['setting']}, {_left(closest)}"
    above = _beyond_dimension(asked)
    return Verdict(Cause.CAPACITY, (), None, (f"Held back by capacity: {text}.", *above)) if above else _undecided(text)


def _unclear(asked: pd.Series, rows: list[pd.Series], beside: str = "") -> Verdict:
    """These work, of too few seeds to tell."""
    best = _most(rows)
    return _undecided(
        f"{_count(asked)} memorize as asked, and of the changes{beside} at most {_count(best)} ({best['setting']}), which are"
        " too few to tell apart; give more seeds, grid.seed=[0,1,2,3,4,5,6,7,8,9], from Python seeds=range(10)"
    )


def _most(rows: list[pd.Series]) -> pd.Series:
    """The first of those that most seeds memorize."""
    return max(rows, key=lambda row: row["n_memorized"] / row["n_seeds"])


def _undecided(why: str) -> Verdict:
    return Verdict(Cause.UNDECIDED, (), None, (f"Undecided: {why}.",))


def _still_falling(asked: pd.Series, evidence: pd.DataFrame) -> Verdict | None:
    """The budget and what it needs beside it, where more epochs of the asked network on all its samples leave much less."""
    other = (Lever.NETWORK, Lever.SAMPLES, Lever.TASK)
    same = [row for _, row in evidence.iterrows() if row["n_seeds"] > 0 and not any(name in row["levers"] for name in other)]
    same = [row for row in same if math.isfinite(row["median_final_tau"])]
    before = min((row["median_final_tau"] for row in same if Lever.BUDGET not in row["levers"]), default=1.0)
    longer = [row for row in same if Lever.BUDGET in row["levers"] and row["median_final_tau"] <= STILL_FALLING * before]
    if not longer:
        return None
    best = min(longer, key=lambda row: (len(_levers(row)), row["median_final_tau"]))
    others = tuple(lever for lever in _levers(best) if lever != Lever.BUDGET)
    together = f", together with {_list([_named(lever) for lever in others])}" if others else ""
    all_samples = evidence[(evidence["n_samples"] >= asked["n_samples"]) & ~evidence["levers"].str.contains(Lever.TASK)]
    seen = all_samples[all_samples["n_memorized"] > 0]
    closest = seen.loc[(seen["n_memorized"] / seen["n_seeds"]).idxmax()] if len(seen) else None
    clearly, most = ("", "") if closest is None else (" clearly", f" (at most {_count(closest)}: {closest['setting']})")
    text = (
        f"Held back by the budget{together}: training had not ended. No change that was tried{clearly} memorizes all"
        f" {asked['n_samples']} samples{most}, but {best['setting']} leaves {_left(best)}, where the asked number of epochs"
        f" leaves {100 * before:.3g} % at best."
    )
    return Verdict(Lever.BUDGET, others, None, (text,))


def _what_it_takes(asked: pd.Series, evidence: pd.DataFrame, remedies: list[pd.Series]) -> list[str]:
    """For the asked n_samples, where no network was seen to memorize them: an estimate from the frontier of this one."""
    sentences = _beyond_dimension(asked)
    if remedies[0]["n_samples"] == asked["n_samples"]:
        return sentences
    own = evidence[(evidence["levers"] == "") | ~evidence["levers"].str.contains(f"{Lever.NETWORK}|{Lever.TASK}")]
    reached = max((row["n_samples"] for row in remedies if Lever.NETWORK not in _levers(row)), default=0)
    if asked["depth"] == 0 or not reached:
        return sentences
    beyond = own.loc[(own["n_samples"] > reached) & (own["n_samples"] <= asked["n_samples"]), "n_samples"].min()
    measured = (
        f"This network memorized {reached} samples and not {beyond}: its frontier lies between, at"
        f" {reached / asked['functional_dim']:.2g} to {beyond / asked['functional_dim']:.2g} of its functional dimension"
    )
    widths = [width_for(asked, float(asked["functional_dim"] * asked["n_samples"] / n)) for n in (beyond, reached)]
    failed = evidence[(evidence["n_samples"] == asked["n_samples"]) & (evidence["depth"] == asked["depth"])]
    exact = width_for(asked, float(asked["n_samples"])) if sentences else None
    least, most = max(widths[0] or WIDEST, int(failed["width"].max()) + 1, exact or 0), widths[1] or 0
    if most < least:
        return [*sentences, f"{measured}."]
    return [
        *sentences,
        f"{measured}. If what is memorized grows with the functional dimension, {asked['n_samples']} samples take a width of"
        f" {least} to {most} at depth {asked['depth']} (an estimate, not a measurement).",
    ]


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
    width = width_for(asked, float(asked["n_samples"]))
    return [f"{text}; at depth {asked['depth']} it takes a width of at least {width}." if width else f"{text}."]


def _other_tasks(works: list[pd.Series]) -> list[str]:
    """What memorizes where the inputs, the targets or the threshold are others: no remedy, but telling."""
    named = [f"{row['setting']} ({_outcome(row)})" for row in works if Lever.TASK in _levers(row)]
    return [f"On another task it works: {'; '.join(named)}."] if named else []


def _without_results(tried: pd.DataFrame) -> list[str]:
    failed = int((tried["n_failed"] > 0).sum())
    return [f"{failed} changes have failed cells (the reasons are in cells.csv)."] if failed else []


def width_for(asked: pd.Series, dimension: float) -> int | None:
    """The least width at which the asked network has at least this functional dimension; None where no width has.

    >>> asked = pd.Series({"d_in": 2, "depth": 1, "width": 4, "activation": "relu", "trainable": "all"})
    >>> width_for(asked, 100)  # of width 33: 4 * 33 + 1 parameters, less 33
    33
    """
    depth, d_in, activation, trainable = int(asked["depth"]), int(asked["d_in"]), asked["activation"], asked["trainable"]

    def enough(width: int) -> bool:
        cell = Cell(depth=depth, width=width, d_in=d_in, activation=activation, trainable=trainable)
        return functional_dim(cell) >= dimension

    if depth == 0 or not enough(WIDEST):
        return None
    low, high = 0, WIDEST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def memorizes(row: pd.Series) -> bool:
    """Whether at least half of the seeds of a group memorized; not where none has a result."""
    return bool(row["n_seeds"] > 0 and row["n_memorized"] >= MAJORITY * row["n_seeds"])


def _clearly_better(row: pd.Series, asked: pd.Series) -> bool:
    """Fisher's exact test; fewer than three seeds can pass none, and count where all memorize against none."""
    hits, trials = int(row["n_memorized"]), int(row["n_seeds"])
    if min(trials, asked["n_seeds"]) < LEAST_TESTED:
        return hits == trials and int(asked["n_memorized"]) == 0
    misses = [trials - hits, int(asked["n_seeds"] - asked["n_memorized"])]
    table = [[hits, misses[0]], [int(asked["n_memorized"]), misses[1]]]
    # Three of three against none of three is 0.05 but for rounding.
    # The result is a pair (statistic, p-value) to all but its type.
    chance = float(np.asarray(stats.fisher_exact(table, alternative="greater"))[1])
    return chance <= CHANCE * (1 + 1e-9)


def _class_of(row: pd.Series) -> int:
    return _CLASSES.get(_levers(row)[-1], 0)


def _cost_of(row: pd.Series) -> tuple[float, ...]:
    return (_class_of(row), -row["n_samples"], len(_levers(row)), row["cost"])


def _cause(largest: Lever, remedy: pd.Series, asked: pd.Series) -> Cause | Lever:
    if largest == Lever.NETWORK and remedy["functional_dim"] <= asked["functional_dim"]:
        return Cause.DEPTH
    return Cause.CAPACITY if largest in (Lever.NETWORK, Lever.SAMPLES) else largest


def _levers(row: pd.Series) -> list[Lever]:
    return [Lever(name) for name in row["levers"].split(" + ")]


def _outcome(row: pd.Series) -> str:
    return f"{_count(row)}, median epoch {row['median_epoch_to_tau']:.0f}"


def _count(row: pd.Series) -> str:
    return f"{row['n_memorized']} of {row['n_seeds']} seeds"


def _left(row: pd.Series) -> str:
    return f"{100 * row['median_final_tau']:.3g} %" if math.isfinite(row["median_final_tau"]) else "everything (diverged)"


def _named(lever: str) -> str:
    return lever if lever in (Cause.CAPACITY, Lever.REGULARIZATION) else f"the {lever}"


def _list(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
