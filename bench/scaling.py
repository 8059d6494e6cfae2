"""Capacities -> power laws: N50 against parameters, against depth at the same parameters, against inputs, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from bench.capacity import bounded
from bench.frontier import TWO_SIDED

COLUMNS = [
    "setting",
    "rates",
    "model",
    "term",
    "exponent",
    "exponent_low",
    "exponent_high",
    "p_value",
    "n_networks",
    "n_above",
    "n_below",
    "n_vague",
    "residual_sd",
]

# Each model: what N50 is a power law in. The last term is the one it is about.
MODELS = {
    "parameters": ("n_params",),
    "functional dimension": ("functional_dim",),
    "depth at the same parameters": ("n_params", "depth"),
    "inputs at the same parameters": ("n_params", "d_in"),
}

SIZE_MODELS = ("parameters", "functional dimension", "depth at the same parameters")
INPUT_MODELS = ("inputs at the same parameters",)

# A residual below this share of the spread of ln(N50) is rounding: a law through all points.
ROUNDING = 1e-9

# The exponent that each term has if capacity is proportional to the size of the network, whatever its shape.
PROPORTIONAL = {"n_params": 1.0, "functional_dim": 1.0, "depth": 0.0, "d_in": 0.0}


def power_laws(capacities: pd.DataFrame, models: Sequence[str] = tuple(MODELS)) -> pd.DataFrame:
    """Least-squares fits of ln(N50) on the logarithms of sizes, for each setting.

    Networks whose N50 lies outside the sample counts tried or is not bounded by its interval, or that have no hidden layer, are
    left out and counted; a model whose terms the others do not tell apart, or that leaves no residual, has no rows.

    Args:
        capacities: of `bench.capacity.capacities`.
        models: the names in MODELS to fit.

    Returns:
        A row for each term: `setting`, `rates`; `model`, `term`; `exponent` with its 95 % interval (Student); `p_value` of the
        exponent that a capacity proportional to the size alone would have, 1 for sizes and 0 for depth and inputs;
        `n_networks`; `n_above`, `n_below` and, with an interval of
        one end or none, `n_vague`, those left out; `residual_sd`, standard deviation of ln(N50) about the fit.
    """
    rows = []
    hidden = capacities[capacities["depth"] > 0]
    for (setting, rates), own in hidden.groupby(["setting", "rates"], sort=False):
        known = own[bounded(own)]
        for model in models:
            terms = MODELS[model]
            fitted = _fit(known, terms)
            if fitted is None:
                continue
            slopes, errors, freedom, residual_sd = fitted
            for term, slope, error in zip(terms, slopes, errors, strict=True):
                half = error * float(stats.t.ppf(TWO_SIDED, freedom))
                distance = abs(slope - PROPORTIONAL[term]) / error
                rows.append(
                    {"setting": setting, "rates": rates, "model": model, "term": term, "exponent": slope}
                    | {"exponent_low": slope - half, "exponent_high": slope + half}
                    | {"p_value": 2 * float(stats.t.sf(distance, freedom)), "residual_sd": residual_sd}
                    | {"n_networks": len(known)}
                    | {f"n_{side}": int((own["side"] == side).sum()) for side in ("above", "below")}
                    | {"n_vague": int((own["side"] == "inside").sum()) - len(known)}
                )
    return pd.DataFrame(rows, columns=COLUMNS)


def _fit(
    known: pd.DataFrame, terms: tuple[str, ...]
) -> tuple[Float[np.ndarray, " term"], Float[np.ndarray, " term"], int, float] | None:
    """(exponents, their standard errors, degrees of freedom, residual standard deviation), if the networks tell them."""
    design = np.column_stack([np.ones(len(known)), *(np.log(known[term].to_numpy(float)) for term in terms)])
    freedom = len(known) - design.shape[1]
    if freedom < 1 or np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    target = np.log(known["n50"].to_numpy(float))
    solution = np.linalg.lstsq(design, target, rcond=None)[0]
    residual_sd = math.sqrt(float(np.sum((target - design @ solution) ** 2)) / freedom)
    if residual_sd <= ROUNDING * float(np.std(target)):
        return None
    errors = residual_sd * np.sqrt(np.diag(np.linalg.inv(design.T @ design)))
    return solution[1:], errors[1:], freedom, residual_sd
