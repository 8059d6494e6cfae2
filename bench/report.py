"""A run folder -> its tables, its figures and one HTML page that opens offline. Reads parquet only; never imports torch."""

from __future__ import annotations

import base64
import io
import sys
from pathlib import Path

import jinja2
import pandas as pd

from bench import provenance, tables, terminal
from bench.cells import FIELDS
from bench.findings import findings
from bench.pictures import Picture, draw, drawn
from bench.settings import varying
from bench.store import Store, write_atomically
from bench.style import PNG_DPI, save
from bench.tables import Tables

# CSS defines 96 pixels to the inch.
CSS_DPI = 96

GROUP_MEASURES = [
    "median_epoch_to_tau",
    "n_memorized",
    "n_seeds",
    "fraction_low",
    "fraction_high",
    "median_final_tau",
    "n_params",
]
EVIDENCE_MEASURES = ["setting", "levers", "n_memorized", "n_seeds", "median_epoch_to_tau", "median_final_tau", "cost"]


def build(run_dir: str | Path) -> Path:
    """Write tables/, figures/ and report.html of a run folder, print its main table, and return the page's path.

    Raises:
        FileNotFoundError: the folder holds no run.
    """
    store = Store(run_dir)
    made = tables.make(store)
    _write_tables(made, store.path / "tables")
    pictures = _save(made, store.path / "figures")
    sentences = findings(made)
    page = _page(store, made, pictures, sentences)
    write_atomically(store.path / "report.html", lambda partial: partial.write_text(page, encoding="utf-8"))
    _print(made, sentences, store)
    return store.path / "report.html"


def _write_tables(made: Tables, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for stale in folder.glob("*.csv"):
        stale.unlink()
    for name, table in made.named().items():
        write_atomically(folder / f"{name}.csv", lambda partial, table=table: table.to_csv(partial, index=False, na_rep=""))


def _save(made: Tables, folder: Path) -> list[Picture]:
    """All figures, as PNG and SVG files."""
    folder.mkdir(exist_ok=True)
    for stale in (*folder.glob("*.png"), *folder.glob("*.svg")):
        stale.unlink()
    pictures = []
    for picture in draw(made):
        for ending in ("png", "svg"):
            save(picture.figure, folder / f"{picture.name}.{ending}")
        pictures.append(picture)
    return pictures


def _page(store: Store, made: Tables, pictures: list[Picture], sentences: list[str]) -> str:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    groups, cells = made.groups, made.cells
    columns = ["setting", *[name for name in varying(groups) if name != "regularization"], *GROUP_MEASURES]
    return environment.get_template("report.html").render(
        title=store.path.name,
        sentences=sentences,
        pictures=pictures,
        images={picture.name: _image(store.path / "figures" / f"{picture.name}.png") for picture in pictures},
        evidence=_table_html(made.evidence[EVIDENCE_MEASURES], "evidence") if made.variants else "",
        groups=_table_html(groups[list(dict.fromkeys(columns))], "groups"),
        tables=list(made.named()),
        n_cells=len(cells),
        left_out=[setting for setting in dict.fromkeys(groups["setting"]) if setting not in drawn(made)],
        failed=cells.loc[cells["status"] == "failed", ["cell_id", "reason"]].to_dict("records"),
        unreadable=store.unreadable,
        asked=terminal.asked_cell(groups.iloc[0]) if made.variants else "",
        fields=_shared(cells),
        runs=provenance.read(store.path),
    )


def _shared(cells: pd.DataFrame) -> dict[str, object]:
    """The fields that all cells have in common; what is absent is spelled as in the configuration."""
    swept = varying(cells, among=FIELDS)
    values = {name: cells[name].iloc[0] for name in FIELDS if name not in swept}
    return {name: "null" if pd.isna(value) else value for name, value in values.items()}


def _image(path: Path) -> dict[str, str | int]:
    """A PNG file as base64, and the width in CSS pixels at which its text has the size it was drawn for."""
    data = path.read_bytes()
    # The header of a PNG file holds the width in pixels at byte 16, big-endian (PNG specification, IHDR).
    pixels = int.from_bytes(data[16:20], "big")
    return {"data": base64.b64encode(data).decode(), "width": round(pixels * CSS_DPI / PNG_DPI)}


def _table_html(table: pd.DataFrame, table_id: str) -> str:
    """A table without style of its own; infinity is spelled as what it means."""
    out = io.StringIO()
    formatted = table.assign(median_epoch_to_tau=[terminal.spell_epochs(value) for value in table["median_epoch_to_tau"]])
    formatted.to_html(out, index=False, border=0, float_format=lambda value: f"{value:.3g}", na_rep="", table_id=table_id)
    return out.getvalue()


def _print(made: Tables, sentences: list[str], store: Store) -> None:
    """What a terminal shows: the evidence about one cell and its signals, or the capacities of a grid; then the findings."""
    if made.variants:
        signals = terminal.signal_table(tables.asked_signals(made.signal_propagation))
        shown = [terminal.asked_cell(made.groups.iloc[0]), terminal.evidence_table(made.evidence), signals]
    else:
        shown = [terminal.capacity_table(made.groups)]
    print("\n" + "\n\n".join(filter(None, shown)) + "\n")
    for sentence in sentences:
        print(f"* {sentence}")
    print(f"\nmemcap: report in {store.path / 'report.html'}")


def main() -> None:
    """`python -m bench.report <run folder>`: rebuild tables, figures and page from what the folder holds."""
    if len(sys.argv) != 2:
        print("usage: python -m bench.report <run folder>", file=sys.stderr)
        sys.exit(2)
    try:
        build(sys.argv[1])
    except FileNotFoundError as error:
        print(f"memcap: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
