"""Tables -> the sentences that a report begins with. Every number in them is computed from the run's own tables."""

from __future__ import annotations

import enum
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from bench.protocol.cells import Status
from bench.protocol.signal import uniform_gain
from bench.protocol.theory import NETWORK, dimension_name
from bench.report.words import (
    ALL_NETWORKS,
    capitalized,
    formula,
    interval,
    is_protocol,
    percent,
    settings_in_words,
    signed,
    under,
    unspelled,
    worded,
)
from bench.statistics.agreement import LEVEL
from bench.statistics.bands import ENDS
from bench.statistics.capacity import MOST_STUCK, what_is_known
from bench.statistics.confirmation import MAJORITY, Answer, memorizable
from bench.statistics.frontier import narrow
from bench.statistics.published import against_literature
from bench.statistics.rates import at_default_rate
from bench.statistics.ratios import in_words
from bench.statistics.settings import AS_ASKED, acts, same
from bench.statistics.survival import GROUP_FIELDS, wilson_interval
from bench.statistics.tables import Tables
from bench.statistics.verdict import verdict
from bench.store.parts import PENDING

# Regularizers named in the sentence that ranks them, from either end.
MOST_RANKED = 3

# Cells that a regularizer is told by, at least: of fewer the table has the shares and their intervals.
LEAST_PAIRS = 5

# Of more settings than these, the maps and the ranking say more than sentences.
MOST_FRONTIERS = 8

N50 = "N50, the sample count that half of the seeds memorize,"

# What is known of an N50 that has no value.
BOUNDS = {"more": "only a lower bound", "less": "only an upper bound", "nothing": "no bound (more seeds would tell)"}

# How cells end that do not memorize, in words.
ENDINGS = {
    Status.CENSORED: "spent their epochs first",
    Status.EARLY_STOPPED: "stopped early",
    Status.DIVERGED: "diverged",
    Status.FAILED: "failed",
    PENDING: "not trained yet",
}

# What counts as little: a regularizer that leaves this share of those that memorize without it, in so many times the epochs.
LITTLE_SHARE, LITTLE_DELAY = 0.95, 1.1


class Worth(enum.IntEnum):
    """What a sentence says, and so where it stands: the first that a reader wants to know comes first."""

    NOTICE = 5  # what all the others are to be read with
    ANSWER = 4  # the question that the run was made for
    EFFECT = 3  # a difference beyond its interval
    NUMBER = 2  # a measured number
    ACCOUNT = 1  # what was done
    UNDECIDED = 0  # what the run cannot tell


class Finding(NamedTuple):
    """A sentence, or a few about one thing."""

    worth: Worth
    text: str


def findings(tables: Tables) -> list[str]:
    """What the run found: the answer first, then effects, numbers, and what it cannot tell."""
    results = tables.groups[tables.groups["n_seeds"] > 0]
    if results.empty:
        return ["No cell has a result yet."]
    pending = int((tables.cells["status"] == PENDING).sum())
    unfinished = f"Unfinished: {pending} of {len(tables.cells)} cells have no result yet; what follows is of the others alone."
    first_signals = results[results.index == tables.groups.index[0]]
    signal, validation = tables.signal_propagation, tables.validation
    if tables.variants:
        parts = [
            lambda: _as(Worth.ANSWER, [_asked(tables.groups.iloc[0], tables.cells)]),
            lambda: _as(Worth.ANSWER, verdict(tables.evidence, tables.left_out).sentences),
            lambda: _as(Worth.ANSWER, _dead(tables.groups.iloc[0], signal)),
            lambda: _as(Worth.ANSWER, _blindness(first_signals, signal)),
            lambda: _ranked(tables.regularizers),
        ]
    else:
        parts = [
            lambda: _banded(tables),
            lambda: _ranked(tables.regularizers),
            lambda: _as(Worth.ACCOUNT, [_counts(tables.cells)]),
            lambda: _as(Worth.EFFECT, _blindness(results, signal)),
            lambda: _as(Worth.ACCOUNT, _searched(tables.capacity, tables.search_ratio)),
            lambda: _held(tables),
            lambda: _compared(tables),
        ]
    parts += [
        lambda: _as(Worth.EFFECT, _rates(tables.learning_rates, tables.variants)),
        lambda: _slowed(tables.log_rank, tables.regularizers),
        lambda: _as(Worth.NUMBER, [] if tables.variants else _literature(tables.regularizers)),
        lambda: _as(Worth.NUMBER, against_literature(tables.published)),
        lambda: _as(Worth.NUMBER, _validation(validation[validation["best_over_variance"].notna()]) if len(validation) else []),
    ]
    found, failures = _as(Worth.NOTICE, [unfinished] * (pending > 0)), list(tables.failures)
    for part in parts:
        try:
            found += part()
        except Exception as error:  # It takes no other sentence along, nor the page.
            failures.append(f"a finding ({type(error).__name__}: {error})")
    ordered = sorted(found, key=lambda finding: -finding.worth)
    return [signed(finding.text) for finding in ordered] + [f"Left out for an error: {failure}." for failure in failures]


