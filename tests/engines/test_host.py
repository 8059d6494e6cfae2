"""The host's part of the CUDA engine, on a device that trains nothing: its time, what it reads, what it prepares ahead, how it deals out a chip."""

from __future__ import annotations

import dataclasses
import signal
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.engines import ahead, draws
from bench.engines.ahead import Ahead
from bench.engines.cuda import engine, lane
from bench.engines.cuda.engine import CudaEngine
from bench.engines.cuda.fits import Fits
from bench.engines.cuda.lane import Lane
from bench.engines.cuda.teams import Group, Teams, dealt
from bench.engines.draws import Draws
from bench.engines.packs import Pack
from bench.engines.schedules import learning_rates
from bench.protocol.cells import Cell
from bench.protocol.networks import initial_layers
from bench.protocol.noise import training_data, validation_data
from tests.engines.idle_device import NOT_THE_HOSTS, IdleDevice, host_part
from tests.engines.test_packing import mixed_cells
from tests.engines.training import train

# What the thread that feeds the device may take for a cell, and how many times slower this machine may be, whose shapes are checked.
MARK_US = 20
SLOWER = 5

needs_memfd = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the memory that workers share")


def of_the_host(parts: dict[str, float]) -> float:
    return sum(time_us for part, time_us in parts.items() if part not in NOT_THE_HOSTS)


def test_the_host_takes_microseconds_for_a_cell_whose_draws_are_kept():
    cells = [
        Cell(width=16, depth=2, n_samples=n, weight_decay=decay / 1e3, data_seed=seed, init_seed=seed)
        for n in (64, 128)
        for decay in range(1, 301)
        for seed in range(5)
    ]
    best = min(of_the_host(host_part(cells, IdleDevice(epochs=2000, halved=3))[0]) for _ in range(3))
    assert best < MARK_US * SLOWER


@needs_memfd
@pytest.mark.exhaustive
def test_the_host_takes_microseconds_for_a_cell_whose_draws_workers_make(monkeypatch):
    drawn: list[Cell] = []
    monkeypatch.setattr(engine, "available_cores", lambda: 2)
    monkeypatch.setattr(draws, "training_data", lambda cell: drawn.append(cell) or training_data(cell))
    cells = [Cell(width=16, depth=2, data_seed=seed, init_seed=seed) for seed in range(12_000)]
    parts, n_outcomes = host_part(cells, IdleDevice(epochs=2000, halved=3, slice_s=0.25))
    assert n_outcomes == len(cells)
    assert len(drawn) == ahead.BEGINNING * ahead.BATCH
    assert of_the_host(parts) < MARK_US * SLOWER


def test_what_a_slice_noted_is_read_and_nothing_else():
    cells = [
        dataclasses.replace(cell, n_val=n_val, max_epochs=300, tau=0.01) for cell in mixed_cells(60, seed=3) for n_val in (0, 7)
    ]
    device = IdleDevice(epochs=11, halved=2)
    outcomes = train(cells, engine=CudaEngine([device]), n_predictions=4)
    measured = {cell: (outcome.epochs_run or 0) + 1 for cell, outcome in outcomes.items()}
    noted = sum(count * (1 + (cell.n_val > 0)) + min(4, cell.n_samples) for cell, count in measured.items())
    assert max(measured.values()) > 10 * 11
    assert device.numbers_read == noted


@pytest.mark.gpu
def test_a_gpu_gathers_what_the_host_would(monkeypatch):
    from bench.engines.cuda import gpu

    monkeypatch.setattr(gpu, "GATHERED", 1000)
    numbers, random = np.arange(10_000.0), np.random.default_rng(1)
    memory = gpu.gpus("cuda:0")[0].memory(numbers.nbytes)
    memory.write(numbers)
    starts, counts = random.integers(0, 9000, 50), random.integers(0, 1000, 50)
    expected = np.concatenate([numbers[start : start + count] for start, count in zip(starts, counts, strict=True)])
    assert memory.gathered(starts, counts).read(expected.nbytes).tobytes() == expected.tobytes()


def test_a_slice_of_few_cells_is_not_cut_short_by_room_for_what_they_note():
    cells = [Cell(init_seed=seed, max_epochs=30_000, tau=1e-9) for seed in range(200)]
    device = IdleDevice(epochs=40_000, halved=3)
    outcomes = train(cells, engine=CudaEngine([device]))
    assert {outcome.epochs_run for outcome in outcomes.values()} == {30_000}
    assert device.slices == 1


def test_room_that_one_cell_leaves_is_the_others(monkeypatch):
    monkeypatch.setattr(lane, "ROOM", 1000)
    cells = [Cell(max_epochs=epochs, tau=1e-9) for epochs in (10, 20, 5000)]
    device = IdleDevice(epochs=10**6, halved=3)
    train(cells, engine=CudaEngine([device]))
    assert device.slices == 6  # of 968, then 1000 epochs of the one that is left


def batches_of(cells: list[Cell]) -> list[ahead.Batch]:
    own = Lane(Fits(IdleDevice(epochs=1, halved=1)), cells, "cuda", n_predictions=0, jacobian_rank=False, cores=0)
    return list(own._ahead.batches)


