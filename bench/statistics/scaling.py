"""Capacities -> power laws of N50 in parameters, depth or inputs, with intervals, and what they leave of each network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from bench.protocol.columns import columns_of
from bench.statistics.capacity import Known, what_is_known
from bench.statistics.frontier import TWO_SIDED

COLUMNS = list(columns_of("scaling"))

RESIDUAL_COLUMNS = list(columns_of("scaling_residuals"))

# Each model: what N50 is a power law in. The last term is the one it is about.
MODELS = {
    "parameters": ("n_params",),
    "functional dimension": ("functional_dim",),
    "depth at the same parameters": ("n_params", "depth"),
    "inputs at the same parameters": ("n_params", "d_in"),
}

SIZE_MODELS = ("parameters", "functional dimension", "depth at the same parameters")
INPUT_MODELS = ("inputs at the same parameters",)

# The columns that count what is left out, by what is known of its N50.
LEFT_OUT: dict[Known, str] = {"more": "n_above", "less": "n_below", "nothing": "n_vague"}

# A residual below this share of the spread of ln(N50) is rounding: a law through all points.
ROUNDING = 1e-9

# The exponent that each term has if capacity is proportional to the size of the network, whatever its shape.
PROPORTIONAL = {"n_params": 1.0, "functional_dim": 1.0, "depth": 0.0, "d_in": 0.0}


def power_laws(capacities: pd.DataFrame, models: Sequence[str] = tuple(MODELS)) -> pd.DataFrame:
    """Least-squares fits of ln(N50) on the logarithms of sizes, for each setting.

    Networks whose N50 is not known, and networks without a hidden layer, are left out and counted. A model has no rows where
    the other networks cannot tell its terms apart, or where it goes through all points.

    Args:
        capacities: of `bench.statistics.capacity.capacities`.
        models: the names in MODELS to fit.

    Returns:
        The columns of `scaling` (`bench.protocol.columns`), a row for each term of each model.
    """
    rows = []
    for law in _laws(capacities, models):
        known = law.known
        half = float(stats.t.ppf(TWO_SIDED, law.freedom)) * law.errors
        for term, slope, error, reach in zip(MODELS[law.model], law.slopes, law.errors, half, strict=True):
            distance = abs(slope - PROPORTIONAL[term]) / error
            rows.append(
                {"setting": law.setting, "rates": law.rates, "model": law.model, "term": term, "exponent": slope}
                | {"exponent_low": slope - reach, "exponent_high": slope + reach}
                | {"p_value": 2 * float(stats.t.sf(distance, law.freedom)), "residual_sd": law.residual_sd}
                | {"n_networks": len(known)}
                | {column: law.says.count(kind) for kind, column in LEFT_OUT.items()}
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def residuals(capacities: pd.DataFrame, models: Sequence[str] = tuple(MODELS)) -> pd.DataFrame:
    """What each fit of `power_laws` leaves of each of its networks.

    Returns:
        The columns of `scaling_residuals` (`bench.protocol.columns`).
    """
    tables = [
        law.known[["depth", "width", "d_in", "n_params", "n50"]].assign(
            setting=law.setting, rates=law.rates, model=law.model, fitted=np.exp(law.fitted), residual=law.residual
        )
        for law in _laws(capacities, models)
    ]
    return pd.concat(tables, ignore_index=True)[RESIDUAL_COLUMNS] if tables else pd.DataFrame(columns=RESIDUAL_COLUMNS)


class _Law(NamedTuple):
    """One model fitted to one setting: what each of its capacities `says`, those `known`, and what came of the fit."""

    setting: str
    rates: str
    model: str
    says: Sequence[str]
    known: pd.DataFrame
    slopes: Float[np.ndarray, " term"]
    errors: Float[np.ndarray, " term"]  # standard errors of the slopes
    freedom: int
    fitted: Float[np.ndarray, " network"]  # ln(N50)
    residual: Float[np.ndarray, " network"]

    @property
    def residual_sd(self) -> float:
        return _spread(self.residual, self.freedom)


def _laws(capacities: pd.DataFrame, models: Sequence[str]) -> Iterator[_Law]:
    """The fits that the networks tell, setting by setting."""
    hidden = capacities[capacities["depth"] > 0]
    for (setting, rates), own in hidden.groupby(["setting", "rates"], sort=False):
        known = own[own["n50"].notna()]
        says = [what_is_known(row) for row in own.to_dict("records")]
        target = np.log(known["n50"].to_numpy(float))
        for model in models:
            sizes = [np.log(known[term].to_numpy(float)) for term in MODELS[model]]
            design = np.column_stack([np.ones(len(known)), *sizes])
            freedom = len(known) - design.shape[1]
            if freedom < 1 or np.linalg.matrix_rank(design) < design.shape[1]:
                continue
            solution = np.linalg.lstsq(design, target, rcond=None)[0]
            fitted = design @ solution
            spread = _spread(target - fitted, freedom)
            if spread <= ROUNDING * float(np.std(target)):
                continue
            errors = spread * np.sqrt(np.diag(np.linalg.inv(design.T @ design)))
            yield _Law(str(setting), str(rates), model, says, known, solution[1:], errors[1:], freedom, fitted, target - fitted)


def _spread(residual: Float[np.ndarray, " network"], freedom: int) -> float:
    """The standard deviation about a fit."""
    return math.sqrt(float(np.sum(residual**2)) / freedom)
