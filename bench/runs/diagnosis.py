"""Why does my network not memorize? One cell and a ladder of variants, trained together, and the verdict over them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from bench.protocol import grid
from bench.protocol.cells import FIELDS, Cell
from bench.protocol.cells import SEEDS as SEED_FIELDS
from bench.report import terminal
from bench.runs.ladder import ladder
from bench.runs.run import run
from bench.statistics.evidence import evidence
from bench.statistics.settings import label_settings
from bench.statistics.survival import GROUP_FIELDS, groups
from bench.statistics.tables import asked_signals, signal_propagation
from bench.statistics.verdict import Verdict, verdict

SEEDS = (0, 1, 2)


@dataclasses.dataclass(frozen=True, slots=True)
class Diagnosis:
    """A verdict, and what it stands on; as text, all of it.

    `evidence` and `signal` have the columns of the tables `evidence` and `signal_propagation` (`bench.protocol.columns`): a
    row for the cell and each variant of it; a row for each layer of the untrained network, and of the same under another
    initialisation.
    """

    verdict: Verdict
    evidence: pd.DataFrame
    signal: pd.DataFrame

    def __str__(self) -> str:
        shown = [terminal.evidence_table(self.evidence), terminal.signal_table(self.signal), "\n".join(self.verdict.sentences)]
        return "\n\n".join(shown)


def diagnose(
    cell: Cell,
    *,
    seeds: Iterable[int] | int = SEEDS,
    run_dir: str | Path | None = None,
    device: str = "auto",
    engine: str = "auto",
    threads: int | None = None,
    progress: bool = False,
) -> Diagnosis:
    """Train a cell and a ladder of variants together, and say what held the cell back.

    Args:
        cell: the network, data and training to explain; its own seeds give way to `seeds`.
        seeds: of data and initial weights; every variant is trained once with each. Three are the least that can tell chance
            from a cause; with fewer, all must agree.
        run_dir, device, engine, threads, progress: as of `bench.run`. `memcap report` makes the page of a run_dir.

    Raises:
        bench.GridError: a cell, seed, device or engine that cannot be.

    >>> found = diagnose(Cell(depth=0, d_in=2, n_samples=12, max_epochs=300), seeds=[0])
    >>> found.verdict.cause.value
    'capacity'
    """
    if not isinstance(cell, Cell):
        raise grid.GridError("cell", type(cell).__name__, "is not a cell", "give a bench.Cell, bench.Cell(depth=2, width=8)")
    # The rules of a grid refuse what has no effect, too.
    fields = {name: getattr(cell, name) for name in FIELDS if name not in ("regularization", *SEED_FIELDS)}
    cells = plan(grid.expand(fields, {"seed": seeds}, regularizations={}))
    table = run(cells, run_dir=run_dir, device=device, engine=engine, threads=threads, progress=progress, variants=True)
    grouped = groups(table)
    grouped.insert(0, "setting", label_settings(grouped, variants=True))
    found = evidence(grouped)
    keyed = table.merge(grouped[["setting", *GROUP_FIELDS]], on=list(GROUP_FIELDS), how="left")
    return Diagnosis(verdict(found), found, asked_signals(signal_propagation(keyed, variants=True)))


def plan(asked: Sequence[Cell]) -> list[Cell]:
    """The cells of a diagnosis, checked: those asked about, which differ in their seeds alone, then each variant of them.

    Raises:
        bench.GridError: cells that differ in more.
    """
    if len({dataclasses.replace(cell, data_seed=0, init_seed=0) for cell in asked}) > 1:
        raise grid.GridError(
            "grid", "...", "describes several networks, and a diagnosis is about one", "sweep nothing but the seeds"
        )
    return grid.check(variant for rung in zip(*map(ladder, asked), strict=True) for variant in rung)
