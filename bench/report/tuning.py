"""What learning rates and unseen data say of a run, in sentences."""

from __future__ import annotations

import math

import pandas as pd

from bench.statistics.confirmation import MAJORITY


def rate_matters(rates: pd.DataFrame, variants: bool) -> list[str]:
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


def generalized(validation: pd.DataFrame) -> list[str]:
    """The floor under every validation error, against the lowest that any cell saw."""
    validation = validation[validation["best_over_variance"].notna()] if len(validation) else validation
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
    # Said only of figures that do not speak against it.
    opening = "Nothing generalizes: at" if final.median() >= 1 - chance else "At"
    return [
        f"{opening} the end of training the validation MSE is {final.median():.3g} times the variance of"
        f" the validation targets, in the median of {len(validation)} cells. The lowest of any cell at any epoch is"
        f" {best.min():.3f} times{scatter}."
    ]
