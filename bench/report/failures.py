"""Cells, or trainings of somebody's own networks, that failed, in a line."""

from __future__ import annotations

import pandas as pd

from bench.protocol.cells import Status
from bench.protocol.names import shortened

# Reasons that are told, the most frequent first, and characters of each.
MOST_REASONS, MOST_CHARACTERS = 3, 80


def failures(cells: pd.DataFrame, what: str = "cells", file: str = "tables/cells.csv") -> str:
    """How many of a run's cells failed, and why; nothing where none did.

    Args:
        cells: the table of that name, or another with status and reason.
        what: its rows are; `file`: where they stand.
    """
    failed = cells[cells["status"] == Status.FAILED]
    if failed.empty:
        return ""
    counts = failed["reason"].fillna("for no known reason").value_counts()
    told = [f"{count} by {shortened(str(reason), MOST_CHARACTERS)}" for reason, count in counts.head(MOST_REASONS).items()]
    if len(counts) > MOST_REASONS:
        told.append(f"{counts.iloc[MOST_REASONS:].sum()} by others, which are in {file}")
    return f"{len(failed)} of {len(cells)} {what} failed, {', '.join(told)}; the same command tries them again"
