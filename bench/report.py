"""A run folder -> its tables, its figures and one HTML page that opens offline. Reads parquet only; never imports torch."""

from __future__ import annotations

import base64
import bisect
import dataclasses
import io
import sys
from pathlib import Path

import jinja2
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from bench import plots, provenance
from bench.cells import FIELDS, SEEDS
from bench.findings import findings
from bench.networks import HOMOGENEOUS
from bench.noise import VALIDATION_FIELDS, validation_variance
from bench.settings import MAP_AXES, label_settings, varying
from bench.signal import propagation
from bench.store import Store, cells_of, write_atomically
from bench.survival import groups as group_statistics

# Beyond these a page would be too long to read, and it says so; groups.csv and cells.csv hold everything.
MOST_SETTINGS = 24
MOST_CURVES = 400
MOST_SIGNALS = 24
TERMINAL_ROWS = 80

# Loads of one map closer than this factor are one.
SAME_LOAD = 1.1

PNG_DPI = 150
# CSS defines 96 pixels to the inch.
CSS_DPI = 96


@dataclasses.dataclass(frozen=True, slots=True)
class Picture:
    """A figure of the report: its file name without ending, a caption, a text for those who cannot see it, and its table."""

    name: str
    caption: str
    alt: str
    table: str
    figure: Figure


def build(run_dir: str | Path) -> Path:
    """Write tables/, figures/ and report.html of a run folder, print the capacity table, and return the page's path.

    Raises:
        FileNotFoundError: the folder holds no run.
    """
    store = Store(run_dir)
    cells = store.read_cells()
    groups = group_statistics(cells)
    groups.insert(0, "setting", label_settings(groups))
    keyed = cells.merge(groups[["setting", *_GROUP_KEY]], on=_GROUP_KEY, how="left")
    tables = {
        "cells": cells,
        "groups": groups,
        "learning_curves": _curves(store, keyed),
        "predictions": _predictions(store, keyed),
        "signal_propagation": _signal(keyed),
        "validation": _validation(keyed),
    }
    folder = store.path / "tables"
    folder.mkdir(exist_ok=True)
    for name, table in tables.items():
        write_atomically(folder / f"{name}.csv", lambda partial, table=table: table.to_csv(partial, index=False, na_rep=""))
    pictures = _draw(tables, store.path / "figures")
    sentences = findings(cells, groups, tables["signal_propagation"], tables["validation"])
    page = _page(store, tables, pictures, sentences)
    write_atomically(store.path / "report.html", lambda partial: partial.write_text(page, encoding="utf-8"))
    _print(groups, sentences, store)
    return store.path / "report.html"


_GROUP_KEY = [name for name in FIELDS if name not in SEEDS]


