"""A grid of somebody's own networks on noise, or a search of N50 for each, into a folder; what is there is not repeated."""

from __future__ import annotations

import dataclasses
import itertools
import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from bench.machine.bar import Bar
from bench.machine.signals import unbroken
from bench.modules import capacity_folder
from bench.modules.networks import quiet
from bench.modules.on_noise import LEAST_SAMPLES, OnNoise, Rows, Setup, Training, Way, searches, spelled
from bench.modules.optimizers import NAMED
from bench.modules.questions import check_whole
from bench.protocol.cells import MAX_SEED, Status
from bench.protocol.grid import GridError, listed
from bench.protocol.names import did_you_mean
from bench.runs.search import Search

# What a grid sweeps beside the arguments of the function.
AXES = ("model_args", "optimizer", "learning_rate", "batch_size", "n_samples", "seed")

# Of a grid that names sample counts and no seeds.
SEEDS = range(5)

# What trains meanwhile is lost where the process is killed.
KEEP_EVERY_S = 2.0

# Trainings of one grid.
MOST_TRAININGS = 1_000_000


@dataclasses.dataclass(frozen=True, slots=True)
class Grid:
    """What to train: networks by their arguments, optimizers with their rates, samples of a step (None: all), and sample counts
    with seeds; or a search in place of these.
    """

    networks: tuple[Mapping[str, Any], ...]
    optimizers: tuple[tuple[str, float], ...]
    batch_sizes: tuple[int | None, ...]
    n_samples: tuple[int, ...]
    seeds: tuple[int, ...]
    search: Search | None


def grid_of(
    axes: Mapping[str, Any],
    *,
    model_args: Mapping[str, Any],
    optimizer: str,
    learning_rate: float | None,
    batch_size: int | None,
    search: Any,
) -> Grid:
    """The grid that settings ask for, every value checked.

    Args:
        axes: lists of values by the names of AXES, those of `model_args` by the names of arguments; None: not swept.
        model_args: arguments that all networks share.
        optimizer: where it is not swept, a name of `bench.modules.optimizers`, or NAME:RATE.
        learning_rate: where it is not swept; None: torch's own for that optimizer.
        batch_size: where it is not swept; None: all samples.
        search: None, or the fields of `bench.Search`; for a grid without sample counts.

    Raises:
        bench.GridError: a value that cannot be.

    >>> made = grid_of({"model_args": {"hidden": [8, 16]}, "n_samples": [4], "seed": "range(2)"}, model_args={"depth": 1},
    ...                optimizer="adam", learning_rate=None, batch_size=None, search=None)
    >>> made.networks, made.optimizers, made.seeds
    (({'depth': 1, 'hidden': 8}, {'depth': 1, 'hidden': 16}), (('adam', 0.001),), (0, 1))
    """
    for name in axes:
        if name not in AXES:
            remedy = did_you_mean(name, AXES, f"an argument of the model is grid.model_args.{name}")
            raise GridError(f"grid.{name}", axes[name], f"is none of {', '.join(AXES)}", remedy)
    given = {name: value for name, value in axes.items() if value is not None}
    swept = given.get("model_args", {})
    if not isinstance(swept, Mapping):
        raise GridError("grid.model_args", swept, "must name arguments", "write grid.model_args.NAME=[value,value]")
    if not isinstance(model_args, Mapping):
        raise GridError("model_args", model_args, "must be a mapping of arguments", "write model_args.NAME=value")
    for name in swept:
        if name in model_args:
            remedy = f"give grid.model_args.{name} alone"
            raise GridError(f"model_args.{name}", model_args[name], "is swept by this grid, so one value has no effect", remedy)
    choices = [listed(f"grid.model_args.{name}", values) for name, values in swept.items()]
    _refuse_many(choices)
    networks = [{**model_args, **dict(zip(swept, point, strict=True))} for point in itertools.product(*choices)]
    optimizers = _optimizers(given, optimizer, learning_rate)
    sizes = _batch_sizes(given, batch_size)
    counts = listed("grid.n_samples", given["n_samples"]) if "n_samples" in given else []
    for count in counts:
        if type(count) is not int or count < LEAST_SAMPLES:
            raise GridError(
                "grid.n_samples", count, f"must be a whole number of at least {LEAST_SAMPLES}", "give for example 64"
            )
    seeds = listed("grid.seed", given["seed"]) if "seed" in given else SEEDS if counts else ()
    for seed in seeds:
        if type(seed) is not int or not 0 <= seed <= MAX_SEED:
            raise GridError("grid.seed", seed, f"must be a whole number in 0..{MAX_SEED}", "give for example [0,1,2]")
    if "seed" in given and not counts:
        raise GridError("grid.seed", given["seed"], "is what a search chooses", "give grid.n_samples too, or leave it out")
    made = Grid(
        tuple({spelled(own): own for own in networks}.values()),
        optimizers,
        sizes,
        tuple(dict.fromkeys(counts)),
        tuple(dict.fromkeys(seeds)),
        _search(search, searching=not counts),
    )
    _refuse_many([made.networks, made.optimizers, made.batch_sizes, made.n_samples or (0,), made.seeds or (0,)])
    return made


