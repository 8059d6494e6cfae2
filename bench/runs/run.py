"""A run: cells trained into a folder, resumed where it stopped, as one table."""

from __future__ import annotations

import dataclasses
import math
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, nullcontext
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import yaml

from bench.machine.garbage import few_full_collections
from bench.machine.signals import unbroken
from bench.protocol import grid
from bench.protocol.cells import SECOND_ORDER, Cell
from bench.runs.executors.api import Executor, Wanted
from bench.runs.executors.choice import make_executor
from bench.runs.executors.options import Local, Options, Slurm, options
from bench.runs.inquiry import Diagnose, Inquiry
from bench.runs.limits import check_size
from bench.runs.search import Search, next_round
from bench.runs.training import Training
from bench.statistics.settings import label_settings
from bench.store import provenance
from bench.store.atomic import write_atomically
from bench.store.claims import Claim
from bench.store.cut import forget_cuts
from bench.store.folder import held
from bench.store.parts import Design, Store
from bench.store.schema import OWN


def run(
    cells: Iterable[Cell] | Cell,
    *,
    run_dir: str | Path | None = None,
    device: str = "auto",
    engine: str = "auto",
    executor: str | Options = "local",
    threads: int | None = None,
    n_predictions: int = 0,
    jacobian_rank: bool = False,
    fresh: bool = False,
    search: Search | None = None,
    diagnosis: Diagnose | None = None,
    variants: bool = False,
    progress: bool = False,
    config: str | None = None,
) -> pd.DataFrame:
    """Train the cells and return their table, one row for each cell in the order given.

    Args:
        cells: what to train; duplicates count once.
        run_dir: the folder to keep results in, and to resume from: cells that finished there are not trained again, failed ones
            are. None keeps nothing.
        device: "auto" (all CUDA devices where there are any, else the CPU), "cpu", "cuda" (all of them) or "cuda:<index>".
        engine: "auto" (native where it is built, on a CPU, and torch for very wide cells; cuda on GPUs), "native", "cuda" or
            "torch".
        executor: "local", or a cluster: "slurm", "ray", or `bench.Slurm(...)`, `bench.Ray(...)`, which say more of it. None
            changes a result; machines of different instruction sets do, by rounding, and are told.
        threads: CPU threads that train at once on a machine, each its own cells; None is the number of cores this process may
            use there. Results do not depend on it.
        n_predictions: training samples of each cell whose targets and final predictions are kept in `run_dir`; a cell that
            finished there without any is trained again for them.
        jacobian_rank: fill the column of that name, which counts the directions in which each cell's predictions could still
            change (`bench.protocol.jacobian.rank`); a cell that finished in `run_dir` without it is trained again for it.
        fresh: forget what `run_dir` holds.
        search: look for the frontier of each cell's network, in rounds of other sample counts and seeds in place of its own
            (`bench.runs.search`).
        diagnosis: the cells are one network with several seeds, whose variants are trained in rounds, to find out what holds
            it back (`bench.runs.inquiry`).
        variants: the cells are variants of the first and its seeds; the report then says what each one changes, and what held
            the first back.
        progress: say what is trained, and show progress on the standard error stream.
        config: the resolved configuration as YAML, to keep as config.yaml and in provenance.json.

    Returns:
        The columns of `cells` (`bench.protocol.columns`; `memcap columns cells` prints them with their units). A cell that
        failed has the status "failed" and a reason.

    Raises:
        bench.GridError: a cell, device, engine or number of threads that cannot be; a `run_dir` that is not a run's, or of
            another version of this program.
        bench.store.claims.Claimed: another run holds `run_dir`, or took it over.
        OSError: the system refuses to write, or a cluster (`ClusterError`) refuses or loses work; what was written before is
            kept.
        KeyboardInterrupt: Ctrl-C; what had finished is kept in `run_dir`.
    """
    asked = grid.check([cells] if isinstance(cells, Cell) else cells)
    if not asked:
        raise grid.GridError("cells", [], "names no cell to train", "give one or more, as bench.expand makes them")
    design = Design.SEARCH if search else Design.VARIANTS if variants or diagnosis else Design.PRODUCT
    if search is not None and not isinstance(search, Search):
        raise grid.GridError("search", search, "must be a bench.Search or None", "give for example bench.Search(ratio=1.15)")
    where = executor if isinstance(executor, Options) else options(executor)
    for name, value, least in (("threads", threads, 1), ("n_predictions", n_predictions, 0)):
        if value is not None and (type(value) is not int or value < least):
            raise grid.GridError(name, value, f"must be a whole number of at least {least}", f"give {least} or more")
    if diagnosis is not None and len({dataclasses.replace(cell, data_seed=0, init_seed=0) for cell in asked}) > 1:
        rule = "describes several networks, and a diagnosis is about one"
        raise grid.GridError("grid", "...", rule, "sweep nothing but the seeds")
    if diagnosis is not None and asked[0].optimizer == SECOND_ORDER:
        rule = "is not diagnosed, since the changes that are tried are of trainings by gradients"
        raise grid.GridError("optimizer", SECOND_ORDER, rule, "diagnose it by optimizer=adam, or train it by memcap run")
    if diagnosis is not None and diagnosis.past_tau and asked[0].criterion == "recall":
        rule = "is for cells that end at a tau, and these end when every label is right"
        raise grid.GridError("past_tau", True, rule, "set criterion=tau and a tau")
    if isinstance(where, Local):
        check_size(asked)
    if run_dir == "":
        raise grid.GridError("run_dir", run_dir, "names no folder", "give a folder")
    wanted = Wanted(engine, device, threads, n_predictions, jacobian_rank)
    with (
        few_full_collections(),
        closing(make_executor(where, wanted, None if run_dir is None else Path(run_dir))) as trains,
        tempfile.TemporaryDirectory(prefix="memcap-") if run_dir is None else nullcontext(run_dir) as folder,
        held(Path(folder), fresh=fresh) as claim,
    ):
        store = _store(Path(folder), claim)
        if not isinstance(where, Slurm):
            # A job that still works on an earlier command's shards ends.
            forget_cuts(store.path)
        if progress:
            what = "one network to diagnose" if diagnosis else f"{len(asked)} {'networks to search' if search else 'cells'}"
            print(f"memcap: {what}{'' if run_dir is None else f', results in {run_dir}'}")
        if trains.notice:
            print(f"memcap: {trains.notice}")
        _train_planned(
            store,
            asked,
            search,
            diagnosis,
            design,
            trains,
            wanted,
            config,
            claim,
            progress=progress,
        )
        return store.read_cells()


