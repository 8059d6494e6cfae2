"""Capacities -> power laws of N50 in parameters, depth or inputs, with intervals, and what they leave of each network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from bench.protocol.columns import columns_of
from bench.statistics.capacity import Known, what_is_known
from bench.statistics.censored import Fit, Lack, Measured, fit, lack_of_fit, p_value, profile
from bench.statistics.dimensions import samples_at_ceiling
from bench.statistics.survival import Z95

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

# The columns that count what has no value, by what is known of its N50: bounds enter as such, what has none is left out.
WITHOUT_VALUE: dict[Known, str] = {"more": "n_above", "less": "n_below", "nothing": "n_vague"}

# Fewer networks with two-sided intervals, or a smaller share of all, make no law.
LEAST_NETWORKS, LEAST_SHARE = 6, 1 / 3

# The exponent that each term has if capacity is proportional to the size of the network, whatever its shape.
PROPORTIONAL = {"n_params": 1.0, "functional_dim": 1.0, "depth": 0.0, "d_in": 0.0}


def power_laws(capacities: pd.DataFrame, models: Sequence[str] = tuple(MODELS)) -> pd.DataFrame:
    """Fits of ln(N50) on the logarithms of sizes, for each setting: a censored regression (`bench.statistics.censored`).

    An N50 counts by its own interval, a bound as a bound. Networks of whose N50 nothing is known, and networks without a hidden
    layer, are left out. A model has no rows where the networks with two-sided intervals are fewer than LEAST_NETWORKS or than
    LEAST_SHARE of all, or cannot tell its terms apart.

    Two checks stand beside each exponent: what it is without each network in turn, and whether the errors of the N50s explain
    what the law leaves of them.

    Args:
        capacities: of `bench.statistics.capacity.capacities`.
        models: the names in MODELS to fit.

    Returns:
        The columns of `scaling` (`bench.protocol.columns`), a row for each term of each model.
    """
    rows = []
    for law in _laws(capacities, models):
        for place, term in enumerate(MODELS[law.model], start=1):
            found = profile(law.design, law.known, place, PROPORTIONAL[term])
            others = np.array(list(_without_each(law, place, PROPORTIONAL[term])))
            rows.append(
                {"setting": law.setting, "rates": law.rates, "model": law.model, "term": term}
                | {"exponent": found.estimate, "exponent_low": found.low, "exponent_high": found.high}
                | {"p_value": found.p_value}
                | {"exponent_least": others[:, 0].min(), "exponent_most": others[:, 0].max()}
                | {"p_value_most": others[:, 1].max()}
                | {"n_networks": len(law.valued)}
                | {column: law.says.count(kind) for kind, column in WITHOUT_VALUE.items()}
                | {"scatter": law.fit.scatter, "chi_square": law.lack.chi_square, "freedom": law.lack.freedom}
                | {"lack_of_fit_p": law.lack.p_value}
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def residuals(capacities: pd.DataFrame, models: Sequence[str] = tuple(MODELS)) -> pd.DataFrame:
    """What each fit of `power_laws` leaves of each of its networks with a value.

    Returns:
        The columns of `scaling_residuals` (`bench.protocol.columns`).
    """
    tables = []
    for law in _laws(capacities, models):
        fitted = np.exp((law.design @ law.fit.coefficients)[law.known.has_value])
        own = law.valued[["depth", "width", "d_in", "n_params", "n50"]]
        residual = np.log(own["n50"].to_numpy(float) / fitted)
        names = {"setting": law.setting, "rates": law.rates, "model": law.model}
        tables.append(own.assign(**names, fitted=fitted, residual=residual))
    return pd.concat(tables, ignore_index=True)[RESIDUAL_COLUMNS] if tables else pd.DataFrame(columns=RESIDUAL_COLUMNS)


class _Law(NamedTuple):
    """One model fitted to one setting: what each of its capacities `says`, those with a value, and what came of the fit."""

    setting: str
    rates: str
    model: str
    says: Sequence[Known]
    valued: pd.DataFrame
    design: Float[np.ndarray, "network term"]
    known: Measured
    fit: Fit
    lack: Lack


def _laws(capacities: pd.DataFrame, models: Sequence[str]) -> Iterator[_Law]:
    """The fits that the networks tell, setting by setting."""
    hidden = capacities[capacities["depth"] > 0]
    for (setting, rates), own in hidden.groupby(["setting", "rates"], sort=False):
        says: list[Known] = [what_is_known(row) for row in own.to_dict("records")]
        used = own[[kind != "nothing" for kind in says]]
        valued = own[[kind == "value" for kind in says]]
        if len(valued) < max(LEAST_NETWORKS, LEAST_SHARE * len(own)):
            continue
        kinds: list[Known] = [kind for kind in says if kind != "nothing"]
        known = _known(used, kinds)
        for model in models:
            sizes = [np.log(_size(used, term).to_numpy(float)) for term in MODELS[model]]
            design = np.column_stack([np.ones(len(used)), *sizes])
            if _tells(design, known):
                lack = lack_of_fit(design, known)
                yield _Law(str(setting), str(rates), model, says, valued, design, known, fit(design, known), lack)


def _size(capacities: pd.DataFrame, term: str) -> pd.Series:
    """The values of a term; dimensions are those for each target of a sample, as N50 counts samples."""
    return samples_at_ceiling(capacities) if term == "functional_dim" else capacities[term]


def _known(capacities: pd.DataFrame, says: Sequence[Known]) -> Measured:
    """ln(N50) with its standard error, or the bound of it: that is as uncertain as the others are in the median."""
    kinds = np.array(says)
    with np.errstate(divide="ignore"):
        value, low, high = (np.log(capacities[name].to_numpy(float)) for name in ("n50", "n50_low", "n50_high"))
    error = (high - low) / (2 * Z95)
    error[kinds != "value"] = np.median(error[kinds == "value"])
    return Measured(value, np.where(kinds == "more", low, math.nan), np.where(kinds == "less", high, math.nan), error)


def _tells(design: Float[np.ndarray, "network term"], known: Measured) -> bool:
    """Whether the networks with a value tell the terms apart, and leave something to judge by."""
    own = design[known.has_value]
    return len(own) > design.shape[1] and bool(np.linalg.matrix_rank(own) == design.shape[1])


def _without_each(law: _Law, term: int, against: float) -> Iterator[tuple[float, float]]:
    """(exponent, its p) without each network in turn; NaN where the others tell nothing."""
    for place in range(len(law.design)):
        design, known = np.delete(law.design, place, axis=0), law.known.without(place)
        if not _tells(design, known):
            yield math.nan, math.nan
            continue
        whole = fit(design, known)
        yield float(whole.coefficients[term]), p_value(design, known, term, against, whole)