def terms(tables: Tables) -> list[tuple[str, str]]:
    """The words that the findings of a grid or a search use, each with its meaning."""
    if tables.variants:
        return []
    groups = tables.groups
    share = _span(100 * groups["tau"])
    meanings = [
        (
            "Memorized",
            f"the training error fell to at most {share} % of the variance of the targets (tau {_span(groups['tau'])}), within"
            f" {_span(groups['max_epochs'])} epochs.",
        )
    ]
    name, printed = _ceiling(tables), formula(dimension_name(groups))
    if name == "ceiling":
        beyond = "" if printed == "functional dimension" else f": N = {printed}"
        parameters = " (P parameters)" if "P" in printed else ""
        meanings.append(("Ceiling", f"the number of samples above which there is in general no exact fit{beyond}{parameters}."))
    else:
        meanings.append(
            ("Functional dimension", "in how many directions the functions of a network can move: at most its parameters.")
        )
    return meanings


def _as(worth: Worth, sentences: Iterable[str]) -> list[Finding]:
    return [Finding(worth, text) for text in sentences]


def _ceiling(tables: Tables) -> str:
    """What the functional dimension is called: it bounds exact fits where theory says so for every network of the run."""
    if tables.theory.empty:
        return "functional dimension"
    bounded = tables.theory["kind"].eq("ceiling").groupby([tables.theory[name] for name in NETWORK]).any()
    return "ceiling" if bounded.all() else "functional dimension"


def _banded(tables: Tables) -> list[Finding]:
    """How many memorized of the first setting's cells, by how many samples they were given for what their network can hold."""
    if tables.bands.empty:
        return []
    # Of swept rates the default tells; the lowest comes first, and may hinder most.
    default = at_default_rate(tables.groups)["setting"]
    chosen = next(iter(default), tables.bands["setting"].iloc[0])
    ceiling, first = _ceiling(tables), settings_in_words(tables.groups).get(str(chosen), str(chosen))
    shown = tables.bands[tables.bands["setting"] == chosen]
    if is_protocol(str(chosen)):
        first, shown = ALL_NETWORKS, _over_settings(tables.bands)
    own = {row["per_dim_low"]: row for row in shown.to_dict("records")}
    low, middle, above = (own.get(end) for end in ENDS[:-1])
    sentences = []
    if low:
        text = f"Given at most half as many samples as their {ceiling}, networks{under(first)} memorized in {_share(low)}"
        text += f"; between half and all of it in {_share(middle, '')}" if middle else ""
        sentences.append(f"{text}.")
    elif middle:
        given = f"Given more than half as many samples as their {ceiling} and at most as many"
        sentences.append(f"{given}, networks{under(first)} memorized in {_share(middle)}.")
    if above:
        everywhere = tables.bands[tables.bands["per_dim_low"] == ENDS[-2]]
        text = f"Above the {ceiling}{'' if sentences else under(first)} {_share(above)} memorized"
        if len(everywhere) > 1 and first != ALL_NETWORKS:
            text += f"; over all settings {everywhere['n_memorized'].sum():,} of {everywhere['n_cells'].sum():,}"
        sentences.append(f"{text}.")
    return _as(Worth.ANSWER, sentences)