def _optimizers(given: Mapping[str, Any], optimizer: str, learning_rate: float | None) -> tuple[tuple[str, float], ...]:
    """Each optimizer at each rate; one that is written NAME:RATE at its own."""
    if "learning_rate" in given and learning_rate is not None:
        rule = "is swept by this grid, so one value has no effect"
        raise GridError("learning_rate", learning_rate, rule, "give grid.learning_rate alone")
    shown = "grid.learning_rate" if "learning_rate" in given else "learning_rate"
    rates = listed(shown, given["learning_rate"]) if "learning_rate" in given else []
    rates = rates if learning_rate is None else [learning_rate]
    for rate in rates:
        _check_rate(shown, rate)
    named = "grid.optimizer" if "optimizer" in given else "optimizer"
    found: dict[tuple[str, float], None] = {}
    for one in listed(named, given.get("optimizer", optimizer)):
        name, colon, own = str(one).partition(":")
        if name not in NAMED:
            raise GridError(named, one, "is no optimizer", did_you_mean(name, NAMED, f"choose from {', '.join(NAMED)}"))
        if colon and rates:
            raise GridError(named, one, f"has a rate of its own beside {shown}", "give one of them")
        if colon:
            try:
                own_rates: list[Any] = [float(own)]
            except ValueError:
                own_rates = [own]
            _check_rate(named, own_rates[0])
        else:
            own_rates = rates or [NAMED[name][1]]
        found |= dict.fromkeys((name, float(rate)) for rate in own_rates)
    return tuple(found)


def _check_rate(name: str, rate: object) -> None:
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= sys.float_info.max:
        raise GridError(name, rate, "must be a positive number", "give for example 0.01")


def _batch_sizes(given: Mapping[str, Any], batch_size: int | None) -> tuple[int | None, ...]:
    if "batch_size" not in given:
        if batch_size is not None:
            check_whole("batch_size", batch_size)
        return (batch_size,)
    if batch_size is not None:
        rule = "is swept by this grid, so one value has no effect"
        raise GridError("batch_size", batch_size, rule, "give grid.batch_size alone")
    sizes = listed("grid.batch_size", given["batch_size"])
    for size in sizes:
        if size is not None:
            check_whole("grid.batch_size", size)
    return tuple(dict.fromkeys(sizes))


def _refuse_many(choices: Iterable[Sequence[Any]]) -> None:
    size = math.prod(map(len, choices))
    if size > MOST_TRAININGS:
        raise GridError("grid", "...", f"has {size:,} trainings, and at most {MOST_TRAININGS:,} are kept", "sweep fewer values")


def _search(values: Any, *, searching: bool) -> Search | None:
    known = [field.name for field in dataclasses.fields(Search)]
    if values is None:
        return Search() if searching else None
    if not isinstance(values, Mapping) or not set(values) <= set(known):
        raise GridError("search", values, f"must be null or a mapping of {', '.join(known)}", "write search.ratio=1.15")
    chosen = {name: value for name, value in values.items() if value is not None}
    if chosen and not searching:
        rule = "has no effect beside grid.n_samples"
        raise GridError("search", chosen, rule, "leave grid.n_samples out, so that N50 is searched, or search")
    return Search(**chosen) if searching else None


