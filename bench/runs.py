"""A run: cells trained into a folder, resumed where it stopped, as one table."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from bench import grid, provenance
from bench.cells import Cell
from bench.engines import resolve
from bench.executors import EXECUTORS, available_cores
from bench.search import Search, next_round
from bench.store import Design, Store, write_atomically
from bench.training import Training

# What a run folder may hold; `fresh` removes these and nothing else. Where there is no plan, what has these names is another's.
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
    search: Search | None = None,
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
        engine: "auto" (native where it is built, on a CPU, and torch for very wide cells; cuda on GPUs), "native", "cuda" or
            "torch".
        executor: "local".
        threads: CPU threads that train at once, each its own cells; None is the number of cores this process may use.
            Results do not depend on it.
        n_predictions: training samples of each cell whose targets and final predictions are kept in `run_dir`; a cell that
            finished there without any is trained again for them.
        jacobian_rank: fill the column of that name, which counts the directions in which each cell's predictions could still
            change (`bench.jacobian.rank`); a cell that finished in `run_dir` without it is trained again for it.
        fresh: forget what `run_dir` holds.
        search: look for the frontier of each cell's network, in rounds of other sample counts and seeds in place of its own
            (`bench.search`).
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
    asked = grid.check([cells] if isinstance(cells, Cell) else cells)
    planned = [] if search else asked
    design = Design.SEARCH if search else Design.VARIANTS if variants else Design.PRODUCT
    if search is not None and not isinstance(search, Search):
        raise grid.GridError("search", search, "must be a bench.Search or None", "give for example bench.Search(ratio=1.15)")
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
                asked,
                search=search,
                run_dir=folder,
                device=device,
                engine=engine,
                threads=threads,
                jacobian_rank=jacobian_rank,
                progress=progress,
            )
    threads = threads or available_cores()
    store = Store(run_dir)
    held = [name for name in CONTENTS if (store.path / name).exists()]
    if held and "plan.parquet" not in held:
        reason = f"holds {', '.join(held)}, and no run that they are of"
        raise grid.GridError("run_dir", str(run_dir), reason, "name a new folder, or that of a run")
    if fresh:
        _forget(store.path)
    started, started_at = time.perf_counter(), datetime.now(UTC)
    try:
        store.path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=store.path):
            pass
        if not search:
            store.write_plan(asked, design)
    except OSError as error:
        reason = f"cannot be written to ({error.strerror})"
        raise grid.GridError("run_dir", str(run_dir), reason, "name a folder of yours") from error
    if config is not None:
        from bench.config import dump  # brings Hydra, which a run from Python does not need

        text = dump(config)
        write_atomically(store.path / "config.yaml", lambda partial: partial.write_text(text, encoding="utf-8"))
    if spec.notice:
        print(f"memcap: {spec.notice}")
    wanted = {"n_predictions": n_predictions, "jacobian_rank": jacobian_rank}
    training = Training(store, spec, executor=executor, threads=threads, progress=progress, **wanted)
    rounds, told = 0, set()
    try:
        for planned in _plans(asked, search, store):
            finished = store.finished_ids(with_predictions=n_predictions > 0, with_jacobian_rank=jacobian_rank)
            todo = [cell for cell in planned if cell.cell_id not in finished]
            for name in store.unreadable.keys() - told:
                print(f"memcap: {store.path / name} {store.unreadable[name]}; its cells are trained again")
            told |= store.unreadable.keys()
            if progress:
                _announce(planned, todo, rounds, search)
            if todo:
                store.write_plan(planned, design, search.ratio if search else None)
                training.train(todo)
                rounds += 1
        store.write_plan(planned, design, search.ratio if search else None)
    finally:
        facts = provenance.collect(engine=spec.name, device=training.device_name, threads=training.workers)
        wall_time_s = round(time.perf_counter() - started, 3)
        counts = {"cells_planned": len(planned), "cells_trained": training.trained, "cells_kept": len(planned) - training.asked}
        if search:
            counts["rounds_trained"] = rounds
        if training.left_to_torch:
            counts["cells_left_to_torch"] = training.left_to_torch
        times = {"started_at": started_at.isoformat(timespec="seconds"), "wall_time_s": wall_time_s}
        provenance.append(store.path, {**times, **counts, **facts, "config": config})
    return store.read_cells()


def _plans(asked: list[Cell], search: Search | None, store: Store) -> Iterator[list[Cell]]:
    """All cells planned so far, as often as there is something new to train: once without a search."""
    if search is None:
        yield asked
        return
    # Cells that differ in their sample counts and seeds alone are one network.
    networks = list(
        {dataclasses.replace(cell, n_samples=1, data_seed=0, init_seed=0): cell for cell in reversed(asked)}.values()
    )[::-1]
    tried: dict[Cell, list[Cell]] = {network: [] for network in networks}
    while new := next_round(networks, tried, store.statuses(), search):
        for network, cells in new.items():
            tried[network] += cells
        yield [cell for cells in tried.values() for cell in cells]


def _announce(planned: list[Cell], todo: list[Cell], rounds: int, search: Search | None) -> None:
    if search and todo:
        print(f"memcap: round {rounds + 1}: {len(todo)} cells")
    elif not search and len(todo) < len(planned):
        print(f"memcap: {len(planned) - len(todo)} of them are done already")


def _forget(folder: Path) -> None:
    for name in CONTENTS:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
