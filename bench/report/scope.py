"""What a run covers, in words: how many cells, what was swept over which span, up to which budget."""

from __future__ import annotations

from numbers import Number

import pandas as pd

from bench.protocol.cells import SECOND_ORDER, SEEDS, STRENGTHS
from bench.report.words import field, goal, span
from bench.statistics.settings import acts, swept_fields
from bench.store.parts import Design

# What the end of a line says of them.
GOAL = ("criterion", "tau", "max_epochs")

# More values than these are told by their span.
MOST_NAMED = 8


def scope(cells: pd.DataFrame, groups: pd.DataFrame, *, design: Design) -> str:
    """One line: the number of cells, the swept fields with their spans, budget and threshold."""
    tried = f"{_seeds(cells)}; at most {span(groups['max_epochs'])} epochs {goal(groups)}."
    if design is Design.SEARCH:
        swept = [_axis(groups, name) for name in swept_fields(groups) if name not in (*GOAL, "n_samples")]
        budget = f"at most {span(groups['max_epochs'])} epochs {goal(groups)}."
        what = f"A search for the frontier of each network, {len(cells):,} cells of seeds of their own"
        return f"{what}: {'; '.join([*swept, budget])}"
    if design is Design.VARIANTS:
        return f"{len(cells):,} cells: the network that was asked about and {len(groups) - 1} variants of it, {tried}"
    swept = [_axis(groups, name) for name in swept_fields(groups) if name not in GOAL]
    return f"{len(cells):,} cells: {'; '.join([*swept, tried])}"


def _axis(groups: pd.DataFrame, name: str) -> str:
    """A swept field with its values; a strength with those at which it acts. Rates and schedules of optimizer=lm are none."""
    if name in ("learning_rate", "lr_schedule"):
        groups = groups[groups["optimizer"] != SECOND_ORDER]
    values = [value for value in dict.fromkeys(groups[name]) if name not in STRENGTHS or acts(value)]
    if all(isinstance(value, Number) and not isinstance(value, bool) for value in values):
        return f"{field(name)} {span(pd.Series(values))}{f' ({len(values)} values)' if len(values) > 1 else ''}"
    named = ", ".join("null" if pd.isna(value) else str(value).replace("_", " ") for value in values[:MOST_NAMED])
    return f"{field(name)} {named}{f' and {len(values) - MOST_NAMED} more' if len(values) > MOST_NAMED else ''}"


def _seeds(cells: pd.DataFrame) -> str:
    pairs, (data, init) = len(cells.drop_duplicates(list(SEEDS))), (cells[name].nunique() for name in SEEDS)
    if pairs == max(data, init):
        return f"{pairs} seed{'s' if pairs > 1 else ''}"
    return f"{data} data seeds, {init} init seeds"
