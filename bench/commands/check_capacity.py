"""`memcap check capacity`: does a head learn what a base learned?"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
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
from bench.store.atomic import write_atomically

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
    from bench.gates.folder import begun, keep
    from bench.gates.train import by_reference_build, trained
    from bench.machine.cores import available_cores

    started, started_at = time.perf_counter(), datetime.now(UTC)
    folder = Path(values["run_dir"])
    own, threads = folder / "head", values["threads"] or available_cores()
    with begun(folder, "capacity", values["base"]):
        base, cells = _base(values["base"])
        if values["head"] is None:
            if values["base"] != REFERENCE and own.resolve() == Path(values["base"]).resolve():
                raise GridError("base", values["base"], "is where the head would be trained", "name another run_dir")
            head = trained(cells, own, **{name: values[name] for name in ("device", "engine", "threads")})
        else:
            head, _ = _of_run("head", values["head"])
        try:
            judged = judge(base, head)
        except NotComparable as error:
            raise GridError("base", values["base"], str(error), "train both from the same grid") from error
        findings = judged.findings
        if values["base"] == REFERENCE and values["head"] is None:
            made = by_reference_build(cells, threads)
            findings.append(Finding("bytes", Verdict.SKIPPED, made) if isinstance(made, str) else same_bytes(base, made))
        write_atomically(folder / "config.yaml", lambda partial: partial.write_text(dump(values), encoding="utf-8"))
        sides = {
            "base": {**_trained_where(None if values["base"] == REFERENCE else Path(values["base"])), "engine": base.engine},
            "head": {**_trained_where(own if values["head"] is None else Path(values["head"])), "engine": head.engine},
        }
        check = Check("capacity", _named(values["base"], sides["base"]), _named(values["head"], sides["head"]), findings)
        wall_time_s = round(time.perf_counter() - started, 3)
        run = {"started_at": started_at.isoformat(timespec="seconds"), "wall_time_s": wall_time_s, **sides, "config": values}
        keep(folder, check, {"check_settings": judged.settings}, run)
    print(f"\n{check.text()}\n\nmemcap: {check.outcome}; what was found is in {folder}, for readers in report.html")
    return check.passed


def _trained_where(folder: Path | None) -> dict[str, Any]:
    """What ran the last training into a folder, without its settings; nothing of a reference, of which nothing is kept."""
    runs = provenance.read(folder) if folder else []
    # Its cells tell who trained them, each on which device.
    return {name: value for name, value in runs[-1].items() if name not in ("config", "device")} if runs else {}


def _named(folder: str | None, facts: Mapping[str, Any]) -> str:
    """A side in words: its folder, if it was asked for by one; its commit, with what is changed there; and who trained."""
    commit = facts.get("commit")
    state = f"commit {commit[:12]}{' with changes' if facts.get('dirty') else ''}" if commit else ""
    return ", ".join(filter(None, [folder, state, facts["engine"]]))


def _base(name: str) -> tuple[Learned, Sequence[Cell]]:
    """What the base learned, and its cells."""
    if name != REFERENCE:
        return _of_run("base", name)
    from bench.gates.learned import of_reference

    (chosen,) = compose("config", [f"grid={GRID}"])
    try:
        learned = of_reference(reference_dir())
    except (OSError, ValueError) as error:
        raise GridError("base", name, f"cannot be read: {error}", "make reference writes it") from error
    if set(learned.cells["cell_id"]) != {cell.cell_id for cell in chosen.cells}:
        raise GridError("base", name, f"is not of the cells of {config_dir() / 'grid' / GRID}.yaml", "make reference renews it")
    return learned, chosen.cells


def _of_run(setting: str, folder: str) -> tuple[Learned, Sequence[Cell]]:
    """What a run learned that came to its end, and its cells."""
    from bench.gates.learned import of_folder
    from bench.store.parts import PENDING, Store
    from bench.store.schema import cells_of

    store = Store(Path(folder))
    try:
        planned = store.read_cells()
    except FileNotFoundError as error:
        if store.unreadable:
            raise GridError(setting, folder, *_unreadable(store.unreadable)) from error
        raise GridError(setting, folder, "is not the folder of a run", "name one, as in results/default") from error
    if store.unreadable:
        raise GridError(setting, folder, *_unreadable(store.unreadable))
    without = int((planned["status"] == PENDING).sum())
    if without or planned.empty:
        rule = f"has no result of {without} of its {len(planned)} cells" if without else "is a run of no cells"
        raise GridError(setting, folder, rule, "run it to its end first")
    return of_folder(Path(folder)), cells_of(planned)


def _unreadable(reasons: Mapping[str, str]) -> tuple[str, str]:
    """The rule and the remedy for parts of a run that cannot be read, of which the first is told."""
    name, reason = next(iter(reasons.items()))
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return f"{name}{more} {reason}", "train it again with this program"
