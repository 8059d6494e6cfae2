"""Why a network did not memorize: a table of evidence in, one verdict out. Pure: no training, no files."""

from __future__ import annotations

import dataclasses
import math
from enum import StrEnum

import pandas as pd

from bench.cells import Cell
from bench.evidence import Lever
from bench.networks import functional_dim

# A change works where at least this share of its seeds memorized.
MAJORITY = 0.5

# More alternatives than these are in the table, not in the sentence.
MOST_NAMED = 4

# No network wider than this is proposed.
WIDEST = 10**6


class Cause(StrEnum):
    """What held a cell back."""

    NOTHING = "memorizable as it is"
    INITIALISATION = "initialisation"
    LEARNING_RATE = "learning rate"
    OPTIMIZER = "optimizer"
    BATCH_SIZE = "batch size"
    REGULARIZATION = "regularization"
    PRECISION = "precision"
    BUDGET = "budget"
    CAPACITY = "capacity"
    UNDECIDED = "undecided"


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """One cause; what else the cheapest change that works had to repair; that change; and all of it in sentences.

    `change` is the `setting` of a row of the evidence, None where nothing that was tried works.
    """

    cause: Cause
    besides: tuple[Lever, ...]
    change: str | None
    sentences: tuple[str, ...]


def verdict(evidence: pd.DataFrame) -> Verdict:
    """The verdict over a cell, the first row of `bench.evidence.evidence`, from what came of its variants.

    The cheapest change that works decides: the one whose dearest lever is cheapest (in the order of `Lever`), then the one
    with the most samples, then the one with the fewest levers, then the one with the least training. Its dearest lever is the
    cause, since all changes without it failed; its others stood in the way besides. A wider, deeper or shallower network and
    fewer samples both mean capacity. Changes of the task itself (inputs, targets, threshold) are no remedies. Where nothing
    works, n_samples above the functional dimension is a cause of its own: no exact fit of generic continuous targets exists
    there (Grigsby et al. 2022, arXiv 2209.04036).
    """
    asked = evidence.iloc[0]
    if asked["n_seeds"] == 0:
        return Verdict(Cause.UNDECIDED, (), None, ("Undecided: the cell that was asked about has no result.",))
    if _works(asked):
        text = f"Memorizable as it is: {_count(asked)} memorized, by epoch {asked['median_epoch_to_tau']:.0f} in the median."
        return Verdict(Cause.NOTHING, (), asked["setting"], (text,))
    tried = evidence.iloc[1:]
    tried = tried[(tried["levers"] != "") & (tried["n_seeds"] > 0)]
    works = [row for _, row in tried.iterrows() if _works(row)]
    remedies = [row for row in works if Lever.TASK not in _levers(row)]
    remedies.sort(key=lambda row: (_rank(_levers(row)[-1]), -row["n_samples"], len(_levers(row)), row["cost"]))
    elsewhere = _other_tasks([row for row in works if Lever.TASK in _levers(row)])
    if not remedies:
        return _nothing_works(asked, tried, elsewhere)
    best = remedies[0]
    *others, dearest = _levers(best)
    cause = Cause.CAPACITY if dearest in (Lever.NETWORK, Lever.SAMPLES) else Cause(dearest)
    besides = tuple(lever for lever in others if lever != Lever.NETWORK or cause != Cause.CAPACITY)
    held = f"Held back by {_named(cause)}"
    if besides:
        held += f", and besides by {_list([_named(lever) for lever in besides])}"
    sentences = [f"{held}.", f"The cheapest change that works: {best['setting']} ({_outcome(best)})."]
    if len(remedies) > 1:
        more = [f"{row['setting']} ({_outcome(row)})" for row in remedies[1 : 1 + MOST_NAMED]]
        left = len(remedies) - 1 - len(more)
        sentences.append(f"Also works: {'; '.join(more)}{f'; and {left} more' if left else ''}.")
    if cause == Cause.CAPACITY:
        sentences += _what_it_takes(asked, evidence, remedies)
    return Verdict(cause, besides, best["setting"], (*sentences, *elsewhere))


