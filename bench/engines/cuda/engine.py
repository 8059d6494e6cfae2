"""The CUDA engine: the fused core (`fused/`) on GPUs, where a block of threads trains a cell and takes the next from a queue.

A cell's result depends on the cell and on the kind of chip alone, bit for bit, as long as the same ways to make products pass
their trial there (`trust`): which kernel trains it follows from its shape, sums have a fixed order, and where several blocks
share a cell's samples they add the same parts in the same order as one would.
It trains every cell whose activations fit on the chip for 16 samples, in a way that passed its trial (`trust`); `supports` is
false for the others, which go to the torch engine.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence

from bench.engines.api import NONE_BEGUN, TrainReport
from bench.engines.cuda.device import Device
from bench.engines.cuda.fits import Fits
from bench.engines.cuda.lane import Lane
from bench.engines.cuda.trust import forget
from bench.engines.cuda.ways import Products, Way
from bench.engines.packs import Pack, budget_flops
from bench.engines.task import OPTIMIZERS
from bench.machine.cores import available_cores
from bench.protocol.cells import Cell, Checkpoint

# How long the devices work before the host looks: for progress, and to stop.
SLICE_S = 0.25


class CudaEngine:
    """Trains packs on one or several GPUs; see `bench.engines.api.Engine`."""

    name = "cuda"
    threaded = True

    def __init__(self, devices: Sequence[Device], *, products: Products = "auto", distrusted: Collection[Way] = ()):
        """`products`: how those of float32 cells are made (`ways.ways_for`). Ways that are `distrusted` are not taken."""
        self._fits = [Fits(device, products=products, distrusted=distrusted) for device in devices]

    def device_name(self) -> str:
        """What the table says in its `device` column; of GPUs of several kinds the names of all."""
        return ", ".join(dict.fromkeys(fits.device.name for fits in self._fits))

    def supports(self, cell: Cell) -> bool:
        """Whether the core has its optimizer, it has a trusted way, and a block of its activations fits on each chip."""
        return cell.optimizer in OPTIMIZERS and all(fits.fit(cell) is not None for fits in self._fits)

    def kind(self, cell: Cell) -> None:
        """Cells of all kinds train together."""

    def slots(self, cell: Cell) -> int:
        """Any number: the queue is the engine's own."""
        return sys.maxsize

    def train(
        self,
        pack: Pack,
        *,
        n_predictions: int = 0,
        jacobian_rank: bool = False,
        begun: Mapping[Cell, Checkpoint] = NONE_BEGUN,
    ) -> Iterator[TrainReport]:
        """Train every cell of the pack to its end; see `bench.engines.api.Engine.train`."""
        hands = dealt(pack.cells, len(self._fits))
        lanes: list[Lane] = []
        working: list[Lane] = []
        try:
            # A core for this thread, which feeds all devices; the others may prepare cells.
            cores = (available_cores() - 1) // len(self._fits)
            asked = {"n_predictions": n_predictions, "jacobian_rank": jacobian_rank}
            for hand in zip(self._fits, hands, strict=True):
                lanes.append(Lane(*hand, self.name, cores=cores, begun=begun, **asked))
            while any(lane.busy for lane in lanes):
                noted = [(lane, lane.fetch()) for lane in working]
                # The next slice begins before this one is read, so that the devices do not wait for Python.
                working = [lane for lane in lanes if lane.start(SLICE_S)]
                reports = [lane.absorb(slice_) for lane, slice_ in noted]
                outcomes = [outcome for report in reports for outcome in report.outcomes]
                outcomes += [outcome for lane in lanes for outcome in lane.admit()]
                checkpoints = [checkpoint for report in reports for checkpoint in report.checkpoints]
                yield TrainReport(outcomes, sum(report.flops for report in reports), checkpoints=checkpoints)
        except Exception:  # Whatever a driver raises: the next run holds its trial again.
            for fits in self._fits:
                forget(fits.device.name)
            raise
        finally:
            # Each, whatever becomes of the others.
            with contextlib.ExitStack() as closing:
                for lane in lanes:
                    closing.callback(lane.close)


def dealt(cells: Sequence[Cell], hands: int) -> list[list[Cell]]:
    """The cells, longest first, each to the hand with the least work so far."""
    result: list[list[Cell]] = [[] for _ in range(hands)]
    work = [0] * hands
    budgets = list(map(budget_flops, cells))
    for i in sorted(range(len(cells)), key=budgets.__getitem__, reverse=True):
        least = work.index(min(work))
        result[least].append(cells[i])
        work[least] += budgets[i]
    return result
