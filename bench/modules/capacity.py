"""`bench.capacity`: the sample count that half of the draws of any network memorize, of noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.modules.networks import quiet
from bench.modules.probe import MOST_OUTPUTS
from bench.modules.questions import Question, question
from bench.modules.training import Trainer
from bench.modules.trials import Job
from bench.protocol.grid import GridError
from bench.runs.search import Search, first_counts, next_counts
from bench.statistics.frontier import Side, fit


class Capacity(NamedTuple):
    """N50 and its 95 % interval, as of `bench.statistics.frontier`; NaN where it is `side` ("above" or "below") of all counts.

    `rank`: in how many directions small changes of the untrained network's parameters move its outputs, the rank of the
    Jacobian over more noise than it has parameters; None where that is too large to take. `trained`: `n_samples`, `seed`,
    `memorized`, `epoch_to_tau` (NaN where it did not), `best_tau` of each training.
    """

    n50: float
    low: float
    high: float
    side: Side
    n_params: int
    rank: int | None
    trained: pd.DataFrame

    def __str__(self) -> str:
        where = f"{self.n50:.3g} samples" if math.isfinite(self.n50) else f"{self.side} all counts that were tried"
        rank = "" if self.rank is None else f", Jacobian's rank {self.rank}"
        interval = f"{self.low:.3g} to {self.high:.3g}"
        return f"N50 is {where} ({interval}); {self.n_params} parameters{rank}; {len(self.trained)} trainings"


def capacity(
    module: object,
    shapes: Sequence[Sequence[int]],
    *,
    arguments: Mapping[str, Any] | None = None,
    loss: object = "mse",
    optimizer: object = "adam",
    batch_size: int | None = None,
    max_epochs: int = 1000,
    tau: float = 0.01,
    seed: int = 0,
    search: Search | None = None,
    device: str | None = None,
) -> Capacity:
    """Search the sample count that half of the draws of a network memorize: N(0, 1) inputs and targets, drawn anew each time.

    Args:
        module, arguments, loss, optimizer, batch_size, max_epochs, tau, device: as of `bench.diagnose`.
        shapes: of one sample's inputs and of its targets, ((8,), (1,)).
        seed: the first; each training has the next one, for its noise and its initial weights.
        search: how well N50 is to be known, and what that may cost; `bench.Search`.

    Raises:
        bench.GridError: a value that cannot be, or a module that raises.

    >>> import torch
    >>> few = Search(most_cells=8)
    >>> found = capacity(torch.nn.Linear(4, 1), ((4,), (1,)), optimizer=("adam", 0.1), max_epochs=200, search=few)
    >>> found.rank, found.low < 5.5 < found.high
    (5, True)
    """
    rule, remedy = "must be the shapes of one sample's inputs and targets", "give for example ((8,), (1,))"
    if not isinstance(shapes, Sequence) or len(shapes) != 2 or not all(isinstance(own, Sequence) for own in shapes):
        raise GridError("shapes", shapes, rule, remedy)
    asked_search = search or Search()

    def asked(count: int) -> Question:
        both = tuple((count, *own) for own in shapes)
        return question(
            module,
            shapes=both,
            arguments=arguments,
            loss=loss,
            optimizer=optimizer,
            batch_size=batch_size,
            max_epochs=max_epochs,
            tau=tau,
            seeds=(seed,),
            device=device,
        )

    with quiet():
        dimension, rank, n_params = _dimension(asked, shapes)
        counts = first_counts(dimension)
        rows: list[dict[str, Any]] = []
        trainers: dict[int, tuple[Question, Trainer]] = {}
        while counts and len(rows) < asked_search.most_cells:
            counts = counts[: asked_search.most_cells - len(rows)]
            rows += _trained(counts, seed + len(rows), asked, trainers)
            n_samples = np.array([row["n_samples"] for row in rows])
            success = np.array([row["memorized"] for row in rows])
            counts = next_counts(n_samples, success, dimension, asked_search)
    table = pd.DataFrame(rows)
    found = fit(n_samples, success, np.arange(len(rows)), searched=True)
    return Capacity(found.n50, found.low, found.high, found.side, n_params, rank, table)


def _trained(counts: list[int], first: int, asked: Any, trainers: dict[int, tuple[Question, Trainer]]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    jobs: dict[int, list[Job]] = {}
    for number, count in enumerate(counts):
        if count not in trainers:
            own = asked(count)
            trainers[count] = own, Trainer(own.source, own.batch, own.facts, own.device)
        jobs.setdefault(count, []).append(Job(trainers[count][0].trial, first + number))
    for count, own_jobs in jobs.items():
        trainer = trainers[count][1]
        trainer.train(own_jobs, math.inf)
        for job in own_jobs:
            ended = trainer.results[job]
            epoch = math.nan if ended.epoch_to_tau is None else float(ended.epoch_to_tau)
            rows.append(
                {
                    "n_samples": count,
                    "seed": job.seed,
                    "memorized": ended.memorized,
                    "epoch_to_tau": epoch,
                    "best_tau": ended.best,
                }
            )
    return rows


def _dimension(asked: Any, shapes: Sequence[Sequence[int]]) -> tuple[int, int | None, int]:
    """(what the search begins from, the rank of the Jacobian over enough noise or None, parameters).

    The rank grows with the samples until it is that of the functions; where that is not seen, parameters stand in for it.
    """
    outputs = math.prod(shapes[1]) or 1
    count, facts = 2, asked(2).facts
    while facts.rank is not None and facts.rank >= count * outputs and 2 * count * outputs <= MOST_OUTPUTS:
        count *= 2
        facts = asked(count).facts
    known = facts.rank is not None and facts.rank < count * outputs
    rank = facts.rank if known else None
    in_samples = (rank if rank is not None else facts.n_params) / outputs
    return max(1, round(in_samples)), rank, facts.n_params
