"""The same networks trained by this program and by other libraries, in one run, turn by turn, and their losses compared.

What a side does for an epoch of a network: a pass forward, one backward, an update by Adam, and the loss over the whole
training set in evaluation mode, before the update. Without dropout the pass forward gives that loss. With dropout it does not,
and every side makes a second pass forward, without masks: our engines as they do for any cell; the torch loop and vmap by
modules in evaluation mode under no_grad; JAX within its scan; Keras by fit's validation data, which are the training set, and
by evaluate before the first epoch. Useful work counts neither that pass nor the masks.

Masks are each library's own, so with dropout losses differ but for those before the first update, which are held to rounding.
That a side drops as it should is told from networks that it trains for that alone, untimed: see `_check`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int

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
# Later ones are compared as far as rounding has not yet led most float32 trainings apart.
LOSSES_COMPARED = 6

# With dropout so many networks are trained for so many epochs, fewer where these were more than the FLOPs of a call. In the
# second half the mean over networks of log(loss / loss of the reference) may be off by a hundredth and by four standard errors,
# which chance alone exceeds in one of a thousand.
CHECKED = 16
CHECKED_EPOCHS = 200
ALIKE, ALIKE_ERRORS = 0.01, 4.0


MEASURES = (
    *("gflops", "gflops_low", "gflops_high", "of_peak", "slower", "slower_low", "slower_high"),
    *("loss_difference", "late_difference", "late_allowed", "peak_memory_mb", "joules_per_tflop"),
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
    checked: Float32[np.ndarray, "cell epoch"] | None = None
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
                if shape.dropout:
                    _check(side, shape, flops)
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
    """The rows whose losses are not the same, or with dropout are not alike later on."""
    same = table["loss_difference"] <= SAME_LOSSES
    alike = np.abs(np.log1p(table["late_difference"])) <= np.log1p(table["late_allowed"])
    return table[table["error"].isna() & ~(same & (alike | (table["dropout"] == 0)))]


def spelled_difference(row: pd.Series) -> str:
    """What is not the same in a row of `disagreeing`."""
    if row["loss_difference"] <= SAME_LOSSES:
        off, allowed = row["late_difference"], row["late_allowed"]
        return f"the later losses of {row['label']} are off by {off:+.2g}, where chance explains {allowed:.2g}"
    return f"the losses of {row['label']} differ by {row['loss_difference']:.2g}"


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


def _check(side: _Side, shape: Cell, flops: float) -> None:
    """Train CHECKED networks with dropout, untimed; losses of the second half of the epochs are held against other sides'.

    At the shapes of conf/shapes/dropout.yaml our engine is off from JAX by 0.15 to 0.25 of what is allowed, without dropout by
    1.3 to 3.1 times as much, least at width 4.
    """
    if side.error is not None:
        return
    cells = [dataclasses.replace(shape, data_seed=seed, init_seed=seed) for seed in range(CHECKED)]
    epochs = max(LEAST_EPOCHS, min(CHECKED_EPOCHS, math.floor(flops / (epoch_flops(shape) * CHECKED))))
    try:
        side.checked = side.worker.train(cells, epochs, 1 if PEERS[side.name].takes == "one" else CHECKED).losses
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
            row["loss_difference"] = _difference(side, side.last.losses, reference.last.losses, dropping=shape.dropout > 0)
            if side.checked is not None and reference.checked is not None:
                row["late_difference"], row["late_allowed"] = _later(side, side.checked, reference.checked)
            row["peak_memory_mb"] = side.last.peak_memory_mb
            row["joules_per_tflop"] = float(pd.Series(side.joules_per_tflop).median())
        yield row


def _difference(
    side: _Side,
    losses: Float32[np.ndarray, "cell epoch"],
    reference: Float32[np.ndarray, "some_cell epoch"],
    *,
    dropping: bool,
) -> float:
    """Relative difference of the networks that both trained; NaN where one of them has a loss that is no number.

    The largest of SURE_LOSSES of any network, and of the median network after that: deep networks that memorize few samples at
    once are chaotic, and any two libraries part by 1e-3 in some of them within five epochs. With dropout, of the first
    loss alone.
    """
    both = min(len(losses), len(reference))
    epochs = np.arange(losses.shape[1]) if side.name not in OURS else _known(losses)
    compared = epochs[epochs < (1 if dropping else LOSSES_COMPARED)]
    apart = np.abs(losses[:both, compared] / reference[:both, compared] - 1)
    sure = compared < SURE_LOSSES
    return float(np.max([np.max(apart[:, sure]), *np.median(apart[:, ~sure], axis=0)]))


def _known(losses: Float32[np.ndarray, "cell epoch"]) -> Int[np.ndarray, " known"]:
    """Epochs at which any network has a loss: an engine's learning curve has no point at some."""
    return np.flatnonzero(~np.isnan(losses).all(axis=0))


def _later(
    side: _Side, losses: Float32[np.ndarray, "cell epoch"], reference: Float32[np.ndarray, "cell epoch"]
) -> tuple[float, float]:
    """By what part the losses of the second half are off in the geometric mean, and by what part they may be."""
    epochs = np.arange(losses.shape[1]) if side.name not in OURS else _known(losses)
    late = epochs[epochs >= losses.shape[1] // 2]
    logs = np.log(losses[:, late] / reference[:, late]).mean(axis=1)
    error = float(logs.std(ddof=1)) / math.sqrt(len(logs))
    return math.expm1(float(logs.mean())), math.expm1(ALIKE + ALIKE_ERRORS * error)


def _spread(name: str, values: list[float]) -> dict[str, float]:
    return {name: median(values), f"{name}_low": min(values), f"{name}_high": max(values)}
