"""A run folder -> its tables, its figures and one HTML page that opens offline. Reads parquet only; never imports torch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from bench.machine.bar import Bar
from bench.protocol.version import __version__
from bench.report import terminal
from bench.report.drawing import draw
from bench.report.findings import findings
from bench.report.lines import MOST_ROWS, Screen, block_text, screen, wrapped
from bench.report.page import page
from bench.report.pictures import Picture, drawings
from bench.statistics import tables
from bench.statistics.tables import Tables
from bench.store.atomic import write_atomically
from bench.store.folder import held_for_report
from bench.store.parts import Design, Store
from bench.store.tables import write_tables

# What the figures of a folder show, and what is said of each: they are drawn again where it is not that any more.
DRAWN = "drawn.json"

# The sentences of a report, one a line.
FINDINGS = "findings.md"

# How much of the work is done when the tables are made, and when the figures are drawn too.
TABLES_DONE, FIGURES_DONE = 0.4, 0.9


def build(run_dir: str | Path, *, table: bool = False, redraw: bool = False) -> Path:
    """Write tables/, figures/, findings.md and report.html of a run folder; print the findings, the page's path and a table.

    Args:
        run_dir: the folder.
        table: print the table in full.
        redraw: draw the figures again that are there already, and show these tables.

    Another report of the folder is waited for.

    Returns:
        The page's path.

    Raises:
        FileNotFoundError: the folder holds no run.
        OSError: the system refuses to write.
    """
    store, shown = Store(run_dir), screen()
    with held_for_report(store.path):
        return _build(store, shown, table=table, redraw=redraw)


def _build(store: Store, shown: Screen, *, table: bool, redraw: bool) -> Path:
    path = store.path / "report.html"
    if (store.path / "plan.parquet").exists():
        print("memcap: making tables, figures and the page", flush=True)
    with Bar(shown=True, stays=False) as bar:
        made = tables.make(store, told=lambda name, share: bar.show(TABLES_DONE * share, [f"table {name}"]))
        write_tables(store.path / "tables", made.named())
        sentences = findings(made)
        bar.clear()
        _print_findings(made, sentences, shown)
        figures = _Figures(store.path, made)
        span = FIGURES_DONE - TABLES_DONE
        pictures, failures = figures.made(
            redraw, lambda done, count: bar.show(TABLES_DONE + span * done / count, [f"figure {done + 1} of {count}"])
        )
        bar.show(FIGURES_DONE, ["the page"])
        text = page(store, made, pictures, [*sentences, *failures])
        write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))
        lines = "\n".join(f"- {sentence}" for sentence in [*sentences, *failures])
        write_atomically(store.path / FINDINGS, lambda partial: partial.write_text(f"{lines}\n", encoding="utf-8"))
    for failure in failures:
        print(wrapped(failure, shown, "* ", "  "))
    print(f"memcap: report in {path}")
    _print_table(made, shown, in_full=table)
    return path


class _Figures:
    """The figures of a run folder as files, with a list of what they show."""

    def __init__(self, run_dir: Path, made: Tables):
        self._folder, self._made = run_dir / "figures", made
        self._folder.mkdir(exist_ok=True)
        self._shows = _digest(run_dir / "tables", made)

    def made(self, redraw: bool, told: Callable[[int, int], None]) -> tuple[list[Picture], list[str]]:
        """All figures, drawn where they are not there or show something else, and a sentence for each that cannot be drawn."""
        kept = None if redraw else self._kept()
        if kept is not None:
            return kept, []
        (self._folder / DRAWN).unlink(missing_ok=True)
        drawn = draw(list(drawings(self._made)), self._folder, told=told)
        pictures, failures = [one for one in drawn if isinstance(one, Picture)], [one for one in drawn if isinstance(one, str)]
        own = {f"{picture.name}.{ending}" for picture in pictures for ending in picture.endings}
        for other in (*self._folder.glob("*.png"), *self._folder.glob("*.svg")):
            if other.name not in own:
                other.unlink()
        if not failures:
            text = json.dumps({"shows": self._shows, "pictures": [dataclasses.asdict(picture) for picture in pictures]})
            write_atomically(self._folder / DRAWN, lambda partial: partial.write_text(text, encoding="utf-8"))
        return pictures, failures

    def _kept(self) -> list[Picture] | None:
        """The figures that are there already and show these tables; None where one does not."""
        try:
            known = json.loads((self._folder / DRAWN).read_text(encoding="utf-8"))
            pictures = [Picture(**one) for one in known["pictures"]] if known["shows"] == self._shows else None
        except (OSError, ValueError, TypeError, KeyError):  # None was drawn, or by another version.
            return None
        files = [self._folder / f"{one.name}.{ending}" for one in pictures or () for ending in one.endings]
        return pictures if all(map(Path.exists, files)) else None


def _digest(tables_folder: Path, made: Tables) -> str:
    """What decides how figures look: the tables, and the program that draws them."""
    digest = hashlib.sha256(f"{__version__} {made.design} {made.search_ratio}".encode())
    program = [*Path(__file__).parent.glob("*.py"), *Path(tables.__file__).parent.glob("*.py")]
    for path in sorted([*program, *tables_folder.glob("*.csv")]):
        digest.update(f"{path.name} ".encode() + path.read_bytes())
    return digest.hexdigest()


def _print_findings(made: Tables, sentences: list[str], shown: Screen) -> None:
    """What was found, the answer first; of a diagnosis with what was asked about."""
    print()
    if made.variants:
        print(wrapped(terminal.asked_cell(made.groups.iloc[0]), shown), end="\n\n")
    for number, sentence in enumerate(sentences):
        text = wrapped(sentence, shown, "* ", "  ")
        print(text if number else shown.styled(text, "bold"))
    print(flush=True)


def _print_table(made: Tables, shown: Screen, *, in_full: bool) -> None:
    """The evidence about one cell, with its signals in full; or the capacities of a grid."""
    if made.variants:
        evidence = made.evidence if in_full else terminal.worth_showing(made.evidence)
        signals = terminal.signal_blocks(tables.asked_signals(made.signal_propagation)) if in_full else []
        blocks = [terminal.evidence_block(evidence), *signals]
    elif made.design is Design.SEARCH or made.groups["n_samples"].nunique() > terminal.MOST_COLUMNS:
        blocks = [terminal.frontier_block(made.capacity)]
    else:
        blocks = [terminal.capacity_block(made.groups)]
    for block in filter(None, blocks):
        print(f"\n{block_text(block, shown, None if in_full else MOST_ROWS)}")
    print(flush=True)
