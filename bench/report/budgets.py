"""Sentences on capacity against budget: does N50 still grow at the budget's end, and by how much?"""

from __future__ import annotations

import pandas as pd

from bench.report.holds import MOST_FRONTIERS
from bench.report.words import interval, is_protocol, under
from bench.report.worth import Finding, Worth
from bench.statistics.budgets import EARLY_STOPPING, SCHEDULE, tied

# Growth for a doubling of the budget below this is little.
LITTLE = 1.05

# Why a training of fewer epochs is not the beginning of one of more.
REASONS = {
    SCHEDULE: "their schedule of the learning rate is stretched over the budget, so a shorter training is another one",
    EARLY_STOPPING: "early stopping ends their trainings, whatever is left of the budget",
}


def grown(growth: pd.DataFrame) -> list[Finding]:
    """How N50 grows with the last doubling of the budget, in a sentence for the settings where it does, and for the others."""
    own = growth[~growth["setting"].map(is_protocol)] if len(growth) else growth
    if own.empty or len(own) > MOST_FRONTIERS:
        return []
    grows = own["growth_low"] > 1
    little = ~grows & (own["growth_high"] < LITTLE)
    kinds = [
        (grows, Worth.EFFECT, "N50 still grows at the budget's end:"),
        (little, Worth.NUMBER, f"At the budget's end a doubling of it raises N50 by less than {100 * (LITTLE - 1):.0f} %:"),
        (~grows & ~little, Worth.UNDECIDED, "Whether N50 still grows at the budget's end these cells do not tell:"),
    ]
    return [
        Finding(worth, f"{head} {'; '.join(map(_item, own[which].to_dict('records')))}.")
        for which, worth, head in kinds
        if which.any()
    ]


def _item(row: dict) -> str:
    count = sum(row[name] for name in ("n_networks", "n_above", "n_below", "n_vague"))
    bounds = row["n_above"] + row["n_below"]
    networks = f"{row['n_networks']} of {count} networks" if count > 1 else "one network"
    networks += f" and {bounds} bound{'s' * (bounds > 1)}" if bounds else ""
    ends = interval(f"{row['growth_low']:.2f}", f"{row['growth_high']:.2f}")
    rates = "" if row["rates"] == "as asked" else f" at the {row['rates']} learning rate"
    times = f"{row['growth']:.2f} times {ends} from {row['half']} to {row['budget']} epochs"
    return f"{times}{under(row['setting'])}{rates}, {networks}"


def untold(capacity: pd.DataFrame) -> list[str]:
    """Of which settings a run says nothing at smaller budgets, and why."""
    if capacity.empty:
        return []
    # At the best or the default of swept rates a curve is made of those at each rate, under a name of its own.
    capacity = capacity[~capacity["rates"].isin(["best", "default"])]
    why, settings = tied(capacity), capacity["setting"]
    sentences = []
    for reason, words in REASONS.items():
        count = settings[why == reason].nunique()
        if count:
            whose = "" if count == settings.nunique() else f" for {count} of {settings.nunique()} settings"
            sentences.append(f"N50 at smaller budgets is not told{whose}: {words}.")
    return sentences
