"""Tables -> the sentences that a report begins with. Every number in them is computed from the run's own tables."""

from __future__ import annotations

from bench.protocol.cells import SECOND_ORDER
from bench.protocol.theory import dimension_name
from bench.report.answers import answered
from bench.report.blindness import blind, dead
from bench.report.budgets import grown, untold
from bench.report.headline import banded, ceiling_name, counted
from bench.report.hindrances import literature, ranked, slowed
from bench.report.holds import MOST_FRONTIERS, held, searched
from bench.report.laws import depth_costs
from bench.report.tuning import generalized, rate_matters
from bench.report.words import formula, signed, span, worded
from bench.report.worth import Finding, Worth, as_findings
from bench.statistics.by_lm import in_words as by_lm_in_words
from bench.statistics.labels import in_words as labels_in_words
from bench.statistics.published import against_literature
from bench.statistics.ratios import in_words as ratios_in_words
from bench.statistics.tables import Tables
from bench.statistics.verdict import verdict
from bench.store.parts import PENDING


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
            lambda: as_findings(Worth.ANSWER, [answered(tables.groups.iloc[0], tables.cells)]),
            lambda: as_findings(Worth.ANSWER, verdict(tables.evidence, tables.left_out).sentences),
            lambda: as_findings(Worth.ANSWER, dead(tables.groups.iloc[0], signal)),
            lambda: as_findings(Worth.ANSWER, blind(first_signals, signal)),
            lambda: ranked(tables.regularizers),
        ]
    else:
        parts = [
            lambda: banded(tables),
            lambda: ranked(tables.regularizers),
            lambda: as_findings(Worth.ACCOUNT, [counted(tables.cells)]),
            lambda: as_findings(Worth.EFFECT, blind(results, signal)),
            lambda: as_findings(Worth.ACCOUNT, searched(tables.capacity, tables.search_ratio)),
            lambda: _held(tables),
            lambda: as_findings(Worth.ANSWER, by_lm_in_words(tables.by_lm)),
            lambda: as_findings(Worth.NUMBER, labels_in_words(tables.labels)),
            lambda: _compared(tables),
            lambda: grown(worded(tables.budget_growth, tables.groups)),
            lambda: as_findings(Worth.ACCOUNT, untold(tables.capacity)),
        ]
    parts += [
        lambda: as_findings(Worth.EFFECT, rate_matters(tables.learning_rates, tables.variants)),
        lambda: slowed(tables.log_rank, tables.regularizers),
        lambda: as_findings(Worth.NUMBER, [] if tables.variants else literature(tables.regularizers)),
        lambda: as_findings(Worth.NUMBER, against_literature(tables.published)),
        lambda: as_findings(Worth.NUMBER, generalized(validation)),
    ]
    found, failures = as_findings(Worth.NOTICE, [unfinished] * (pending > 0)), list(tables.failures)
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
    by_recall, epochs = groups["criterion"] == "recall", f"within {span(groups['max_epochs'])} epochs."
    taus = groups.loc[~by_recall, "tau"]
    fell = [
        f"the training error fell to at most {span(100 * own)} % of the variance of the targets (tau {span(own)})"
        for own in [taus]
        if len(own)
    ]
    said = ["of every label the network's largest output was that of its class"] * bool(by_recall.any())
    meanings = [("Memorized", f"{'; or, where that is asked for, '.join([*said, *fell])}, {epochs}")]
    if (groups["optimizer"] == SECOND_ORDER).any():
        meanings.append(
            ("Epoch", "of optimizer=lm an iteration: a gradient of every sample, and the solution of a linear system.")
        )
    name, printed = ceiling_name(tables), formula(dimension_name(groups))
    if name == "ceiling":
        beyond = "" if printed == "functional dimension" else f": N = {printed}"
        parameters = " (P parameters)" if "P" in printed else ""
        meanings.append(("Ceiling", f"the number of samples above which there is in general no exact fit{beyond}{parameters}."))
    else:
        meanings.append(
            ("Functional dimension", "in how many directions the functions of a network can move: at most its parameters.")
        )
    return meanings


def _held(tables: Tables) -> list[Finding]:
    """What the networks hold, and right behind the first of that what depth costs."""
    capacities = held(worded(tables.capacity, tables.groups), ceiling_name(tables))
    # A search was made to know them.
    worth = Worth.ANSWER if tables.search_ratio is not None else Worth.NUMBER
    return [*as_findings(worth, capacities), *depth_costs(worded(tables.scaling, tables.groups))]


def _compared(tables: Tables) -> list[Finding]:
    """N50 under each setting over that under the first; of many settings the table says more."""
    sentences = ratios_in_words(worded(tables.ratios, tables.groups), worded(tables.capacity, tables.groups))
    return as_findings(Worth.NUMBER, sentences if len(sentences) <= MOST_FRONTIERS else [])
