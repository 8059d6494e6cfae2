"""Worlds in which every training succeeds with a known probability, and what a diagnosis says of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pandas as pd

from bench.protocol.cells import Cell
from bench.runs.inquiry import Inquiry
from bench.statistics.evidence import evidence
from bench.statistics.verdict import Verdict, verdict
from bench.store.parts import Ended
from tests.statistics.tables import labelled, table

ASKED = Cell(depth=1, width=8, d_in=10, n_samples=64, max_epochs=100, learning_rate=0.01, optimizer="sgd")
SEEDS = (0, 1, 2)


def stages(n_rows: int) -> tuple[list[list[Cell]], list[Cell]]:
    """A ladder of so many rows in the proportions of the real one: singles, pairs, and other networks."""
    one, two = n_rows // 3, n_rows // 3
    rates = [dataclasses.replace(ASKED, learning_rate=0.001 * (k + 1)) for k in range(one + 1)]
    singles = [*[cell for cell in rates if cell != ASKED][: one - 1], dataclasses.replace(ASKED, max_epochs=400)]
    pairs = [dataclasses.replace(ASKED, momentum=0.9, learning_rate=0.001 * (k + 1)) for k in range(two)]
    pairs[-1] = dataclasses.replace(ASKED, momentum=0.9, max_epochs=400)
    sizes = [dataclasses.replace(ASKED, width=9 + k) for k in range(n_rows - one - two - 2)]
    return [singles, pairs], [*sizes, *(dataclasses.replace(ASKED, n_samples=n) for n in (16, 4))]


class Clock:
    """A clock that training moves on, in place of the module `time` of `bench.runs.inquiry`."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


def diagnosed(
    n_rows: int,
    chance_of: Callable[[Cell], float],
    seed: int,
    *,
    clock: Clock | None = None,
    budget_s: float | None = None,
    seconds_of: Callable[[Cell], float] = lambda _: 0.0,
) -> tuple[Cell | None, pd.DataFrame]:
    """The change that is confirmed, and the cells that were trained; one that does not memorize ends at half of the variance.

    Each training moves the clock on by `seconds_of` it; none begins when the time is up.
    """
    draws, ended = np.random.default_rng(seed), {}
    tunings, networks = stages(n_rows)
    inquiry = Inquiry(
        [dataclasses.replace(ASKED, data_seed=s, init_seed=s) for s in SEEDS],
        lambda: ended,
        budget_s=budget_s,
        tunings=[lambda *_, rows=rows: rows for rows in tunings],
        networks=lambda *_: networks,
    )
    rounds, found = inquiry.rounds(), None
    while True:
        try:
            planned = next(rounds)
        except StopIteration as stop:
            found = stop.value
            break
        for cell in planned:
            if cell.cell_id not in ended and (clock is None or clock.now < inquiry.until):
                hit = draws.random() < chance_of(dataclasses.replace(cell, data_seed=0, init_seed=0))
                if clock is not None:
                    clock.now += seconds_of(cell)
                ended[cell.cell_id] = Ended(hit, 50 if hit else cell.max_epochs, 0.01 if hit else 0.5)
    rows = []
    for cell in inquiry.planned:
        hit, epochs, tau = ended[cell.cell_id]
        status = "memorized" if hit else "censored"
        rows.append(dataclasses.asdict(cell) | {"status": status, "epoch_to_tau": epochs if hit else None, "final_tau": tau})
    return found, table(*rows)


def said(cells: pd.DataFrame) -> Verdict:
    """The verdict over these cells, by way of all tables."""
    return verdict(evidence(labelled(cells, variants=True), cells))
