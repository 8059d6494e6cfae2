"""A shard: its share of a run's cells, trained here into the run's folder by a process of its own, whoever started it."""

from __future__ import annotations

from pathlib import Path

from bench.runs.executors.api import Wanted
from bench.runs.executors.here import Here
from bench.runs.training import Training
from bench.store.claims import claim
from bench.store.cut import read_shard
from bench.store.parts import Store


def train_shard(cut: Path, number: int) -> None:
    """Train what the run's folder has no results of yet.

    Another process that works on this shard is waited for: one that was told to end, and is queued again elsewhere.

    Raises:
        GridError: there is no such shard, or no such engine or device here.
        bench.store.claims.Claimed: the run has taken the shard away.
    """
    cells, settings = read_shard(cut, number)
    wanted = Wanted(**settings)
    with claim(cut, f"shard-{number}", waits=True) as own:
        store = Store(cut.parent.parent, own.check)
        finished = store.finished_ids(
            with_predictions=wanted.n_predictions > 0,
            with_jacobian_rank=wanted.jacobian_rank,
        )
        todo = [cell for cell in cells if cell.cell_id not in finished]
        print(f"memcap: shard {number}: {len(todo)} of {len(cells)} cells to train", flush=True)
        if todo:
            executor = Here(wanted)
            if executor.notice:
                print(f"memcap: {executor.notice}", flush=True)
            Training(store, executor, progress=True, name=f"{cut.name}-{number}").train(todo)