def _over_settings(bands: pd.DataFrame) -> pd.DataFrame:
    """The counts of each band over all settings; protocols of their own are no sample of one thing that has an interval."""
    counts = bands.groupby("per_dim_low", as_index=False)[["n_cells", "n_memorized"]].sum()
    return counts.assign(fraction_low=math.nan, fraction_high=math.nan)


def _share(band: Mapping[Any, Any], noun: str = " trainings") -> str:
    """How many of a band's cells memorized, with the interval; where all agree, that is of few seeds and says little."""
    counts = f"{band['n_memorized']:,} of {band['n_cells']:,}{noun}"
    agree = band["n_memorized"] in (0, band["n_cells"]) or math.isnan(band["fraction_low"])
    return counts if agree else f"{counts} {percent(band['fraction_low'], band['fraction_high'])}"


def _held(tables: Tables) -> list[Finding]:
    """What the networks hold, and right behind the first of that what depth costs."""
    capacities = _capacities(worded(tables.capacity, tables.groups), _ceiling(tables))
    # A search was made to know them.
    worth = Worth.ANSWER if tables.search_ratio is not None else Worth.NUMBER
    return [*_as(worth, capacities), *_depth(worded(tables.scaling, tables.groups))]


def _compared(tables: Tables) -> list[Finding]:
    """N50 under each setting over that under the first; of many settings the table says more."""
    sentences = in_words(worded(tables.ratios, tables.groups))
    return _as(Worth.NUMBER, sentences if len(sentences) <= MOST_FRONTIERS else [])


def _counts(cells: pd.DataFrame) -> str:
    counts = cells["status"].value_counts()
    memorized = int(counts.get(Status.MEMORIZED, 0))
    answer = (
        f"{memorized:,} of {len(cells):,} trainings"
        if 0 < memorized < len(cells)
        else f"{'All' if memorized else 'None'} of {len(cells):,} trainings"
    )
    others = [f"{int(counts[s]):,} {ENDINGS[s]}" for s in (*Status, PENDING) if s in counts and s != Status.MEMORIZED]
    return f"{answer} memorized targets that are pure noise{' (' + ', '.join(others) + ')' if others else ''}."


def _capacities(capacity: pd.DataFrame, ceiling: str) -> list[str]:
    """How many samples the networks of each setting hold, over the dimensions of the functions that they reach."""
    sentences = []
    named = capacity[~capacity["setting"].map(is_protocol)] if len(capacity) else capacity
    # Of swept rates the default and the best are told.
    named = named[named["rates"] != "swept"] if len(named) else named
    curves = list(named.groupby(["setting", "rates"], sort=False)) if len(named) else []
    for (setting, rates), own in curves if len(curves) <= MOST_FRONTIERS else []:
        known = own[own["n50"].notna()]
        subject = capitalized(f"{setting}" if rates == "as asked" else f"{setting}, {rates} learning rate")
        budget = f"{_span(own['max_epochs'])} epochs to tau {_span(own['tau'])}"
        says = [what_is_known(row) for _, row in own.iterrows()]
        counts = {kind: f"{says.count(kind)} of {len(own)} networks " if len(own) > 1 else "it " for kind in BOUNDS}
        verbs = {kind: "has" if says.count(kind) == 1 else "have" for kind in BOUNDS}
        outside = [f"{counts[kind]}{verbs[kind]} {words}" for kind, words in BOUNDS.items() if kind in says]
        near = int((own["n50"].notna() & own["at_edge"]).sum())
        if near:
            whose = f"{near} of {len(known)} N50 lie" if len(known) > 1 else "it lies"
            outside.append(f"{whose} near the edge of the counts tried, and perhaps beyond")
        stuck = int(((own["stuck"] > MOST_STUCK) & (own["stuck"] < 1)).sum())
        if stuck:
            of = f"of {stuck} of {len(own)} networks " if len(own) > 1 else ""
            outside.append(f"{of}more than a fifth of the seeds memorize at no count")
        text = f"no network's N50 is known ({budget})"
        if len(known):
            ordered = known.sort_values("n50_per_dim", kind="stable")
            ends = [_per_dim(row, ceiling) for _, row in ordered.iloc[[0, -1]].iterrows()]
            span = " to ".join(ends if len(known) > 1 else ends[:1])
            text = f"{N50 if not sentences else 'N50'} is {span} times the {ceiling}"
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
    low, high = (capacity[name] / capacity["functional_dim"] for name in ("n50_low", "n50_high"))
    value = "about 1" if _at_ceiling(capacity, ceiling) else f"{capacity['n50_per_dim']:.2f}"
    return f"{value} {interval(f'{low:.2f}', f'{high:.2f}')}"


