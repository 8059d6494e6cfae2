"""A run folder -> its tables, its figures and one HTML page that opens offline. Reads parquet only; never imports torch."""

from __future__ import annotations

from pathlib import Path

from bench.report import terminal
from bench.report.drawing import draw
from bench.report.findings import findings
from bench.report.page import page
from bench.report.pictures import Picture, drawings
from bench.statistics import tables
from bench.statistics.tables import Tables
from bench.store.parts import Design, Store, write_atomically
from bench.store.tables import write_tables


def build(run_dir: str | Path) -> Path:
    """Write tables/, figures/ and report.html of a run folder, print its main table, and return the page's path.

    Raises:
        FileNotFoundError: the folder holds no run.
    """
    store = Store(run_dir)
    made = tables.make(store)
    write_tables(store.path / "tables", made.named())
    pictures = _draw(made, store.path / "figures")
    sentences = findings(made)
    text = page(store, made, pictures, sentences)
    write_atomically(store.path / "report.html", lambda partial: partial.write_text(text, encoding="utf-8"))
    _print(made, sentences, store)
    return store.path / "report.html"


def _draw(made: Tables, folder: Path) -> list[Picture]:
    """All figures as files."""
    folder.mkdir(exist_ok=True)
    for stale in (*folder.glob("*.png"), *folder.glob("*.svg")):
        stale.unlink()
    return draw(list(drawings(made)), folder)


def _print(made: Tables, sentences: list[str], store: Store) -> None:
    """What a terminal shows: the evidence about one cell and its signals, or the capacities of a grid; then the findings."""
    if made.variants:
        signals = terminal.signal_table(tables.asked_signals(made.signal_propagation))
        shown = [terminal.asked_cell(made.groups.iloc[0]), terminal.evidence_table(made.evidence), signals]
    elif made.design is Design.SEARCH or made.groups["n_samples"].nunique() > terminal.MOST_COLUMNS:
        shown = [terminal.frontier_table(made.capacity)]
    else:
        shown = [terminal.capacity_table(made.groups)]
    print("\n" + "\n\n".join(filter(None, shown)) + "\n")
    for sentence in sentences:
        print(f"* {sentence}")
    print(f"\nmemcap: report in {store.path / 'report.html'}")
