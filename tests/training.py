"""Shared by tests: train cells as packs of the torch engine, and compare outcomes."""

from __future__ import annotations

import dataclasses

from bench.cells import Cell, Outcome
from bench.engines.torch_engine import TorchEngine
from bench.packs import plan


def train(
    cells: list[Cell], *, slots: int | None = None, workers: int = 1, n_predictions: int = 0, device: str = "cpu"
) -> dict[Cell, Outcome]:
    """Outcomes by cell."""
    engine = TorchEngine(device)
    packs = plan(cells, kind=engine.kind, slots=engine.slots if slots is None else lambda cell: slots, workers=workers)
    return {
        outcome.cell: outcome
        for pack in packs
        for report in engine.train(pack, n_predictions=n_predictions)
        for outcome in report.outcomes
    }


def untimed(outcome: Outcome) -> str:
    """Every bit of an outcome but the time it took (repr spells floats exactly and NaN as itself)."""
    return repr(dataclasses.replace(outcome, train_time_s=None))