def _nothing_works(asked: pd.Series, tried: pd.DataFrame, elsewhere: list[str]) -> Verdict:
    above = _above_dimension(asked)
    cause = Cause.CAPACITY if above else Cause.UNDECIDED
    named = "Held back by capacity" if above else "Undecided"
    text = f"{named}: no change that was tried memorizes"
    finite = tried[tried["median_final_tau"].notna()].sort_values("median_final_tau", kind="stable")
    if len(finite):
        closest = finite.iloc[0]
        text += f"; the closest, {closest['setting']}, leaves {100 * closest['median_final_tau']:.3g} % of the variance"
    return Verdict(cause, (), None, (f"{text}.", *above, *elsewhere))


def _other_tasks(works: list[pd.Series]) -> list[str]:
    """What memorizes where the inputs, the targets or the threshold are others: no remedy, but telling."""
    named = [f"{row['setting']} ({_outcome(row)})" for row in works]
    return [f"On another task it works: {'; '.join(named)}."] if named else []


def _what_it_takes(asked: pd.Series, evidence: pd.DataFrame, remedies: list[pd.Series]) -> list[str]:
    """For the asked n_samples: a network that was seen to memorize them, else an estimate from the frontier of this network."""
    sentences = _above_dimension(asked)
    wider = [row for row in remedies if row["n_samples"] >= asked["n_samples"]]
    if wider:
        return [*sentences, f"All {asked['n_samples']} samples are memorized with {wider[0]['setting']}."]
    if asked["depth"] == 0:
        return [*sentences, f"A linear model fits any {asked['d_in'] + 1} samples (d_in + 1), and more only by chance."]
    reached = max(row["n_samples"] for row in remedies)
    beyond = evidence.loc[evidence["n_samples"] > reached, "n_samples"].min()
    measured = (
        f"This network memorized {reached} samples and not {beyond}: its frontier lies between, at"
        f" {reached / asked['functional_dim']:.2g} to {beyond / asked['functional_dim']:.2g} of its functional dimension"
    )
    widths = [width_for(asked, float(asked["functional_dim"] * asked["n_samples"] / n)) for n in (beyond, reached)]
    if None in widths:
        return [*sentences, f"{measured}."]
    least, most = widths
    return [
        *sentences,
        f"{measured}. If what is memorized grows with the functional dimension, {asked['n_samples']} samples take a width of"
        f" {least} to {most} at depth {asked['depth']} (an estimate; no such network was trained).",
    ]


def _above_dimension(asked: pd.Series) -> list[str]:
    if asked["n_samples"] <= asked["functional_dim"]:
        return []
    text = (
        f"n_samples is {asked['n_samples'] / asked['functional_dim']:.3g} times the functional dimension"
        f" ({asked['functional_dim']}): no exact fit of generic continuous targets exists"
    )
    width = width_for(asked, float(asked["n_samples"]))
    return [f"{text}; at depth {asked['depth']} it takes a width of at least {width}." if width else f"{text}."]


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


def _works(row: pd.Series) -> bool:
    return bool(row["n_seeds"] > 0 and row["n_memorized"] >= MAJORITY * row["n_seeds"])


def _levers(row: pd.Series) -> list[Lever]:
    return [Lever(name) for name in row["levers"].split(" + ")]


def _rank(lever: Lever) -> int:
    return list(Lever).index(lever)


def _outcome(row: pd.Series) -> str:
    epochs = f"by epoch {row['median_epoch_to_tau']:.0f}" if math.isfinite(row["median_epoch_to_tau"]) else "by no epoch"
    return f"{_count(row)}, {epochs}"


def _count(row: pd.Series) -> str:
    return f"{row['n_memorized']} of {row['n_seeds']} seeds"


def _named(lever: str) -> str:
    return lever if lever in (Cause.CAPACITY, Cause.REGULARIZATION) else f"the {lever}"


def _list(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
