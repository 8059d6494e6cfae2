"""Tables -> the sentences that a report begins with. Every number in them is computed from the run's own tables."""

from __future__ import annotations

import math

import pandas as pd

from bench.cells import Status
from bench.settings import varying
from bench.signal import uniform_gain
from bench.store import PENDING


def findings(cells: pd.DataFrame, groups: pd.DataFrame, signal: pd.DataFrame) -> list[str]:
    """What the run found, the answer first; `groups` and `signal` carry a `setting` column."""
    results = groups[groups["n_seeds"] > 0]
    if results.empty:
        return ["No cell has a result yet."]
    sentences = [_counts(cells)]
    settings = list(dict.fromkeys(results["setting"]))
    if len(results) > len(settings) and not varying(results, among=("max_epochs", "tau")):
        sentences += [_frontier(results[results["setting"] == setting], setting) for setting in settings]
    else:
        sentences += [_setting(results[results["setting"] == setting], setting) for setting in settings]
    sentences += _blindness(results, signal)
    validation = _validation(cells)
    return sentences + ([validation] if validation else [])


def _counts(cells: pd.DataFrame) -> str:
    counts = cells["status"].value_counts()
    total = int(len(cells) - counts.get(Status.FAILED, 0) - counts.get(PENDING, 0))
    memorized = int(counts.get(Status.MEMORIZED, 0))
    answer = "No cell" if memorized == 0 else "Every cell" if memorized == total else f"{memorized} of {total} cells"
    others = [f"{int(counts[s])} {s.replace('_', ' ')}" for s in (*Status, PENDING) if s in counts and s != Status.MEMORIZED]
    return f"{answer} memorized targets that are pure noise{' (' + ', '.join(others) + ')' if others else ''}."


def _frontier(groups: pd.DataFrame, setting: str) -> str:
    """How far up the load most seeds of a setting got, in units of the functional dimension."""
    relative = groups["n_samples"] / groups["functional_dim"]
    reached = groups["fraction_memorized"] >= 0.5
    budget = f"{groups['max_epochs'].iloc[0]} epochs to tau {groups['tau'].iloc[0]:g}"
    if not reached.any():
        least = f"the smallest load was {relative.min():.2g} of P - depth*width"
        return f"{setting}: no network memorized any sample count of the grid ({budget}; {least})."
    text = (
        f"{setting}: most seeds memorized {int(reached.sum())} of {len(groups)} networks and sample counts ({budget}),"
        f" up to {relative[reached].max():.2g} samples for each dimension of P - depth*width"
    )
    if reached.all():
        return f"{text}, the largest load of the grid."
    return f"{text}; the smallest load that they did not was {relative[~reached].min():.2g}."


def _setting(groups: pd.DataFrame, setting: str) -> str:
    group = groups.iloc[0]
    seeds = f"{group['n_memorized']} of {group['n_seeds']} seeds"
    left = (
        f"{100 * group['median_final_tau']:.3g} % of the variance left unexplained"
        if math.isfinite(group["median_final_tau"])
        else "no finite error left"
    )
    if group["n_memorized"] == group["n_seeds"]:
        return f"{setting}: memorized by epoch {group['median_epoch_to_tau']:.0f} (median of {group['n_seeds']} seeds)."
    ended = ", ".join(
        f"{group[f'n_{s}']} {s.replace('_', ' ')}"
        for s in Status
        if s not in (Status.MEMORIZED, Status.FAILED) and group[f"n_{s}"]
    )
    return f"{setting}: {seeds} memorized ({ended}), in the median with {left}."


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
        own = signal[signal["setting"].isin(stuck["setting"]) & (signal["width"] == width)]
        first, last = (own.loc[own["layer"] == layer, "variance_across_inputs"].median() for layer in (1, depth))
        sentences.append(
            f"Why it is stuck: weights U(-{scale:g}, {scale:g}) at width {width} multiply the second moment by {gain:.2f} in"
            f" each layer (1 would keep it). Across inputs the variance of what a layer passes on falls from {first:.2g} in the"
            f" first hidden layer to {last:.2g} in layer {depth}, so the untrained network is blind to its input, the gradient"
            " says only how to predict the mean, and training ends there."
        )
    return sentences


def _validation(cells: pd.DataFrame) -> str | None:
    """The floor under every validation error, against the lowest that any cell saw."""
    measured = cells[cells["best_val_mse"].notna()]
    if measured.empty:
        return None
    ratio = measured["best_val_mse"] / measured["target_variance"]
    lowest = measured.iloc[int(ratio.argmin())]
    error = math.sqrt(2 / lowest["n_val"])
    final = (measured["final_val_mse"] / measured["target_variance"]).median()
    return (
        f"Nothing generalizes: the lowest validation MSE of any epoch of {len(measured)} cells with validation samples is"
        f" {ratio.min():.3f} Var(y) (on {lowest['n_val']} samples, so give or take {error:.3f} by chance), and at the end of"
        f" training it is {final:.3g} Var(y) in the median. No prediction of independent noise can do better than Var(y)."
    )
