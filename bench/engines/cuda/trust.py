"""Whether the CUDA engine is right on this machine: found out by training on it, each way to make products apart.

What passed is kept for this chip, driver and version.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import statistics
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, get_args

from bench.engines.api import Engine
from bench.engines.cuda.compiler import cache_folder, write_cached
from bench.engines.cuda.ways import WAYS, Way
from bench.engines.packs import plan
from bench.machine.child import environment, essence
from bench.protocol.cells import Activation, Cell, Outcome

# Relative differences of losses that rounding explains, over so few epochs. A factor next to the middle of two numbers of TF32,
# a thousandth apart, may go to either.
TOLERANCES: dict[Way, float] = {"float32": 1e-3, "3xtf32": 1e-3, "float64": 1e-8, "tf32": 5e-3}

# The same of all cells of a way in the median, up to this epoch: where a product takes other factors it is 1e-5 and more,
# where all is right 1.5e-6 (H100, CPU). One factor of TF32 that goes to the other side moves a loss of the trial by 1e-6 to
# 3e-6, and one in a cell is to be expected.
MEDIAN_TOLERANCES: dict[Way, float] = {"float32": 4e-6, "3xtf32": 4e-6, "float64": 1e-10, "tf32": 5e-6}
MEDIAN_EPOCH = 3
EPOCHS = 12

# A trial takes seconds once the kernels are compiled, which takes some minutes on one core.
TRIAL_S = 300.0


class Finding(NamedTuple):
    """What a trial found: what speaks against a way, or None, and the median difference of its cells' first losses."""

    reason: str | None
    median: float | None = None


def trial_cells(way: Way) -> list[Cell]:
    """Small cells of every kind: each activation, loss, optimizer and regularizer, for every kernel of the way."""
    # 70 samples fill more than one block of 64; 20 and 6 take the smaller blocks. Of each a network for narrow tiles and one
    # for wide ones, which has to be deep, and so learns slowly, lest rounding grow.
    shapes = [Cell(n_samples=n, width=13, depth=2, d_in=5) for n in (70, 20, 6)]
    shapes += [Cell(n_samples=n, width=70, depth=depth, d_in=5, learning_rate=1e-5) for n, depth in ((70, 4), (20, 6), (6, 11))]
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
        {"loss": "cross_entropy", "target": "labels", "n_classes": 10},
        {"loss": "cross_entropy", "target": "labels", "n_classes": 3, "criterion": "recall", "batch_size": 30, "n_val": 40},
        {"n_outputs": 5},
    ]
    base = Cell(n_samples=70, width=13, depth=2, d_in=5)
    cells = [*shapes, *shared, *(dataclasses.replace(base, **kind) for kind in kinds)]
    dtype = "float32" if way == "3xtf32" else way
    return [dataclasses.replace(cell, dtype=dtype, max_epochs=EPOCHS, tau=1e-9) for cell in cells]


def compared(engine: Engine, judge: Engine, cells: Iterable[Cell], way: Way) -> Finding:
    """What an engine does otherwise than the one it is held against, on cells of one way."""
    cells = list(cells)
    ours, theirs = (_trained(each, cells) for each in (engine, judge))
    reasons: list[str] = []
    differences = []
    for cell in cells:
        one, other, largest = ours[cell], theirs[cell], 0.0
        if one.status is not other.status or one.epochs_run != other.epochs_run:
            reasons.append(f"{_spell(cell)} ends as {one.status} ({one.reason}), where {judge.name} ends as {other.status}")
            continue
        for mine, its in zip(one.curve, other.curve, strict=True):
            pairs = [(mine.tau, its.tau), *([(mine.val_mse, its.val_mse)] if cell.n_val else [])]
            for a, b in pairs:
                if not (a is not None and b is not None and abs(a - b) <= TOLERANCES[way] * abs(b)):
                    reasons.append(f"{_spell(cell)} at epoch {mine.epoch} comes to {a}, where {judge.name} comes to {b}")
                elif a != b and mine.epoch <= MEDIAN_EPOCH:
                    largest = max(largest, abs(a - b) / abs(b))
        differences.append(largest)
    median = statistics.median(differences) if differences else None
    if not reasons and median is not None and median > MEDIAN_TOLERANCES[way]:
        reasons.append(f"cells part from those of {judge.name} by {median:.1e} in the median in {MEDIAN_EPOCH} epochs")
    return Finding(reasons[0] if reasons else None, median)