def _curves(store: Store, cells: pd.DataFrame) -> pd.DataFrame:
    """Learning curves with what a figure needs to colour them: of all cells, or where they are many, of one in each group."""
    chosen = cells if len(cells) <= MOST_CURVES else cells.drop_duplicates(_GROUP_KEY)
    chosen = chosen.iloc[:: max(1, -(-len(chosen) // MOST_CURVES))]
    about = chosen[["cell_id", "setting", "depth", "width", "n_samples", "functional_dim", "data_seed", "init_seed"]]
    return about.assign(threshold=chosen["tau"]).merge(store.read_curves(), on="cell_id", how="inner")


def _predictions(store: Store, cells: pd.DataFrame) -> pd.DataFrame:
    """Final predictions of the first cell of each setting that kept them."""
    table = store.read_predictions()
    kept = cells[cells["cell_id"].isin(table["cell_id"])].drop_duplicates("setting").head(MOST_SETTINGS)
    return kept[["cell_id", "setting", "final_tau"]].merge(table, on="cell_id", how="inner")


def _signal(cells: pd.DataFrame) -> pd.DataFrame:
    """Signal propagation at initialisation of the first cell of each setting, where settings differ in what decides it."""
    first = cells.drop_duplicates("setting").head(MOST_SIGNALS)
    if not varying(first, among=("init", "init_scale", "activation")) and not (first["init"] == "uniform").any():
        first = first.head(0)
    first = first.drop_duplicates(["init", "init_scale", "activation", "width", "depth", "d_in"])
    about = first[["cell_id", "setting", "depth", "width", "init", "init_scale"]]
    return about.merge(propagation(cells_of(first)), on="cell_id", how="inner")


def _validation(cells: pd.DataFrame) -> pd.DataFrame:
    """Validation errors over their floor, the variance of the very targets they are measured on."""
    measured = cells[cells["best_val_mse"].notna()]
    floors = [validation_variance(cell) for cell in cells_of(measured.drop_duplicates(list(VALIDATION_FIELDS)))]
    known = measured.drop_duplicates(list(VALIDATION_FIELDS))[list(VALIDATION_FIELDS)].assign(validation_variance=floors)
    table = measured[["cell_id", "setting", *VALIDATION_FIELDS, "best_val_mse", "best_val_epoch", "final_val_mse"]]
    table = table.merge(known, on=list(VALIDATION_FIELDS), how="left")
    ratios = {name: table[f"{name}_val_mse"] / table["validation_variance"] for name in ("best", "final")}
    return table.assign(best_over_variance=ratios["best"], final_over_variance=ratios["final"])


def _map_axes(groups: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Rows, columns and panels of the maps worth drawing: at least two by two, and load for n_samples where that is ragged."""
    networks = len(groups[["depth", "width"]].drop_duplicates())
    ragged = 2 * len(groups) < networks * groups["n_samples"].nunique()
    samples = "load" if ragged else "n_samples"
    axes = [(samples, "width", "depth"), ("depth", "width", samples)]
    if not varying(groups, among=("width",)):
        axes = [(samples, "depth", "width")]
    return [names for names in axes if all(len(varying(groups, among=(name,))) for name in names[:2])]


def _steps(loads: pd.Series) -> list[float]:
    """Loads as the few that were meant: n_samples is whole, so one load asked for differs a little from network to network."""
    steps: list[float] = []
    for load in sorted(loads.unique()):
        if not steps or load > SAME_LOAD * steps[-1]:
            steps.append(float(load))
    return [float(f"{steps[bisect.bisect_right(steps, load) - 1]:.2g}") for load in loads]


def _draw(tables: dict[str, pd.DataFrame], folder: Path) -> list[Picture]:
    """All figures, also as PNG and SVG files."""
    groups, pictures = tables["groups"], []
    norm = plots.epoch_norm(groups)
    for number, setting in enumerate(list(dict.fromkeys(groups["setting"]))[:MOST_SETTINGS]):
        own = groups[groups["setting"] == setting]
        for rows, columns, panels in _map_axes(own):
            red = "P - depth*width" if own["activation"].isin(HOMOGENEOUS).all() else "functional dimension"
            title = f"{setting}: epochs until tau <= {', '.join(f'{tau:g}' for tau in own['tau'].unique())}; red: N = {red}"
            shown = own.assign(load=_steps(own["load"]))
            figure = plots.heatmaps(shown, rows=rows, columns=columns, panels=panels, norm=norm, title=title)
            name = f"map_{number:02d}_{columns}_{rows}"
            reached = int((own["fraction_memorized"] >= 0.5).sum())
            caption = (
                f"{setting}: {columns} by {rows}, a map for each {panels}. Hatched: fewer than half of the seeds got there."
            )
            combinations = f"{reached} of {len(own)} combinations of {', '.join(MAP_AXES)}"
            alt = f"Heatmaps of the median epoch to tau, {setting}: at least half of the seeds memorized {combinations}."
            pictures.append(Picture(name, caption, alt, "groups", figure))
    curves, predicted, signal = (tables[name] for name in ("learning_curves", "predictions", "signal_propagation"))
    if len(curves):
        shown = curves[curves["setting"].isin(list(dict.fromkeys(curves["setting"]))[:MOST_SETTINGS])]
        caption = "Learning curves. Blue: fewer samples than the functional dimension; red: more."
        caption += " Dotted: the mean; dashed: the threshold."
        if shown["cell_id"].nunique() < len(tables["cells"]):
            caption += " One seed of each network, or fewer where they are many."
        alt = f"Learning curves of {shown['cell_id'].nunique()} cells; the lowest tau drawn is {shown['tau'].min():.2g}."
        pictures.append(Picture("learning_curves", caption, alt, "learning_curves", plots.learning_curves(shown)))
    if len(predicted):
        caption = (
            "Targets (blue circles) and final predictions (red stars) of the first training samples, one cell for each setting."
        )
        taus = predicted.drop_duplicates("setting")
        alt = "Predictions against targets. Final tau: " + "; ".join(
            f"{label} {tau:.2g}" for label, tau in zip(taus["setting"], taus["final_tau"], strict=True)
        )
        pictures.append(Picture("predictions", caption, alt, "predictions", plots.predictions(predicted)))
    if len(signal):
        caption = (
            "What tells inputs apart in the untrained networks: the variance of each layer's pre-activations across inputs."
        )
        last = signal.groupby("setting", sort=False)["variance_across_inputs"].last()
        alt = "Variance across inputs at the output of the untrained network: " + "; ".join(
            f"{label} {value:.2g}" for label, value in last.items()
        )
        pictures.append(Picture("signal_propagation", caption, alt, "signal_propagation", plots.propagation(signal)))
    folder.mkdir(exist_ok=True)
    for stale in (*folder.glob("*.png"), *folder.glob("*.svg")):
        stale.unlink()
    for picture in pictures:
        for ending in ("png", "svg"):
            picture.figure.savefig(folder / f"{picture.name}.{ending}", dpi=PNG_DPI)
        plt.close(picture.figure)
    return pictures


def _page(store: Store, tables: dict[str, pd.DataFrame], pictures: list[Picture], sentences: list[str]) -> str:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    groups, cells = tables["groups"], tables["cells"]
    measures = [
        "median_epoch_to_tau",
        "n_memorized",
        "n_seeds",
        "fraction_low",
        "fraction_high",
        "median_final_tau",
        "n_params",
    ]
    columns = ["setting", *[name for name in varying(groups) if name != "regularization"], *measures]
    images = {picture.name: _image(store.path / "figures" / f"{picture.name}.png") for picture in pictures}
    settings = list(dict.fromkeys(groups["setting"]))
    return environment.get_template("report.html").render(
        title=store.path.name,
        sentences=sentences,
        pictures=pictures,
        images=images,
        groups=_table_html(groups[list(dict.fromkeys(columns))]),
        tables=list(tables),
        n_cells=len(cells),
        left_out=settings[MOST_SETTINGS:],
        failed=cells.loc[cells["status"] == "failed", ["cell_id", "reason"]].to_dict("records"),
        unreadable=store.unreadable,
        fields=_shared(cells),
        runs=provenance.read(store.path),
    )


def _shared(cells: pd.DataFrame) -> dict[str, object]:
    """The fields that all cells have in common; what is absent is spelled as in the configuration."""
    values = {name: cells[name].iloc[0] for name in FIELDS if name not in varying(cells, among=FIELDS)}
    return {name: "null" if pd.isna(value) else value for name, value in values.items()}


def _image(path: Path) -> dict[str, str | int]:
    """A PNG file as base64, and the width in CSS pixels at which its text has the size it was drawn for."""
    data = path.read_bytes()
    # The header of a PNG file holds the width in pixels at byte 16, big-endian (PNG specification, IHDR).
    pixels = int.from_bytes(data[16:20], "big")
    return {"data": base64.b64encode(data).decode(), "width": round(pixels * CSS_DPI / PNG_DPI)}


def _table_html(table: pd.DataFrame) -> str:
    """A table without style of its own; infinity is spelled as what it means."""
    out = io.StringIO()
    formatted = table.assign(median_epoch_to_tau=[_epochs(value) for value in table["median_epoch_to_tau"]])
    formatted.to_html(out, index=False, border=0, float_format=lambda value: f"{value:.3g}", na_rep="", table_id="groups")
    return out.getvalue()


def _epochs(value: float) -> str:
    return "" if value != value else "never" if value == float("inf") else f"{value:.0f}"


def _print(groups: pd.DataFrame, sentences: list[str], store: Store) -> None:
    """The capacity table as a terminal shows it: median epoch and seeds that memorized, sample counts across."""
    entries = groups.assign(entry=[_entry(row) for _, row in groups.iterrows()])
    index = list(dict.fromkeys(["setting", *varying(groups, among=("depth", "width"))]))
    table = entries.pivot_table(
        index=index, columns="n_samples", values="entry", aggfunc="first", sort=False, fill_value=""
    ).sort_index(axis=1)
    print("\nmedian epoch to tau (seeds that memorized), by n_samples; '-' where fewer than half did\n")
    print(table.head(TERMINAL_ROWS).to_string())
    if len(table) > TERMINAL_ROWS:
        print(f"... {len(table) - TERMINAL_ROWS} more rows in {store.path / 'tables' / 'groups.csv'}")
    print()
    for sentence in sentences:
        print(f"* {sentence}")
    print(f"\nmemcap: report in {store.path / 'report.html'}")


def _entry(group: pd.Series) -> str:
    median = _epochs(group["median_epoch_to_tau"])
    return f"{'-' if median == 'never' else median} ({group['n_memorized']}/{group['n_seeds']})"


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