def _at_ceiling(capacity: pd.Series, ceiling: str) -> bool:
    """Whether an N50 above the ceiling may lie below it: it then comes from interpolation, and is about 1."""
    return ceiling == "ceiling" and bool(capacity["n50_low"] <= capacity["functional_dim"] < capacity["n50"])


def _median(capacity: pd.DataFrame, says: Sequence[str], ceiling: str) -> str:
    """The median over networks of N50 over the functional dimension, or between what it lies: a bound counts as one."""
    ends = {"value": ("n50", "n50"), "more": ("n50_low", ""), "less": ("", "n50_high"), "nothing": ("", "")}
    spans = [
        (1.0, 1.0)
        if _at_ceiling(row, ceiling)
        else tuple(
            row[name] / row["functional_dim"] if name else beyond
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


def _searched(capacity: pd.DataFrame, ratio: float | None) -> list[str]:
    """Whether a search knows each N50 as well as it was asked to."""
    if ratio is None:
        return []
    known = narrow(capacity["n50_low"], capacity["n50_high"], ratio)
    text = (
        f"The search knows the N50 of {int(known.sum())} of {len(capacity)} networks to a ratio of {ratio:g}, or to one sample"
    )
    rest = "" if known.all() else "; the others spent what they may, hold too few or too many samples, or are not finished"
    return [f"{text}{rest}."]


def _depth(scaling: pd.DataFrame) -> list[Finding]:
    """Whether depth matters at the same number of parameters, for the first setting that tells.

    Nothing is claimed that one network alone decides, or of a law that the N50s do not follow.
    """
    if scaling.empty:
        return []
    rows = scaling[scaling["model"].eq("depth at the same parameters") & scaling["term"].eq("depth")]
    for _, row in rows.head(1).iterrows():
        subject = row["setting"] if row["rates"] == "as asked" else f"{row['setting']}, {row['rates']} learning rate"
        bounds = int(row["n_above"] + row["n_below"])
        networks = f"{row['n_networks']} networks" + (f" and {bounds} bound{'s' * (bounds > 1)}" if bounds else "")
        ends = interval(f"{row['exponent_low']:.2f}", f"{row['exponent_high']:.2f}")
        exponent = f"{row['exponent']:.2f} {ends}"
        found = row["p_value"] < LEVEL
        why = []
        if row["lack_of_fit_p"] < LEVEL:
            why.append(f"no power law fits them (chi-square {row['chi_square']:.0f} on {row['freedom']} degrees of freedom)")
        if found and not row["p_value_most"] < LEVEL:
            without = f"{row['exponent_least']:.2f} to {row['exponent_most']:.2f}, p up to {row['p_value_most']:.2g}"
            why.append(f"the exponent of depth, {exponent}, rests on one of them (without each in turn {without})")
        if why:
            verb = f"{networks} do not tell whether depth matters at the same number of parameters"
            return [Finding(Worth.UNDECIDED, f"{capitalized(subject)}: {verb}: {'; '.join(why)}.")]
        meaning = "no difference between depths could be told"
        power = f"{N50} goes as depth to the power {exponent} over {networks}"
        if found:
            meaning = f"deeper networks hold {'less' if row['exponent'] < 0 else 'more'}"
            power += ", and so it is without each of them in turn"
        worth = Worth.EFFECT if found else Worth.UNDECIDED
        return [Finding(worth, f"At the same number of parameters{under(subject)}, {meaning}: {power}.")]
    return []


def _span(values: pd.Series) -> str:
    """One value, or the least and the most."""
    return f"{values.min():g}" if not values.ne(values.iloc[0]).any() else f"{values.min():g} to {values.max():g}"


def _asked(group: pd.Series, cells: pd.DataFrame) -> str:
    """The answer for the first of the variants: yes only where its seeds memorize clearly more often than not."""
    if group["n_seeds"] == 0:
        return "As asked: no result yet."
    counts = int(group["n_memorized"]), int(group["n_seeds"])
    seeds = f"{counts[0]} of {counts[1]} seeds"
    low, high = (100 * end for end in wilson_interval(*counts))
    if memorizable(*counts) is Answer.YES:
        epoch = f"by epoch {group['median_epoch_to_tau']:.0f} in the median"
        return f"As asked, yes: {seeds} memorized ({low:.0f} to {high:.0f} %), {epoch}."
    if not math.isfinite(group["median_final_tau"]):
        return f"As asked, no: {group['n_diverged']} of {counts[1]} seeds diverged."
    answer = "now and then" if counts[0] else "no"
    own = cells[cells["status"] == Status.EARLY_STOPPED]
    own = own[[all(same(row[name], group[name]) for name in GROUP_FIELDS) for _, row in own.iterrows()]] if len(own) else own
    budget = f"in {group['max_epochs']} epochs"
    if len(own):
        budget += f", of which early stopping left {own['epochs_run'].median():.0f} to {len(own)} seeds in the median"
    return (
        f"As asked, {answer}: {seeds} ({low:.0f} to {high:.0f} %) memorized {group['n_samples']} samples {budget};"
        f" in the median {_left(group)} of the variance is left unexplained, where predicting the mean leaves 100 %."
    )


def _rates(rates: pd.DataFrame, variants: bool) -> list[str]:
    """How much of what looks like capacity is an untuned rate."""
    if variants or rates.empty:
        return []
    compared = rates[rates["default_n_seeds"].notna()]
    span = f"Learning rates {rates['lowest_rate'].min():g} to {rates['highest_rate'].max():g}"
    chosen = "the best of the swept rates (chosen on the same seeds, so a little too good)"
    if compared.empty:
        best = int((rates["best_fraction_memorized"] >= MAJORITY).sum())
        text = f"{span}, without the default: in {len(rates)} combinations most seeds memorized in {best} at {chosen}"
        shares = pd.Series(dtype=float)
    else:
        best, default = ((compared[f"{name}_fraction_memorized"] >= MAJORITY) for name in ("best", "default"))
        text = (
            f"{span}: in {len(compared)} combinations most seeds memorized in {int(default.sum())} at the default rate,"
            f" in {int(best.sum())} at {chosen}"
        )
        epochs = compared["default_median_epoch_to_tau"].clip(lower=1)
        shares = (compared["best_median_epoch_to_tau"] / epochs)[best & default]
    if len(shares):
        text += f"; where both do, the best takes {100 * shares.median():.0f} % of the epochs in the median"
    reached = rates[rates["best_fraction_memorized"] >= MAJORITY]
    edge = int(reached["best_at_edge"].sum())
    ends = f"{edge} are at an end of the sweep: a rate beyond it may be better."
    return [f"{text}. Of {len(reached)} best rates at which most seeds memorize, {ends}"]


def _ranked(regularizers: pd.DataFrame) -> list[Finding]:
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


def _slowed(log_rank: pd.DataFrame, regularizers: pd.DataFrame) -> list[Finding]:
    """What the tests of regularizers find after correction, or how many seeds it takes until they can find anything."""
    if log_rank.empty or regularizers.empty:
        return []
    tests, seeds = len(log_rank), int(log_rank["n_seeds"].max())
    needed = int(log_rank["seeds_needed"].max())
    number = f"{tests} tests" if tests > 1 else "one test"
    if seeds < needed:
        least = f"whatever a regularizer does, {seeds} seeds show no p below {log_rank['least_p'].min():.2g}"
        text = f"No test can tell regularizers from none here: {least}, and {number} take {needed} seeds to reach {LEVEL:g}."
        return [Finding(Worth.UNDECIDED, text)]
    slow = int(((log_rank["p_holm"] < LEVEL) & (log_rank["statistic"] < 0)).sum())
    fewer = int(((regularizers["p_holm"] < LEVEL) & (regularizers["n_only_with"] < regularizers["n_only_without"])).sum())
    text = (
        f"By tests that exchange whole seeds, with Holm's correction: {slow} of {tests} regularizers slow memorization"
        f" (log-rank), and under {fewer} of {len(regularizers)} fewer cells memorize than without (pairs that disagree)."
    )
    return [Finding(Worth.NUMBER, text)]


def _literature(regularizers: pd.DataFrame) -> list[str]:
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
    whose = "that memorize without it" if math.isnan(placebo) else "whose other seeds all memorize without it"
    beside = "" if math.isnan(placebo) else f"; of the same without it {100 * placebo:.0f} %"
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


def _left(group: pd.Series) -> str:
    return f"{100 * group['median_final_tau']:.3g} %" if math.isfinite(group["median_final_tau"]) else "all (diverged)"


def _dead(asked: pd.Series, signal: pd.DataFrame) -> list[str]:
    """How often a layer of the untrained network as asked passes nothing on."""
    own = signal[signal["setting"] == AS_ASKED] if len(signal) else signal
    dead = own[(own["dead_draws"] > 0).fillna(False)] if len(own) else own
    if dead.empty:
        return []
    last = dead.iloc[-1]
    half = dead[2 * dead["dead_draws"] >= last["dead_draws"]].iloc[0]
    told = "No gradient reaches what lies below, so that this network can do no more than predict a constant"
    text = (
        f"Dead before training, in {last['dead_draws']:.0f} of {last['n_draws']:.0f} draws: all units of a hidden layer answer"
        f" the same to all inputs, from layer {half['layer']:.0f} on in at least half of these."
    )
    return [f"{text} {told}." if asked["activation"] == "relu" and not acts(asked["input_noise"]) else text]


def _blindness(groups: pd.DataFrame, signal: pd.DataFrame) -> list[str]:
    """Why uniform initialisations get stuck, where they do."""
    sentences = []
    stuck = groups[
        (groups["init"] == "uniform")
        & (groups["activation"] == "relu")
        & (groups["median_final_tau"] > 0.9)
        & (groups["depth"] > 1)
    ]
    for width, scale, depth in stuck[["width", "init_scale", "depth"]].drop_duplicates().itertuples(index=False):
        gain = uniform_gain(width, scale)
        if gain >= 0.5:
            continue
        own = signal[(signal["width"] == width) & (signal["init_scale"] == scale) & (signal["depth"] == depth)]
        own = own[own["init"] == "uniform"]
        first, last = (own.loc[own["layer"] == layer, "variance_across_inputs"].median() for layer in (1, depth))
        if not math.isfinite(first + last):
            continue
        sentences.append(
            f"Why such networks are stuck: weights U(-{scale:g}, {scale:g}) at width {width} multiply the second moment by"
            f" {gain:.2f} in each layer (1 would keep it). Across inputs the variance of what a layer passes on falls from"
            f" {first:.2g} in the first hidden layer to {last:.2g} in layer {depth}, so the untrained network is blind to its"
            " input, the gradient says only how to predict the mean, and training ends there."
        )
    return sentences


def _validation(validation: pd.DataFrame) -> list[str]:
    """The floor under every validation error, against the lowest that any cell saw."""
    if validation.empty:
        return []
    best, final = validation["best_over_variance"], validation["final_over_variance"]
    count = int(validation["n_val"].min())
    # The relative standard error of the variance of this many normal numbers.
    chance = math.sqrt(2 / count)
    scatter = (
        f"; a mean square of {count} samples scatters by {100 * chance:.0f} %"
        if (validation["target"] == "normal").all()
        else ""
    )
    return [
        f"Nothing generalizes: at the end of training the validation MSE is {final.median():.3g} times the variance of"
        f" the validation targets, in the median of {len(validation)} cells. The lowest of any cell at any epoch is"
        f" {best.min():.3f} times{scatter}."
    ]
