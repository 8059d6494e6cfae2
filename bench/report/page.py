"""Tables, figures and findings -> one HTML page that works offline."""

from __future__ import annotations

import base64
import html
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from itables.options import dt_bundle

from bench.protocol.cells import FIELDS, SEEDS
from bench.protocol.columns import UNITS_IN_WORDS, columns_of
from bench.protocol.fields import FIELD_LIST
from bench.report import terminal
from bench.report.pictures import OWN, Picture, drawn
from bench.report.scope import scope
from bench.report.style import PNG_DPI
from bench.statistics.settings import swept_fields, varying
from bench.statistics.tables import Tables
from bench.store import provenance
from bench.store.parts import RUNG_COLUMNS, Store

# CSS defines 96 pixels to the inch.
CSS_DPI = 96

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
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    groups, cells = made.groups, made.cells
    columns = ["setting", *[name for name in varying(groups) if name != "regularization"], *GROUP_MEASURES]
    bundle = Path(dt_bundle)
    return environment.get_template("page.html").render(
        name=store.path.name,
        title="Diagnosis: does this network memorize noise?" if made.variants else "Memorization capacity",
        scope=scope(cells, groups, design=made.design),
        asked=terminal.asked_cell(groups.iloc[0]) if made.variants else "",
        prominent=sentences[:PROMINENT],
        others=sentences[PROMINENT:],
        sections=_sections(made, pictures),
        pictures=pictures,
        images={picture.name: _image(store.path / "figures" / f"{picture.name}.png") for picture in pictures},
        views=list(dict.fromkeys(picture.view for picture in pictures if picture.view)),
        thresholds=_thresholds(pictures, groups),
        own=OWN,
        evidence=_table_html(made.evidence[EVIDENCE_MEASURES], "evidence") if made.variants else "",
        capacity=_capacity_html(made.capacity) if len(made.capacity) else "",
        laws=_laws_html(made.scaling) if len(made.scaling) else "",
        log_rank=_log_rank_html(made.log_rank) if len(made.log_rank) else "",
        published=_published_html(made.published) if len(made.published) else "",
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
    commit, packages = run.get("commit"), run.get("packages", {})
    changed = " with changes" if run.get("dirty") else ""
    cpu = run.get("cpu", {})
    features = ", ".join(cpu.get("features", []))
    return {
        "started": str(run.get("started_at") or "").replace("T", " ").replace("+00:00", " UTC"),
        "trained": f"{run.get('cells_trained', 0)} of {run.get('cells_planned', 0)} cells",
        "took": f"{run['wall_time_s']:.0f} s" if run.get("wall_time_s") is not None else "",
        "engine": f"{run.get('engine') or ''} on {run.get('device') or ''}, {run.get('threads') or ''} threads",
        "machine": ", ".join(filter(None, [cpu.get("model"), run.get("system"), features])),
        "versions": ", ".join([f"Python {run.get('python') or ''}", *(f"{k} {v}" for k, v in packages.items() if v)]),
        "commit": f"{commit[:10]}{changed}" if commit else "",
    }


def _image(path: Path) -> dict[str, str | int]:
    """A PNG file as base64, and the size in CSS pixels at which its text has the size it was drawn for."""
    data = path.read_bytes()
    # The header of a PNG file holds width and height in pixels at bytes 16 and 20, big-endian (PNG specification, IHDR).
    width, height = (round(int.from_bytes(data[at : at + 4], "big") * CSS_DPI / PNG_DPI) for at in (16, 20))
    return {"data": base64.b64encode(data).decode(), "width": width, "height": height}


def _cells(cells: pd.DataFrame, groups: pd.DataFrame) -> dict[str, str]:
    """The columns and rows of the table of cells as JSON: what varies, and what came of it; floats to four digits."""
    same = cells["data_seed"].equals(cells["init_seed"])
    fields = [*swept_fields(groups), *varying(cells, among=SEEDS[:1] if same else SEEDS)]
    measures = [name for name in CELL_MEASURES if name in cells and cells[name].notna().any()]
    shown = cells[list(dict.fromkeys([*fields, *measures]))]
    rows = list(zip(*([_rounded(value) for value in shown[name].tolist()] for name in shown), strict=True))
    # A page ends a script at the first "</".
    text = json.dumps(rows, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
    columns = [{"title": name, "about": tooltip("cells", str(name))} for name in shown]
    return {"columns": json.dumps(columns).replace("</", "<\\/"), "rows": text, "count": f"{len(rows):,}"}


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
    return terminal.capacity_columns(capacity).pipe(_html, "capacity-table", "capacity", {"N50 (95 %)": ("n50",)})


def _laws_html(scaling: pd.DataFrame) -> str:
    shown = scaling[["setting", "model", "term"]].assign(
        exponent=[_interval(row, "exponent") for _, row in scaling.iterrows()],
        networks=scaling["n_networks"],
        **{
            "left out": scaling["n_above"] + scaling["n_below"] + scaling["n_vague"],
            "p if proportional to size": scaling["p_value"].map("{:.2g}".format),
        },
        **{"residual sd of ln N50": scaling["residual_sd"].map("{:.2f}".format)},
    )
    renamed = {
        "networks": ("n_networks",),
        "left out": ("n_above", "n_below", "n_vague"),
        "p if proportional to size": ("p_value",),
        "residual sd of ln N50": ("residual_sd",),
    }
    return shown.pipe(_html, "laws", "scaling", renamed)


def _interval(row: pd.Series, name: str) -> str:
    return f"{row[name]:.2f} ({row[f'{name}_low']:.2f} to {row[f'{name}_high']:.2f})"


def _log_rank_html(table: pd.DataFrame) -> str:
    numbers = {name: table[name].map(_digits) for name in ("expected", "statistic", "p_value")}
    return table.assign(**numbers).rename(columns={"p_value": "p"}).pipe(_html, "log-rank", "log_rank", {"p": ("p_value",)})


def _digits(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3g}"


def _published_html(table: pd.DataFrame) -> str:
    shown = table[["claim", "about", "agree", "they", "here", "n_cells", "source"]].rename(columns={"agree": "agree?"})
    return shown.pipe(_html, "published-table", "published", {"agree?": ("agree",)})


def _table_html(table: pd.DataFrame, table_id: str) -> str:
    """A table without style of its own; infinity is spelled as what it means."""
    formatted = table.assign(median_epoch_to_tau=[terminal.spell_epochs(value) for value in table["median_epoch_to_tau"]])
    return _html(formatted, table_id, table_id)


def _html(table: pd.DataFrame, table_id: str, name: str, renamed: Mapping[str, Sequence[str]] = MappingProxyType({})) -> str:
    """A table as HTML. Each header has the scope of a column, and a tooltip with what it is in the table called `name`.

    `renamed`: the headers that are called otherwise there, with the columns that they stand for.
    """
    out = io.StringIO()
    # Absent integers would be spelled <NA>, whatever stands for absent floats.
    shown = table.astype({name: object for name in table if table[name].isna().any()})
    shown = shown.where(shown.notna(), "")
    shown.to_html(out, index=False, border=0, float_format=lambda value: f"{value:.3g}", na_rep="", table_id=table_id)
    headers = map(str, table)

    def titled(_: re.Match[str]) -> str:
        header = next(headers)
        about = "; ".join(tooltip(name, column) for column in renamed.get(header, (header,)))
        return f'<th scope="col" title="{html.escape(about)}">'

    return re.sub("<th>", titled, out.getvalue())


def tooltip(table: str, column: str) -> str:
    """What a column of a table is, and its unit."""
    known = columns_of(table)[column]
    return known.meaning if known.unit in UNITS_IN_WORDS else f"{known.meaning} [{known.unit}]"
