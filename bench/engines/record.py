"""The records of cells while they train: chunks of measured epochs go in, outcomes come out. Shared by all engines."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from itertools import repeat
from operator import attrgetter
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from bench.engines.schedules import curve_epochs
from bench.protocol.cells import LADDER, NEARLY_ALL, Cell, Curve, Outcome, Status
from bench.protocol.jacobian import rank
from bench.protocol.labels import stored
from bench.protocol.networks import Layer

# Where an epoch is not known yet: among numbers there is no None.
NEVER = -1

# Measures whose least is looked at before each of them is.
STRETCH = 128

# More epochs than a cell has: by it the epochs of one budget's curve stand behind those of another's.
FAR = 1 << 40


# How a cell ends: its last measure is not finite, or small enough, or came before the budget was spent, or nothing of that.
_ENDS = (Status.DIVERGED, Status.MEMORIZED, Status.EARLY_STOPPED, Status.CENSORED)


# Of labels: how many were right at the last measure, the first epoch at which all were, and at which NEARLY_ALL were.
_RIGHT, _TO_RECALL, _TO_NEARLY = range(3)


# What a row keeps of its cell.
_mark = attrgetter("n_val", "dtype", "tau", "max_epochs", "criterion", "n_classes")


class RecordTable:
    """A row for each of the cells that train side by side. A row whose cell has ended may begin with another.

    `epoch` is the next epoch to be measured of each row; `ended` becomes true with the epoch that ended its cell.
    """

    def __init__(self, rows: int):
        self.cells: list[Cell | None] = [None] * rows
        self.epoch = np.zeros(rows, dtype=np.int64)
        self.ended = np.zeros(rows, dtype=bool)
        self._validated = np.zeros(rows, dtype=bool)
        self._rungs = np.zeros((rows, len(LADDER)))
        self._rung_epochs = np.zeros((rows, len(LADDER)), dtype=np.int64)
        self._variance, self._tau, self._best_tau, self._val_mse, self._best_val_mse, self._time_s = np.zeros((6, rows))
        self._best_val_epoch = np.zeros(rows, dtype=np.int64)
        self._measures = (self._tau, self._best_tau, self._val_mse, self._best_val_mse, self._time_s)
        self._of_validation = (self._val_mse, self._best_val_mse, self._best_val_epoch)
        self._threshold = np.zeros(rows)
        self._labelled, self._by_recall = np.zeros((2, rows), dtype=bool)
        # Of rows whose cells have labels: three counts.
        self._of_labels = np.full((3, rows), NEVER, dtype=np.int64)
        # Which budget's curve, how many of its points are there, and their measures.
        self._budget = np.zeros(rows, dtype=np.int64)
        self._n_kept = np.zeros(rows, dtype=np.int64)
        self._curve_tau, self._curve_val = np.zeros((2, rows, 0))
        self._budgets: dict[int, int] = {}
        self._kept_epochs: list[tuple[int, ...]] = []
        self._kept_keys = np.zeros(0, dtype=np.int64)
        self._kept_from = np.zeros(0, dtype=np.int64)

    def begin(self, rows: Int[np.ndarray, " row"], cells: Sequence[Cell], variances: Float[np.ndarray, " row"]) -> None:
        """These rows begin with these cells, and the variances of their targets."""
        for row, cell in zip(rows.tolist(), cells, strict=True):
            self.cells[row] = cell
        self.epoch[rows] = 0
        self.ended[rows] = False
        self._rung_epochs[rows] = self._best_val_epoch[rows] = NEVER
        self._of_labels[:, rows] = NEVER
        self._variance[rows] = variances
        for column in (self._tau, self._best_tau, self._val_mse, self._best_val_mse):
            column[rows] = math.nan
        self._time_s[rows] = 0.0
        self._n_kept[rows] = 0
        # Most begin beside others like them.
        marks = list(map(_mark, cells))
        for mark in set(marks):
            n_val, _, threshold, max_epochs, criterion, n_classes = mark
            same = rows if marks.count(mark) == len(rows) else rows[[other == mark for other in marks]]
            storage = cells[marks.index(mark)].storage
            self._validated[same] = n_val > 0
            self._rungs[same] = [_rounded(rung, storage) for rung in LADDER]
            self._threshold[same] = _rounded(threshold, storage)
            self._labelled[same] = n_classes is not None
            self._by_recall[same] = criterion == "recall"
            self._budget[same] = self._budget_of(max_epochs)

    def saved(self, row: int) -> bytes:
        """What was measured of a row's cell, to go on with elsewhere."""
        n_kept = self._n_kept[row]
        counts = (self.epoch[row], self._best_val_epoch[row], *self._rung_epochs[row], n_kept)
        measures = [column[row] for column in self._measures]
        points = (curve[row, :n_kept] for curve in (self._curve_tau, self._curve_val))
        # Behind the rest, so that what was saved of other cells stays readable.
        of_labels = self._of_labels[:, row].tobytes() if self._labelled[row] else b""
        return np.array(counts, dtype=np.int64).tobytes() + np.concatenate([measures, *points]).tobytes() + of_labels

    def restore(self, row: int, saved: bytes) -> None:
        """A row that has begun with a cell goes on from what was `saved` of that cell."""
        n_counts, n_measures = len(LADDER) + 3, len(self._measures)
        if self._labelled[row]:
            split = len(saved) - self._of_labels[:, row].nbytes
            self._of_labels[:, row], saved = np.frombuffer(saved[split:], np.int64), saved[:split]
        counts = np.frombuffer(saved, np.int64, n_counts)
        self.epoch[row], self._best_val_epoch[row], *self._rung_epochs[row], n_kept = counts
        numbers = np.frombuffer(saved, np.float64, offset=counts.nbytes)
        for column, number in zip(self._measures, numbers, strict=False):
            column[row] = number
        self._n_kept[row] = n_kept
        self._curve_tau[row, :n_kept], self._curve_val[row, :n_kept] = numbers[n_measures:].reshape(2, n_kept)

    def absorb(
        self,
        rows: Int[np.ndarray, " row"],
        counts: Int[np.ndarray, " row"],
        ended: Bool[np.ndarray, " row"],
        tau: Float[np.ndarray, " measure"],
        val_mse: Float[np.ndarray, " val_measure"],
        time_s: Float[np.ndarray, " row"],
        right: Int[np.ndarray, " label_measure"] | None = None,
    ) -> Int[np.ndarray, " row"]:
        """Take in the next epochs of these rows.

        Args:
            rows: which, each once.
            counts: how many epochs each measured, one at least.
            ended: whether the last of them ended the cell.
            tau: train MSE over target variance, before each epoch's updates, row behind row, rounded as the cells round.
            val_mse: validation MSE likewise, of the rows whose cells have validation samples.
            time_s: each cell's share of the time that these epochs took, in seconds.
            right: how many labels were right likewise, of the rows whose cells have labels.

        Returns:
            How many epochs of training these were, the last measure of an ended cell being followed by none.
        """
        before = self.epoch[rows]
        starts = np.cumsum(counts) - counts
        lows = _Lows(tau, starts, counts)
        self._tau[rows] = tau[starts + counts - 1]
        self._best_tau[rows] = np.fmin(self._best_tau[rows], lows.least)
        at, rung = np.nonzero((lows.least[:, None] <= self._rungs[rows]) & (self._rung_epochs[rows] == NEVER))
        self._rung_epochs[rows[at], rung] = before[at] + lows.first(at, self._rungs[rows[at], rung])
        validated = np.flatnonzero(self._validated[rows])
        val_counts = counts[validated]
        val_starts = np.zeros_like(starts)
        val_starts[validated] = np.cumsum(val_counts) - val_counts
        if len(validated):
            self._absorb_validation(rows[validated], before[validated], val_starts[validated], val_counts, val_mse)
        labelled = np.flatnonzero(self._labelled[rows])
        if len(labelled):
            assert right is not None
            self._absorb_labels(rows[labelled], before[labelled], counts[labelled], right)
        # Points of curves: those epochs of each budget's that the rows have now measured.
        budget, kept = self._budget[rows], self._n_kept[rows]
        until = np.searchsorted(self._kept_keys, budget * FAR + before + counts) - self._kept_from[budget]
        point, at = _ranges(kept, until - kept), np.repeat(np.arange(len(rows)), until - kept)
        place = self._kept_keys[self._kept_from[budget[at]] + point] % FAR - before[at]
        self._curve_tau[rows[at], point] = tau[starts[at] + place]
        if len(validated):
            own = self._validated[rows[at]]
            at, point, place = at[own], point[own], place[own]
            self._curve_val[rows[at], point] = val_mse[val_starts[at] + place]
        self._n_kept[rows] = until
        trained = counts - ended
        self.epoch[rows] += trained
        self.ended[rows] = ended
        self._time_s[rows] += time_s
        return trained

    def _absorb_validation(
        self,
        rows: Int[np.ndarray, " row"],
        before: Int[np.ndarray, " row"],
        starts: Int[np.ndarray, " row"],
        counts: Int[np.ndarray, " row"],
        val_mse: Float[np.ndarray, " val_measure"],
    ) -> None:
        self._val_mse[rows] = val_mse[starts + counts - 1]
        lows = _Lows(val_mse, starts, counts)
        # Neither is true of NaN: a cell without a number yet takes any, and none takes NaN.
        better = np.flatnonzero((lows.least == lows.least) & ~(lows.least >= self._best_val_mse[rows]))
        self._best_val_mse[rows[better]] = lows.least[better]
        self._best_val_epoch[rows[better]] = before[better] + lows.first(better, lows.least[better])

    def _absorb_labels(
        self,
        rows: Int[np.ndarray, " row"],
        before: Int[np.ndarray, " row"],
        counts: Int[np.ndarray, " row"],
        right: Int[np.ndarray, " label_measure"],
    ) -> None:
        starts = np.cumsum(counts) - counts
        self._of_labels[_RIGHT, rows] = right[starts + counts - 1]
        sizes = np.array([cell.n_samples for row in rows.tolist() if (cell := self.cells[row])])
        # What is wrong can be at most so many.
        lows = _Lows(np.repeat(sizes, counts) - right.astype(np.float64), starts, counts)
        for column, share in ((_TO_RECALL, 1.0), (_TO_NEARLY, NEARLY_ALL)):
            most = sizes - np.ceil(share * sizes)
            new = np.flatnonzero((lows.least <= most) & (self._of_labels[column, rows] == NEVER))
            self._of_labels[column, rows[new]] = before[new] + lows.first(new, most[new])

    def outcomes(
        self,
        rows: Int[np.ndarray, " row"],
        engine: str,
        device: str,
        predictions: Sequence[tuple[tuple[float, float], ...]],
        layers: Sequence[Sequence[Layer] | None] | None = None,
        *,
        ranks: bool = True,
    ) -> list[Outcome]:
        """The outcomes of ended cells; the status of each follows from its last measure.

        Args:
            rows: which.
            engine: its name.
            device: its name.
            predictions: (target, prediction) pairs, as many as the run asked for: of several outputs those of the first, of
                classes (label, what the network takes for it).
            layers: their final weights and biases in float64. Cells on labels need them always, for the bits; others where
                `ranks` are asked for, else None.
            ranks: whether cells with `layers` have the ranks of their Jacobians, unless they diverged.
        """
        cells = [cell for row in rows.tolist() if (cell := self.cells[row])]
        epoch, tau, threshold = self.epoch[rows], self._tau[rows], self._threshold[rows]
        right = self._of_labels[_RIGHT, rows]
        everything = right == [cell.n_samples for cell in cells]
        finite, memorized = np.isfinite(tau), np.where(self._by_recall[rows], everything, tau <= threshold)
        early = epoch < [cell.max_epochs for cell in cells]
        statuses = [_ENDS[end] for end in np.select([~finite, memorized, early], [0, 1, 2], 3).tolist()]
        measured = self._best_val_epoch[rows] != NEVER
        final = [own if number else None for own, number in zip(layers or [None] * len(cells), finite.tolist(), strict=True)]
        found = [rank(cell, own) if ranks and own else None for cell, own in zip(cells, final, strict=True)]
        bits = [stored(cell, own) if cell.has_labels and own else (None, None) for cell, own in zip(cells, final, strict=True)]
        return list(
            map(
                Outcome,
                cells,
                statuses,
                map(_reason, statuses, cells, epoch.tolist()),
                self._variance[rows].tolist(),
                _or_none(finite & memorized, epoch),
                map(tuple, _or_none(self._rung_epochs[rows] != NEVER, self._rung_epochs[rows])),
                epoch.tolist(),
                tau.tolist(),
                self._best_tau[rows].tolist(),
                *(_or_none(measured, column[rows]) for column in self._of_validation),
                self._time_s[rows].tolist(),
                repeat(engine),
                repeat(device),
                self._curves(rows),
                predictions,
                found,
                *(_or_none(column != NEVER, column) for column in self._of_labels[:, rows]),
                *zip(*bits, strict=True),
            )
        )

    def _curves(self, rows: Int[np.ndarray, " row"]) -> Iterator[Curve]:
        """Their points at the epochs of their budgets, and the last measure."""
        epoch, budget, count = self.epoch[rows], self._budget[rows], self._n_kept[rows].copy()
        # The last point is the last measure where its epoch is none of the budget's.
        late = np.flatnonzero((count == 0) | (self._kept_keys[self._kept_from[budget] + count - 1] != budget * FAR + epoch))
        self._curve_tau[rows[late], count[late]] = self._tau[rows[late]]
        self._curve_val[rows[late], count[late]] = self._val_mse[rows[late]]
        count[late] += 1
        validated = self._validated[rows]
        taus = self._curve_tau[rows].tolist()
        vals = self._curve_val[rows].tolist() if validated.any() else repeat([])
        # Cells of one budget that end at one epoch have the same epochs.
        epochs: dict[tuple[int, int], tuple[int, ...]] = {}
        for number, end, n, tau, val, has_val in zip(
            *(column.tolist() for column in (budget, epoch, count)), taus, vals, validated.tolist(), strict=False
        ):
            own = epochs.get((number, end))
            if own is None:
                own = epochs[number, end] = (*self._kept_epochs[number][: n - 1], end)
            yield Curve(own, tau[:n], val[:n] if has_val else None)

    def _budget_of(self, max_epochs: int) -> int:
        """The number of a budget, whose epochs of curves are then in the tables."""
        if max_epochs not in self._budgets:
            epochs = tuple(sorted(curve_epochs(max_epochs)))
            number = self._budgets[max_epochs] = len(self._budgets)
            self._kept_epochs.append(epochs)
            self._kept_from = np.append(self._kept_from, len(self._kept_keys))
            self._kept_keys = np.append(self._kept_keys, np.array(epochs) + number * FAR)
            # And one for the last measure.
            if (more := len(epochs) + 1 - self._curve_tau.shape[1]) > 0:
                self._curve_tau, self._curve_val = (
                    np.pad(curves, ((0, 0), (0, more))) for curves in (self._curve_tau, self._curve_val)
                )
        return self._budgets[max_epochs]


