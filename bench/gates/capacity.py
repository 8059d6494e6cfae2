"""Does the head learn what the base learned? The same cells, curve by curve, and then their ends in distribution.

A cell's data, weights and draws are the same in every engine. So the first epochs of its curve agree to rounding, and a setting
in which they do not is where something changed. Later rounding parts the curves, and neither side is more likely to be ahead.
That is tested on all pairs of a cell in the base and the same cell in the head (`bench.statistics.paired`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from bench.gates.check import Finding, Verdict
from bench.gates.learned import FIRST_EPOCHS, Learned
from bench.protocol.cells import Status
from bench.protocol.columns import columns_of
from bench.statistics.paired import discordant, exchanged, log_n50_weights, median_ratio, signed_ranks
from bench.statistics.survival import wilson_interval

# Relative differences of tau in the first epochs that rounding explains, by dtype. A factor of TF32 goes to either of two
# numbers that are a thousandth apart.
TOLERANCES = {"float32": 1e-3, "float64": 1e-8, "tf32": 2e-2}

# One check in a thousand fails where nothing differs but rounding: so much for each of its tests.
FALSE_ALARMS = 0.001
TESTS = ("epochs to tau", "share that memorizes", "N50")
LEVEL = FALSE_ALARMS / len(TESTS)

# A single cell that parts may be chaotic.
LEAST_CELLS = 2

# A network's N50 can be told from this many sample counts on.
LEAST_COUNTS = 3

# Of the settings that a sentence names.
NAMED = 3

SETTINGS = list(columns_of("check_settings"))


class NotComparable(ValueError):
    """Base and head have no cells in common, or one of them lacks some. The message is one line."""


class Judged(NamedTuple):
    """What was found, and the table check_settings: a row for each setting, base beside head."""

    findings: list[Finding]
    settings: pd.DataFrame


def judge(base: Learned, head: Learned) -> Judged:
    """Hold a head against a base that trained the same cells.

    Raises:
        NotComparable: they did not.
    """
    missing = set(base.cells["cell_id"]) ^ set(head.cells["cell_id"])
    if missing:
        raise NotComparable(f"{len(missing)} cells are in only one of base and head")
    pairs = base.cells.merge(head.cells, on="cell_id", suffixes=("", "_head"), validate="one_to_one")
    pairs = pairs.assign(apart=pairs["cell_id"].map(_apart(base.curves, head.curves)))
    settings = _by_setting(pairs)
    return Judged([_failed(pairs), _first_epochs(settings), *_distributions(pairs)], settings)


def same_bytes(base: Learned, head: Learned) -> Finding:
    """Whether base and head, of one engine and one build of it, agree in every bit of every first epoch and of every end."""
    ends = ["cell_id", "status", "epoch_to_tau", "final_tau"]
    cells, curves = (
        a.merge(b, how="outer", indicator=True) for a, b in ((base.cells[ends], head.cells[ends]), (base.curves, head.curves))
    )
    moved = set(pd.concat([cells[cells["_merge"] != "both"], curves[curves["_merge"] != "both"]])["cell_id"])
    if not moved:
        said = f"all {len(base.cells)} cells are the same to the last bit, by {head.engine}"
        return Finding("bytes", Verdict.PASSED, said)
    names = base.cells.loc[base.cells["cell_id"].isin(moved), "setting"].value_counts()
    said = f"{len(moved)} of {len(base.cells)} cells differ, by {head.engine}: {_listed(list(names.index))}"
    return Finding("bytes", Verdict.FAILED, said)


def _apart(base: pd.DataFrame, head: pd.DataFrame) -> pd.Series:
    """For each cell the largest relative difference of tau in its first epochs; infinite where one side alone has a number."""
    both = base.merge(head, on=["cell_id", "epoch"], how="outer", suffixes=("", "_head"))
    a, b = both["tau"].to_numpy(), both["tau_head"].to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = np.abs(b - a) / np.abs(a)
    apart[(a == b) | (np.isnan(a) & np.isnan(b))] = 0
    apart[np.isnan(apart)] = math.inf
    return pd.Series(apart, index=both["cell_id"]).groupby(level=0).max()


def _by_setting(pairs: pd.DataFrame) -> pd.DataFrame:
    """The table check_settings."""
    rows = []
    for setting, own in pairs.groupby("setting", sort=False):
        tolerance = TOLERANCES[own["dtype"].iloc[0]]
        base, head = _epochs(own, ""), _epochs(own, "_head")
        beyond = int((own["apart"] > tolerance).sum())
        memorized = {side: int(np.isfinite(epochs).sum()) for side, epochs in (("base", base), ("head", head))}
        shares = {side: wilson_interval(count, len(own)) for side, count in memorized.items()}
        rows.append(
            {
                "setting": setting,
                "n_cells": len(own),
                "largest_difference": own["apart"].max(),
                "tolerance": tolerance,
                "n_beyond": beyond,
                "moved": len(own) >= LEAST_CELLS and 2 * beyond > len(own),
                **{f"n_memorized_{side}": count for side, count in memorized.items()},
                **{f"fraction_{side}": count / len(own) for side, count in memorized.items()},
                **{f"fraction_low_{side}": low for side, (low, _) in shares.items()},
                **{f"fraction_high_{side}": high for side, (_, high) in shares.items()},
                "median_epoch_ratio": median_ratio(base, head),
            }
        )
    return pd.DataFrame(rows, columns=SETTINGS)


def _failed(pairs: pd.DataFrame) -> Finding:
    failed = {side: int((pairs[f"status{end}"] == Status.FAILED).sum()) for side, end in (("base", ""), ("head", "_head"))}
    if any(failed.values()):
        said = ", ".join(f"{count} cells failed in the {side}" for side, count in failed.items() if count)
        return Finding("training", Verdict.FAILED, f"{said}; the column reason of their tables says why")
    return Finding("training", Verdict.PASSED, f"{len(pairs)} cells were trained on both sides")


def _first_epochs(settings: pd.DataFrame) -> Finding:
    """Settings in which more than half of the cells part beyond rounding, of LEAST_CELLS or more."""
    moved, still = settings[settings["moved"]], settings[~settings["moved"]]
    if moved.empty:
        largest = settings["largest_difference"].max()
        said = f"the losses of {len(settings)} settings agree in the first {FIRST_EPOCHS} epochs"
        said += f" (largest difference {largest:.1e})"
        return Finding("first epochs", Verdict.PASSED, said)
    said = f"the losses of {len(moved)} of {len(settings)} settings differ in the first {FIRST_EPOCHS} epochs"
    # Of most settings those are news that did not move.
    if 0 < len(still) < len(moved):
        return Finding("first epochs", Verdict.FAILED, f"{said}: all but {_listed(list(still['setting']))}")
    return Finding("first epochs", Verdict.FAILED, f"{said}: {_listed(list(moved['setting']))}")


def _distributions(pairs: pd.DataFrame) -> list[Finding]:
    """The three tests on pairs."""
    trained = pairs[(pairs["status"] != Status.FAILED) & (pairs["status_head"] != Status.FAILED)]
    base, head = _epochs(trained, ""), _epochs(trained, "_head")
    return [_sooner(trained, base, head), _share(trained, base, head), _n50(trained, base, head)]


def _sooner(trained: pd.DataFrame, base: Float[np.ndarray, " cell"], head: Float[np.ndarray, " cell"]) -> Finding:
    ranks = signed_ranks(base, head)
    tested = exchanged(ranks)
    ratio = median_ratio(base, head)
    said = "no cell memorized on both sides"
    if math.isfinite(ratio):
        said = (
            f"the head takes {ratio:.3g} times the base's epochs to tau, in the median of the cells that memorize on both sides"
        )
    said += f"; {tested.n_pairs} of {len(trained)} cells differ (p {tested.p_value:.2g})"
    return _found(TESTS[0], tested.p_value, said, trained, ranks)


def _share(trained: pd.DataFrame, base: Float[np.ndarray, " cell"], head: Float[np.ndarray, " cell"]) -> Finding:
    signs = discordant(np.isfinite(base), np.isfinite(head))
    tested = exchanged(signs)
    memorized = f"{np.isfinite(head).sum()} of {len(trained)} cells memorize in the head, {np.isfinite(base).sum()} in the base"
    return _found(TESTS[1], tested.p_value, f"{memorized} (p {tested.p_value:.2g})", trained, signs)


def _n50(trained: pd.DataFrame, base: Float[np.ndarray, " cell"], head: Float[np.ndarray, " cell"]) -> Finding:
    """Each network's log N50 is a sum over its cells, and so is its change; the mean of them is tested."""
    signs = pd.Series(discordant(np.isfinite(base), np.isfinite(head)), index=trained.index)
    parts = []
    for _, own in trained.groupby("setting", sort=False):
        counts = np.sort(own["n_samples"].unique())
        if len(counts) >= LEAST_COUNTS:
            weights = dict(zip(counts, log_n50_weights(counts.astype(float)), strict=True))
            seeds = own.groupby("n_samples")["n_samples"].transform("size")
            parts.append(signs[own.index] * own["n_samples"].map(weights) / seeds)
    if not parts:
        said = f"no network was trained at {LEAST_COUNTS} sample counts or more"
        return Finding(TESTS[2], Verdict.SKIPPED, said)
    changes = pd.concat(parts)
    tested = exchanged(changes.to_numpy())
    ratio = math.exp(tested.statistic / len(parts))
    said = f"N50 of {len(parts)} networks is {ratio:.3g} times the base's in the geometric mean (p {tested.p_value:.2g})"
    return _found(TESTS[2], tested.p_value, said, trained.loc[changes.index], changes.to_numpy())


def _found(test: str, p_value: float, said: str, trained: pd.DataFrame, signed: Float[np.ndarray, " cell"]) -> Finding:
    """A finding at LEVEL; one that failed names the settings that differ most."""
    if p_value >= LEVEL:
        return Finding(test, Verdict.PASSED, said)
    sums = pd.Series(signed, index=trained["setting"]).groupby(level=0).sum()
    most = list(sums.abs().sort_values(ascending=False).index)
    return Finding(test, Verdict.FAILED, f"{said}; most in {_listed(most)}")


def _epochs(cells: pd.DataFrame, side: str) -> Float[np.ndarray, " cell"]:
    """Epochs to tau, infinite where it was never reached. Epoch 0 counts as half of one, so that ratios exist."""
    epochs = cells[f"epoch_to_tau{side}"].astype("Float64").to_numpy(dtype=float, na_value=math.inf)
    return np.maximum(epochs, 0.5)


def _listed(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - NAMED
    return "; ".join(names[:NAMED]) + (f"; and {more} more" if more > 0 else "")
