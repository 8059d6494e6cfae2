"""The CUDA engine without a GPU: its queue, its slices and its kernels, on a device that is this host."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

import bench
from bench.engines import draws, record
from bench.engines.choice import native_is_built
from bench.engines.packs import Pack, budget_flops
from bench.engines.task import spec_of
from bench.protocol.cells import Cell, Status
from bench.protocol.networks import n_params
from bench.protocol.noise import Data
from tests.engines.test_packing import mixed_cells
from tests.engines.training import NOT_BUILT, train, untimed

if not native_is_built():
    pytest.skip(NOT_BUILT, allow_module_level=True)

from bench.engines.cuda.engine import CudaEngine, dealt
from bench.engines.cuda.fits import Fits
from bench.engines.cuda.tiles import FMA_ROWS, KERNELS, TENSOR_ROWS, WARP, blocks_beside, kernels_for, threads_for
from bench.engines.cuda.ways import Products
from tests.engines.host_device import HostDevice

# Cells whose batches are dealt to several shares, under every kernel. A first epoch and a last one: more repeat what these do.
SHARED = [
    Cell(n_samples=n, width=width, depth=2, dtype=dtype, n_val=60, max_epochs=2, tau=1e-9, batch_size=batch, shuffle=True)
    for n, batch in ((600, None), (1100, None), (1100, 520))
    for width, dtype in ((8, "float32"), (70, "float32"), (9, "float64"), (9, "tf32"), (70, "tf32"))
] + [Cell(n_samples=2100, width=6, depth=1, max_epochs=2, tau=1e-9)]


def bytes_of(cells: list[Cell], *devices: HostDevice, products: Products = "auto") -> dict[Cell, str]:
    outcomes = train(cells, engine=CudaEngine(devices, products=products), n_predictions=3)
    return {cell: untimed(outcome) for cell, outcome in outcomes.items()}


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    return mixed_cells(40, seed=5) + SHARED


@pytest.fixture(scope="module")
def alone(cells) -> dict[Cell, str]:
    """Each trained by one thread, without a pause."""
    return bytes_of(cells, HostDevice(epochs=(10**6,)))


@pytest.mark.parametrize(
    ("threads", "descending"),
    [
        (3, True),
        (64, False),
        *(pytest.param(*way, marks=pytest.mark.exhaustive) for way in ((3, False), (32, False), (32, True), (64, True))),
    ],
)
def test_no_barrier_is_missing(threads, descending, cells, alone):
    """Whichever thread comes first between two barriers, the results are those of a single thread."""
    assert bytes_of(cells, HostDevice(threads=threads, descending=descending, epochs=(30,))) == alone


@pytest.mark.parametrize("descending", [pytest.param(False, marks=pytest.mark.exhaustive), True])
def test_no_barrier_is_missing_where_products_are_made_on_tensor_cores(descending):
    """A thread of this host stands for a warp there."""
    cells = [cell for cell in mixed_cells(30, seed=6) + SHARED[:2] if cell.dtype == "float32"]
    alone = bytes_of(cells, HostDevice(epochs=(10**6,)), products="3xtf32")
    assert bytes_of(cells, HostDevice(threads=5, descending=descending, epochs=(30,)), products="3xtf32") == alone
    assert alone != bytes_of(cells, HostDevice())


@pytest.mark.parametrize("bits", [0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF, 0x7FF8000000000000, 0x7FF0000000000000])
@pytest.mark.parametrize("width", [20, 70])
def test_on_tensor_cores_what_is_no_number_stays_none(bits, width, monkeypatch):
    """The first two are NaNs as a GPU makes them, whose heads are zero when they are rounded; the last is infinite."""
    inputs = np.ones((40, 3))
    inputs[7, 1] = np.array(bits, dtype=np.uint64).view(np.float64)
    monkeypatch.setattr(draws, "training_data", lambda cell: Data(inputs, np.arange(40.0), 1.0))
    cell = Cell(n_samples=40, d_in=3, width=width, max_epochs=3)
    assert train([cell], engine=CudaEngine([HostDevice()], products="3xtf32"))[cell].status is Status.DIVERGED


# Layers whose sums over samples are split into 16 parts, 8, 4, 2 and 1, whose last ones lack samples, with rows and columns to spare.
SPLIT = [
    Cell(n_samples=n, d_in=d_in, width=width, depth=2, dtype=dtype, activation=activation, max_epochs=2, tau=1e-9)
    for n, d_in in ((64, 3), (37, 7), (130, 9), (61, 17))
    for width, dtype in ((5, "float32"), (30, "float32"), (66, "float32"), (17, "float64"), (18, "tf32"), (65, "tf32"))
    for activation in ("relu", "tanh")
]


def test_parts_of_sums_are_added_to_the_same_bits_by_any_number_of_threads():
    alone = bytes_of(SPLIT, HostDevice())
    for threads in (2, 5):
        assert bytes_of(SPLIT, HostDevice(threads=threads, descending=True)) == alone


@pytest.mark.parametrize(
    ("team", "descending"),
    [(2, False), (8, True), *(pytest.param(*way, marks=pytest.mark.exhaustive) for way in ((2, True), (8, False)))],
)
def test_a_team_of_blocks_comes_to_the_bits_of_one(team, descending, alone):
    device = HostDevice(threads=2, places=team * len(SHARED), team=team, descending=descending, epochs=(30,))
    results = bytes_of(SHARED, device)
    assert max(launch.team for launch in device.launches) == team
    assert results == {cell: alone[cell] for cell in SHARED}


def test_a_team_hands_back_the_weights_of_one(monkeypatch):
    handed: list[bytes] = []
    monkeypatch.setattr(
        record, "rank", lambda cell, layers: handed.append(b"".join(part.tobytes() for part in sum(layers, ())))
    )
    for device in (HostDevice(), HostDevice(threads=3, places=8, team=8, descending=True, epochs=(30,))):
        train(SHARED[-1:], engine=CudaEngine([device]), jacobian_rank=True)
    assert handed[0] == handed[1]
    assert len(handed[0]) == 8 * n_params(SHARED[-1])


def test_neighbours_pauses_places_and_devices_do_not_enter_into_results(cells, alone):
    assert bytes_of(cells[::-1], HostDevice(places=5, epochs=(1, 7))) == alone
    assert bytes_of(cells, HostDevice(epochs=(2,)), HostDevice(places=2, epochs=(5,)), HostDevice(epochs=(50,))) == alone


def test_a_record_that_is_full_is_read_and_goes_on(monkeypatch):
    from bench.engines.cuda import lane

    (cell,) = bench.expand(width=8, n_samples=20, max_epochs=100, tau=1e-9)
    usual = bytes_of([cell], HostDevice())
    monkeypatch.setattr(lane, "ROOM", 7)
    assert bytes_of([cell], HostDevice()) == usual


def test_more_cells_than_slots_take_turns(monkeypatch, cells, alone):
    from bench.engines.cuda import lane

    monkeypatch.setattr(lane, "SLOTS", 3)
    assert bytes_of(cells, HostDevice(epochs=(11,))) == alone


def test_cells_that_do_not_fit_into_memory_together_take_turns_and_one_that_never_fits_fails_alone():
    small = [Cell(n_samples=20, width=8, init_seed=i, max_epochs=10, tau=1e-9) for i in range(6)]
    huge = Cell(n_samples=20_000, max_epochs=1, tau=1e-9)
    outcomes = train([*small, huge], engine=CudaEngine([HostDevice(free_bytes=60_000)]))
    assert outcomes[huge].status is Status.FAILED
    assert outcomes[huge].reason == "MemoryError: more than the device has free"
    alone = bytes_of(small, HostDevice())
    assert {cell: untimed(train([cell], engine=CudaEngine([HostDevice()]), n_predictions=3)[cell]) for cell in small} == alone
    assert all(outcomes[cell].status is Status.CENSORED for cell in small)


def test_a_cell_takes_the_kernel_with_the_most_samples_on_chip_and_where_none_fits_it_is_not_supported():
    wide = Cell(width=128, depth=8, n_samples=1000)
    assert [kernel.block for kernel in kernels_for(wide)] == [64, 32, 16]
    device = HostDevice(scratch_bytes=227 << 10)
    engine = CudaEngine([device])
    assert engine.supports(wide)
    assert not engine.supports(Cell(width=1000, depth=8, n_samples=1000))
    fit = Fits(device).fit(wide)
    assert fit is not None and fit.kernel.block == 32
    assert fit.sizes.scratch <= 227 << 10 < 2 * fit.sizes.scratch


def test_a_chip_that_gains_by_it_multiplies_large_networks_on_tensor_cores_and_small_ones_not():
    device = HostDevice()
    device.arch = "sm_90"
    large, small, double = Cell(width=64, depth=4), Cell(width=64, depth=1), Cell(width=64, depth=4, dtype="float64")

    def ways(**asked) -> list[str]:
        return [fit.kernel.way for cell in (large, small, double) if (fit := Fits(device, **asked).fit(cell))]

    assert ways() == ["3xtf32", "float32", "float64"]
    assert ways(products="fma") == ["float32", "float32", "float64"]
    assert ways(products="3xtf32") == ["3xtf32", "3xtf32", "float64"]
    assert ways(distrusted=("3xtf32",)) == ["float32", "float32", "float64"]
    assert ways(distrusted=("3xtf32", "float32")) == ["float64"]
    device.arch = "sm_86"
    assert ways() == ["float32", "float32", "float64"]


@pytest.mark.parametrize("tensor_cores", [False, True])
def test_tiles_are_wide_where_neither_blocks_nor_warps_would_be_lost(tensor_cores):
    """Of six blocks that a multiprocessor holds narrow ones leave registers for four; of one, wide ones have half the warps."""
    cells = [Cell(width=width, depth=depth, n_samples=1000) for width, depth in ((64, 2), (64, 4), (64, 8), (128, 4), (32, 4))]
    assert [blocks_beside(cell, 64) for cell in cells] == [6, 3, 1, 1, 6]
    kernels = [kernels_for(cell, tensor_cores=tensor_cores)[0] for cell in cells]
    narrow, wide = TENSOR_ROWS if tensor_cores else FMA_ROWS
    assert [kernel.rows for kernel in kernels] == [narrow, wide, narrow, wide, narrow]
    threads = [threads_for(*pair) for pair in zip(cells, kernels, strict=True)]
    assert threads == [128, 128, 256, 256, 128]


def test_a_block_is_whole_warps_and_no_larger_than_its_kernel():
    for kernel in KERNELS:
        for width, depth in itertools.product((1, 5, 16, 64, 100, 300), (2, 8)):
            threads = threads_for(Cell(width=width, depth=depth), kernel)
            assert threads % WARP == 0
            assert threads <= kernel.threads


def test_the_cell_with_the_most_work_left_comes_first():
    """Few dear epochs are more work than many cheap ones, until some of them are done."""
    cells = [Cell(n_samples=500, max_epochs=10, tau=1e-9), Cell(n_samples=50, max_epochs=95, tau=1e-9)]
    device = HostDevice(epochs=(5,), places=2)
    train(cells[::-1], engine=CudaEngine([device]))
    assert [list(launch.order) for launch in device.launches[:2]] == [[0, 1], [1, 0]]


def test_a_cell_without_room_waits_and_goes_on_when_others_have_ended():
    """Memory that is refused, though there seemed to be enough, costs nothing but time."""

    class Refusing(HostDevice):
        refused = 0

        def memory(self, n_bytes):
            if n_bytes and len(self.launches) == 1 and self.refused < 3:
                self.refused += 1
                raise MemoryError("refused")
            return super().memory(n_bytes)

    from bench.engines import ahead
    from bench.engines.cuda import lane

    cells = [Cell(n_samples=20, init_seed=i, max_epochs=50, tau=1e-9) for i in range(12)]
    device = Refusing(epochs=(10,))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lane, "ADMIT_S", 0.0)
        patched.setattr(ahead, "BATCH", 2)
        outcomes = train(cells, engine=CudaEngine([device]), n_predictions=3)
    assert device.refused == 1
    assert {cell: untimed(outcome) for cell, outcome in outcomes.items()} == bytes_of(cells, HostDevice())


def test_cells_are_dealt_to_devices_by_work_longest_first():
    cells = [Cell(n_samples=n) for n in (100, 90, 80, 30, 20, 10)]
    hands = dealt(cells, 2)
    assert [[cell.n_samples for cell in hand] for hand in hands] == [[100, 30, 20, 10], [90, 80]]
    loads = [sum(map(budget_flops, hand)) for hand in hands]
    assert max(loads) <= 1.1 * min(loads)


def test_closing_stops_after_the_slice_and_what_ended_is_kept():
    cells = [Cell(n_samples=20, width=4, max_epochs=epochs, tau=1e-9, init_seed=epochs) for epochs in (5, 5000)]
    device = HostDevice(epochs=(20,))
    reports = CudaEngine([device]).train(Pack(tuple(cells), 1))
    done = next(report.outcomes for report in reports if report.outcomes)
    reports.close()
    assert [outcome.cell for outcome in done] == [cells[0]]
    assert not device._started  # nobody else may get the memory that a slice still writes to


@pytest.mark.parametrize("d_in", [1, 2, 3, 5])
def test_the_sizes_that_are_kept_are_those_of_the_cell_whatever_was_asked_before(d_in):
    fits = Fits(HostDevice())
    plain = Cell(n_samples=70, width=13, depth=2, d_in=d_in)
    fields = ({"dropout": 0.1}, {"input_noise": 0.1}, {"n_val": 50}, {"batch_size": 20, "shuffle": True}, {"optimizer": "sgd"})
    for cell in (plain, *(dataclasses.replace(plain, **own) for own in fields), *mixed_cells(60, seed=8)):
        fit = fits.fit(cell)
        assert fit is not None
        assert fit.sizes == fits.device.measure(fit.kernel, [spec_of(cell, variance=1.0)])[0]
