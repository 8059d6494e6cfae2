"""Tables, figures and findings -> one HTML page that works offline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.protocol import theory
from bench.protocol.cells import FIELDS, SEEDS
from bench.protocol.fields import FIELD_LIST
from bench.report import map_layers, map_svg, sparks, terminal
from bench.report.blocks import as_json, image, inlined, render, table_html, tooltip, where
from bench.report.findings import terms
from bench.report.map_layers import BESIDE, OWN
from bench.report.pictures import MAPS, Picture, drawn
from bench.report.scope import scope
from bench.report.words import formula, unbroken, unspelled, worded
from bench.statistics.by_lm import of_curve
from bench.statistics.by_lm import spelled as spelled_by_lm
from bench.statistics.evidence import past_tau
from bench.statistics.settings import swept_fields, varying
from bench.statistics.survival import GROUP_FIELDS
from bench.statistics.tables import Tables
from bench.store import provenance
from bench.store.parts import Design, Store
from bench.store.schema import RUNG_COLUMNS

# Findings that stand out; the others follow in smaller type.
PROMINENT = 3

# Rows that the page itself holds of cells and of groups: with a million it would be of 50 MB. All are in tables/.
MOST_CELLS, MOST_GROUPS = 50_000, 10_000

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

# Where something was trained on past tau.
PAST_MEASURES = ["median_best_tau", "n_reached", "n_lost"]

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
    maps = map_layers.maps(made) if made.design is Design.PRODUCT else []
    return render(
        "page.html",
        name=store.path.name,
        title="Diagnosis: does this network memorize noise?" if made.variants else "Memorization capacity",
        scope=scope(cells, groups, design=made.design),
        asked=terminal.asked_cell(groups.iloc[0]) if made.variants else "",
        prominent=[unbroken(sentence) for sentence in sentences[:PROMINENT]],
        others=[unbroken(sentence) for sentence in sentences[PROMINENT:]],
        sections=_sections(pictures, maps),
        pictures=pictures,
        images={p.name: image(store.path / "figures" / f"{p.name}.png") for p in pictures if p.section != MAPS},
        terms=terms(made),
        **_maps(maps, made),
        own=OWN,
        style=inlined("page.css"),
        scripts={name: inlined(f"{name}.js") for name in ("cells", "maps")},
        evidence=_evidence_html(made.evidence) if made.variants else "",
        capacity=_capacity_html(made.capacity, made.by_lm) if len(made.capacity) else "",
        ratios=_ratios_html(made.ratios) if len(made.ratios) else "",
        growth=_growth_html(made.budget_growth) if len(made.budget_growth) else "",
        by_lm=_by_lm_html(made.by_lm) if len(made.by_lm) else "",
        laws=_laws_html(made.scaling) if len(made.scaling) else "",
        log_rank=_log_rank_html(made) if len(made.log_rank) else "",
        published=_published_html(made.published) if len(made.published) else "",
        claims=int(made.published["p_holm"].notna().sum()) if len(made.published) else 0,
        groups=_table_html(groups[list(dict.fromkeys(columns))].head(MOST_GROUPS), "groups"),
        n_groups=len(groups),
        told_groups=min(len(groups), MOST_GROUPS),
        cells=_cells(cells, groups, store.read_curves()),
        lines=_lines(made.theory),
        bound=theory.in_words(groups) if len(made.theory) else "",
        tables=list(made.named()),
        left_out=[setting for setting in dict.fromkeys(groups["setting"]) if setting not in drawn(made)],
        failed=cells.loc[cells["status"] == "failed", ["cell_id", "reason"]].to_dict("records"),
        unreadable=store.unreadable,
        shared=_shared(cells),
        runs=[_run(run) for run in provenance.read(store.path)],
    )


def _evidence_html(evidence: pd.DataFrame) -> str:
    past = PAST_MEASURES if len(past_tau(evidence)[1]) else []
    return _table_html(evidence[[*EVIDENCE_MEASURES, *past]], "evidence")


def _sections(pictures: Sequence[Picture], maps: Sequence[map_layers.Map]) -> dict[str, str]:
    """The sections that have something to show; maps are drawn on the page."""
    filled = {picture.section for picture in pictures} - {MAPS} | ({MAPS} if maps else set())
    return {name: title for name, title in SECTIONS.items() if name in filled}


def _maps(maps: Sequence[map_layers.Map], made: Tables) -> dict[str, Any]:
    """What the template needs of the maps: views with their panels, thresholds to switch between, keys of signs and colours."""
    keys = {layer.key for own in maps for layer in own.layers}
    bounded = made.groups["loss"].eq("mse").all()
    line = f"N = {formula(theory.dimension_name(made.groups))}"
    views = [
        {
            "view": own.sheet.view,
            "words": own.words,
            "titles": [(layer.key, layer.title) for layer in own.layers],
            "panels": map_svg.panels(own, geometry),
        }
        for own, geometry in zip(maps, map_svg.geometries(maps), strict=True)
    ]
    return {
        "maps": views,
        "shades": map_svg.style(),
        "key": map_svg.key(maps, map_layers.colour_ends(made), f"no exact fit in general above {line}" if bounded else line),
        "delays": map_svg.delay_scale() if any(key.endswith(BESIDE) for key in keys) else "",
        "thresholds": _thresholds(keys, made.groups),
    }


def _thresholds(keys: set[str], groups: pd.DataFrame) -> dict[str, str]:
    """The thresholds between which the maps can be switched, the largest first, with what to call them."""
    rungs = sorted((float(key) for key in keys if key != OWN and not key.endswith(BESIDE)), reverse=True)
    taus = groups["tau"].unique()
    own = f"{taus[0]:g} (memorized)" if len(taus) == 1 else "memorized"
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


def _cells(cells: pd.DataFrame, groups: pd.DataFrame, curves: pd.DataFrame) -> dict[str, str]:
    """What the table of cells shows, as JSON: what varies, and what came of it, floats to four digits; groups and curves.

    Of more than MOST_CELLS cells those whose seeds come first in their groups.
    """
    same = cells["data_seed"].equals(cells["init_seed"])
    fields = [*swept_fields(groups), *varying(cells, among=SEEDS[:1] if same else SEEDS)]
    measures = [name for name in CELL_MEASURES if name in cells and cells[name].notna().any()]
    of_groups = cells.groupby(list(GROUP_FIELDS), sort=False, dropna=False)
    turns = of_groups.cumcount().to_numpy()
    kept = np.sort(np.argsort(turns, kind="stable")[:MOST_CELLS])
    told = cells.iloc[kept]
    shown = told[list(dict.fromkeys([*fields, *measures]))]
    rows = list(zip(*([_rounded(value) for value in shown[name].tolist()] for name in shown), strict=True))
    ids = told["cell_id"].tolist()
    own_curves = curves if len(told) == len(cells) else curves[curves["cell_id"].isin(ids)]
    data = {
        "columns": [{"title": name, "about": tooltip("cells", str(name))} for name in shown],
        "rows": rows,
        "groups": of_groups.ngroup().to_numpy()[kept].tolist(),
        "curves": sparks.sparks(own_curves, ids, int(groups["max_epochs"].max())),
        "points": sparks.POINTS - 1,
        "threshold": sparks.depth(float(groups["tau"].min())),
    }
    count = f"{len(cells):,}"
    return {"data": as_json(data), "count": count if len(told) == len(cells) else f"{len(told):,} of {count}"}


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


def _capacity_html(capacity: pd.DataFrame, by_lm: pd.DataFrame) -> str:
    """Capacities, and beside them those by optimizer=lm, where there are any."""
    shown, names = terminal.capacity_columns(capacity), {"N50 (95 %)": ("n50",)}
    rows = [of_curve(by_lm, row) for row in capacity.to_dict("records")]
    if any(rows):
        lm = [spelled_by_lm(row, "n50_lm", over=1.0) if row else "" for row in rows]
        shown.insert(list(shown).index("N50 (95 %)") + 1, "by LM", lm)
        shown.insert(list(shown).index("by LM") + 1, "times", [_times(row) if row else "" for row in rows])
        names |= {"by LM": ("by_lm.n50_lm",), "times": ("by_lm.ratio",)}
    return shown.pipe(table_html, "capacity-table", "capacity", names)


def _times(row: Mapping[Any, Any]) -> str:
    """The ratio of a row of by_lm with its interval, where it has one."""
    return "" if math.isnan(row["ratio"]) else f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})"


def _ratios_html(ratios: pd.DataFrame) -> str:
    rates = ["rates"] if (ratios["rates"] != "as asked").any() else []
    sizes = ["depth", "width", *varying(ratios, among=("d_in",))]
    intervals = [_interval(row, "ratio") for _, row in ratios.iterrows()]
    shown = ratios[["setting", "over", *rates, *sizes]].assign(ratio=intervals, n_shared=ratios["n_shared"])
    return shown.rename(columns={"ratio": "ratio (95 %)"}).pipe(table_html, "ratios", "ratios", {"ratio (95 %)": ("ratio",)})


def _growth_html(growth: pd.DataFrame) -> str:
    rates = ["rates"] if (growth["rates"] != "as asked").any() else []
    intervals = [_interval(row, "growth") for _, row in growth.iterrows()]
    shown = growth[["setting", *rates, "half", "budget"]].assign(
        **{"growth (95 %)": intervals, "networks": growth["n_networks"], "bounds": growth["n_above"] + growth["n_below"]},
        n_vague=growth["n_vague"],
    )
    columns = {"growth (95 %)": ("growth",), "networks": ("n_networks",), "bounds": ("n_above", "n_below")}
    return shown.pipe(table_html, "growth", "budget_growth", columns)


def _by_lm_html(table: pd.DataFrame) -> str:
    columns = {
        "N50/dim": ("n50",),
        "by lm": ("n50_lm",),
        "ratio (95 %)": ("ratio",),
        "gradients": ("n_samples", "gradients", "gradients_lm"),
    }
    rows = table.to_dict("records")
    cells = (
        [spelled_by_lm(row, "n50") for row in rows],
        [spelled_by_lm(row, "n50_lm") for row in rows],
        [_times(row) for row in rows],
        ["" if math.isnan(row["gradients"]) else f"{row['gradients']:.2g}, by lm {row['gradients_lm']:.2g}" for row in rows],
    )
    told = [name for name in ("setting", "activation", "rates", "max_epochs_lm") if len(set(table[name])) > 1]
    shown = table[[*told, "depth", "width", "d_in", "loss", "tau", "optimizer"]]
    shown = shown.assign(**dict(zip(columns, cells, strict=True)))
    return shown.pipe(table_html, "by-lm", "by_lm", columns)


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


def _log_rank_html(made: Tables) -> str:
    """The tests of regularizers; where few seeds cannot tell, how many could, and beside each the delay with its interval."""
    table = worded(made.log_rank, made.groups)
    delays = {unspelled(row["regularizer"]): _delay(row) for row in made.regularizers.to_dict("records")}
    shown = {
        "setting": table["setting"],
        "delay (95 %)": [delays.get(str(setting), "") for setting in table["setting"]],
        "p": [
            f"{row['seeds_needed']} seeds could tell" if row["n_seeds"] < row["seeds_needed"] else _digits(row["p_value"])
            for row in table.to_dict("records")
        ],
    }
    rest = table.drop(columns=["setting", "p_value"])
    numbers = {name: table[name].map(_digits) for name in ("expected", "statistic", "p_holm", "least_p")}
    renamed = {"p": ("p_value",), "delay (95 %)": ("regularizers.median_delay",)}
    return pd.concat([pd.DataFrame(shown), rest.assign(**numbers)], axis=1).pipe(table_html, "log-rank", "log_rank", renamed)


def _delay(row: Mapping[Any, Any]) -> str:
    """In how many times the epochs cells memorize under a regularizer, with the interval."""
    value, low, high = (row[name] for name in ("median_delay", "delay_low", "delay_high"))
    if math.isnan(value):
        return ""
    spelled = ["never" if math.isinf(one) else f"{one:.3g}" for one in (value, low, high)]
    return spelled[0] if math.isnan(low) or len(set(spelled)) == 1 else f"{spelled[0]} ({spelled[1]} to {spelled[2]})"


def _digits(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3g}"


def _published_html(table: pd.DataFrame) -> str:
    solved = ["by_lm"] if table["by_lm"].notna().any() else []
    shown = table[["claim", "about", "agree", "they", "here", *solved, "margin", "n_cells", "source"]].fillna({"by_lm": ""})
    shown = shown.rename(columns={"agree": "agree?", "by_lm": "by LM"})
    return shown.pipe(table_html, "published-table", "published", {"agree?": ("agree",), "by LM": ("by_lm",)})


def _table_html(table: pd.DataFrame, table_id: str) -> str:
    """A table without style of its own; infinity is spelled as what it means."""
    formatted = table.assign(median_epoch_to_tau=[terminal.spell_epochs(value) for value in table["median_epoch_to_tau"]])
    return table_html(formatted, table_id, table_id)
