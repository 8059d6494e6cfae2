"""Tables -> the sentences that a report begins with. Every number in them is computed from the run's own tables."""

from __future__ import annotations

import math

import pandas as pd

from bench.protocol.cells import Status
from bench.protocol.signal import uniform_gain
from bench.statistics.agreement import LEVEL
from bench.statistics.capacity import MOST_STUCK, what_is_known
from bench.statistics.confirmation import MAJORITY, Answer, memorizable
from bench.statistics.frontier import narrow
from bench.statistics.published import against_literature
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

# Settings that differ in more fields than these are protocols of their own, and stand in the table.
MOST_FIELDS = 4

# What is known of an N50 that has no value.
BOUNDS = {"more": "only a lower bound", "less": "only an upper bound", "nothing": "no bound (more seeds would tell)"}

# What counts as little: a regularizer that leaves this share of those that memorize without it, in so many times the epochs.
LITTLE_SHARE, LITTLE_DELAY = 0.95, 1.1


def findings(tables: Tables) -> list[str]:
    """What the run found, the answer first."""
    results = tables.groups[tables.groups["n_seeds"] > 0]
    if results.empty:
        return ["No cell has a result yet."]
    pending = int((tables.cells["status"] == PENDING).sum())
    unfinished = f"Unfinished: {pending} of {len(tables.cells)} cells have no result yet; what follows is of the others alone."
    first_signals = results[results.index == tables.groups.index[0]]
    signal, validation = tables.signal_propagation, tables.validation
    if tables.variants:
        parts = [
            lambda: [_asked(tables.groups.iloc[0], tables.cells)],
            lambda: list(verdict(tables.evidence, tables.left_out).sentences),
            lambda: _dead(tables.groups.iloc[0], signal),
            lambda: _blindness(first_signals, signal),
        ]
    else:
        parts = [
            lambda: [_counts(tables.cells)],
            lambda: _blindness(results, signal),
            lambda: _searched(tables.capacity, tables.search_ratio),
            lambda: _held(tables),
            lambda: _compared(tables.ratios),
        ]
    parts += [
        lambda: _rates(tables.learning_rates, tables.variants),
        lambda: _ranked(tables.regularizers),
        lambda: _slowed(tables.log_rank, tables.regularizers),
        lambda: [] if tables.variants else _literature(tables.regularizers),
        lambda: against_literature(tables.published),
        lambda: _validation(validation[validation["best_over_variance"].notna()]) if len(validation) else [],
    ]
    sentences, failures = [], list(tables.failures)
    for part in parts:
        try:
            sentences += part()
        except Exception as error:  # It takes no other sentence along, nor the page.
            failures.append(f"a finding ({type(error).__name__}: {error})")
    left_out = [f"Left out for an error: {failure}." for failure in failures]
    return [unfinished] * (pending > 0) + sentences + left_out


def _held(tables: Tables) -> list[str]:
    """What the networks hold, and right behind the first of that what depth costs."""
    first, *others = [*_capacities(tables.capacity), None]
    return [sentence for sentence in (first, *_depth(tables.scaling), *others) if sentence]


def _compared(ratios: pd.DataFrame) -> list[str]:
    """N50 under each setting over that under the first; of many settings the table says more."""
    sentences = in_words(ratios)
    return sentences if len(sentences) <= MOST_FRONTIERS else []


def _counts(cells: pd.DataFrame) -> str:
    counts = cells["status"].value_counts()
    memorized = int(counts.get(Status.MEMORIZED, 0))
    answer = f"{memorized} of {len(cells)} cells" if 0 < memorized < len(cells) else "Every cell" if memorized else "No cell"
    others = [f"{int(counts[s])} {s.replace('_', ' ')}" for s in (*Status, PENDING) if s in counts and s != Status.MEMORIZED]
    return f"{answer} memorized targets that are pure noise{' (' + ', '.join(others) + ')' if others else ''}."


def _capacities(capacity: pd.DataFrame) -> list[str]:
    """How many samples the networks of each setting hold, over the dimensions of the functions that they reach."""
    sentences = []
    named = capacity[capacity["setting"].str.count(",") < MOST_FIELDS] if len(capacity) else capacity
    # Of swept rates the default and the best are told.
    named = named[named["rates"] != "swept"] if len(named) else named
    curves = list(named.groupby(["setting", "rates"], sort=False)) if len(named) else []
    for (setting, rates), own in curves if len(curves) <= MOST_FRONTIERS else []:
        known = own[own["n50"].notna()]
        subject = setting if rates == "as asked" else f"{setting}, {rates} learning rate"
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
            # Which N50 lie within the counts tried is no random choice: the others are to be seen beside their number.
            number = f"{len(known)} networks" if len(known) == len(own) else f"{len(known)} of {len(own)} networks"
            ordered = known.sort_values("n50_per_dim", kind="stable")
            ends = [_per_dim(row) for _, row in ordered.iloc[[0, -1]].iterrows()]
            text = f"N50 is {' to '.join(ends if len(known) > 1 else ends[:1])} times the functional dimension"
            bits = known["bits_per_param"]
            stored = f"{bits.median():.2g} bits for each parameter" if bits.notna().all() else ""
            if len(known) > 1:
                medians = [f"{known['n50_per_dim'].median():.2f} times", *filter(None, [stored])]
                text += f", in the median of {number} {' and '.join(medians)}"
            else:
                text += (f" ({number})" if len(own) > 1 else "") + (f", {stored}" if stored else "")
            text += f" ({budget})"
        sentences.append(f"{'; '.join([f'{subject}: {text}', *outside])}.")
    return sentences


