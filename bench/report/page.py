"""Tables, figures and findings -> one HTML page that works offline."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from itables.options import dt_bundle

from bench.protocol.cells import FIELDS, SEEDS
from bench.protocol.fields import FIELD_LIST
from bench.report import terminal
from bench.report.blocks import as_json, image, render, table_html, tooltip, where
from bench.report.pictures import OWN, Picture, drawn
from bench.report.scope import scope
from bench.statistics.settings import swept_fields, varying
from bench.statistics.tables import Tables
from bench.store import provenance
from bench.store.parts import RUNG_COLUMNS, Store

# Findings that stand out; the others follow in smaller type.
PROMINENT = 3

# The sections of figures, in their order on the page.
SECTIONS = {
    "maps": "Maps",
    "capacities": "Capacities",
    "regularizers": "Regularizers",
    "curves": "Learning curves",
    "networks": "Single networks",
}

GROUP_MEASURES = [
    "median_epoch_to_tau",
    "n_memorized",
    "n_seeds",
    "fraction_low",
    "fraction_high",
    "median_final_tau",
    "n_params",
]
EVIDENCE_MEASURES = [
    "setting",
    "levers",
    "n_memorized",
    "n_seeds",
    "n_fresh_memorized",
    "n_fresh",
    "median_epoch_to_tau",
    "median_final_tau",
    "cost",
]

CELL_MEASURES = [
    "n_params",
    "functional_dim",
    "status",
    "epoch_to_tau",
    *RUNG_COLUMNS,
    "epochs_run",
    "final_tau",
    "best_val_mse",
    "bits_per_param",
    "reason",
]
DIGITS = 4


def page(store: Store, made: Tables, pictures: Sequence[Picture], sentences: Sequence[str]) -> str:
    """The page's text; the figures are read from the run folder, where they stand as files."""
    groups, cells = made.groups, made.cells
    columns = ["setting", *[name for name in varying(groups) if name != "regularization"], *GROUP_MEASURES]
    bundle = Path(dt_bundle)
    return render(
        "page.html",
        name=store.path.name,
        title="Diagnosis: does this network memorize noise?" if made.variants else "Memorization capacity",
        scope=scope(cells, groups, design=made.design),
        asked=terminal.asked_cell(groups.iloc[0]) if made.variants else "",
        prominent=sentences[:PROMINENT],
        others=sentences[PROMINENT:],
        sections=_sections(made, pictures),
        pictures=pictures,
        images={picture.name: image(store.path / "figures" / f"{picture.name}.png") for picture in pictures},
        views=list(dict.fromkeys(picture.view for picture in pictures if picture.view)),
        thresholds=_thresholds(pictures, groups),
        own=OWN,
        evidence=_table_html(made.evidence[EVIDENCE_MEASURES], "evidence") if made.variants else "",
        capacity=_capacity_html(made.capacity) if len(made.capacity) else "",
        laws=_laws_html(made.scaling) if len(made.scaling) else "",
        log_rank=_log_rank_html(made.log_rank) if len(made.log_rank) else "",
        published=_published_html(made.published) if len(made.published) else "",
        claims=int(made.published["p_holm"].notna().sum()) if len(made.published) else 0,
        groups=_table_html(groups[list(dict.fromkeys(columns))], "groups"),
        n_groups=len(groups),
        cells=_cells(cells, groups),
        bundle=base64.b64encode(bundle.read_bytes()).decode(),
        bundle_style=bundle.with_suffix(".css").read_text(encoding="utf-8"),
        lines=_lines(made.theory),
        tables=list(made.named()),
        left_out=[setting for setting in dict.fromkeys(groups["setting"]) if setting not in drawn(made)],
        failed=cells.loc[cells["status"] == "failed", ["cell_id", "reason"]].to_dict("records"),
        unreadable=store.unreadable,
        shared=_shared(cells),
        runs=[_run(run) for run in provenance.read(store.path)],
    )


def _sections(made: Tables, pictures: Sequence[Picture]) -> dict[str, str]:
    """The sections that have something to show; capacities have a table of their own."""
    filled = {picture.section for picture in pictures} | ({"capacities"} if len(made.capacity) else set())
    return {name: title for name, title in SECTIONS.items() if name in filled}


def _thresholds(pictures: Sequence[Picture], groups: pd.DataFrame) -> dict[str, str]:
    """The thresholds between which the maps can be switched, the largest first, with what to call them."""
    rungs = sorted({float(p.threshold) for p in pictures if p.threshold not in ("", OWN)}, reverse=True)
    taus = groups["tau"].unique()
    own = f"{taus[0]:g}, where training ends" if len(taus) == 1 else "where each cell's training ends"
    return {**{f"{rung:g}": f"{rung:g}" for rung in rungs}, OWN: own}


