"""Cells on a SLURM cluster: shards of them, each a task of an array job that writes into the run's folder itself."""

from __future__ import annotations

import importlib.util
import shutil
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.engines.api import TrainReport
from bench.engines.packs import epoch_flops
from bench.protocol.cells import Cell, Checkpoint, Outcome, Status
from bench.protocol.grid import GridError
from bench.runs.executors.api import ClusterError, Facts, Wanted
from bench.runs.executors.deal import deal
from bench.runs.executors.options import Slurm
from bench.store.checkpoints import Checkpoints
from bench.store.cut import cuts, forget_cuts, write_cut
from bench.store.parts import Store

if TYPE_CHECKING:
    from bench.runs.executors.jobs import Jobs

# How often the job and the folder are looked at.
LOOK_EVERY_S = 5.0

# Tasks that are cancelled write what had ended, and SLURM kills them after half a minute (KillWait).
CANCELLED_IN_S = 60.0

# A job that is queued again may be seen as ended in between: it has ended when it is seen so more than once.
LOOKS = 2

REMEDIES = {
    "OUT_OF_MEMORY": "give more by executor.slurm.mem_gb",
    "TIMEOUT": "give more by executor.slurm.time_min or signal_s",
    "NODE_FAIL": "its node was lost",
    "CANCELLED": "it was cancelled",
}


class OnSlurm:
    """Trains cells on the nodes of a cluster; see `bench.runs.executors.api.Executor`."""

    stores = True
    notice: str | None = None

    def __init__(self, how: Slurm, wanted: Wanted, run_dir: Path | None):
        """Raises:
        GridError: no folder, submitit or SLURM.
        """
        if run_dir is None:
            raise GridError("run_dir", run_dir, "is a folder that no other machine sees", "name one that the nodes share")
        if importlib.util.find_spec("submitit") is None:
            raise GridError("executor", "slurm", "needs submitit, which is not installed", "pip install 'memcap[slurm]'")
        if how.cluster == "slurm" and not all(map(shutil.which, ("sbatch", "srun", "squeue"))):
            remedy = "run memcap where sbatch is, or use executor.slurm.cluster=local"
            raise GridError("executor", "slurm", "needs SLURM's commands sbatch, srun and squeue, which are not here", remedy)
        self._how, self._wanted, self._store = how, wanted, Store(run_dir)
        self._given_up = False

    def give_up(self) -> None:
        """The job is cancelled as the iterator is closed."""
        self._given_up = True

    def facts(self) -> Facts:
        """As asked: what trained is in the table of cells."""
        return Facts(self._wanted.engine, self._wanted.device, self._wanted.threads, {"executor": "slurm"})

    def close(self) -> None:
        """Nothing is kept."""

    def train(self, cells: Sequence[Cell], begun: Mapping[Cell, Checkpoint]) -> Generator[TrainReport]:
        """Train every cell to its end, in a job of its own; one that an earlier command has left is waited for first.

        Its shards find by themselves which cells have begun.
        """
        from bench.runs.executors.jobs import submit, submitted

        look = _Look(self._store, cells)
        for cut in cuts(self._store.path):
            if earlier := submitted(cut):
                print(f"memcap: SLURM job {earlier.id} of an earlier command is still at work here; waiting for it", flush=True)
                yield from self._followed(earlier, look)
        if not (left := self._left(look)):
            return
        shards = deal(left, self._how.shards)
        cut = write_cut(self._store.path, shards, self._wanted._asdict())
        jobs = submit(cut, len(shards), self._how)
        print(f"memcap: {len(left)} cells in {len(shards)} shards, SLURM job {jobs.id}", flush=True)
        states = yield from self._followed(jobs, look)
        if left := self._left(look):
            raise ClusterError(f"SLURM job {jobs.id}: {len(left)} cells have no result: {_reasons(states, cut)}")
        forget_cuts(self._store.path)
        # Of shards that were lost.
        Checkpoints(self._store.path, check=self._store.check).forget(cells)

    def _followed(self, jobs: Jobs, look: _Look) -> Generator[TrainReport, None, dict[int, str]]:
        """Reports of a job's cells until its tasks have ended; returns the last state of each that is known."""
        from bench.runs.executors.jobs import alive

        states: dict[int, str] = {}
        looks = 0
        try:
            while looks < LOOKS:
                time.sleep(LOOK_EVERY_S)
                now = jobs.states()
                states |= now
                looks = 0 if alive(now) else looks + 1
                yield look.report()
        finally:
            if looks < LOOKS:
                if self._given_up:
                    self._cancel(jobs)
                elif goes_on := jobs.stop():
                    print(f"memcap: {goes_on}", flush=True)
        return states

    def _cancel(self, jobs: Jobs) -> None:
        """End a job, and what it was dealt once its tasks have written what had ended."""
        from bench.runs.executors.jobs import alive

        until = time.monotonic() + CANCELLED_IN_S
        ends = jobs.cancel()
        while ends and alive(jobs.states()):
            if time.monotonic() > until:
                return
            time.sleep(min(LOOK_EVERY_S, 1.0))
        # A job that goes on is found, and waited for, by what it was dealt.
        if ends:
            forget_cuts(self._store.path)

    def _left(self, look: _Look) -> list[Cell]:
        """The cells that nobody has trained yet."""
        wanted = self._wanted
        flags = {"with_predictions": wanted.n_predictions > 0, "with_jacobian_rank": wanted.jacobian_rank}
        finished = self._store.finished_ids(**flags) if look.waiting else set()
        return [cell for cell_id, cell in look.waiting.items() if cell_id not in finished]


class _Look:
    """What the shards have written since the last look, of cells that are waited for."""

    def __init__(self, store: Store, cells: Sequence[Cell]):
        self._store = store
        self._seen: set[str] = set()
        store.rows_beyond(self._seen)
        self.waiting = {cell.cell_id: cell for cell in cells}

    def report(self) -> TrainReport:
        rows = self._store.rows_beyond(self._seen)
        rows = rows[rows["cell_id"].isin(self.waiting)]
        columns = [
            rows[name].astype(object).where(rows[name].notna(), None) for name in ("status", "epochs_run", "engine", "device")
        ]
        outcomes = [
            Outcome(self.waiting.pop(cell_id), Status(status), epochs_run=epochs and int(epochs), engine=engine, device=device)
            for cell_id, status, epochs, engine, device in zip(rows["cell_id"], *columns, strict=True)
            if cell_id in self.waiting
        ]
        return TrainReport(outcomes, float(sum((one.epochs_run or 0) * epoch_flops(one.cell) for one in outcomes)))


def _reasons(states: dict[int, str], cut: Path) -> str:
    """Why shards did not come to their end, those of one reason together."""
    from bench.runs.executors.jobs import DONE, said

    shards: dict[str, list[int]] = {}
    for shard, state in sorted(states.items()):
        if state not in DONE or state == "FINISHED":
            told = REMEDIES.get(state) or said(cut, shard, len(states))
            shards.setdefault(f"{state} ({told})" if told else state, []).append(shard)
    return "; ".join(f"shard {', '.join(map(str, own))} {reason}" for reason, own in shards.items()) or "it has gone"
