"""Whether the network that was asked about memorizes, in a sentence."""

from __future__ import annotations

import math

import pandas as pd

from bench.protocol.cells import Status
from bench.report.words import percent
from bench.statistics.confirmation import Answer, memorizable
from bench.statistics.settings import same
from bench.statistics.survival import GROUP_FIELDS, wilson_interval


def answered(group: pd.Series, cells: pd.DataFrame) -> str:
    """The answer for the first of the variants: yes only where its seeds memorize clearly more often than not."""
    if group["n_seeds"] == 0:
        return "As asked: no result yet."
    counts = int(group["n_memorized"]), int(group["n_seeds"])
    seeds = f"{counts[0]} of {counts[1]} seeds"
    ends = percent(*wilson_interval(*counts))
    if memorizable(*counts) is Answer.YES:
        epoch = f"by epoch {group['median_epoch_to_tau']:.0f} in the median"
        return f"As asked, yes: {seeds} memorized {ends}, {epoch}."
    if not math.isfinite(group["median_final_tau"]):
        return f"As asked, no: {group['n_diverged']} of {counts[1]} seeds diverged."
    answer = "now and then" if counts[0] else "no"
    own = cells[cells["status"] == Status.EARLY_STOPPED]
    own = own[[all(same(row[name], group[name]) for name in GROUP_FIELDS) for _, row in own.iterrows()]] if len(own) else own
    budget = f"in {group['max_epochs']} epochs"
    if len(own):
        budget += f", of which early stopping left {own['epochs_run'].median():.0f} to {len(own)} seeds in the median"
    what, least = ("variance is left unexplained", "predicting the mean leaves")
    if group["target"] == "labels":
        what, least = "labels' entropy is left", "their frequencies leave"
    return (
        f"As asked, {answer}: {seeds} {ends} memorized {group['n_samples']} samples {budget};"
        f" in the median {_left(group)} of the {what}, where {least} 100 %."
    )


def _left(group: pd.Series) -> str:
    return f"{100 * group['median_final_tau']:.3g} %" if math.isfinite(group["median_final_tau"]) else "all (diverged)"