def run_grid(
    module: object,
    model: str,
    grid: Grid,
    setup: Setup,
    run_dir: str | Path,
    *,
    fresh: bool = False,
    config: Mapping[str, Any],
) -> Path:
    """Train a grid of networks on noise, each training once, into a folder (`bench.report.network_page` makes its page).

    A training that raises has a row that says why; such rows that the folder holds are tried again.

    Args:
        module: a function that makes a network.
        model: its name, as the folder keeps it.
        grid: what to train.
        setup: how, beside what the grid says; its optimizer and batch size are the first of the grid.
        run_dir: the folder; trainings that it holds are not repeated.
        fresh: forget what it holds.
        config: the settings, for config.yaml.

    Returns:
        The folder.

    Raises:
        bench.GridError: a value that cannot be, networks that all raise, or a folder of others.
        bench.store.claims.Claimed: another process writes there.
    """
    folder, started, started_at = Path(run_dir), time.perf_counter(), datetime.now(UTC)
    with quiet():
        # What cannot be is told before anything that the folder holds is forgotten.
        own = OnNoise(module, setup, grid.networks)
        asked = asked_of(own, searched=grid.search is not None, cells_per_round=grid.search and grid.search.cells_per_round)
        identity = capacity_folder.identity(own.sources())
    with quiet(), capacity_folder.held(folder, fresh=fresh) as claim:
        known = capacity_folder.begin(folder, model, identity, asked)
        rows = {one: row for one, row in known.items() if row["status"] != Status.FAILED}
        kept = len(rows)
        print(f"memcap: {_told(grid, rows, own)}, results in {run_dir}", flush=True)
        try:
            _train(own, grid, rows, lambda: (claim.check(), capacity_folder.keep(folder, capacity_folder.table(known | rows))))
        finally:
            with unbroken():
                took = {
                    "started_at": started_at.isoformat(timespec="seconds"),
                    "wall_time_s": round(time.perf_counter() - started, 3),
                    "trainings_kept": kept,
                    "trainings_trained": len(rows) - kept,
                    "one_after_the_other": own.why_alone,
                }
                if claim.holds():
                    capacity_folder.finish(folder, config, ran_on(own), took)
    return folder


def ran_on(own: OnNoise) -> dict[str, Any]:
    """What trained, for provenance."""
    return {"engine": "torch", "device": str(own.first.device), "threads": torch.get_num_threads()}


def asked_of(own: OnNoise, *, searched: bool, cells_per_round: int | None) -> dict[str, Any]:
    """How networks are trained, as plain values: with others they are other networks."""
    trial = own.first.trial
    return {
        "shapes": own.setup.of_a_sample.plain,
        "loss": trial.loss.name,
        "max_epochs": trial.max_epochs,
        "tau": trial.tau,
        "measured": trial.measured,
        "searched": searched,
        "search.cells_per_round": cells_per_round,
    }


def _told(grid: Grid, rows: Rows, own: OnNoise) -> str:
    if grid.search is not None:
        count = len(_ways(grid, own))
        return f"{count} network{'s' if count > 1 else ''} to search{f', {len(rows)} trainings are there' if rows else ''}"
    wanted = _product(grid, own)
    done = sum(one in rows for one in wanted)
    return f"{len(wanted)} trainings" + (f", {done} of them done already" if done else "")


def _ways(grid: Grid, own: OnNoise) -> list[Way]:
    points = itertools.product(own.arguments, grid.optimizers, grid.batch_sizes)
    return [Way(name, *optimizer, size) for name, optimizer, size in points]


def _product(grid: Grid, own: OnNoise) -> list[Training]:
    return [Training(*way, *point) for way in _ways(grid, own) for point in itertools.product(grid.n_samples, grid.seeds)]


def _train(own: OnNoise, grid: Grid, rows: Rows, keep: Any) -> None:
    """Train what has no row yet; rows of packs that have ended are kept KEEP_EVERY_S apart, and at the end, however it ends."""
    if grid.search is None:
        rounds: Iterable[Sequence[Training]] = [[one for one in _product(grid, own) if one not in rows]]
    else:
        rounds = searches({way: _dimension(own, rows, way.model_args) for way in _ways(grid, own)}, rows, grid.search)
    kept_at = time.monotonic()
    with ExitStack() as at_the_end, Bar(shown=True, stays=False) as bar:
        at_the_end.callback(lambda: rows and keep())
        for number, wanted in enumerate(rounds, start=1):
            done = 0
            for made in own.train(wanted):
                rows |= made
                # All rows each time: after every pack of many that would be most of the work.
                if time.monotonic() - kept_at >= KEEP_EVERY_S:
                    keep()
                    kept_at = time.monotonic()
                done += len(made)
                if grid.search is not None:
                    bar.show(*search_told(number, done, len(wanted)))
                else:
                    bar.show(done / len(wanted), [f"{done}/{len(wanted)} trainings"])


def search_told(number: int, done: int, wanted: int) -> tuple[float, list[str]]:
    """How far a search is, for a bar: so many of the trainings of its round with this number, from 1, have ended.

    How many rounds it takes is not known: a bar for each of them would go back.
    """
    return 1 - 2.0**-number, [f"round {number}, {done}/{wanted} trainings"]


def _dimension(own: OnNoise, rows: Rows, model_args: str) -> int:
    """Where the search of a network begins; what is known of it from before is not measured again."""
    for one, row in rows.items():
        if one.model_args == model_args and row["status"] != Status.FAILED:
            known = row["jacobian_rank"] if row["jacobian_rank"] is not None else row["n_params"]
            return max(1, round(known / own.setup.outputs))
    try:
        return own.size(model_args).dimension
    except Exception:
        # The user's module: it may raise anything, and its first training tells what. 1 is where its search begins, no result.
        return 1
