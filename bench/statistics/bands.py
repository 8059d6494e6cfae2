"""Cells, by the samples that they were given for each dimension of their network -> how many of each band memorized."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from bench.protocol.cells import SEEDS, Status
from bench.protocol.columns import columns_of
from bench.statistics.dimensions import samples_at_ceiling
from bench.statistics.survival import fraction_interval, measured

COLUMNS = list(columns_of("bands"))

# The ends of the bands, in samples for each dimension.
ENDS = (0.0, 0.5, 1.0, math.inf)


def bands(cells: pd.DataFrame) -> pd.DataFrame:
    """A row for each setting and band that has cells with a result.

    Args:
        cells: one row for each cell, with its `setting`. A cell that stands there twice counts once.

    Returns:
        The columns of `bands` (`bench.protocol.columns`).
    """
    known = measured(cells)
    per_dim = known["n_samples"] / samples_at_ceiling(known)
    number = np.searchsorted(ENDS, per_dim.to_numpy(), side="left") - 1
    rows = []
    for (setting, of), own in known.groupby([known["setting"], number], sort=False):
        band = int(str(of))
        hits = (own["status"] == Status.MEMORIZED).to_numpy()
        low, high = fraction_interval(hits, own[list(SEEDS)].to_numpy())
        counts = (ENDS[band], ENDS[band + 1], len(own), int(hits.sum()), float(hits.mean()))
        rows.append((setting, *counts, low, high))
    order = {setting: place for place, setting in enumerate(dict.fromkeys(known["setting"]))}
    return pd.DataFrame(sorted(rows, key=lambda row: (order[row[0]], row[1])), columns=COLUMNS)
