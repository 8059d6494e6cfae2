"""The search finds the N50 of synthetic success curves and of a real frontier, with a fraction of a dense grid's cells."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

import bench
from bench.protocol.cells import Cell, Status
from bench.protocol.networks import functional_dim, n_params
from bench.runs.search import Search, next_round
from bench.statistics.capacity import capacities
from bench.statistics.frontier import Frontier, fit
from tests.protocol.test_grid import compose

NETWORK = Cell(d_in=8, depth=1, width=64, n_samples=1)

# A dense grid that would be as exact: 24 counts a factor of 1.15 apart, ten seeds each.
DENSE_CELLS = 240


def searched(success, search: Search, network: Cell = NETWORK) -> tuple[Frontier, list[Cell]]:
    """A search over cells that memorize as `success(n_samples)` says."""
    tried: list[Cell] = []
    statuses: dict[str, str] = {}
    while new := next_round([network], {network: tried}, statuses, search):
        tried += new[network]
        statuses |= {cell.cell_id: Status.MEMORIZED if success(cell.n_samples) else Status.CENSORED for cell in new[network]}
    hits = np.array([statuses[cell.cell_id] == Status.MEMORIZED for cell in tried])
    return fit(np.array([cell.n_samples for cell in tried]), hits, np.arange(len(tried)), searched=True), tried


# A blunt curve takes a search four times as long as a sharp one.
@pytest.mark.parametrize(
    ("sharpness", "share", "searches"),
    [
        (30, 1 / 4, 20),
        (1000, 1 / 4, 20),
        *(pytest.param(*curve, 40, marks=pytest.mark.exhaustive) for curve in ((12, 1 / 2), (30, 1 / 4), (1000, 1 / 4))),
    ],
)
def test_the_n50_of_a_synthetic_curve_lies_within_the_interval_at_a_share_of_a_dense_grids_cells(sharpness, share, searches):
    """Searches with the frontier anywhere between a twentieth and twice the functional dimension.

    Of a blunt curve (sharpness 12: nine in ten memorize at 0.83 N50) a dense grid too knows less than of a sharp one.
    """
    rng = np.random.default_rng(sharpness)
    covered, spent, narrow = [], [], []
    for _ in range(searches):
        middle = functional_dim(NETWORK) * math.exp(rng.uniform(math.log(0.05), math.log(2)))
        found, tried = searched(lambda n, m=middle: rng.random() < 1 / (1 + (n / m) ** min(sharpness, 300)), Search())
        covered.append(found.low <= middle <= found.high)
        narrow.append(found.high <= 1.15 * found.low or found.high - found.low <= 1)
        spent.append(len(tried))
    # 95 % less three standard errors of so many searches.
    assert np.mean(covered) >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / searches)
    assert np.mean(narrow) >= (0.95 if sharpness > 12 else 0.75)
    assert np.median(spent) <= DENSE_CELLS * share


def test_every_cell_of_a_search_has_seeds_of_its_own():
    _, tried = searched(lambda n: n < 300, Search())
    assert [cell.data_seed for cell in tried] == list(range(len(tried)))
    assert [cell.init_seed for cell in tried] == list(range(len(tried)))


def test_a_network_that_memorizes_everything_or_nothing_ends_with_a_bound():
    everything, tried = searched(lambda _: True, Search())
    assert math.isnan(everything.n50)
    assert everything.low > 4 * functional_dim(NETWORK)
    nothing, few = searched(lambda _: False, Search())
    assert nothing.low == 0
    assert min(cell.n_samples for cell in few) == 1
    assert max(len(tried), len(few)) < 40


def test_a_search_spends_no_more_than_it_may():
    rng = np.random.default_rng(0)
    _, tried = searched(lambda _: rng.random() < 0.5, Search(most_cells=20))
    assert len(tried) <= 20


def test_cells_that_failed_say_nothing_and_a_network_that_only_fails_is_given_up():
    first = next_round([NETWORK], {}, {}, Search())[NETWORK]
    failed = {cell.cell_id: str(Status.FAILED) for cell in first}
    assert next_round([NETWORK], {NETWORK: first}, failed, Search()) == {}
    half = failed | {cell.cell_id: str(Status.MEMORIZED) for cell in first[:2]}
    again = next_round([NETWORK], {NETWORK: first}, half, Search())[NETWORK]
    assert {cell.n_samples for cell in again} == {2 * first[0].n_samples}


@pytest.fixture(scope="module")
def network() -> Cell:
    return Cell(d_in=8, depth=2, width=16, tau=0.01, max_epochs=3000)


def test_a_real_frontier_is_that_of_a_dense_grid_at_a_quarter_of_its_cells(network):
    """Where the dense grid puts N50, and where the search does, both within the other's interval."""
    counts = np.unique(np.geomspace(32, 640, 24).round().astype(int))
    fields = {name: getattr(network, name) for name in ("d_in", "depth", "width", "tau", "max_epochs")}
    dense = bench.run(bench.expand(**fields, n_samples=counts.tolist(), seed=range(100, 110)))
    search = bench.run(network, search=bench.Search())
    one = capacities(dense.assign(setting="all cells")).iloc[0]
    other = capacities(search).iloc[0]
    assert one["n50_low"] <= other["n50"] <= one["n50_high"]
    assert other["n50_low"] <= one["n50"] <= other["n50_high"]
    assert other["n50_high"] <= 1.15 * other["n50_low"]
    assert len(search) <= len(dense) / 4


