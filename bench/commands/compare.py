"""`memcap compare`: the same networks trained by this program and by other libraries."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from bench.commands.config import dump
from bench.commands.exits import NO, exit_status
from bench.commands.line import composed
from bench.peers.registry import PEERS, SHAPE, why_not
from bench.protocol import grid
from bench.protocol.cells import Cell
from bench.protocol.grid import GridError
from bench.store import provenance
from bench.store.atomic import write_atomically
from bench.store.claims import claim
from bench.store.folder import writable

if TYPE_CHECKING:
    from bench.engines.choice import EngineSpec

COUNTS = ("rounds", "networks", "epochs")
SETTINGS = ("peers", *COUNTS, "flops", "device", "run_dir", "shapes")
AXES = (*SHAPE, "variants")
LISTED = "memcap compare --help lists the settings"
PACKAGES = (*provenance.PACKAGES, "jax", "jaxlib", "optax", "keras")


def main(arguments: Sequence[str]) -> int:
    """Compare what the arguments ask for; the exit status is 0, or 1 where a peer failed or its losses differ."""

    def compare() -> int:
        node = dict.fromkeys(SETTINGS) | {"shapes": dict.fromkeys(AXES)}
        ConfigStore.instance().store(name="schema", node=node)
        sound = [_compare(_checked(OmegaConf.to_container(config))) for config, _ in composed("compare", arguments)]
        return 0 if all(sound) else NO

    settings = [*SETTINGS, *(f"shapes.{axis}" for axis in AXES)]
    return exit_status(compare, settings, stopped="the tables keep the shapes that were done")


def _checked(values: Any) -> dict[str, Any]:
    """The settings, each of the type and range it must have.

    Raises:
        GridError: one that is not.
    """
    for name in COUNTS:
        if type(values[name]) is not int or values[name] < 1:
            raise GridError(name, values[name], "must be a whole number of at least 1", LISTED)
    if type(values["flops"]) not in (int, float) or not values["flops"] > 0:
        raise GridError("flops", values["flops"], "must be a positive number", "give for example 4.0e+10")
    known = f"choose from: {', '.join(PEERS)}"
    if not isinstance(values["peers"], list) or not values["peers"]:
        raise GridError("peers", values["peers"], "must be a list of names", known)
    for name in values["peers"]:
        if name not in PEERS:
            raise GridError("peers", name, "is not a peer", known)
    for name in ("device", "run_dir"):
        if not isinstance(values[name], str) or not values[name]:
            raise GridError(name, values[name], "must be a text", LISTED)
    return cast("dict[str, Any]", values)


def _shapes(axes: Mapping[str, Any]) -> list[Cell]:
    lists = {name: axis for name, axis in axes.items() if axis is not None and name != "variants"}
    variants = axes["variants"] or ()
    for variant in variants:
        for name in variant:
            if name not in SHAPE:
                remedy = f"a shape is {', '.join(SHAPE)}; all else is the same for every peer"
                raise GridError("shapes.variants", name, "is not part of a shape", remedy)
    return grid.expand({}, lists, regularizations={}, variants=variants)


def _peers(names: list[str], device: str) -> list[str]:
    """Those of the names that can take part here; says why the others cannot."""
    peers = []
    for name in dict.fromkeys(names):
        reason = why_not(name, device)
        if reason is None:
            peers.append(name)
        else:
            print(f"memcap: {PEERS[name].label} is left out: {reason}")
    if not peers:
        raise GridError("peers", names, "cannot take part here", "add torch, vmap or loop")
    return peers


def _compare(values: dict[str, Any]) -> bool:
    """Measure shape by shape, keep tables, figure and provenance; whether no peer failed and all losses agree."""
    shapes = _shapes(values["shapes"])
    from bench.engines.choice import resolve
    from bench.runs.limits import check_size

    check_size(shapes)
    spec = resolve("auto", values["device"])
    if spec.notice:
        print(f"memcap: {spec.notice}")
    peers = _peers(values["peers"], spec.device)
    folder = writable(Path(values["run_dir"]))
    with claim(folder, "compare"):
        return _measured(values, shapes, peers, spec, folder)


def _measured(values: dict[str, Any], shapes: list[Cell], peers: list[str], spec: EngineSpec, folder: Path) -> bool:
    """The same, in a folder that no other comparison writes to."""
    import pandas as pd

    from bench.engines.choice import make_engine
    from bench.machine.cores import available_cores
    from bench.peers import comparison
    from bench.report import plots, terminal
    from bench.report.lines import block_text, screen, wrapped
    from bench.report.style import save
    from bench.store.tables import write_tables

    started, started_at = time.perf_counter(), datetime.now(UTC)
    for name in ("tables", "figures"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "provenance.json").unlink(missing_ok=True)
    write_atomically(folder / "config.yaml", lambda partial: partial.write_text(dump(values), encoding="utf-8"))
    tables = []
    counts = {name: values[name] for name in (*COUNTS, "flops")}
    for made in comparison.compare(shapes, peers, device=spec.device, **counts):
        tables.append(made)
        print(wrapped(terminal.compared_shape(made), screen(), then="  "), flush=True)
        table = pd.concat(tables, ignore_index=True)
        write_tables(folder / "tables", {"comparison": table, "summary": comparison.summary(table)})
    table, summary = pd.concat(tables, ignore_index=True), comparison.summary(pd.concat(tables))
    figure = plots.speeds(table, summary)
    for ending in ("png", "svg"):
        save(figure, folder / "figures" / f"comparison.{ending}")
    device = make_engine(spec).device_name()
    facts = provenance.collect(engine=",".join(peers), device=device, threads=available_cores(), packages=PACKAGES)
    wall_time_s = round(time.perf_counter() - started, 3)
    times = {"started_at": started_at.isoformat(timespec="seconds"), "wall_time_s": wall_time_s}
    provenance.append(folder, {**times, **facts, "config": values})
    print(f"\n{block_text(terminal.comparison_block(summary), screen())}\n\nmemcap: tables and figure in {folder}")
    failed, wrong = table[table["error"].notna()], comparison.disagreeing(table)
    for _, row in failed.iterrows():
        print(f"memcap: at {terminal.spelled_shape(row)} {row['label']} failed: {row['error']}", file=sys.stderr)
    for _, row in wrong.iterrows():
        print(f"memcap: at {terminal.spelled_shape(row)} {comparison.spelled_difference(row)}", file=sys.stderr)
    return failed.empty and wrong.empty
