"""Tables of networks of one's own on noise -> sentences, the answer first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from bench.report.words import interval, trained_how
from bench.statistics.capacity import what_is_known


def called(row: Mapping[Any, Any], name: str) -> str:
    """A network as a sentence calls it: as Python would, and how it trains where others train otherwise."""
    how = row["trained"] and (f" at {row['trained']}" if row["trained"].startswith("learning rate") else f" ({row['trained']})")
    return f"{name}({row['model_args']}){how}"


def findings(groups: pd.DataFrame, capacity: pd.DataFrame, name: str, asked: Mapping[str, Any]) -> list[str]:
    """One to three sentences.

    Args:
        groups, capacity: the tables `network_groups` and `network_capacity`.
        name: of the function that makes the networks.
        asked: how they were trained.
    """
    hits, count = int(groups["n_memorized"].sum()), int(groups["n_seeds"].sum())
    within = f"within {asked['max_epochs']:,} epochs to tau {asked['tau']:g}"
    if not count:
        return [f"No training came to its end: all {int(groups['n_failed'].sum())} failed."]
    if capacity.empty:
        counts = " and ".join(f"{value:,}" for value in sorted(groups["n_samples"].unique()))
        return [
            f"{hits} of {count} trainings memorized {counts} samples of noise {within}; N50 takes two sample counts or more."
        ]
    how = trained_how(capacity)
    sentences = [_most(capacity.assign(trained=how if len(set(how)) > 1 else ""), name, within)]
    sentences += _over_rank(capacity)
    sentences.append(f"In all, {hits} of {count} trainings memorized.")
    return sentences


def _most(capacity: pd.DataFrame, name: str, within: str) -> str:
    """What holds the most, or that it is more or less than was tried."""
    rows = capacity.to_dict("records")
    known = [what_is_known(row) for row in rows]
    beyond = [row for row, own in zip(rows, known, strict=True) if own == "more" and row["side"] == "above"]
    valued = [row for row, own in zip(rows, known, strict=True) if own == "value"]
    most = max(row["most_n_samples"] for row in rows)
    # One that was tried with few samples says nothing of those that others hold.
    if any(row["most_n_samples"] == most for row in beyond):
        full = [row for row in beyond if row["most_n_samples"] == most]
        own = called(full[0], name)
        who = f"{len(full)} of {len(rows)} networks hold" if len(full) > 1 else f"{own} holds"
        held = f"more than {most:,} samples of noise, the most that were tried"
        return f"{who} {held}: over half of the draws memorize them {within}."
    if valued:
        best = max(valued, key=lambda row: row["n50"])
        bars = interval(_samples(best["n50_low"]), _samples(best["n50_high"]))
        held = f"half of the draws memorize {_samples(best['n50'])} samples of noise {bars} {within}"
        who = "{}"
        if len(rows) > 1:
            alone = f"{{}}, the only one of {len(rows)} networks whose N50 is known"
            who = f"Of {len(valued)} networks whose N50 is known {{}} has the largest" if len(valued) > 1 else alone
        return f"{who.format(called(best, name))}: {held}."
    one = called(rows[0], name) if len(rows) == 1 else ""
    if set(known) == {"less"}:
        least = max(row["n50_high"] for row in rows)
        holds = f"{one} holds fewer than {least:,.0f}" if one else f"No network holds {least:,.0f}"
        return f"{holds} samples of noise: fewer than half of the draws memorize so many {within}."
    return f"N50 of {f'{one} is not' if one else 'no network is'} known from so few trainings."


def _over_rank(capacity: pd.DataFrame) -> list[str]:
    """N50 in proportion to the rank, or to the parameters where no rank is known."""
    for column, what in (("n50_per_rank", "the rank of the Jacobian"), ("n50_per_param", "the parameters")):
        known = capacity[capacity[column].notna()]
        if len(known):
            low, high = (f"{value:.2f}" for value in (known[column].min(), known[column].max()))
            span = low if low == high else f"{low} to {high}"
            few = "the one network" if len(known) == 1 else f"the {len(known)} networks"
            over = "" if len(capacity) == 1 else f", over {few} of which it is known"
            return [f"N50 is {span} times {what}{over}."]
    return []


def _samples(value: float) -> str:
    """A sample count of few digits: tenths tell only where it is small."""
    return f"{value:.1f}" if value < 20 else f"{value:,.0f}"
