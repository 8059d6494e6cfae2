"""A run: cells trained into a folder, resumed where it stopped, as one table."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from bench import grid, provenance
from bench.cells import Cell, Outcome
from bench.engines import for_the_rest, make_engine, resolve
from bench.executors import EXECUTORS, available_cores
from bench.packs import budget_flops, epoch_flops, plan
from bench.progress import Progress
from bench.store import Store, write_atomically

# Outcomes wait this long to share a part; a crash loses at most this much finished work.
FLUSH_EVERY_S = 2.0

# What a run folder may hold; `fresh` removes these and nothing else.
CONTENTS = (
    "cells",
    "curves",
    "predictions",
    "tables",
    "figures",
    "plan.parquet",
    "provenance.json",
    "config.yaml",
    "report.html",
)


def run(
    cells: Iterable[Cell] | Cell,
    *,
    run_dir: str | Path | None = None,
    device: str = "auto",
    engine: str = "auto",
    executor: str = "local",
    threads: int | None = None,
    n_predictions: int = 0,
    jacobian_rank: bool = False,
    fresh: bool = False,
    variants: bool = False,
    progress: bool = False,
    config: dict[str, Any] | None = None,
) -> pd.DataFrame:
    """Train the cells and return their table, one row for each cell in the order given.

    Args:
        cells: what to train; duplicates count once.
        run_dir: the folder to keep results in, and to resume from: cells that finished there are not trained again, failed ones
            are. None keeps nothing.
        device: "auto" (all CUDA devices where there are any, else the CPU), "cpu", "cuda" (all of them) or "cuda:<index>".
        engine: "auto" (native where it is built, on a CPU; cuda on GPUs), "native", "cuda" or "torch".
        executor: "local".
        threads: CPU threads that train at once, each its own cells; None is the number of cores this process may use.
            Results do not depend on it.
        n_predictions: training samples of each cell whose targets and final predictions are kept in `run_dir`; a cell that
            finished there without any is trained again for them.
        jacobian_rank: fill the column of that name, which counts the directions in which each cell's predictions could still
            change (`bench.jacobian.rank`); a cell that finished in `run_dir` without it is trained again for it.
        fresh: forget what `run_dir` holds.
        variants: the cells are variants of the first and its seeds; the report then says what each one changes, and what held
            the first back.
        progress: show progress on the standard error stream.
        config: the resolved configuration, to write down in config.yaml and provenance.json.

    Returns:
        The fields of every cell and what the README's table of columns lists. Epochs are counts, times seconds,
        `*_tau` fractions
        of the target variance, `*_val_mse` squared target units. A cell that failed has the status "failed" and a reason.

    Raises:
        bench.GridError: a cell, device, engine or number of threads that cannot be.
        KeyboardInterrupt: Ctrl-C; what had finished is kept in `run_dir`.
    """
    planned = grid.check([cells] if isinstance(cells, Cell) else cells)
    spec = resolve(engine, device)
    if executor not in EXECUTORS:
        raise grid.GridError("executor", executor, "is not an executor", f"choose from: {', '.join(EXECUTORS)}")
    for name, value, least in (("threads", threads, 1), ("n_predictions", n_predictions, 0)):
        if value is not None and (type(value) is not int or value < least):
            raise grid.GridError(name, value, f"must be a whole number of at least {least}", f"give {least} or more")
    if run_dir == "":
        raise grid.GridError("run_dir", run_dir, "names no folder", "name a folder of yours")
    if run_dir is None:
        with tempfile.TemporaryDirectory(prefix="memcap-") as folder:
            return run(
                planned,
                run_dir=folder,
                device=device,
                engine=engine,
                threads=threads,
                jacobian_rank=jacobian_rank,
                progress=progress,
            )
    threads = threads or available_cores()
    store = Store(run_dir)
    if fresh:
        _forget(store.path)
    started, started_at = time.perf_counter(), datetime.now(UTC)
    try:
        store.write_plan(planned, variants=variants)
    except OSError as error:
        reason = f"cannot be written to ({error.strerror})"
        raise grid.GridError("run_dir", str(run_dir), reason, "name a folder of yours") from error
    if config is not None:
        from bench.config import dump  # brings Hydra, which a run from Python does not need

        text = dump(config)
        write_atomically(store.path / "config.yaml", lambda partial: partial.write_text(text, encoding="utf-8"))
    finished = store.finished_ids(with_predictions=n_predictions > 0, with_jacobian_rank=jacobian_rank)
    todo = [cell for cell in planned if cell.cell_id not in finished]
    if progress and len(todo) < len(planned):
        print(f"memcap: {len(planned) - len(todo)} of them are done already")
    for name, reason in store.unreadable.items():
        print(f"memcap: {store.path / name} {reason}; its cells are trained again")
    if spec.notice:
        print(f"memcap: {spec.notice}")
    maker = make_engine(spec)
    workers = threads if spec.device == "cpu" else 1
    own = [cell for cell in todo if maker.supports(cell)]
    rest = [cell for cell in todo if not maker.supports(cell)]
    if rest:
        print(f"memcap: {len(rest)} cells are too large for engine={spec.name}; engine=torch trains them")
    trained = 0
    try:
        with (
            Progress(len(todo), sum(map(budget_flops, todo)), shown=progress and bool(todo)) as shown,
            _Writer(store) as writer,
        ):
            for cells_of_one, by in ((own, spec), (rest, for_the_rest(spec))):
                if not cells_of_one:
                    continue
                trainer = maker if by is spec else make_engine(by)
                at_once = 1 if trainer.threaded else workers
                packs = plan(cells_of_one, kind=trainer.kind, slots=trainer.slots, workers=at_once)
                reports = EXECUTORS[executor](
                    packs, by, threads=workers, n_predictions=n_predictions, jacobian_rank=jacobian_rank
                )
                try:
                    for report in reports:
                        writer.add(report.outcomes)
                        trained += len(report.outcomes)
                        shown.update(report.outcomes, report.flops, sum(map(_budget_left, report.outcomes)))
                finally:
                    reports.close()
    finally:
        facts = provenance.collect(engine=spec.name, device=maker.device_name(), threads=workers)
        wall_time_s = round(time.perf_counter() - started, 3)
        counts = {"cells_planned": len(planned), "cells_trained": trained, "cells_kept": len(planned) - len(todo)}
        if rest:
            counts["cells_left_to_torch"] = len(rest)
        times = {"started_at": started_at.isoformat(timespec="seconds"), "wall_time_s": wall_time_s}
        provenance.append(store.path, {**times, **counts, **facts, "config": config})
    return store.read_cells()


class _Writer:
    """Collects outcomes and writes them as parts, FLUSH_EVERY_S apart and at the end, however the end comes."""

    def __init__(self, store: Store):
        self._store = store
        self._outcomes: list[Outcome] = []
        self._last = time.monotonic()

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *error: object) -> None:
        self._flush()

    def add(self, outcomes: list[Outcome]) -> None:
        self._outcomes += outcomes
        if time.monotonic() - self._last >= FLUSH_EVERY_S:
            self._flush()

    def _flush(self) -> None:
        if self._outcomes:
            self._store.write(self._outcomes)
        self._outcomes = []
        self._last = time.monotonic()


def _budget_left(outcome: Outcome) -> float:
    """FLOPs of the cell's budget that will not be spent."""
    return (outcome.cell.max_epochs - (outcome.epochs_run or 0)) * epoch_flops(outcome.cell)


def _forget(folder: Path) -> None:
    for name in CONTENTS:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