def test_a_search_that_is_stopped_goes_on_where_it_was(network, tmp_path):
    search = Search(ratio=2.0)
    whole = bench.run(network, search=search, run_dir=tmp_path / "whole")
    bench.run(network, search=Search(ratio=2.0, most_cells=9), run_dir=tmp_path / "cut")
    resumed = bench.run(network, search=search, run_dir=tmp_path / "cut")
    results = ["cell_id", "status", "epoch_to_tau", "final_tau"]
    # It was cut in the middle of the second round.
    pd.testing.assert_frame_equal(resumed[results], whole[results])
    again = bench.run(network, search=search, run_dir=tmp_path / "whole")
    pd.testing.assert_frame_equal(again[results], whole[results])


def test_what_a_search_chooses_cannot_be_swept():
    with pytest.raises(bench.GridError) as error:
        compose("grid=frontier", "grid.seed=[0,1]")
    assert str(error.value) == "grid.seed=[0, 1]: is what a search chooses; set grid.seed=null, or search=null"
    with pytest.raises(bench.GridError) as error:
        compose("grid=frontier", "search.ratio=0.9")
    assert str(error.value) == "search.ratio=0.9: must be at least 1.01; give for example 1.15"


def test_the_shipped_frontier_grid_is_a_search():
    chosen = compose("grid=frontier")
    assert chosen.search == Search()
    assert len(chosen.cells) == len(set(chosen.cells)) == 40


def test_the_shipped_frontier_grid_compares_depths_1_to_8_at_equal_parameters():
    sizes = {(cell.depth, cell.width): n_params(cell) for cell in compose("grid=frontier").cells}
    for size in (153, 313, 1001):
        alike = {depth for (depth, _), p in sizes.items() if abs(math.log(p / size)) < 0.19}
        assert alike == {1, 2, 4, 8}


def test_cells_that_differ_in_seeds_and_sample_counts_alone_are_one_network(network):
    copies = [dataclasses.replace(network, data_seed=seed, init_seed=seed, n_samples=10 + seed) for seed in range(3)]
    table = bench.run(copies, search=Search(ratio=3.0))
    assert not table["cell_id"].duplicated().any()
    assert set(table["status"]) <= {"memorized", "censored"}
    assert len(capacities(table)) == 1
