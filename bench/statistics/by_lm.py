"""Capacities under optimizer=lm -> how many times as much as another optimizer's, and what a fit costs each in gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bench.protocol.cells import SECOND_ORDER
from bench.protocol.columns import columns_of
from bench.statistics.agreement import ratio_interval
from bench.statistics.dimensions import samples_at_ceiling
from bench.statistics.ratios import held, shared_seeds
from bench.statistics.settings import OF_TRAINING, regularized, same
from bench.statistics.survival import CURVE_FIELDS, measured
from bench.statistics.survival import groups as group_statistics

COLUMNS = list(columns_of("by_lm"))

# What a network's training by lm and by another optimizer have in common: one network and one task.
TASK = tuple(name for name in CURVE_FIELDS if name not in OF_TRAINING)

# Costs are compared at a sample count that at least this share of the seeds memorizes by both.
MOST = 0.5

NAMES = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD", "muon": "Muon"}


def by_lm(capacities: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """A row for each network that was trained by lm and by another optimizer, without regularization, on the same task.

    The ratio of the N50s is paired by seeds where both had the same at all counts (`bench.statistics.ratios`), and empty where
    one of them has no value. Costs are those at the largest sample count that MOST of the seeds memorize by both.

    Args:
        capacities: of `bench.statistics.capacity.capacities`.
        cells: those that it was made of.

    Returns:
        The columns of `by_lm` (`bench.protocol.columns`).
    """
    if capacities.empty:
        return pd.DataFrame(columns=COLUMNS)
    known = capacities[~regularized(capacities) & (capacities["rates"] != "swept")]
    solved = known["optimizer"] == SECOND_ORDER
    if solved.all() or not solved.any():
        return pd.DataFrame(columns=COLUMNS)
    results = measured(cells)
    statistics = group_statistics(results)
    pairs = [
        (own, lm)
        for own in known[~solved].to_dict("records")
        for lm in known[solved].to_dict("records")
        if all(same(own[name], lm[name]) for name in TASK)
    ]
    rows = [_row(own, lm, results, statistics) for own, lm in pairs]
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(own: Mapping[Any, Any], lm: Mapping[Any, Any], cells: pd.DataFrame, groups: pd.DataFrame) -> dict[str, Any]:
    sides = [tuple(float(row[name]) for name in ("n50", "n50_low", "n50_high")) for row in (lm, own)]
    ratio, n_shared = (math.nan,) * 3, 0
    if not any(math.isnan(side[0]) for side in sides):
        n_shared, correlation = shared_seeds(held(_of(cells, lm)), held(_of(cells, own)))
        ratio = ratio_interval((sides[0][0], sides[0][1], sides[0][2]), (sides[1][0], sides[1][1], sides[1][2]), correlation)
    return {
        **{
            name: own[name]
            for name in ("setting", "depth", "width", "d_in", "activation", "loss", "criterion", "tau", "functional_dim")
        },
        **{name: own[name] for name in ("optimizer", "rates", "max_epochs", "n50", "n50_low", "n50_high")},
        "setting_lm": lm["setting"],
        "max_epochs_lm": lm["max_epochs"],
        "n50_lm": lm["n50"],
        "n50_lm_low": lm["n50_low"],
        "n50_lm_high": lm["n50_high"],
        "side_lm": lm["side"],
        **dict(zip(("ratio", "ratio_low", "ratio_high"), ratio, strict=True)),
        "n_shared": n_shared,
        **_costs(_of(groups, own), _of(groups, lm), int(own["n_outputs"] if pd.isna(own["n_classes"]) else own["n_classes"])),
    }


def _of(table: pd.DataFrame, curve: Mapping[Any, Any]) -> pd.DataFrame:
    """The rows of one curve; at the best of several rates those of all."""
    keep = np.ones(len(table), dtype=bool)
    for name in CURVE_FIELDS:
        value = curve[name]
        if not pd.isna(value):
            keep &= (table[name] == value).fillna(False).to_numpy(bool)
        elif name != "learning_rate" or curve["rates"] != "best":
            keep &= table[name].isna().to_numpy(bool)
    return table[keep]


def _costs(own: pd.DataFrame, lm: pd.DataFrame, outputs: int) -> dict[str, float]:
    """Epochs and gradients of single samples to tau, in the median, at the largest count that most seeds memorize by both."""
    counts = [set(side.loc[side["fraction_memorized"] >= MOST, "n_samples"]) for side in (own, lm)]
    both = counts[0] & counts[1]
    if not both:
        return {}
    count = max(both)
    epochs, iterations = (float(side.loc[side["n_samples"] == count, "median_epoch_to_tau"].min()) for side in (own, lm))
    costs = {"n_samples": count, "epochs": epochs, "iterations": iterations}
    return costs | {"gradients": count * epochs, "gradients_lm": count * iterations * outputs}


def in_words(table: pd.DataFrame) -> list[str]:
    """A sentence for each optimizer and task: each network's N50 by lm over that by the optimizer; and what that bounds."""
    sentences = []
    for (optimizer, rates, loss, rule, tau), own in table.groupby(
        ["optimizer", "rates", "loss", "criterion", "tau"], sort=False
    ):
        parts = []
        several = own.duplicated(["depth", "width"]).any()
        for row in own.to_dict("records"):
            network = f"depth {row['depth']}, width {row['width']}" + (f", {row['setting']}" if several else "")
            if not math.isnan(row["ratio"]):
                parts.append(f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f}) times at {network}")
        if not parts:
            continue
        by = f"{NAMES[str(optimizer)]}{'' if rates == 'as asked' else f' at the {rates} learning rate'}"
        end = "every label" if rule == "recall" else f"tau {tau:g}{' under the hinge' if loss == 'hinge' else ''}"
        sentences.append(f"By Levenberg and Marquardt's method N50 is, over that by {by}, to {end} (95 %): {'; '.join(parts)}.")
    bound = " Where that is more than 1 it is a better lower bound of what the network can hold, never an upper one."
    return [*sentences[:-1], *(sentence + bound for sentence in sentences[-1:])]


