"""What is noted of a cell's epochs, against a loop over them, however they come."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.engines.record import STRETCH, RecordTable
from bench.engines.schedules import curve_epochs
from bench.protocol.cells import LADDER, Cell, CurvePoint, Outcome, Status


def plainly(cell: Cell, tau: list[float], val_mse: list[float]) -> dict[str, object]:
    """The same from all epochs at once, one after the other."""
    real = np.dtype(cell.storage).type
    last = len(tau) - 1
    if not math.isfinite(tau[-1]):
        status = Status.DIVERGED
    elif tau[-1] <= real(cell.tau):
        status = Status.MEMORIZED
    else:
        status = Status.EARLY_STOPPED if last < cell.max_epochs else Status.CENSORED
    best: int | None = None
    for epoch, value in enumerate(val_mse):
        if not math.isnan(value) and (best is None or value < val_mse[best]):
            best = epoch
    kept = sorted({epoch for epoch in curve_epochs(cell.max_epochs) if epoch <= last} | {last})
    numbers = [value for value in tau if not math.isnan(value)]
    return {
        "status": status,
        "epoch_to_tau": last if status is Status.MEMORIZED else None,
        "rung_epochs": tuple(next((e for e, value in enumerate(tau) if value <= real(rung)), None) for rung in LADDER),
        "epochs_run": last,
        "final_tau": tau[-1],
        "best_tau": min(numbers, default=math.nan),
        "final_val_mse": None if best is None else val_mse[-1],
        "best_val_mse": None if best is None else val_mse[best],
        "best_val_epoch": best,
        "curve": tuple(CurvePoint(epoch, tau[epoch], val_mse[epoch] if val_mse else None) for epoch in kept),
    }


@st.composite
def histories(draw):
    """A cell, and what it measured until it ended."""
    dtype = draw(st.sampled_from(["float32", "float64", "tf32"]))
    n_val = draw(st.sampled_from([0, 5]))
    max_epochs = draw(st.sampled_from([1, 7, 60, 3 * STRETCH]))
    cell = Cell(n_val=n_val, max_epochs=max_epochs, tau=draw(st.sampled_from([0.3, 0.01])), dtype=dtype)
    count = draw(st.integers(1, max_epochs + 1))
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    # Falls, rises again, and is no number now and then; some exactly on a rung.
    taus, vals = 10.0 ** random.uniform(-4, 1, (2, count))
    taus[random.random(count) < 0.1] = math.nan
    vals[random.random(count) < 0.2] = math.nan
    taus[random.random(count) < 0.1] = random.choice(LADDER)
    vals[random.random(count) < 0.3] = 0.5
    taus, vals = (values.astype(cell.storage).astype(np.float64).tolist() for values in (taus, vals))
    return cell, taus, vals if n_val else []


@settings(max_examples=150, deadline=None)
@given(st.lists(histories(), min_size=1, max_size=5), st.integers(0, 2**32 - 1))
def test_rungs_bests_and_curves_are_those_of_a_loop_over_the_epochs(cells, seed):
    random = np.random.default_rng(seed)
    rows = random.permutation(len(cells) + 2)[: len(cells)]
    table = RecordTable(len(cells) + 2)
    table.begin(rows, [cell for cell, _, _ in cells], np.ones(len(cells)))
    at = np.zeros(len(cells), dtype=np.int64)
    lengths = np.array([len(tau) for _, tau, _ in cells])
    while (open_ := np.flatnonzero(at < lengths)).size:
        some = random.permutation(open_)[: random.integers(1, len(open_) + 1)]
        counts = np.array([random.integers(1, lengths[i] - at[i] + 1) for i in some])
        parts = [(cells[i], slice(at[i], at[i] + count)) for i, count in zip(some, counts, strict=True)]
        tau, val_mse = (np.array([value for cell, part in parts for value in cell[column][part]]) for column in (1, 2))
        at[some] += counts
        ended = at[some] == lengths[some]
        trained = table.absorb(rows[some], counts, ended, tau, val_mse, counts / 10)
        assert trained.tolist() == (counts - ended).tolist()
        assert table.epoch[rows[some]].tolist() == (at[some] - ended).tolist()
    outcomes = table.outcomes(rows, "engine", "device", [()] * len(cells))
    for (cell, tau, val_mse), outcome in zip(cells, outcomes, strict=True):
        assert outcome.cell is cell
        own = {name: getattr(outcome, name) for name in plainly(cell, tau, val_mse)}
        assert repr(own) == repr(plainly(cell, tau, val_mse))
        assert math.isclose(outcome.train_time_s or 0, len(tau) / 10)


def test_a_row_forgets_the_cell_that_it_had_before():
    """Byte for byte as in a table of its own."""
    first, second = Cell(max_epochs=500, n_val=3), Cell(max_epochs=3)
    row, one = np.zeros(1, dtype=np.int64), np.ones(1)

    def absorbed(table: RecordTable, cell: Cell, measures: list[float]) -> Outcome:
        tau = np.array(measures)
        table.begin(row, [cell], one)
        table.absorb(row, np.array([len(tau)]), np.array([True]), tau, tau if cell.n_val else tau[:0], one)
        return table.outcomes(row, "engine", "device", [()])[0]

    table = RecordTable(1)
    assert absorbed(table, first, [1.0] * 400 + [1e-5]).best_val_epoch == 400
    assert repr(absorbed(table, second, [2.0, 0.4, 0.3])) == repr(absorbed(RecordTable(1), second, [2.0, 0.4, 0.3]))
