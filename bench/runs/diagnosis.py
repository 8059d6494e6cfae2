"""Why does my network not memorize? One cell and a ladder of variants, trained together, and the verdict over them."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

import pandas as pd

from bench.protocol import grid
from bench.protocol.cells import FIELDS, Cell
from bench.protocol.cells import SEEDS as SEED_FIELDS
from bench.report import terminal
from bench.report.lines import block_text, screen, wrapped
from bench.runs.inquiry import Diagnose
from bench.runs.run import run
from bench.statistics import tables
from bench.statistics.verdict import Verdict, verdict
from bench.store.parts import Store

SEEDS = (0, 1, 2)


@dataclasses.dataclass(frozen=True, slots=True)
class Diagnosis:
    """A verdict, and what it stands on; as text, all of it, which fits the terminal where it is printed to one.

    `evidence` and `signal` have the columns of the tables `evidence` and `signal_propagation` (`bench.protocol.columns`): a
    row for the cell and each variant of it; a row for each layer of the untrained network, and of the same under another
    initialisation.
    """

    verdict: Verdict
    evidence: pd.DataFrame
    signal: pd.DataFrame

    def __str__(self) -> str:
        shown = screen()
        sentences = "\n".join(wrapped(sentence, shown) for sentence in self.verdict.sentences)
        blocks = [terminal.evidence_block(self.evidence), *terminal.signal_blocks(self.signal)]
        return "\n\n".join([sentences, *(block_text(block, shown) for block in blocks)])


def diagnose(
    cell: Cell,
    *,
    seeds: Iterable[int] | int = SEEDS,
    budget_s: float | None = None,
    past_tau: bool = False,
    run_dir: str | Path | None = None,
    device: str = "auto",
    engine: str = "auto",
    threads: int | None = None,
    progress: bool = False,
) -> Diagnosis:
    """Train a cell and a ladder of variants together, and say what held the cell back.

    Args:
        cell: the network, data and training to explain; its own seeds give way to `seeds`.
        seeds: of data and initial weights; every variant is trained once with each. What stands out is confirmed on fresh
            seeds.
        budget_s: the seconds that training may take; what would not end within them is not begun, what has not ended is
            stopped, and the verdict says what was not tried. None: fifteen times what the cell took, at least 10 and at most
            75, or three times what it took, if that is more.
        past_tau: train on past tau to the end of the budget, too, and say whether what was memorized is kept.
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
    cells = grid.expand(fields, {"seed": seeds}, regularizations={})
    about = Diagnose(budget_s, past_tau)
    with tempfile.TemporaryDirectory(prefix="memcap-") if run_dir is None else nullcontext(run_dir) as folder:
        run(cells, run_dir=folder, device=device, engine=engine, threads=threads, progress=progress, diagnosis=about)
        made = tables.make(Store(folder))
    return Diagnosis(verdict(made.evidence, made.left_out), made.evidence, tables.asked_signals(made.signal_propagation))
