"""The same networks trained by this program and by other libraries, in one run, turn by turn, and their losses compared."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median

import numpy as np
import pandas as pd
from jaxtyping import Float32

from bench.engines.packs import epoch_flops
from bench.engines.peak import peak_gflops, peak_name
from bench.machine.cores import available_cores
from bench.peers.registry import OURS, PEERS, SHAPE
from bench.peers.worker import PeerError, Trained, Worker
from bench.protocol.cells import Cell

# Epochs enough that a call is not its overheads.
LEAST_EPOCHS = 20
# A peer that trains packs is tried with packs of so many and with all networks in one; where these are few, with single ones.
SMALL_PACK = 8
TRIALS = 2
# A peer that trains one network at a time trains as many as about this allows.
ONE_BY_ONE_S = 2.0
# Relative difference of float32 losses, as in the conformance suite.
SAME_LOSSES = 1e-3
# Rounding has no way yet to grow in these: before the first update and after it.
SURE_LOSSES = 2


MEASURES = (
    *("gflops", "gflops_low", "gflops_high", "of_peak", "slower", "slower_low", "slower_high"),
    *("loss_difference", "peak_memory_mb", "joules_per_tflop"),
)


@dataclasses.dataclass
class _Side:
    """A peer at one shape: how many networks a call trains in packs of how many, and what its calls gave."""

    name: str
    worker: Worker
    networks: int = 0
    pack: int = 0
    gflops: list[float] = dataclasses.field(default_factory=list)
    joules_per_tflop: list[float] = dataclasses.field(default_factory=list)
    last: Trained | None = None
    error: str | None = None


def compare(
    shapes: Sequence[Cell],
    peers: Sequence[str],
    *,
    device: str = "cpu",
    rounds: int = 5,
    networks: int = 64,
    epochs: int = 2000,
    flops: float = 4e10,
) -> Iterator[pd.DataFrame]:
    """Time peers on networks of each shape; yields a table for each.

    Every round measures the machine's peak and then each peer once, beginning with another one each time. A peer that trains
    packs gets them of the size that was faster in a trial.

    Args:
        shapes: a cell for each shape, of the kind that `bench.peers.problem.Problem` describes; its seeds are replaced.
        peers: names of `bench.peers.registry.PEERS`, all able to take part (`bench.peers.registry.why_not`).
        device: "cpu" or "cuda:<index>".
        rounds: calls of each peer that are timed, after those that warm it up.
        networks: most networks of a shape; each has its own data and weights.
        epochs: most epochs of a call.
        flops: useful FLOPs of a call, about: 6 * n_samples * multiply-accumulates of a forward pass, per epoch and network.

    Yields:
        The columns of `comparison` (`bench.protocol.columns`), a row for each peer.
    """
    with _workers(peers, device) as workers:
        for shape in shapes:
            count, length = _size(shape, networks, epochs, flops)
            cells = [dataclasses.replace(shape, data_seed=seed, init_seed=seed) for seed in range(count)]
            sides = [_Side(name, worker) for name, worker in workers.items()]
            for side in sides:
                _warm_up(side, cells, length)
            peaks = [_round(sides, number, cells, length, device) for number in range(rounds)]
            yield pd.DataFrame(_rows(shape, length, sides, peaks, device))


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each peer, over all shapes: the columns of `summary` (`bench.protocol.columns`)."""
    rows = []
    for (peer, label), own in table.groupby(["peer", "label"], sort=False):
        row: dict = {"peer": peer, "label": label, "n_shapes": int(own["error"].isna().sum())}
        for name in ("gflops", "of_peak", "slower", "joules_per_tflop"):
            values = own[name].dropna()
            row[name] = float(np.exp(np.log(values).mean())) if len(values) else math.nan
            row |= {f"{name}_low": values.min(), f"{name}_high": values.max()}
        row["peak_memory_mb"] = own["peak_memory_mb"].max()
        row |= {"peak": own["peak"].iloc[0], "peak_gflops": own["peak_gflops"].median()}
        rows.append(row)
    return pd.DataFrame(rows)


def disagreeing(table: pd.DataFrame) -> pd.DataFrame:
    """The rows whose losses are not the same."""
    return table[table["error"].isna() & ~(table["loss_difference"] <= SAME_LOSSES)]


@contextmanager
def _workers(peers: Sequence[str], device: str) -> Iterator[dict[str, Worker]]:
    workers: dict[str, Worker] = {}
    try:
        for name in peers:
            workers[name] = Worker(name, device)
        yield workers
    finally:
        for worker in workers.values():
            worker.close()


