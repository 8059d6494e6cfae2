"""Tables -> the sentences that a report begins with. Every number in them is computed from the run's own tables."""

from __future__ import annotations

import math

import pandas as pd

from bench.cells import Status
from bench.settings import is_variants
from bench.signal import uniform_gain
from bench.store import PENDING


def findings(cells: pd.DataFrame, groups: pd.DataFrame, signal: pd.DataFrame, validation: pd.DataFrame) -> list[str]:
    """What the run found, the answer first; `groups`, `signal` and `validation` carry a `setting` column."""
    results = groups[groups["n_seeds"] > 0]
    if results.empty:
        return ["No cell has a result yet."]
    if is_variants(groups):
        others = results[results.index != groups.index[0]]
        sentences = [_asked(groups.iloc[0]), *_blindness(results, signal), *_changes(others)]
    else:
        settings = list(dict.fromkeys(results["setting"]))
        sentences = [_counts(cells), *_blindness(results, signal)]
        sentences += [_frontier(results[results["setting"] == setting], setting) for setting in settings]
    measured = validation[validation["best_over_variance"].notna()] if len(validation) else validation
    return sentences + ([_validation(measured)] if len(measured) else [])


def _counts(cells: pd.DataFrame) -> str:
    counts = cells["status"].value_counts()
    memorized = int(counts.get(Status.MEMORIZED, 0))
    answer = f"{memorized} of {len(cells)} cells" if 0 < memorized < len(cells) else "Every cell" if memorized else "No cell"
    others = [f"{int(counts[s])} {s.replace('_', ' ')}" for s in (*Status, PENDING) if s in counts and s != Status.MEMORIZED]
    return f"{answer} memorized targets that are pure noise{' (' + ', '.join(others) + ')' if others else ''}."


def _frontier(groups: pd.DataFrame, setting: str) -> str:
    """How many samples most seeds of a setting memorized, for each dimension of the functions that the network reaches."""
    load = groups["n_samples"] / groups["functional_dim"]
    reached = groups["fraction_memorized"] >= 0.5
    budget = f"{_span(groups['max_epochs'])} epochs to tau {_span(groups['tau'])}"
    among = f"{int(reached.sum())} of {len(groups)} combinations of depth, width and n_samples"
    text = f"{setting} ({budget}): at least half of the seeds memorized in {among}"
    if reached.any():
        text += f"; the largest n_samples / functional dimension memorized is {load[reached].max():.2g}"
    if not reached.all():
        text += f"; the smallest not memorized is {load[~reached].min():.2g}"
    return f"{text}."


def _span(values: pd.Series) -> str:
    """One value, or the least and the most."""
    return f"{values.min():g}" if not values.ne(values.iloc[0]).any() else f"{values.min():g} to {values.max():g}"


def _asked(group: pd.Series) -> str:
    """The answer for the first of the variants."""
    if group["n_seeds"] == 0:
        return "As asked: no result yet."
    seeds, budget = f"{group['n_memorized']} of {group['n_seeds']} seeds", f"{group['max_epochs']} epochs"
    if group["n_memorized"] == group["n_seeds"]:
        return f"As asked, yes: {seeds} memorized, by epoch {group['median_epoch_to_tau']:.0f} in the median."
    return (
        f"As asked, {'sometimes' if group['n_memorized'] else 'no'}: {seeds} memorized {group['n_samples']} samples in"
        f" {budget}; in the median {_left(group)} of the variance is left unexplained, where predicting the mean leaves 100 %."
    )


def _changes(groups: pd.DataFrame) -> list[str]:
    """How far each variant got: those that memorized, then the others from the best to the worst."""
    reached = groups["fraction_memorized"] >= 0.5
    hits = [f"{g['setting']} by epoch {g['median_epoch_to_tau']:.0f}" for _, g in groups[reached].iterrows()]
    misses = [f"{g['setting']}: {_left(g)}" for _, g in groups[~reached].sort_values("median_final_tau").iterrows()]
    sentences = [f"Variants that memorized (median over seeds): {'; '.join(hits)}."] if hits else []
    if misses:
        sentences.append(f"Variants that did not, with what they leave unexplained (median over seeds): {'; '.join(misses)}.")
    return sentences


def _left(group: pd.Series) -> str:
    return f"{100 * group['median_final_tau']:.3g} %" if math.isfinite(group["median_final_tau"]) else "all (diverged)"


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


def _validation(validation: pd.DataFrame) -> str:
    """The floor under every validation error, against the lowest that any cell saw."""
    best, final = validation["best_over_variance"], validation["final_over_variance"]
    return (
        f"Nothing generalizes: over all epochs of {len(validation)} cells with validation samples, the lowest validation MSE is"
        f" {best.min():.3f} of the variance of the validation targets, which is what their own mean scores; at the end of"
        f" training it is {final.median():.3g} in the median. But for the chance of {int(validation['n_val'].min())} samples,"
        " no prediction of independent noise gets below Var(y)."
    )
