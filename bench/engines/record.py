"""A cell's record while it trains: chunks of measured epochs go in, the outcome comes out. Shared by all engines."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from bench.engines.schedules import curve_epochs
from bench.protocol.cells import LADDER, Cell, CurvePoint, Outcome, Status
from bench.protocol.jacobian import rank
from bench.protocol.networks import Layer


class Record:
    """Bookkeeping of one cell. `epoch` is the next epoch to be measured; `ended` becomes true with the epoch that ended it."""

    def __init__(self, cell: Cell, target_variance: float):
        self.cell = cell
        self.epoch = 0
        self.ended = False
        self._target_variance = target_variance
        self._curve_epochs = curve_epochs(cell.max_epochs)
        self._curve: list[CurvePoint] = []
        self._rung_epochs: list[int | None] = [None] * len(LADDER)
        self._tau = self._best_tau = math.nan
        self._val_mse = self._best_val_mse = math.nan
        self._best_val_epoch: int | None = None
        self._time_s = 0.0

    def absorb(
        self,
        tau: Float[np.ndarray, " epoch"],
        val_mse: Float[np.ndarray, " epoch"] | None,
        active: Bool[np.ndarray, " epoch"],
        time_s: float,
    ) -> int:
        """Take in the next epochs, up to and including the one after which the cell was no longer active.

        Args:
            tau: train MSE over target variance, before each epoch's updates.
            val_mse: validation MSE likewise, or None where there are no validation samples.
            active: whether the cell went on after each epoch's measure.
            time_s: the cell's share of the time that these epochs took, in seconds.

        Returns:
            How many epochs of training these were, the last measure of an ended cell being followed by none.
        """
        stopped = np.flatnonzero(~active)
        count = int(stopped[0]) + 1 if len(stopped) else len(active)
        tau = tau[:count]
        for i, rung in enumerate(LADDER):
            if self._rung_epochs[i] is None and len(hits := np.flatnonzero(tau <= tau.dtype.type(rung))):
                self._rung_epochs[i] = self.epoch + int(hits[0])
        self._tau = float(tau[-1])
        self._best_tau = float(np.fmin(self._best_tau, np.fmin.reduce(tau)))
        if val_mse is not None:
            self._absorb_validation(val_mse[:count])
        self.ended = bool(len(stopped))
        last = count - 1
        kept = {epoch - self.epoch for epoch in self._curve_epochs if self.epoch <= epoch < self.epoch + count}
        for k in sorted(kept | {last} if self.ended else kept):
            point = CurvePoint(self.epoch + k, float(tau[k]), None if val_mse is None else float(val_mse[k]))
            self._curve.append(point)
        self._time_s += time_s
        self.epoch += last if self.ended else count
        return last if self.ended else count

    def _absorb_validation(self, val_mse: Float[np.ndarray, " epoch"]) -> None:
        self._val_mse = float(val_mse[-1])
        if not np.isnan(val_mse).all():
            best = int(np.nanargmin(val_mse))
            if not float(val_mse[best]) >= self._best_val_mse:
                self._best_val_mse, self._best_val_epoch = float(val_mse[best]), self.epoch + best

    def outcome(
        self,
        engine: str,
        device: str,
        predictions: tuple[tuple[float, float], ...],
        layers: Sequence[Layer] | None = None,
    ) -> Outcome:
        """The outcome of an ended cell; its status follows from its last measure.

        With `layers`, its final weights and biases, it has the rank of the Jacobian, unless the cell diverged.
        """
        cell = self.cell
        reason = None
        epoch_to_tau = None
        if not math.isfinite(self._tau):
            status, reason = Status.DIVERGED, f"train MSE not finite at epoch {self.epoch}"
        elif self._tau <= _rounded(cell.tau, cell.storage):
            status, epoch_to_tau = Status.MEMORIZED, self.epoch
        elif self.epoch < cell.max_epochs:
            status, reason = Status.EARLY_STOPPED, f"no better validation MSE for {cell.patience} epochs"
        else:
            status = Status.CENSORED
        measured_val = self._best_val_epoch is not None
        return Outcome(
            cell=cell,
            status=status,
            reason=reason,
            target_variance=self._target_variance,
            epoch_to_tau=epoch_to_tau,
            rung_epochs=tuple(self._rung_epochs),
            epochs_run=self.epoch,
            final_tau=self._tau,
            best_tau=self._best_tau,
            final_val_mse=self._val_mse if measured_val else None,
            best_val_mse=self._best_val_mse if measured_val else None,
            best_val_epoch=self._best_val_epoch,
            train_time_s=self._time_s,
            engine=engine,
            device=device,
            curve=tuple(self._curve),
            predictions=predictions,
            jacobian_rank=None if layers is None or status is Status.DIVERGED else rank(cell, layers),
        )


def _rounded(threshold: float, dtype: str) -> float:
    """The threshold as the cell's own arithmetic compares it."""
    return float(np.dtype(dtype).type(threshold))