# What tells a row of `by_lm` apart, and a row of `bench.statistics.capacity.capacities` that it is about.
OF_CURVE = ("setting", "rates", "depth", "width", "d_in")


def of_curve(table: pd.DataFrame, curve: Mapping[Any, Any]) -> dict[Any, Any] | None:
    """The row of `by_lm` about a row of capacities; None where there is none, as where the network was not trained by lm.

    Of several, by budgets of lm of their own, that with the most iterations.
    """
    if table.empty:
        return None
    own = table[np.logical_and.reduce([table[name] == curve[name] for name in OF_CURVE])]
    return None if own.empty else own.loc[own["max_epochs_lm"].idxmax()].to_dict()


def as_capacity(row: Mapping[Any, Any]) -> dict[Any, Any]:
    """A row of `by_lm` as one of capacities: what lm reached in place of what the other optimizer did."""
    numbers = {"n50": row["n50_lm"], "n50_low": row["n50_lm_low"], "n50_high": row["n50_lm_high"], "side": row["side_lm"]}
    return {**row, **numbers, "n50_per_dim": row["n50_lm"] / samples_at_ceiling(row)}


def spelled(row: Mapping[Any, Any], name: str, over: float | None = None) -> str:
    """An N50 over the dimensions or another number, or what is known of it; `name` is n50 or n50_lm."""
    over = samples_at_ceiling(row) if over is None else over
    digits = 2 if over != 1 else 0
    value, low, high = (row[column] / over for column in (name, f"{name}_low", f"{name}_high"))
    if not math.isnan(value):
        return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
    return f"> {low:.{digits}f}" if low > 0 else f"< {high:.{digits}f}" if math.isfinite(high) else "unknown"
