"""The command of comparisons: `python -m bench.compare shapes=speed peers=[native,jax]`."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from bench import grid, provenance
from bench.cells import Cell
from bench.command_line import composed, exit_statuses
from bench.config import dump
from bench.grid import GridError
from bench.peers import PEERS, why_not
from bench.store import write_atomically

COUNTS = ("rounds", "networks", "epochs")
SETTINGS = ("peers", *COUNTS, "flops", "device", "run_dir", "shapes")
AXES = ("d_in", "width", "depth", "n_samples", "variants")
PACKAGES = (*provenance.PACKAGES, "jax", "jaxlib", "optax", "keras")

EXIT_DISAGREE = 1


def main() -> None:
    """Compare what the command line asks for; ends with status 0, 1 where losses disagree, 2 or 130 as `memcap` does."""
    with exit_statuses([*SETTINGS, *(f"shapes.{axis}" for axis in AXES)]):
        node = dict.fromkeys(SETTINGS) | {"shapes": dict.fromkeys(AXES)}
        ConfigStore.instance().store(name="schema", node=node)
        agreed = [_compare(_checked(OmegaConf.to_container(config))) for config, _ in composed("compare")]
    sys.exit(0 if all(agreed) else EXIT_DISAGREE)


def _checked(values: Any) -> dict[str, Any]:
    """The settings, each of the type and range it must have.

    Raises:
        GridError: one that is not.
    """
    for name in COUNTS:
        if type(values[name]) is not int or values[name] < 1:
            raise GridError(name, values[name], "must be a whole number of at least 1", "see conf/compare.yaml")
    if type(values["flops"]) not in (int, float) or not values["flops"] > 0:
        raise GridError("flops", values["flops"], "must be a positive number", "give for example 4.0e+10")
    known = f"choose from: {', '.join(PEERS)}"
    if not isinstance(values["peers"], list) or not values["peers"]:
        raise GridError("peers", values["peers"], "must be a list of names", known)
    for name in values["peers"]:
        if name not in PEERS:
            raise GridError("peers", name, "is not a peer", known)
    for name in ("device", "run_dir"):
        if not isinstance(values[name], str):
            raise GridError(name, values[name], "must be a text", "see conf/compare.yaml")
    return cast("dict[str, Any]", values)


def _shapes(axes: Mapping[str, Any]) -> list[Cell]:
    lists = {name: axis for name, axis in axes.items() if axis is not None and name != "variants"}
    return grid.expand({}, lists, regularizations={}, variants=axes["variants"] or ())


def _compare(values: dict[str, Any]) -> bool:
    """Measure, write tables, figure and provenance; whether all losses agree."""
    shapes = _shapes(values["shapes"])
    from bench import comparison, plots, terminal
    from bench.engines import resolve
    from bench.executors import available_cores

    device = resolve("auto", values["device"]).device
    folder = Path(values["run_dir"])
    peers = []
    for name in dict.fromkeys(values["peers"]):
        reason = why_not(name, device)
        if reason is None:
            peers.append(name)
        else:
            print(f"memcap: {PEERS[name].label} is left out: {reason}")
    if not peers:
        raise GridError("peers", values["peers"], "leave none that can take part here", "add torch, native or loop")
    started, started_at = time.perf_counter(), datetime.now(UTC)
    table = comparison.compare(
        shapes,
        peers,
        device=device,
        **{name: values[name] for name in (*COUNTS, "flops")},
        say=lambda line: print(line, flush=True),
    )
    summary = comparison.summary(table)
    for name in ("tables", "figures"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, made in {"comparison": table, "summary": summary}.items():
        write_atomically(folder / "tables" / f"{name}.csv", lambda partial, made=made: made.to_csv(partial, index=False))
    figure = plots.speeds(table)
    for ending in ("png", "svg"):
        figure.savefig(folder / "figures" / f"comparison.{ending}", dpi=plots.PNG_DPI)
    write_atomically(folder / "config.yaml", lambda partial: partial.write_text(dump(values), encoding="utf-8"))
    facts = provenance.collect(engine=",".join(peers), device=device, threads=available_cores(), packages=PACKAGES)
    wall_time_s = round(time.perf_counter() - started, 3)
    times = {"started_at": started_at.isoformat(timespec="seconds"), "wall_time_s": wall_time_s}
    provenance.append(folder, {**times, **facts, "config": values})
    print(f"\n{terminal.comparison_table(summary)}\n\nmemcap: tables and figure in {folder}")
    wrong = comparison.disagreeing(table)
    for _, row in wrong.iterrows():
        print(f"memcap: the losses of {row['label']} differ by {row['loss_difference']:.2g}", file=sys.stderr)
    return wrong.empty


if __name__ == "__main__":
    main()