def drawn(cell: Cell) -> list[np.ndarray]:
    """A cell's arrays, and the variance of its targets, from the draws themselves."""
    x, y, variance = training_data(cell)
    val_x, val_y, _ = validation_data(cell)
    epochs = np.arange(1 if cell.lr_schedule == "constant" else cell.max_epochs + 1)
    params = np.concatenate([part.ravel() for layer in initial_layers(cell) for part in layer])
    return [params, x.ravel(), y, val_x.ravel(), val_y, learning_rates(cell, epochs), np.array([variance])]


def arrays_of(batch: ahead.Batch, image: ahead.Image) -> list[bytes]:
    """Each cell's arrays as the core reads them, and its variance."""
    arrays = []
    for cell, places, variance in zip(batch.cells, batch.arrays_at.tolist(), image.variances, strict=True):
        counts = [array.size for array in drawn(cell)[:-1]]
        numbers = [image.numbers[at : at + count] for at, count in zip(places, counts, strict=True)]
        arrays.append(np.concatenate([*numbers, [variance]]).tobytes())
    return arrays


@pytest.fixture
def few_are_enough(monkeypatch):
    """Workers start for a few cells."""
    for name, value in {"DRAWS_WORTH_A_WORKER": 20, "BEGINNING": 1, "AHEAD": 2}.items():
        monkeypatch.setattr(ahead, name, value)
    monkeypatch.setattr(ahead, "BATCH", 10)


@needs_memfd
@pytest.mark.parametrize("killed_after", [None, 1, 3], ids=["", "killed_at_once", "killed"])
def test_workers_prepare_what_the_core_takes_and_if_they_end_others_do(few_are_enough, killed_after):
    kinds = [
        {"lr_schedule": "cosine"},
        {"init": "orthogonal"},
        {"target": "rademacher", "target_scaling": "minmax"},
        {"tau": 1},
    ]
    cells = [dataclasses.replace(cell, **kinds[i % 4]) for i, cell in enumerate(mixed_cells(150, seed=9))]
    batches = batches_of(cells)
    prepared = Ahead(batches, cores=2)
    assert len(prepared._workers) == 2
    try:
        for number, batch in enumerate(batches):
            if number == killed_after:
                for worker in prepared._workers:
                    worker._process.kill()
                    worker._process.wait()
            image = prepared.image(wait=True)
            assert image is not None
            assert arrays_of(batch, image) == [np.concatenate(drawn(cell)).tobytes() for cell in batch.cells]
            prepared.done()
    finally:
        prepared.close()
    if killed_after != 3:  # By then they may have given all that they were asked for.
        assert {worker.works for worker in prepared._workers} == {killed_after is None}
    assert all(worker._process.returncode is not None for worker in prepared._workers)


@needs_memfd
def test_who_waits_for_a_worker_draws_its_later_batches(few_are_enough, monkeypatch):
    batches = batches_of([Cell(init_seed=seed) for seed in range(60)])
    own = []

    def write_image(numbers, cells, *arguments):
        own.append(next(i for i, batch in enumerate(batches) if batch.cells is cells))
        return ahead_write_image(numbers, cells, *arguments)

    ahead_write_image = ahead.write_image
    monkeypatch.setattr(ahead, "write_image", write_image)
    prepared = Ahead(batches, cores=1)
    (worker,) = prepared._workers
    # It was asked for two batches, and gives none of them until it goes on.
    worker._process.send_signal(signal.SIGSTOP)
    timer = threading.Timer(1.0, worker._process.send_signal, [signal.SIGCONT])
    try:
        for batch in batches:
            if batch is batches[1]:
                timer.start()
            image = prepared.image(wait=True)
            assert image is not None
            assert arrays_of(batch, image) == [np.concatenate(drawn(cell)).tobytes() for cell in batch.cells]
            prepared.done()
    finally:
        timer.cancel()
        prepared.close()
    assert own == [0, 3, 4, 5]


@needs_memfd
def test_a_batch_that_cannot_be_drawn_while_another_is_waited_for_fails_at_its_own_turn(few_are_enough, monkeypatch):
    batches = batches_of([Cell(init_seed=seed) for seed in range(60)])

    def write_image(numbers, cells, *arguments):
        if cells is batches[4].cells:
            raise MemoryError
        return ahead_write_image(numbers, cells, *arguments)

    ahead_write_image = ahead.write_image
    monkeypatch.setattr(ahead, "write_image", write_image)
    prepared = Ahead(batches, cores=1)
    failed = []
    try:
        for number, batch in enumerate(batches):
            try:
                image = prepared.image(wait=True)
            except MemoryError:
                failed.append(number)
            else:
                assert image is not None
                assert arrays_of(batch, image) == [np.concatenate(drawn(cell)).tobytes() for cell in batch.cells]
            prepared.done()
    finally:
        prepared.close()
    # It is the worker's, which has memory, where that was asked for it first.
    assert failed in ([4], [])