def _shared(cells: pd.DataFrame) -> list[tuple[str, list[tuple[str, str]]]]:
    """The fields that all cells have in common, by topic, and those that are absent from all."""
    swept = varying(cells, among=FIELDS)
    topics: dict[str, list[tuple[str, str]]] = {field.topic: [] for field in FIELD_LIST}
    for field in FIELD_LIST:
        if field.name not in swept and not pd.isna(cells[field.name].iloc[0]):
            topics[field.topic].append((field.name, _spell(cells[field.name].iloc[0])))
    topics["absent"] = [(name, "") for name in FIELDS if cells[name].isna().all()]
    return [(topic.capitalize(), fields) for topic, fields in topics.items() if fields]


def _spell(value: Any) -> str:
    """A value as the configuration spells it."""
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).lower() if isinstance(value, (bool, np.bool_)) else str(value)


def _run(run: Mapping[str, Any]) -> dict[str, str]:
    """One run into the folder as a row to read; what is not known is empty."""
    return {
        "started": str(run.get("started_at") or "").replace("T", " ").replace("+00:00", " UTC"),
        "trained": f"{run.get('cells_trained', 0)} of {run.get('cells_planned', 0)} cells",
        "took": f"{run['wall_time_s']:.0f} s" if run.get("wall_time_s") is not None else "",
        "engine": f"{run.get('engine') or ''} on {run.get('device') or ''}, {run.get('threads') or ''} threads",
        **where(run),
    }


def _cells(cells: pd.DataFrame, groups: pd.DataFrame) -> dict[str, str]:
    """The columns and rows of the table of cells as JSON: what varies, and what came of it; floats to four digits."""
    same = cells["data_seed"].equals(cells["init_seed"])
    fields = [*swept_fields(groups), *varying(cells, among=SEEDS[:1] if same else SEEDS)]
    measures = [name for name in CELL_MEASURES if name in cells and cells[name].notna().any()]
    shown = cells[list(dict.fromkeys([*fields, *measures]))]
    rows = list(zip(*([_rounded(value) for value in shown[name].tolist()] for name in shown), strict=True))
    columns = [{"title": name, "about": tooltip("cells", str(name))} for name in shown]
    return {"columns": as_json(columns), "rows": as_json(rows), "count": f"{len(rows):,}"}


def _rounded(value: Any) -> Any:
    """What JSON can hold: absent and non-finite values are null."""
    if pd.isna(value):
        return None
    if not isinstance(value, float):
        return value
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def _lines(theory: pd.DataFrame) -> list[dict[str, str]]:
    """What the lines of theory are: name, kind and source of each."""
    if theory.empty:
        return []
    named = theory.drop_duplicates("line")
    return [{name: str(row[name]) for name in ("line", "kind", "source")} for _, row in named.iterrows()]


def _capacity_html(capacity: pd.DataFrame) -> str:
    return terminal.capacity_columns(capacity).pipe(table_html, "capacity-table", "capacity", {"N50 (95 %)": ("n50",)})


def _laws_html(scaling: pd.DataFrame) -> str:
    columns = {
        "networks": ("n_networks",),
        "bounds": ("n_above", "n_below"),
        "p if proportional to size": ("p_value",),
        "without each": ("exponent_least", "exponent_most"),
        "largest p without each": ("p_value_most",),
        "lack of fit p": ("lack_of_fit_p",),
    }
    cells = (
        scaling["n_networks"],
        scaling["n_above"] + scaling["n_below"],
        scaling["p_value"].map("{:.2g}".format),
        [f"{row['exponent_least']:.2f} to {row['exponent_most']:.2f}" for _, row in scaling.iterrows()],
        scaling["p_value_most"].map("{:.2g}".format),
        scaling["lack_of_fit_p"].map("{:.2g}".format),
    )
    exponent = [_interval(row, "exponent") for _, row in scaling.iterrows()]
    shown = scaling[["setting", "model", "term"]].assign(exponent=exponent, **dict(zip(columns, cells, strict=True)))
    return shown.pipe(table_html, "laws", "scaling", columns)


def _interval(row: pd.Series, name: str) -> str:
    return f"{row[name]:.2f} ({row[f'{name}_low']:.2f} to {row[f'{name}_high']:.2f})"


def _log_rank_html(table: pd.DataFrame) -> str:
    numbers = {name: table[name].map(_digits) for name in ("expected", "statistic", "p_value", "p_holm", "least_p")}
    return (
        table.assign(**numbers).rename(columns={"p_value": "p"}).pipe(table_html, "log-rank", "log_rank", {"p": ("p_value",)})
    )


def _digits(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3g}"


def _published_html(table: pd.DataFrame) -> str:
    shown = table[["claim", "about", "agree", "they", "here", "margin", "n_cells", "source"]].rename(
        columns={"agree": "agree?"}
    )
    return shown.pipe(table_html, "published-table", "published", {"agree?": ("agree",)})


def _table_html(table: pd.DataFrame, table_id: str) -> str:
    """A table without style of its own; infinity is spelled as what it means."""
    formatted = table.assign(median_epoch_to_tau=[terminal.spell_epochs(value) for value in table["median_epoch_to_tau"]])
    return table_html(formatted, table_id, table_id)