def _size(shape: Cell, networks: int, epochs: int, flops: float) -> tuple[int, int]:
    """Networks and epochs of a call: as many networks as its FLOPs allow at LEAST_EPOCHS, and then epochs."""
    one = epoch_flops(shape)
    count = max(available_cores(), min(networks, math.floor(flops / (one * LEAST_EPOCHS))))
    if count > SMALL_PACK:  # whole packs
        count -= count % SMALL_PACK
    return count, max(LEAST_EPOCHS, min(epochs, math.floor(flops / (one * count))))


def _warm_up(side: _Side, cells: list[Cell], epochs: int) -> None:
    """Compile, and find how many networks a call trains and in what packs."""
    takes = PEERS[side.name].takes
    try:
        if takes == "one":
            side.worker.train(cells[:1], epochs, 1)
            time_s = side.worker.train(cells[:1], epochs, 1).time_s
            side.networks = side.pack = max(1, min(len(cells), int(ONE_BY_ONE_S / time_s)))
        elif takes == "all":
            side.networks = side.pack = len(cells)
            side.worker.train(cells, epochs, side.pack)
        else:
            side.networks = len(cells)
            packs = {1, len(cells)} if len(cells) <= SMALL_PACK else {SMALL_PACK, len(cells)}
            times = {}
            for pack in sorted(packs):
                side.worker.train(cells, epochs, pack)
                times[pack] = min(side.worker.train(cells, epochs, pack).time_s for _ in range(TRIALS))
            side.pack = min(times, key=times.__getitem__)
    except PeerError as error:
        side.error = str(error)


def _round(sides: list[_Side], number: int, cells: list[Cell], epochs: int, device: str) -> float:
    """Every side once, beginning with side `number`; returns the peak in GFLOP/s."""
    peak = peak_gflops(device, available_cores())
    first = number % len(sides)
    for side in sides[first:] + sides[:first]:
        if side.error is not None:
            continue
        try:
            side.last = side.worker.train(cells[: side.networks], epochs, side.pack)
        except PeerError as error:
            side.error = str(error)
            continue
        work = epoch_flops(cells[0]) * epochs * side.networks
        side.gflops.append(work / side.last.time_s / 1e9)
        side.joules_per_tflop.append(side.last.energy_j / work * 1e12)
    return peak


def _rows(shape: Cell, epochs: int, sides: list[_Side], peaks: list[float], device: str) -> Iterator[dict]:
    done = {side.name: side for side in sides if side.error is None and side.last is not None}
    ours = next((done[name].gflops for name in OURS if name in done), [])
    # An engine of ours keeps points of the curve, the others every epoch.
    reference = next((side for side in sorted(done.values(), key=lambda side: side.name in OURS)), None)
    for side in sides:
        row: dict = {name: getattr(shape, name) for name in SHAPE}
        row |= {"peer": side.name, "label": PEERS[side.name].label, "networks": side.networks, "pack": side.pack}
        row |= {"epochs": epochs, "n_rounds": len(side.gflops), "error": side.error}
        row |= {"peak": peak_name(device), "peak_gflops": median(peaks), **dict.fromkeys(MEASURES, math.nan)}
        if side.name in done and reference and reference.last and side.last:
            row |= _spread("gflops", side.gflops)
            row["of_peak"] = median(speed / peak for speed, peak in zip(side.gflops, peaks, strict=True))
            if ours:
                row |= _spread("slower", [best / speed for best, speed in zip(ours, side.gflops, strict=True)])
            row["loss_difference"] = _difference(side, side.last.losses, reference.last.losses)
            row["peak_memory_mb"] = side.last.peak_memory_mb
            row["joules_per_tflop"] = float(pd.Series(side.joules_per_tflop).median())
        yield row


def _difference(
    side: _Side, losses: Float32[np.ndarray, "cell epoch"], reference: Float32[np.ndarray, "some_cell epoch"]
) -> float:
    """Relative difference of the networks that both trained; NaN where one of them has a loss that is no number.

    The largest of SURE_LOSSES of any network, and of the median network after that: deep networks that memorize few samples at
    once are chaotic, and any two libraries part by 1e-3 in some of them within five epochs.
    """
    both = min(len(losses), len(reference))
    # An engine's learning curve has no point at some epochs.
    known = np.flatnonzero(~np.isnan(losses).all(axis=0)) if side.name in OURS else np.arange(losses.shape[1])
    apart = np.abs(losses[:both] / reference[:both] - 1)
    sure, later = apart[:, :SURE_LOSSES], apart[:, known[known >= SURE_LOSSES]]
    return float(np.max([np.max(sure), *np.median(later, axis=0)]))


def _spread(name: str, values: list[float]) -> dict[str, float]:
    return {name: median(values), f"{name}_low": min(values), f"{name}_high": max(values)}
