"""What regularizers take away, in sentences."""

from __future__ import annotations

import math

import pandas as pd

from bench.report.words import capitalized, interval, percent, unspelled
from bench.report.worth import Finding, Worth
from bench.statistics.agreement import LEVEL

# Regularizers named in the sentence that ranks them, from either end.
MOST_RANKED = 3

# Cells that a regularizer is told by, at least: of fewer the table has the shares and their intervals.
LEAST_PAIRS = 5

# What counts as little: a regularizer that leaves this share of those that memorize without it, in so many times the epochs.
LITTLE_SHARE, LITTLE_DELAY = 0.95, 1.1


def ranked(regularizers: pd.DataFrame) -> list[Finding]:
    """Which regularizers keep memorizing cells from it, and which hardly do; one alone has no rank."""
    regularizers = regularizers[regularizers["n_pairs"] >= LEAST_PAIRS] if len(regularizers) else regularizers
    if regularizers.empty:
        return []
    first, others = regularizers.iloc[0], regularizers.iloc[1:]
    hinders = first["fraction_high"] < first["fraction_without"]
    subject = capitalized(unspelled(first["regularizer"]))
    words = (
        f"{subject} hinders memorization{' most' * (len(others) > 0)}" if hinders else f"With {unspelled(first['regularizer'])}"
    )
    found = [Finding(Worth.EFFECT if hinders else Worth.NUMBER, f"{words}: {_of_those(first)}.")]
    if others.empty:
        return found
    most = [_taken(row) for _, row in others.head(MOST_RANKED - 1).iterrows()]
    least = [_taken(row) for _, row in others.iloc[MOST_RANKED - 1 :].tail(MOST_RANKED).iloc[::-1].iterrows()]
    pairs = others["n_pairs"]
    span = f"{pairs.min()}" if pairs.min() == pairs.max() else f"{pairs.min()} to {pairs.max()}"
    text = f"Of {span} such trainings each, next hardest with {'; '.join(most)}"
    return [*found, Finding(Worth.NUMBER, f"{text}{'. Easiest with ' + '; '.join(least) if least else ''}.")]


def slowed(log_rank: pd.DataFrame, regularizers: pd.DataFrame) -> list[Finding]:
    """What the tests of regularizers find after correction, or how many seeds it takes until they can find anything."""
    if log_rank.empty or regularizers.empty:
        return []
    tests, seeds = len(log_rank), int(log_rank["n_seeds"].max())
    needed = int(log_rank["seeds_needed"].max())
    number = f"{tests} tests take" if tests > 1 else "one test takes"
    if seeds < needed:
        shown = "1 seed shows" if seeds == 1 else f"{seeds} seeds show"
        least = f"whatever a regularizer does, {shown} no p below {log_rank['least_p'].min():.2g}"
        text = f"No test can tell regularizers from none here: {least}, and {number} {needed} seeds to reach {LEVEL:g}."
        return [Finding(Worth.UNDECIDED, text)]
    slow = int(((log_rank["p_holm"] < LEVEL) & (log_rank["statistic"] < 0)).sum())
    fewer = int(((regularizers["p_holm"] < LEVEL) & (regularizers["n_only_with"] < regularizers["n_only_without"])).sum())
    text = (
        f"By tests that exchange whole seeds, with Holm's correction: {slow} of {tests} regularizers slow memorization"
        f" (log-rank), and under {fewer} of {len(regularizers)} fewer cells memorize than without (pairs that disagree)."
    )
    return [Finding(Worth.NUMBER, text)]


def literature(regularizers: pd.DataFrame) -> list[str]:
    """The published claim about regularizers against what was found, where both of its regularizers have default strengths."""
    default = regularizers[regularizers["at_default"].astype(bool)]
    # Early stopping does not hinder training, it ends it; the claim is about what hinders it.
    hindering = default[default["patience"].isna()]
    dropout, decay = (hindering[hindering["regularization"] == name] for name in ("dropout", "weight_decay"))
    if dropout.empty or decay.empty:
        return []
    sentences = [
        "Arpit et al. (ICML 2017) report that dropout hinders fitting noise most, and weight decay little. At the strengths"
        f" that conf/regularization ships this run {_most(dropout.iloc[0], hindering)} on dropout, among what hinders training"
        f" rather than ends it, and {_little(decay.iloc[0])} on weight decay."
    ]
    mild = regularizers[regularizers["regularization"] == "dropout"].sort_values("dropout").iloc[0]
    strong = regularizers[regularizers["regularization"] == "weight_decay"].sort_values("weight_decay").iloc[-1]
    if _hinders_more(strong, mild):
        sentences.append(f"The strength decides more than the kind: {_taken(strong)}; {_taken(mild)}.")
    return sentences


def _most(dropout: pd.Series, hindering: pd.DataFrame) -> str:
    """Whether dropout hinders more than every other."""
    others = [row for _, row in hindering.iterrows() if row["regularization"] != "dropout"]
    if all(_hinders_more(dropout, other) for other in others):
        return "agrees"
    if math.isnan(dropout["delay_low"]):
        return "is undecided (one seed)"
    more = any(_hinders_more(other, dropout) for other in others)
    return "disagrees" if more else "is undecided (the intervals overlap)"


def _hinders_more(one: pd.Series, other: pd.Series) -> bool:
    """Beyond both intervals: fewer cells memorize, or no more of them and those later."""
    if one["fraction_high"] < other["fraction_low"]:
        return True
    return bool(one["fraction_memorized"] <= other["fraction_memorized"] and one["delay_low"] > other["delay_high"])


def _little(decay: pd.Series) -> str:
    """Whether a regularizer lets nearly as many cells memorize in nearly as many epochs, by its point estimates."""
    if math.isnan(decay["delay_low"]):
        return "is undecided (one seed)"
    little = decay["fraction_memorized"] >= LITTLE_SHARE * decay["fraction_without"] and decay["median_delay"] <= LITTLE_DELAY
    return "agrees" if little else "disagrees"


def _of_those(row: pd.Series) -> str:
    """Of the cells that memorize without a regularizer the share that does with it, in how many times the epochs."""
    placebo = row["fraction_without"]
    whose = "that memorize without it" if math.isnan(placebo) else "of networks that memorize without it under every other seed"
    beside = "" if math.isnan(placebo) else f"; without it {100 * placebo:.0f} % of the same trainings do"
    return f"of {row['n_pairs']} trainings {whose}, {_memorizing(row)}{beside}"


def _taken(row: pd.Series) -> str:
    """A regularizer with its strength, the share that memorizes with it, and in how many times the epochs."""
    return f"{unspelled(row['regularizer'])}: {_memorizing(row)}"


def _memorizing(row: pd.Series) -> str:
    share = f"{100 * row['fraction_memorized']:.0f} % memorize {percent(row['fraction_low'], row['fraction_high'])}"
    if not math.isfinite(row["median_delay"]):
        return share
    if f"{row['median_delay']:.3g}" == "1":
        return f"{share}, without delay"
    if math.isnan(row["delay_low"]):
        return f"{share}, in {row['median_delay']:.3g} times the epochs"
    low, high = f"{row['delay_low']:.3g}", "never" if math.isinf(row["delay_high"]) else f"{row['delay_high']:.3g}"
    return f"{share}, in {row['median_delay']:.3g} times the epochs {interval(low, high)}"