def findings(name: str, versions: str, check: Callable[[Way], Finding], ways: Iterable[Way] = WAYS) -> dict[Way, Finding]:
    """What is known of each way on the device `name` under these versions.

    Ways that passed are kept, with their medians; what is not kept is checked now, all of it at once.
    """
    path, ways = _kept(name), tuple(ways)
    passed = _passed(path, name, versions)
    unknown = [way for way in ways if way not in passed]
    if unknown:
        with ThreadPoolExecutor(len(unknown)) as pool:
            found = dict(zip(unknown, pool.map(check, unknown), strict=True))
        passed |= {way: finding for way, finding in found.items() if finding.reason is None}
        kept = {"device": name, "versions": versions, "medians": {way: finding.median for way, finding in passed.items()}}
        write_cached(path, json.dumps(kept).encode())
        return {way: passed.get(way) or found[way] for way in ways}
    return {way: passed[way] for way in ways}


def forget(name: str) -> None:
    """Hold the trial of the device `name` again before it is used the next time."""
    with contextlib.suppress(OSError):  # A folder that cannot be written to.
        _kept(name).unlink(missing_ok=True)


def _kept(name: str) -> Path:
    """Where passed trials are kept."""
    return cache_folder() / f"trusted-{_file_name(name)}.json"


def _passed(path: Path, name: str, versions: str) -> dict[Way, Finding]:
    """What is kept of these versions; nothing where it cannot be read, or is of others."""
    try:
        kept = json.loads(path.read_text())
        if (kept["device"], kept["versions"]) == (name, versions):
            return {way: Finding(None, kept["medians"][way]) for way in WAYS if way in kept["medians"]}
    except (OSError, ValueError, LookupError, TypeError):
        pass
    return {}


def tried(command: list[str], what: str, timeout_s: float = TRIAL_S) -> Finding:
    """What a process that holds a trial found: its last line, a finding in JSON. A crash or silence speaks against the device.

    All that such a process printed is kept in the cache, in a file that is named for `what` was tried.
    """
    try:
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        printed = [
            part if isinstance(part, str) else part.decode(errors="replace") for part in (error.stdout, error.stderr) if part
        ]
        _keep_text(what, "".join(printed))
        return Finding(f"the trial did not end in {timeout_s:g} s")
    try:
        finding = Finding(**json.loads(done.stdout.strip().splitlines()[-1]))
        # A process that dies when all was said dies of its device.
        if done.returncode == int(finding.reason is not None):
            return finding
    except (LookupError, ValueError, TypeError):
        pass
    _keep_text(what, done.stdout + done.stderr)
    said = essence(done.stdout + done.stderr)
    return Finding(said if done.returncode == 1 else f"the trial ended with status {done.returncode}: {said}")


def _keep_text(what: str, text: str) -> None:
    write_cached(cache_folder() / f"trial-{_file_name(what)}.txt", text.encode())


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.-]", "-", text)


def _trained(engine: Engine, cells: list[Cell]) -> dict[Cell, Outcome]:
    packs = plan(cells, kind=engine.kind, slots=engine.slots, workers=1)
    return {outcome.cell: outcome for pack in packs for report in engine.train(pack) for outcome in report.outcomes}


def _spell(cell: Cell) -> str:
    """What is not as usual in a cell."""
    usual = Cell()
    changed = {name: value for name, value in dataclasses.asdict(cell).items() if value != getattr(usual, name)}
    return ", ".join(f"{name}={value}" for name, value in changed.items())
