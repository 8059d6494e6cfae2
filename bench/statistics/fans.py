"""Learning curves of all cells -> fans: how tau is spread over the cells of a setting at each epoch."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bench.protocol.columns import columns_of
from bench.statistics.dimensions import samples_at_ceiling

# The inner 80 % of cells lie between these.
LOW, HIGH = 0.1, 0.9

BELOW, ABOVE = "below", "above"

COLUMNS = list(columns_of("learning_fans"))


def fans(curves: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """One row for each setting, for sample counts up to and beyond what the dimensions are enough for, and for each epoch.

    Args:
        curves: `cell_id`, `epoch`, `tau`, by epoch (`bench.store.parts.Store.read_curves`).
        cells: rows of cells, with their `setting`; those without a curve enter nothing.

    Returns:
        The columns of `learning_fans` (`bench.protocol.columns`), at the epochs of the setting's most detailed curve.
    """
    owner = pd.Index(cells["cell_id"]).get_indexer(pd.Index(curves["cell_id"]))
    known = owner >= 0
    owner, epochs, tau = owner[known], curves["epoch"].to_numpy()[known], curves["tau"].to_numpy(float)[known]
    has_curve = np.bincount(owner, minlength=len(cells)) > 0
    cells, owner = cells[has_curve].reset_index(drop=True), (np.cumsum(has_curve) - 1)[owner]
    order = np.lexsort((epochs, owner))
    owner, epochs, tau = owner[order], epochs[order], np.where(np.isnan(tau), np.inf, tau)[order]
    # One ascending number for each point of a curve, so that one search finds the last point before an epoch of any cell.
    stride = int(epochs.max(initial=0)) + 1
    points = owner.astype(np.int64) * stride + epochs
    first = np.searchsorted(owner, np.arange(len(cells)))
    lengths = np.bincount(owner, minlength=len(cells))
    above = np.where(cells["n_samples"] > samples_at_ceiling(cells), ABOVE, BELOW)
    tables = []
    for setting, own in cells.groupby("setting", sort=False):
        longest = max(own.index, key=lambda cell: (lengths[cell], epochs[first[cell] + lengths[cell] - 1]))
        grid = epochs[first[longest] : first[longest] + lengths[longest]]
        for samples in (BELOW, ABOVE):
            members = own.index[above[own.index] == samples].to_numpy()
            if not len(members):
                continue
            last = np.searchsorted(points, members[:, None] * stride + grid, side="right") - 1
            ordered = np.sort(tau[np.maximum(last, first[members][:, None])], axis=0)
            ranks = {
                name: int(np.ceil(share * len(members))) - 1 for name, share in (("median", 0.5), ("p10", LOW), ("p90", HIGH))
            }
            spread = {f"tau_{name}": ordered[rank] for name, rank in ranks.items()}
            about = {"setting": setting, "samples": samples, "epoch": grid, "n_cells": len(members)}
            tables.append(pd.DataFrame(about | spread | {"threshold": own["tau"].iloc[0]}))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)
