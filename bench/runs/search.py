"""Where does a network stop memorizing? Rounds of fresh cells, put where the frontier is, until N50 is known well enough."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from bench.protocol.cells import Cell, Status
from bench.protocol.grid import GridError
from bench.protocol.networks import samples_at_ceiling
from bench.statistics.frontier import fit, narrow

# The first counts tried are around this share of the functional dimension, a factor of STRIDE apart, each by so many seeds.
FIRST_LOAD, STRIDE, FIRST_SEEDS = 0.25, 2, 2

# No frontier is looked for beyond this many times the functional dimension.
MOST_LOAD = 16

# Cells of a network, in a round and in all: far more than any frontier needs.
MOST_FOR_A_NETWORK = 100_000

# The least sensible values of a search.
LEAST_RATIO = 1.01


@dataclasses.dataclass(frozen=True, slots=True)
class Search:
    """How well to know each N50, and what to spend on it.

    `ratio`: a network is done when the ends of N50's 95 % interval are no further apart than this factor, or than one sample;
    `cells_per_round`: fresh cells of each network in a round; `most_cells`: of a network in all, whatever it knows by then.
    """

    ratio: float = 1.15
    cells_per_round: int = 6
    most_cells: int = 128

    def __post_init__(self) -> None:
        if isinstance(self.ratio, bool) or not isinstance(self.ratio, int | float):
            raise GridError("search.ratio", self.ratio, "must be a number", "give for example 1.15")
        if not LEAST_RATIO <= self.ratio < math.inf:
            raise GridError("search.ratio", self.ratio, f"must be at least {LEAST_RATIO}", "give for example 1.15")
        for name in ("cells_per_round", "most_cells"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise GridError(f"search.{name}", value, "must be a whole number of at least 1", "give for example 8")
            if value > MOST_FOR_A_NETWORK:
                raise GridError(f"search.{name}", value, f"must be at most {MOST_FOR_A_NETWORK}", "give for example 128")


def next_round(
    networks: Sequence[Cell], tried: Mapping[Cell, Sequence[Cell]], statuses: Mapping[str, str], search: Search
) -> dict[Cell, list[Cell]]:
    """The cells that each network has to train next; networks that are done have none.

    What comes next depends on what came before alone, so that a search that is stopped goes on where it was.

    Args:
        networks: what is searched; their n_samples are ignored, their seeds are those of the first cell of each.
        tried: the cells of all rounds so far, for each network.
        statuses: how they ended, by cell_id.
        search: when to stop.
    """
    rounds = {network: _next_cells(network, tried.get(network, ()), statuses, search) for network in networks}
    return {network: cells for network, cells in rounds.items() if cells}


def _next_cells(network: Cell, tried: Sequence[Cell], statuses: Mapping[str, str], search: Search) -> list[Cell]:
    known = [cell for cell in tried if statuses.get(cell.cell_id, Status.FAILED) != Status.FAILED]
    n_samples = np.array([cell.n_samples for cell in known], dtype=int)
    success = np.array([statuses[cell.cell_id] == Status.MEMORIZED for cell in known], dtype=bool)
    counts = (
        next_counts(n_samples, success, samples_at_ceiling(network), search)
        if len(known)
        else first_counts(samples_at_ceiling(network))
    )
    if len(tried) and not len(known):
        return []
    room = search.most_cells - len(tried)
    return [
        dataclasses.replace(
            network,
            n_samples=int(count),
            data_seed=network.data_seed + len(tried) + number,
            init_seed=network.init_seed + len(tried) + number,
        )
        for number, count in enumerate(counts[: max(0, room)])
    ]


def first_counts(dimension: float, at_least: int = 1) -> list[int]:
    """The sample counts of a first round, for a network of dimensions for so many samples; `at_least` so many samples."""
    start = FIRST_LOAD * dimension
    counts = sorted({max(at_least, round(start * factor)) for factor in (1 / STRIDE, 1, STRIDE)})
    return [count for count in counts for _ in range(FIRST_SEEDS)]


def next_counts(n_samples: np.ndarray, success: np.ndarray, dimension: float, search: Search, at_least: int = 1) -> list[int]:
    """Outwards until most succeed at the least count and most fail at the largest; then evenly over the interval."""
    least, most = int(n_samples.min()), int(n_samples.max())
    if success[n_samples == least].mean() <= 1 / 2 and least > at_least:
        return [max(at_least, least // STRIDE)] * FIRST_SEEDS
    if success[n_samples == most].mean() >= 1 / 2 and most < MOST_LOAD * dimension:
        return [most * STRIDE] * FIRST_SEEDS
    found = fit(n_samples, success, np.arange(len(n_samples)), searched=True)
    low, high = max(found.low, least), min(found.high, most)
    if narrow(found.low, found.high, search.ratio) or high - low <= 1:
        return []
    shares = (np.arange(search.cells_per_round) + 0.5) / search.cells_per_round
    return [max(at_least, round(low * (high / low) ** share)) for share in shares]
