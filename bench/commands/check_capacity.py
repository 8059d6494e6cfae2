"""`memcap check capacity`: does a head learn what a base learned?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from bench.commands.config import config_dir, dump
from bench.commands.exits import NO, exit_status
from bench.commands.line import compose, composed
from bench.protocol.grid import GridError
from bench.store import provenance
from bench.store.parts import write_atomically

if TYPE_CHECKING:
    from bench.gates.learned import Learned
    from bench.protocol.cells import Cell

SETTINGS = ("base", "head", "run_dir", "device", "engine", "threads")
LISTED = "memcap check --help lists the settings"

# What `base` is called that comes with the program, and the grid that it is of.
REFERENCE, GRID = "reference", "check"


def main(arguments: Sequence[str]) -> int:
    """Hold what a head learned against a base; the exit status is 0, 1 where something moved, 2 where nothing was checked."""

    def check() -> int:
        ConfigStore.instance().store(name="schema", node=dict.fromkeys(SETTINGS) | {"engine": {}})
        passed = [_capacity(_checked(OmegaConf.to_container(config))) for config, _ in composed("check_capacity", arguments)]
        return 0 if all(passed) else NO

    return exit_status(check, SETTINGS, stopped="nothing was checked")


def reference_dir() -> Path:
    """The tables of the reference: in results/ of a checkout, inside the package of an installed wheel."""
    package = Path(__file__).resolve().parents[1]
    places = (package / "reference" / GRID / "tables", package.parent / "results" / "reference" / GRID / "tables")
    return next((place for place in places if place.is_dir()), places[-1])


def _checked(values: Any) -> dict[str, Any]:
    values["engine"] = values["engine"]["name"]
    for name in ("base", "run_dir", "device", "engine"):
        if not isinstance(values[name], str) or not values[name]:
            raise GridError(name, values[name], "must be a text", LISTED)
    if not isinstance(values["head"], str | None) or values["head"] == "":
        raise GridError("head", values["head"], "must be the folder of a run, or null", LISTED)
    return cast("dict[str, Any]", values)


def _capacity(values: dict[str, Any]) -> bool:
    """Train or read both sides, say what was found, and keep it; whether nothing failed."""
    from bench.gates.capacity import NotComparable, judge, same_bytes
    from bench.gates.check import Check, Finding, Verdict
    from bench.gates.train import by_reference_build, trained
    from bench.machine.cores import available_cores
    from bench.store.tables import write_tables

    started, started_at = time.perf_counter(), datetime.now(UTC)
    base, cells = _base(values["base"])
    folder = Path(values["run_dir"])
    if values["head"] is None:
        own = folder / "head"
        if values["base"] != REFERENCE and own.resolve() == Path(values["base"]).resolve():
            raise GridError("base", values["base"], "is where the head would be trained", "name another run_dir")
        how = {name: values[name] for name in ("device", "engine", "threads")}
        head = trained(cells, own, **how)
    else:
        head = _of_run("head", values["head"])
    try:
        judged = judge(base, head)
    except NotComparable as error:
        raise GridError("base", values["base"], str(error), "train both from the same grid") from error
    findings = judged.findings
    if values["base"] == REFERENCE and values["head"] is None:
        made = by_reference_build(cells, values["threads"] or available_cores())
        findings.append(Finding("bytes", Verdict.SKIPPED, made) if isinstance(made, str) else same_bytes(base, made))
    check = Check("capacity", values["base"], head.engine, findings)
    write_tables(folder / "tables", {"check_settings": judged.settings})
    write_atomically(folder / "config.yaml", lambda partial: partial.write_text(dump(values), encoding="utf-8"))
    facts = provenance.collect(engine=values["engine"], device=head.engine, threads=values["threads"] or available_cores())
    times = {"started_at": started_at.isoformat(timespec="seconds"), "wall_time_s": round(time.perf_counter() - started, 3)}
    provenance.append(folder, {**times, **facts, "config": values})
    check.write(folder)
    print(f"\n{check.text()}\n\nmemcap: {'passed' if check.passed else 'failed'}; what was found is in {folder}")
    return check.passed


def _base(name: str) -> tuple[Learned, Sequence[Cell]]:
    """What the base learned, and its cells."""
    if name != REFERENCE:
        from bench.store.parts import Store, cells_of

        learned, planned = _of_run("base", name), Store(Path(name)).read_cells()
        if len(learned.cells) < len(planned):
            rule = f"has no result of {len(planned) - len(learned.cells)} of its {len(planned)} cells"
            raise GridError("base", name, rule, "run it to its end first")
        return learned, cells_of(planned)
    from bench.gates.learned import of_reference

    (chosen,) = compose("config", [f"grid={GRID}"])
    try:
        learned = of_reference(reference_dir())
    except (OSError, ValueError) as error:
        raise GridError("base", name, f"cannot be read: {error}", "make reference writes it") from error
    if set(learned.cells["cell_id"]) != {cell.cell_id for cell in chosen.cells}:
        raise GridError("base", name, f"is not of the cells of {config_dir() / 'grid' / GRID}.yaml", "make reference renews it")
    return learned, chosen.cells


def _of_run(setting: str, folder: str) -> Learned:
    from bench.gates.learned import of_folder

    try:
        return of_folder(Path(folder))
    except FileNotFoundError as error:
        raise GridError(setting, folder, "is not the folder of a run", "name one, as in results/default") from error
