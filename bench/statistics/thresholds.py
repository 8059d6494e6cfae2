"""The ladder of thresholds: what each group of seeds had reached on the way to its own tau, and when."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from bench.protocol.cells import LADDER, SEEDS
from bench.statistics.settings import MAP_AXES, varying
from bench.statistics.survival import GROUP_FIELDS, fraction_interval, has_result, median_with_censoring, once
from bench.store.schema import RUNG_COLUMNS

MEASURES = ["n_memorized", "fraction_memorized", "fraction_low", "fraction_high", "median_epoch_to_tau"]


def thresholds(cells: pd.DataFrame, groups: pd.DataFrame) -> pd.DataFrame:
    """The measures of `bench.statistics.survival.groups` at each threshold that is recorded on the way, the largest first.

    Args:
        cells: one row for each cell; one that stands there twice counts once.
        groups: those of these cells, with their `setting`.

    Returns:
        The columns of `thresholds` (`bench.protocol.columns`), but of the fields only those that tell the groups apart. Each
        group has a row for each rung of the ladder above its own tau, and one for its own tau.
    """
    cells = once(cells)
    number = cells.groupby(list(GROUP_FIELDS), sort=False, dropna=False).ngroup().to_numpy()
    measured = has_result(cells)
    columns = {**dict(zip(LADDER, RUNG_COLUMNS, strict=True)), "own": "epoch_to_tau"}
    epochs = {rung: cells[name].to_numpy(float, na_value=math.nan) for rung, name in columns.items()}
    members = [np.flatnonzero((number == group) & measured) for group in range(len(groups))]
    seeds = cells[list(SEEDS)].to_numpy()
    rows = []
    # By recall training ends at whatever tau: no rung says more than that it came first.
    taus = groups["tau"].where(groups["criterion"] != "recall")
    for group, (tau, own) in enumerate(zip(taus, members, strict=True)):
        for rung in (*(rung for rung in LADDER if rung > tau), "own"):
            reached = epochs[rung][own]
            count, n = int(np.isfinite(reached).sum()), len(own)
            low, high = fraction_interval(np.isfinite(reached), seeds[own])
            share = count / n if n else math.nan
            rows.append((group, tau if rung == "own" else rung, n, count, share, low, high, median_with_censoring(reached)))
    table = pd.DataFrame(rows, columns=["group", "threshold", "n_seeds", *MEASURES])
    about = groups[_key(groups)].iloc[table.pop("group")].reset_index(drop=True)
    return pd.concat([about, table], axis=1)


def at_threshold(groups: pd.DataFrame, reached: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """The groups whose own tau lies below a threshold, with the measures that `reached`, of `thresholds`, has for it."""
    key = _key(groups)
    measures = reached.loc[reached["threshold"] == threshold, [*key, *MEASURES]]
    return groups[groups["tau"] < threshold].drop(columns=MEASURES).merge(measures, on=key, how="inner")


def _key(groups: pd.DataFrame) -> list[str]:
    """The columns that tell the groups apart, and what they aimed at."""
    return list(dict.fromkeys(("setting", *MAP_AXES, *varying(groups), "tau", "max_epochs")))