@needs_memfd
def test_workers_end_with_their_pipe(few_are_enough):
    prepared = Ahead(batches_of([Cell(init_seed=seed) for seed in range(60)]), cores=1)
    (worker,) = prepared._workers
    worker._pipe.close()
    assert worker._process.wait(timeout=60) == 0


def test_few_cells_and_shared_draws_start_no_workers(monkeypatch):
    def start(*arguments, **pipes):
        raise AssertionError("a worker was started")

    monkeypatch.setattr(ahead, "start", start)
    few = [Cell(init_seed=seed, data_seed=seed) for seed in range(ahead.DRAWS_WORTH_A_WORKER // 2)]
    shared = [Cell(init_seed=seed, weight_decay=decay / 1e6) for seed in range(5) for decay in range(2000)]
    for cells in (few, shared):
        assert not Ahead(batches_of(cells), cores=8)._workers


groups_of_cells = st.lists(
    st.tuples(
        st.integers(1, 3000), st.floats(1, 1e12), st.sampled_from([1, 2, 5, 8]), st.sampled_from([132, 264, 396, 528, 792])
    ),
    min_size=1,
    max_size=20,
)


def places_of(blocks: int):
    """A chip of 132 multiprocessors, whose clusters lie within parts of 16 or 18 of them."""
    each = blocks // 132
    return lambda team: sum(part * each // team for part in (16, 16, 16, 16, 16, 16, 18, 18))


@given(groups_of_cells)
def test_the_launches_of_a_slice_do_not_exceed_the_chip(described):
    groups = [Group(cells, work, shares, places_of(blocks)) for cells, work, shares, blocks in described]
    given_ = dealt(groups, most_blocks=8)
    for group, (teams, blocks) in zip(groups, given_, strict=True):
        assert 1 <= teams <= group.cells
        assert blocks in (1, 2, 4, 8)
        assert blocks <= group.shares
        assert blocks == 1 or teams == group.cells <= group.at_once(blocks)
    taken = [teams / group.at_once(blocks) for group, (teams, blocks) in zip(groups, given_, strict=True)]
    least = sum(1 / group.at_once(1) for group in groups)
    assert sum(taken) <= max(1, least) + 1e-6
    # Nothing is idle while a cell waits for a place that it could have.
    for group, (teams, _) in zip(groups, given_, strict=True):
        assert teams == min(group.cells, group.at_once(1)) or sum(taken) + 1 / group.at_once(1) > 1 - 1e-6


def test_a_group_that_could_fill_the_chip_leaves_to_others_their_share():
    at_once = places_of(792)
    groups = [Group(3000, 3e9, 1, at_once), Group(1000, 1e9, 1, at_once), Group(5, 1.0, 1, at_once)]
    assert dealt(groups, most_blocks=8) == [Teams(594, 1), Teams(197, 1), Teams(1, 1)]


def test_a_slice_of_many_kernels_fills_the_chip_and_no_more(monkeypatch):
    monkeypatch.setattr(lane, "ADMIT_S", 600.0)
    cells = [
        Cell(width=width, n_samples=n, dtype=dtype, init_seed=seed, tau=1e-9)
        for width in (8, 16, 64)
        for n in (20, 100)
        for dtype in ("float32", "float64", "tf32")
        for seed in range(40)
    ]
    device = IdleDevice(epochs=100, halved=3, places=500)
    next(reports := CudaEngine([device]).train(Pack(tuple(cells), 1)))
    next(reports)
    reports.close()
    assert len(device.launches) > 5
    assert {launch.team for launch in device.launches} == {1}
    assert sum(launch.teams for launch in device.launches) == 500
    assert sum(len(launch.order) for launch in device.launches) == len(cells)


def test_clusters_are_as_many_as_the_parts_of_a_chip_hold_and_one_more_cell_gets_smaller_ones():
    at_once = places_of(132)
    assert 132 // 8 == 16 and at_once(8) == 16 and at_once(4) == 32
    narrow = {1: 132, 2: 66, 4: 32, 8: 14}.__getitem__
    assert dealt([Group(14, 1.0, 8, narrow)], most_blocks=8) == [Teams(14, 8)]
    assert dealt([Group(15, 1.0, 8, narrow)], most_blocks=8) == [Teams(15, 4)]
    assert dealt([Group(15, 1.0, 8, narrow)], most_blocks=1) == [Teams(15, 1)]
    # The longest cells get what is left over.
    assert dealt([Group(3, 9.0, 8, narrow), Group(14, 1.0, 8, narrow)], most_blocks=8) == [Teams(3, 8), Teams(14, 4)]


def test_draws_are_kept_up_to_their_bytes_and_the_oldest_go_at_no_cost():
    """A hundred thousand are kept and three hundred thousand more come: what goes is found at once."""
    draws, array = Draws(16_000_000), np.zeros(20)

    def ask(first: int, until: int) -> float:
        started = time.process_time()
        for key in range(first, until):
            draws._get((key,), Cell(), lambda _: (array, array.nbytes))
        return time.process_time() - started

    filling = ask(0, 100_000)
    assert ask(100_000, 400_000) < 30 * filling
    assert list(draws._kept) == [(key,) for key in range(300_000, 400_000)]
