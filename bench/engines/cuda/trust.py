"""Whether the CUDA engine is right on this machine: found out by training on it, and kept for this chip, driver and version."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import statistics
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import get_args

from bench.engines.api import Engine
from bench.engines.cuda.compiler import cache_folder, write_cached
from bench.engines.packs import plan
from bench.machine.child import environment
from bench.protocol.cells import Activation, Cell, Outcome

# Relative differences of losses that rounding explains, over so few epochs. A factor next to the middle of two numbers of TF32,
# a thousandth apart, may go to either.
TOLERANCES = {"float32": 1e-3, "float64": 1e-8, "tf32": 5e-3}

# The same of all cells of a dtype in the median, up to this epoch: where a product takes other factors it is 1e-5 and more.
MEDIAN_TOLERANCE, MEDIAN_EPOCH = 2e-6, 3
EPOCHS = 12

# A trial takes seconds once the kernels are compiled, which takes a minute on one core.
TRIAL_S = 300.0


def trial_cells() -> list[Cell]:
    """Small cells of every kind: each activation, loss, optimizer and regularizer, for every kernel."""
    # 70 samples fill more than one block of 64; 20 and 6 take the smaller blocks; widths on both sides of the wide tiles.
    shapes = [Cell(n_samples=n, width=width, depth=2, d_in=5) for n in (70, 20, 6) for width in (13, 70)]
    shared = [Cell(n_samples=1100, width=24, depth=1, batch_size=batch, shuffle=True) for batch in (None, 600)]
    kinds = [
        *({"activation": activation} for activation in get_args(Activation)),
        {"optimizer": "sgd", "learning_rate": 0.02, "momentum": 0.9},
        {"optimizer": "adamw", "weight_decay": 0.01},
        {"amsgrad": True, "l1": 1e-4, "lr_schedule": "cosine"},
        {"dropout": 0.2, "batch_size": 30, "shuffle": True},
        {"input_noise": 0.1, "max_norm": 1.0},
        {"trainable": "readout", "n_val": 40, "lr_schedule": "step"},
        {"loss": "hinge", "target": "rademacher"},
    ]
    base = Cell(n_samples=70, width=13, depth=2, d_in=5)
    cells = [*shapes, *shared, *(dataclasses.replace(base, **kind) for kind in kinds)]
    return [dataclasses.replace(cell, dtype=dtype, max_epochs=EPOCHS, tau=1e-9) for cell in cells for dtype in TOLERANCES]


def disagreement(engine: Engine, judge: Engine, cells: Iterable[Cell]) -> str | None:
    """What an engine does otherwise than the one it is held against, or None."""
    cells = list(cells)
    ours, theirs = (_trained(each, cells) for each in (engine, judge))
    early: dict[str, list[float]] = {}
    for cell in cells:
        one, other, largest = ours[cell], theirs[cell], 0.0
        if one.status is not other.status or one.epochs_run != other.epochs_run:
            return f"{_spell(cell)} ends as {one.status} ({one.reason}), where {judge.name} ends as {other.status}"
        for mine, its in zip(one.curve, other.curve, strict=True):
            pairs = [(mine.tau, its.tau), *([(mine.val_mse, its.val_mse)] if cell.n_val else [])]
            for a, b in pairs:
                if not (a is not None and b is not None and abs(a - b) <= TOLERANCES[cell.dtype] * abs(b)):
                    return f"{_spell(cell)} at epoch {mine.epoch} comes to {a}, where {judge.name} comes to {b}"
                if a != b and mine.epoch <= MEDIAN_EPOCH:
                    largest = max(largest, abs(a - b) / abs(b))
        early.setdefault(cell.dtype, []).append(largest)
    for dtype, differences in early.items():
        if (median := statistics.median(differences)) > MEDIAN_TOLERANCE:
            return (
                f"cells of dtype={dtype} part from those of {judge.name} by {median:.1e} in the median in {MEDIAN_EPOCH} epochs"
            )
    return None


def distrusted(name: str, versions: str, check: Callable[[], str | None]) -> str | None:
    """Why not to use the device `name` under these versions, or None; what `check` found is kept, a pass only."""
    path = _kept(name)
    try:
        if json.loads(path.read_text()) == {"device": name, "versions": versions}:
            return None
    except (OSError, ValueError):
        pass  # Not checked yet, or not readable: check.
    reason = check()
    if reason is None:
        write_cached(path, json.dumps({"device": name, "versions": versions}).encode())
    return reason


def forget(name: str) -> None:
    """Hold the trial of the device `name` again before it is used the next time."""
    with contextlib.suppress(OSError):  # A folder that cannot be written to.
        _kept(name).unlink(missing_ok=True)


def _kept(name: str) -> Path:
    """Where a passed trial is kept."""
    return cache_folder() / f"trusted-{name.replace(' ', '-').replace('/', '-')}.json"


def tried(command: list[str], timeout_s: float = TRIAL_S) -> str | None:
    """What a process that holds a trial says against the device in its last line; a crash or silence speaks against it too."""
    try:
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return f"the trial did not end in {timeout_s:g} s"
    if done.returncode == 0:
        return None
    lines = (done.stdout + done.stderr).split("\n")
    said = next((line for line in reversed(lines) if line.strip()), "nothing was said")
    return said if done.returncode == 1 else f"the trial ended with status {done.returncode}: {said}"


def _trained(engine: Engine, cells: list[Cell]) -> dict[Cell, Outcome]:
    packs = plan(cells, kind=engine.kind, slots=engine.slots, workers=1)
    return {outcome.cell: outcome for pack in packs for report in engine.train(pack) for outcome in report.outcomes}


def _spell(cell: Cell) -> str:
    """What is not as usual in a cell."""
    usual = Cell()
    changed = {name: value for name, value in dataclasses.asdict(cell).items() if value != getattr(usual, name)}
    return ", ".join(f"{name}={value}" for name, value in changed.items())