def _store(folder: Path, claim: Claim) -> Store:
    """The store of a folder that this process holds.

    Raises:
        bench.GridError: the folder is of another version, whose results and this one's would not belong together.
    """
    store = Store(folder, claim.check)
    if (origin := store.origin()) and not origin.belongs(OWN):
        rule = f"is of {origin}, and this program of {OWN.schema} and {OWN.protocol}"
        raise grid.GridError("run_dir", str(folder), rule, "name a new folder; memcap report still reads this one")
    if aside := provenance.set_aside(folder):
        print(f"memcap: {folder / 'provenance.json'} cannot be read; it is now {aside.name}")
    return store


def _train_planned(
    store: Store,
    asked: list[Cell],
    search: Search | None,
    diagnosis: Diagnose | None,
    design: Design,
    executor: Executor,
    wanted: Wanted,
    config: str | None,
    claim: Claim,
    *,
    progress: bool,
) -> None:
    """Plans and trains what a folder has no results of yet, and writes down how."""
    started, started_at = time.perf_counter(), datetime.now(UTC)
    ratio = search.ratio if search else None
    inquiry = Inquiry(asked, store.endings, **dataclasses.asdict(diagnosis)) if diagnosis else None
    planned = asked if inquiry else next(_plans(asked, search, None, store))
    # First of all, since what has a plan is a run's; that of a search which goes on holds more than its first round.
    if not search or not (store.path / "plan.parquet").exists():
        store.write_plan(planned, design, ratio)
    if config is not None:
        write_atomically(store.path / "config.yaml", lambda partial: partial.write_text(config, encoding="utf-8"))
    training = Training(store, executor, progress=progress)
    rounds, told = 0, set()
    try:
        for planned in _plans(asked, search, inquiry, store):
            finished = store.finished_ids(with_predictions=wanted.n_predictions > 0, with_jacobian_rank=wanted.jacobian_rank)
            todo = [cell for cell in planned if cell.cell_id not in finished] if finished else planned
            for name in store.unreadable.keys() - told:
                print(f"memcap: {store.path / name} {store.unreadable[name]}; its cells are trained again")
            told |= store.unreadable.keys()
            if progress:
                _announce(planned, todo, rounds, searching=search is not None or inquiry is not None)
            if todo:
                store.write_plan(planned, design, ratio)
                training.train(todo, inquiry.until if inquiry else math.inf)
                rounds += 1
        # Of what was stopped at the time limit nothing is planned any more.
        planned = inquiry.planned if inquiry else planned
        store.write_plan(planned, design, ratio, _in_words(inquiry.left_out, asked[0]) if inquiry else ())
    finally:
        if notice := training.tally.notice():
            print(f"memcap: {notice}")
        with unbroken():
            own = executor.facts()
            facts = {**provenance.collect(engine=own.engine, device=own.device, threads=own.threads), **own.own}
            if trained_by := training.tally.counts():
                facts["cells_trained_by"] = trained_by
            wall_time_s = round(time.perf_counter() - started, 3)
            kept = len(planned) - training.asked
            counts = {"cells_planned": len(planned), "cells_trained": training.trained, "cells_kept": kept}
            if search or inquiry:
                counts["rounds_trained"] = rounds
            times = {"started_at": started_at.isoformat(timespec="seconds"), "wall_time_s": wall_time_s}
            asked_for = {"config": None if config is None else yaml.safe_load(config)}
            if claim.holds():
                provenance.append(store.path, {**times, **counts, **facts, **asked_for})


def _plans(asked: list[Cell], search: Search | None, inquiry: Inquiry | None, store: Store) -> Iterator[list[Cell]]:
    """All cells planned so far, as often as there is something new to train: once without a search or an inquiry."""
    if inquiry is not None:
        yield from inquiry.rounds()
        return
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


def _announce(planned: list[Cell], todo: list[Cell], rounds: int, *, searching: bool) -> None:
    if searching and todo:
        print(f"memcap: round {rounds + 1}: {len(todo)} cells")
    elif not searching and len(todo) < len(planned):
        print(f"memcap: {len(planned) - len(todo)} of them are done already")


def _in_words(variants: list[Cell], asked: Cell) -> list[str]:
    """What each variant changes, as a user would ask for it."""
    if not variants:
        return []
    return list(
        label_settings(pd.DataFrame([dataclasses.asdict(cell) for cell in (asked, *variants)], dtype=object), variants=True)
    )[1:]
