"""How many samples the networks of each setting hold, in sentences."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import pandas as pd

from bench.report.words import capitalized, goal, interval, is_protocol, span
from bench.statistics.capacity import MOST_STUCK, what_is_known
from bench.statistics.dimensions import samples_at_ceiling
from bench.statistics.frontier import narrow

N50 = "N50, the sample count that half of the seeds memorize,"

# What is known of an N50 that has no value.
BOUNDS = {
    "more": "only a lower bound is known",
    "less": "only an upper bound is known",
    "nothing": "these seeds do not give even a bound of N50 (more seeds would)",
}

# Of more settings than these, the maps and the ranking say more than sentences.
MOST_FRONTIERS = 8


def held(capacity: pd.DataFrame, ceiling: str) -> list[str]:
    """How many samples the networks of each setting hold, over the dimensions of the functions that they reach."""
    sentences = []
    named = capacity[~capacity["setting"].map(is_protocol)] if len(capacity) else capacity
    # Of swept rates the default and the best are told.
    named = named[named["rates"] != "swept"] if len(named) else named
    curves = list(named.groupby(["setting", "rates"], sort=False)) if len(named) else []
    for (setting, rates), own in curves if len(curves) <= MOST_FRONTIERS else []:
        known = own[own["n50"].notna()]
        subject = capitalized(f"{setting}" if rates == "as asked" else f"{setting}, {rates} learning rate")
        budget = f"{span(own['max_epochs'])} epochs {goal(own)}"
        says = [what_is_known(row) for _, row in own.iterrows()]
        counts = {kind: f"for {says.count(kind)} of {len(own)} networks " if len(own) > 1 else "" for kind in BOUNDS}
        outside = [f"{counts[kind]}{words}" for kind, words in BOUNDS.items() if kind in says]
        near = int((own["n50"].notna() & own["at_edge"]).sum())
        if near:
            whose = f"{near} of {len(known)} N50 lie" if len(known) > 1 else "it lies"
            outside.append(f"{whose} near the edge of the counts tried, and perhaps beyond")
        stuck = int(((own["stuck"] > MOST_STUCK) & (own["stuck"] < 1)).sum())
        if stuck:
            where = f"in {stuck} of {len(own)} networks " if len(own) > 1 else ""
            outside.append(f"{where}more than a fifth of the seeds memorize at none of the sample counts tried")
        text = f"no network's N50 is known ({budget})"
        if len(known):
            ordered = known.sort_values("n50_per_dim", kind="stable")
            ends = [_per_dim(row, ceiling) for _, row in ordered.iloc[[0, -1]].iterrows()]
            spanned = " to ".join(ends if len(known) > 1 else ends[:1])
            text = f"{N50 if not sentences else 'N50'} is {spanned} times the {ceiling}"
            bits = known["bits_per_param"]
            stored = f"{bits.median():.2g} bits for each parameter" if bits.notna().all() and len(known) == len(own) else ""
            if len(own) > 1:
                text += f"; in the median over all {len(own)} networks {_median(own, says, ceiling)} times"
                text += f", {stored}" if stored else ""
            elif stored:
                text += f", {stored}"
            text += f" ({budget})"
        sentences.append(f"{subject}: {text}.{''.join(f' {capitalized(one)}.' for one in outside)}")
    return sentences


def _per_dim(capacity: pd.Series, ceiling: str) -> str:
    """N50 over the functional dimension, with the interval: the least or largest of several is an extreme of their errors."""
    low, high = (capacity[name] / samples_at_ceiling(capacity) for name in ("n50_low", "n50_high"))
    value = "about 1" if _at_ceiling(capacity, ceiling) else f"{capacity['n50_per_dim']:.2f}"
    return f"{value} {interval(f'{low:.2f}', f'{high:.2f}')}"


def _at_ceiling(capacity: pd.Series, ceiling: str) -> bool:
    """Whether an N50 above the ceiling may lie below it: it then comes from interpolation, and is about 1."""
    return ceiling == "ceiling" and bool(capacity["n50_low"] <= samples_at_ceiling(capacity) < capacity["n50"])


def _median(capacity: pd.DataFrame, says: Sequence[str], ceiling: str) -> str:
    """The median over networks of N50 over the functional dimension, or between what it lies: a bound counts as one."""
    ends = {"value": ("n50", "n50"), "more": ("n50_low", ""), "less": ("", "n50_high"), "nothing": ("", "")}
    spans = [
        (1.0, 1.0)
        if _at_ceiling(row, ceiling)
        else tuple(
            row[name] / samples_at_ceiling(row) if name else beyond
            for name, beyond in zip(ends[known], (0.0, math.inf), strict=True)
        )
        for known, (_, row) in zip(says, capacity.iterrows(), strict=True)
    ]
    low, high = (statistics.median(side) for side in zip(*spans, strict=True))
    if f"{low:.2f}" == f"{high:.2f}":
        return f"{low:.2f}"
    if math.isinf(high):
        return f"at least {low:.2f}" if low > 0 else "an unknown number of"
    return f"between {low:.2f} and {high:.2f}" if low > 0 else f"at most {high:.2f}"


def searched(capacity: pd.DataFrame, ratio: float | None) -> list[str]:
    """Whether a search knows each N50 as well as it was asked to."""
    if ratio is None:
        return []
    known = narrow(capacity["n50_low"], capacity["n50_high"], ratio)
    text = (
        f"The search knows the N50 of {int(known.sum())} of {len(capacity)} networks to a ratio of {ratio:g}, or to one sample"
    )
    rest = "" if known.all() else "; the others spent what they may, hold too few or too many samples, or are not finished"
    return [f"{text}{rest}."]
