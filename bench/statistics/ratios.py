"""Capacities -> how many times as much a network holds under one setting as under the first: ratios of N50s with intervals."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from bench.protocol.columns import columns_of
from bench.statistics.agreement import mean_interval, ratio_interval

COLUMNS = list(columns_of("ratios"))

# What two rows share whose N50s are compared.
NETWORK = ["rates", "depth", "width", "d_in"]


def ratios(capacities: pd.DataFrame) -> pd.DataFrame:
    """A row for each network whose N50 has a value under a setting and under the first of the table.

    The intervals take the two N50s to be independent. Those of the same seeds are alike, and their ratio is known better.

    Args:
        capacities: of `bench.statistics.capacity.capacities`.

    Returns:
        The columns of `ratios` (`bench.protocol.columns`).
    """
    if capacities.empty:
        return pd.DataFrame(columns=COLUMNS)
    known = capacities[capacities["n50"].notna() & (capacities["rates"] != "swept")]
    first = capacities["setting"].iloc[0]
    pairs = known[known["setting"] != first].merge(known[known["setting"] == first], on=NETWORK, suffixes=("", "_first"))
    rows = []
    for row in pairs.to_dict("records"):
        sides = [tuple(float(row[f"{name}{end}"]) for name in ("n50", "n50_low", "n50_high")) for end in ("", "_first")]
        ratio, low, high = ratio_interval((sides[0][0], sides[0][1], sides[0][2]), (sides[1][0], sides[1][1], sides[1][2]))
        numbers = {"ratio": ratio, "ratio_low": low, "ratio_high": high}
        rows.append({"setting": row["setting"], "over": first, **{name: row[name] for name in NETWORK}, **numbers})
    return pd.DataFrame(rows, columns=COLUMNS)


def in_words(table: pd.DataFrame) -> list[str]:
    """A sentence for each setting: the ratio of one network, or the geometric mean of several with Student's interval."""
    sentences = []
    for (setting, over, rates), own in table.groupby(["setting", "over", "rates"], sort=False):
        subject = setting if rates == "as asked" else f"{setting}, {rates} learning rate"
        if len(own) == 1:
            (row,) = own.to_dict("records")
            numbers, of = (row["ratio"], row["ratio_low"], row["ratio_high"]), "one network"
        else:
            mean, low, high = (math.exp(one) for one in mean_interval(np.log(own["ratio"].to_numpy(float))))
            numbers, of = (mean, low, high), f"{len(own)} networks in the geometric mean"
        value, low, high = (f"{number:.2f}" for number in numbers)
        sentences.append(f"N50 under {subject} is {value} (95 %: {low} to {high}) times that under {over}: {of}.")
    return sentences
