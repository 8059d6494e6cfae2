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
from bench.store.folder import held_for_report
from bench.store.parts import Design, Store, write_atomically
from bench.store.tables import write_tables


def build(run_dir: str | Path) -> Path:
    """Write tables/ of a run folder, print its main table and findings, then write figures/ and report.html.

    Another report of the folder is waited for.

    Returns:
        The page's path.

    Raises:
        FileNotFoundError: the folder holds no run.
        OSError: the system refuses to write.
    """
    store = Store(run_dir)
    with held_for_report(store.path):
        return _build(store)


def _build(store: Store) -> Path:
    made = tables.make(store)
    write_tables(store.path / "tables", made.named())
    sentences = findings(made)
    _print(made, sentences)
    pictures, failures = _draw(made, store.path / "figures")
    for failure in failures:
        print(f"* {failure}")
    text = page(store, made, pictures, [*sentences, *failures])
    write_atomically(store.path / "report.html", lambda partial: partial.write_text(text, encoding="utf-8"))
    print(f"memcap: report in {store.path / 'report.html'}")
    return store.path / "report.html"


def _draw(made: Tables, folder: Path) -> tuple[list[Picture], list[str]]:
    """All figures as files, and a sentence for each that could not be drawn."""
    folder.mkdir(exist_ok=True)
    drawn = draw(list(drawings(made)), folder)
    pictures = [one for one in drawn if isinstance(one, Picture)]
    own = {f"{picture.name}.{ending}" for picture in pictures for ending in picture.endings}
    for other in (*folder.glob("*.png"), *folder.glob("*.svg")):
        if other.name not in own:
            other.unlink()
    return pictures, [one for one in drawn if isinstance(one, str)]


def _print(made: Tables, sentences: list[str]) -> None:
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
    print(flush=True)
