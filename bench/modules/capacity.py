"""`bench.capacity`: the sample count that half of the draws of any network memorize, of noise."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from bench.machine.bar import Bar
from bench.modules import capacity_folder
from bench.modules.grid import asked_of, ran_on, search_told
from bench.modules.networks import quiet
from bench.modules.on_noise import OnNoise, Rows, Setup, searches
from bench.protocol.cells import Status
from bench.protocol.grid import GridError
from bench.report.network_page import build_networks
from bench.runs.search import Search
from bench.statistics.frontier import Side, fit


class Capacity(NamedTuple):
    """N50 and its 95 % interval, as of `bench.statistics.frontier`; NaN where it is `side` ("above" or "below") of all counts.

    `rank`: in how many directions small changes of the untrained network's parameters move its outputs, the rank of the
    Jacobian over more noise than it has parameters; None where that is too large to take. `trained`: a row for each training,
    the columns of the table `network_trainings` (`bench.protocol.columns`). `network`: the name and a hash of what it is;
    `asked`: how it was trained; `ran`, `took`: where, when, and how many seconds that took.
    """

    n50: float
    low: float
    high: float
    side: Side
    n_params: int
    rank: int | None
    trained: pd.DataFrame
    network: Mapping[str, Any]
    asked: Mapping[str, Any]
    ran: Mapping[str, Any]
    took: Mapping[str, Any]

    def save(self, folder: str | Path) -> Path:
        """Leave tables, figures and a page that works offline in a folder, in place of those of such networks that were there.

        `memcap report FOLDER` makes the page again. Returns its path, FOLDER/report.html.

        Raises:
            bench.GridError: the folder is another's, or cannot be written to.
        """
        folder = Path(folder)
        with capacity_folder.held(folder, fresh=True):
            capacity_folder.say(folder, self.network["name"], self.network["identity"], self.asked)
            capacity_folder.keep(folder, self.trained)
            capacity_folder.finish(folder, self.asked, self.ran, self.took)
            return build_networks(folder)

    def __str__(self) -> str:
        where = f"{self.n50:.3g} samples" if math.isfinite(self.n50) else f"{self.side} all counts that were tried"
        rank = "" if self.rank is None else f", Jacobian's rank {self.rank}"
        interval = f"{self.low:.3g} to {self.high:.3g}" if math.isfinite(self.high) else f"{self.low:.3g} or more"
        return f"N50 is {where} (95 %: {interval}); {self.n_params} parameters{rank}; {len(self.trained)} trainings"


def capacity(
    module: object,
    shapes: Sequence[Sequence[Any]],
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
    progress: bool = False,
) -> Capacity:
    """Search the sample count that half of the draws of a network memorize: N(0, 1) inputs and targets, drawn anew each time.

    Args:
        module, arguments, loss, optimizer, batch_size, max_epochs, tau, device: as of `bench.diagnose`.
        shapes: of one sample's inputs and of its targets, ((8,), (1,)); of two inputs (((8,), (3,)), (1,)).
        seed: the first; each training has the next one, for its noise and its initial weights.
        search: how well N50 is to be known, and what that may cost; `bench.Search`.
        progress: show on the standard error stream how far it is.

    Raises:
        bench.GridError: a value that cannot be, or a module that raises.

    >>> import torch
    >>> few = Search(most_cells=8)
    >>> found = capacity(torch.nn.Linear(4, 1), ((4,), (1,)), optimizer=("adam", 0.1), max_epochs=200, search=few)
    >>> found.rank, found.low < 5.5 < found.high
    (5, True)
    """
    began, started = time.perf_counter(), datetime.now(UTC)
    chosen = search or Search()
    setup = Setup(shapes, loss, optimizer, batch_size, max_epochs, tau, device=device, first_seed=seed)
    rows: Rows = {}
    with quiet(), Bar(shown=progress, stays=False) as bar:
        own = OnNoise(module, setup, [arguments or {}])
        (name,) = own.arguments
        size = own.size(name)
        for number, wanted in enumerate(searches({own.way(name): size.dimension}, rows, chosen, seed), start=1):
            made: Rows = {}
            for pack in own.train(wanted):
                made |= pack
                bar.show(*search_told(number, len(made), len(wanted)))
            rows |= {one: made[one] for one in wanted}
            for row in made.values():
                if row["status"] == Status.FAILED:
                    rule = f"{row['reason']} (of {row['n_samples']} samples)"
                    raise GridError("module", own.first.source.name, rule, "mend it, or its shapes")
    table = capacity_folder.table(rows)
    success = (table["status"] == Status.MEMORIZED).to_numpy(bool)
    found = fit(table["n_samples"].to_numpy(int), success, table["seed"].to_numpy(), searched=True)
    source = own.first.source
    return Capacity(
        *(found.n50, found.low, found.high, found.side),
        n_params=size.n_params,
        rank=size.rank,
        trained=table,
        network={"name": source.name, "identity": capacity_folder.identity([(name, source)])},
        asked=asked_of(own, searched=True, cells_per_round=chosen.cells_per_round),
        ran=ran_on(own),
        took={
            "started_at": started.isoformat(timespec="seconds"),
            "wall_time_s": round(time.perf_counter() - began, 3),
            "trainings_trained": len(table),
            "one_after_the_other": own.why_alone,
        },
    )