def _per_dim(capacity: pd.Series) -> str:
    """N50 over the functional dimension, with the interval: the least or largest of several is an extreme of their errors."""
    ends = (f"{capacity[name] / capacity['functional_dim']:.2f}" for name in ("n50_low", "n50_high"))
    return f"{capacity['n50_per_dim']:.2f} ({' to '.join(ends)})"


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


def _depth(scaling: pd.DataFrame) -> list[str]:
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
        interval = f"{row['exponent']:.2f} ({row['exponent_low']:.2f} to {row['exponent_high']:.2f})"
        found = row["p_value"] < LEVEL
        why = []
        if row["lack_of_fit_p"] < LEVEL:
            why.append(f"no power law fits them (chi-square {row['chi_square']:.0f} on {row['freedom']} degrees of freedom)")
        if found and not row["p_value_most"] < LEVEL:
            without = f"{row['exponent_least']:.2f} to {row['exponent_most']:.2f}, p up to {row['p_value_most']:.2g}"
            why.append(f"the exponent of depth, {interval}, rests on one of them (without each in turn {without})")
        if why:
            verb = f"{networks} do not tell whether depth matters at the same number of parameters"
            return [f"{subject}: {verb}: {'; '.join(why)}."]
        meaning = "no difference that they could tell"
        if found:
            meaning = f"deeper networks hold {'less' if row['exponent'] < 0 else 'more'}, without each of them in turn too"
        power = f"N50 goes as depth to the power {interval} over {networks}"
        return [f"At the same number of parameters ({subject}), {power}: {meaning}."]
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


def _ranked(regularizers: pd.DataFrame) -> list[str]:
    """Which regularizers keep memorizing cells from it, and which hardly do; one alone has no rank."""
    regularizers = regularizers[regularizers["n_pairs"] >= LEAST_PAIRS] if len(regularizers) else regularizers
    if regularizers.empty:
        return []
    if len(regularizers) == 1:
        (row,) = (row for _, row in regularizers.iterrows())
        return [f"Of {row['n_pairs']} cells {_selected(regularizers)}, under {_taken(row)}."]
    pairs = regularizers["n_pairs"]
    among = f"{pairs.min()}" if pairs.min() == pairs.max() else f"{pairs.min()} to {pairs.max()}"
    most = [_taken(row) for _, row in regularizers.head(MOST_RANKED).iterrows()]
    text = f"Regularizers, each on {among} cells {_selected(regularizers)}; hardest to memorize under {'; '.join(most)}"
    if len(regularizers) > MOST_RANKED:
        least = [_taken(row) for _, row in regularizers.iloc[MOST_RANKED:].tail(MOST_RANKED).iloc[::-1].iterrows()]
        text += f". Easiest under {'; '.join(least)}"
    return [f"{text}."]


def _slowed(log_rank: pd.DataFrame, regularizers: pd.DataFrame) -> list[str]:
    """What the tests of regularizers find after correction, or how many seeds it takes until they can find anything."""
    if log_rank.empty or regularizers.empty:
        return []
    tests, seeds = len(log_rank), int(log_rank["n_seeds"].max())
    needed = int(log_rank["seeds_needed"].max())
    number = f"{tests} tests" if tests > 1 else "one test"
    if seeds < needed:
        least = f"whatever a regularizer does, {seeds} seeds show no p below {log_rank['least_p'].min():.2g}"
        return [f"No test can tell regularizers from none here: {least}, and {number} take {needed} seeds to reach {LEVEL:g}."]
    slow = int(((log_rank["p_holm"] < LEVEL) & (log_rank["statistic"] < 0)).sum())
    fewer = int(((regularizers["p_holm"] < LEVEL) & (regularizers["n_only_with"] < regularizers["n_only_without"])).sum())
    return [
        f"By tests that exchange whole seeds, with Holm's correction: {slow} of {tests} regularizers slow memorization"
        f" (log-rank), and under {fewer} of {len(regularizers)} fewer cells memorize than without (pairs that disagree)."
    ]


def _selected(regularizers: pd.DataFrame) -> str:
    """Which cells shares and delays are of, and how many of these memorize without a regularizer: the placebo."""
    placebo = 100 * regularizers["fraction_without"]
    if placebo.isna().all():
        return "that memorize without it"
    shares = (
        f"{placebo.min():.0f}"
        if f"{placebo.min():.0f}" == f"{placebo.max():.0f}"
        else f"{placebo.min():.0f} to {placebo.max():.0f}"
    )
    return f"whose other seeds all memorize without it (and so do {shares} % of these)"


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


def _taken(row: pd.Series) -> str:
    share = (
        f"{row['regularizer']}: {100 * row['fraction_memorized']:.0f} % memorize"
        f" ({100 * row['fraction_low']:.0f} to {100 * row['fraction_high']:.0f})"
    )
    if not math.isfinite(row["median_delay"]):
        return share
    if f"{row['median_delay']:.3g}" == "1":
        return f"{share}, without delay"
    if math.isnan(row["delay_low"]):
        return f"{share}, in {row['median_delay']:.3g} times the epochs"
    high = "never" if math.isinf(row["delay_high"]) else f"{row['delay_high']:.3g}"
    return f"{share}, in {row['median_delay']:.3g} times the epochs ({row['delay_low']:.3g} to {high})"


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
