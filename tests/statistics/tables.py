"""Shared by tests of statistics: literal tables, as short as the claim they are about."""

from __future__ import annotations

import math

import pandas as pd

from bench.protocol import theory
from bench.protocol.cells import DEFAULTS, Cell
from bench.protocol.networks import functional_dim, n_params
from bench.report.pictures import Picture, drawings
from bench.statistics.bands import bands
from bench.statistics.budgets import capacity_by_budget, growth
from bench.statistics.by_lm import by_lm
from bench.statistics.capacity import capacities
from bench.statistics.evidence import evidence
from bench.statistics.incidence import incidence, log_rank
from bench.statistics.labels import on_samples
from bench.statistics.published import published
from bench.statistics.ranking import ranking
from bench.statistics.rates import compare_rates
from bench.statistics.ratios import ratios
from bench.statistics.settings import label_settings
from bench.statistics.survival import GROUP_FIELDS, groups
from bench.statistics.tables import Tables, scaling
from bench.statistics.thresholds import thresholds
from bench.store.parts import Design
from bench.store.schema import RUNG_COLUMNS


def table(*rows: dict) -> pd.DataFrame:
    """Rows of a cells table: fields of a cell, and results."""
    made = []
    for row in rows:
        cell = Cell(**{name: value for name, value in row.items() if name in DEFAULTS})
        made.append(
            {name: getattr(cell, name) for name in DEFAULTS}
            | {
                "cell_id": cell.cell_id,
                "n_params": n_params(cell),
                "functional_dim": functional_dim(cell),
                "target_variance": 1.0,
            }
            | {
                "epoch_to_tau": None,
                "epochs_run": row.get("epoch_to_tau") or (None if row["status"] in ("failed", "pending") else cell.max_epochs),
                **dict.fromkeys(RUNG_COLUMNS),
                "final_tau": math.nan,
                "best_tau": row.get("final_tau", math.nan),
                "best_val_mse": math.nan,
                "final_val_mse": math.nan,
                "bits_per_param": math.nan,
                "calibrated_bits": math.nan,
            }
            | row
        )
    return pd.DataFrame(made).astype(
        dict.fromkeys(("epoch_to_tau", "epochs_run", *RUNG_COLUMNS), "Int64")
        | {"batch_size": "Int64", "patience": "Int64", "n_classes": "Int64", "max_norm": float}
    )


def seeds(statuses: list[str], epochs: list[int | None], **fields) -> list[dict]:
    return [
        {"data_seed": i, "init_seed": i, "status": s, "epoch_to_tau": e, "final_tau": 0.01 if e else 0.5, **fields}
        for i, (s, e) in enumerate(zip(statuses, epochs, strict=True))
    ]


def labelled(cells: pd.DataFrame, *, variants: bool = False) -> pd.DataFrame:
    """Groups with their settings."""
    grouped = groups(cells)
    grouped.insert(0, "setting", label_settings(grouped, variants=variants))
    return grouped


def tables(cells: pd.DataFrame, *, variants: bool = False, validation: pd.DataFrame | None = None) -> Tables:
    """What a report says of cells that left nothing but their rows."""
    grouped, none = labelled(cells, variants=variants), pd.DataFrame()
    keyed = cells.merge(grouped[["setting", *GROUP_FIELDS]], on=list(GROUP_FIELDS), how="left")
    capacity = none if variants else capacities(keyed)
    by_budget = none if variants else capacity_by_budget(keyed)
    laws, left = scaling(capacity)
    return Tables(
        design=Design.VARIANTS if variants else Design.PRODUCT,
        search_ratio=None,
        cells=cells,
        groups=grouped,
        evidence=evidence(grouped, cells) if variants else none,
        capacity=capacity,
        capacity_by_budget=by_budget,
        budget_growth=growth(by_budget) if len(by_budget) else none,
        bands=none if variants else bands(keyed),
        ratios=ratios(capacity, keyed),
        by_lm=by_lm(capacity, keyed),
        scaling=laws,
        scaling_residuals=left,
        labels=on_samples(keyed),
        published=none if variants else published(cells, capacity, solved=by_lm(capacity, keyed)),
        theory=none if variants else theory.table(grouped),
        learning_rates=compare_rates(grouped),
        regularizers=ranking(cells),
        log_rank=none if variants else log_rank(keyed),
        incidence=none if variants else incidence(keyed),
        thresholds=thresholds(cells, grouped),
        learning_fans=none,
        predictions=none,
        signal_propagation=pd.DataFrame(columns=["setting", "width", "layer", "variance_across_inputs"]),
        validation=none if validation is None else validation,
    )


def draw(made: Tables) -> list[Picture]:
    """All pictures of these tables, with their figures."""
    return [drawing() for drawing in drawings(made)]