class _Lows:
    """The least measure of each row and of its stretches: most are never looked at one by one. NaN is none."""

    def __init__(self, values: Float[np.ndarray, " measure"], starts: Int[np.ndarray, " row"], counts: Int[np.ndarray, " row"]):
        self._values, self._starts = values, starts
        self._n_stretches = -(-counts // STRETCH)
        self._first_stretch = np.cumsum(self._n_stretches) - self._n_stretches
        turn = _ranges(np.zeros_like(counts), self._n_stretches)
        self._stretch_starts = np.repeat(starts, self._n_stretches) + STRETCH * turn
        self._lows = np.fmin.reduceat(values, self._stretch_starts)
        self.least = np.fmin.reduceat(self._lows, self._first_stretch)

    def first(self, which: Int[np.ndarray, " ask"], most: Float[np.ndarray, " ask"]) -> Int[np.ndarray, " ask"]:
        """For each of these rows the place of its first measure that is at most so much, of which there is one."""
        counts = self._n_stretches[which]
        stretch = _ranges(self._first_stretch[which], counts)
        low = np.flatnonzero(self._lows[stretch] <= np.repeat(most, counts))
        begins = self._stretch_starts[stretch[low[np.searchsorted(low, np.cumsum(counts) - counts)]]]
        # A stretch may run on into the next row, behind what is asked for; at the end of all it begins as much earlier.
        length = min(STRETCH, len(self._values))
        early = np.minimum(begins, len(self._values) - length)
        found = np.lib.stride_tricks.sliding_window_view(self._values, length)[early] <= most[:, None]
        late = np.flatnonzero(early < begins)
        found[late] &= np.arange(length) >= (begins - early)[late, None]
        return early + found.argmax(axis=1) - self._starts[which]


def _ranges(starts: Int[np.ndarray, " range"], counts: Int[np.ndarray, " range"]) -> Int[np.ndarray, " number"]:
    """The numbers from each start on, so many of them, range behind range.

    >>> _ranges(np.array([5, 0]), np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    return np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())


def _or_none(there: Bool[np.ndarray, "row ..."], values: Shaped[np.ndarray, "row ..."]) -> list[Any]:
    """Values as Python's, None where there is none."""
    objects = values.astype(object)
    objects[~there] = None
    return objects.tolist()


def _reason(status: Status, cell: Cell, epoch: int) -> str | None:
    """Why a cell ended at this epoch, where its status does not say it."""
    if status is Status.DIVERGED:
        return f"{'train cross-entropy' if cell.has_labels else 'train MSE'} not finite at epoch {epoch}"
    return (
        f"no better validation {'cross-entropy' if cell.has_labels else 'MSE'} for {cell.patience} epochs"
        if status is Status.EARLY_STOPPED
        else None
    )


@functools.lru_cache
def _rounded(threshold: float, dtype: str) -> float:
    """The threshold as the cell's own arithmetic compares it."""
    return float(np.dtype(dtype).type(threshold))
