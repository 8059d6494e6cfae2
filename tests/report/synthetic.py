"""A finished run without training: outcomes as a frontier at the functional dimension leaves them, for tests of what reads them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

import bench
from bench.protocol.cells import LADDER, Cell, Curve, Outcome, Status
from bench.protocol.networks import functional_dim
from bench.store.parts import Store

# What slows a network down, and how much of the functional dimension is left to it.
SLOWER = {"none": 1.0, "weight_decay": 1.3, "dropout": 4.0, "input_noise": 2.5}
LEFT = {"none": 0.9, "weight_decay": 0.7, "dropout": 0.35, "input_noise": 0.5}
CURVE_POINTS = 40
PARTS = 50


def a_thousand() -> list[Cell]:
    """1,056 cells: two depths, two widths, three sample counts, four regularizations, 22 seeds."""
    return bench.expand(depth=[1, 2], width=[4, 8], n_samples=[32, 64, 128], regularization=list(SLOWER), seed=range(22))


def ten_thousand() -> list[Cell]:
    """10,560 cells: four depths, six widths, ten sample counts, four regularizations, eleven seeds."""
    return bench.expand(
        depth=[1, 2, 4, 8],
        width=[4, 8, 12, 16, 24, 32],
        n_samples=[32, 48, 64, 96, 128, 192, 256, 384, 512, 768],
        regularization=list(SLOWER),
        seed=range(11),
    )


def outcome(cell: Cell) -> Outcome:
    """tau falls as a power of the epochs, more slowly the closer n_samples comes to what the network can hold; beyond, it stays up."""
    rng = np.random.default_rng([cell.data_seed, cell.depth, cell.width, cell.n_samples, len(cell.regularization)])
    load = cell.n_samples / functional_dim(cell) / LEFT.get(cell.regularization, 0.6) * math.exp(rng.normal(0, 0.12))
    floor = max(0.0, 1 - 1 / load)
    scale = 25 * SLOWER.get(cell.regularization, 1.5) * (1 + 3 * load) * math.exp(rng.normal(0, 0.2))

    def tau(epoch: float) -> float:
        return floor + (1 - floor) * (1 + epoch / scale) ** -2.0

    def first(threshold: float) -> int | None:
        if floor >= threshold:
            return None
        epoch = math.ceil(scale * (((threshold - floor) / (1 - floor)) ** -0.5 - 1))
        return epoch if epoch <= cell.max_epochs else None

    reached = first(cell.tau)
    end = cell.max_epochs if reached is None else reached
    epochs = sorted({0, end, *np.unique(np.geomspace(1, max(end, 2), CURVE_POINTS).astype(int).clip(max=end)).tolist()})
    return Outcome(
        cell=cell,
        status=Status.CENSORED if reached is None else Status.MEMORIZED,
        target_variance=1.0,
        epoch_to_tau=reached,
        rung_epochs=tuple(first(rung) if rung >= cell.tau else None for rung in LADDER),
        epochs_run=end,
        final_tau=tau(end),
        best_tau=tau(end),
        train_time_s=0.01,
        engine="none",
        device="none",
        curve=Curve(epochs, [tau(epoch) for epoch in epochs]),
    )


def write_run(folder: Path, cells: list[Cell]) -> Path:
    """A run folder with an outcome for every cell, in as many parts as minutes of training leave."""
    store = Store(folder)
    size = -(-len(cells) // PARTS)
    for start in range(0, len(cells), size):
        store.write([outcome(cell) for cell in cells[start : start + size]])
    store.write_plan(cells)
    return folder
