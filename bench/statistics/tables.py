"""A run folder -> the tables of its report: everything that a figure, a sentence or the page shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cache

import pandas as pd

from bench.protocol import theory
from bench.protocol.columns import columns_of
from bench.protocol.noise import VALIDATION_FIELDS, validation_variance
from bench.protocol.signal import dead_layers, propagation
from bench.statistics.bands import bands
from bench.statistics.budgets import capacity_by_budget, growth
from bench.statistics.by_lm import by_lm
from bench.statistics.capacity import curves, of_curves
from bench.statistics.evidence import evidence
from bench.statistics.fans import fans
from bench.statistics.incidence import incidence, log_rank
from bench.statistics.labels import on_samples
from bench.statistics.published import published
from bench.statistics.ranking import ranking
from bench.statistics.rates import compare_rates
from bench.statistics.ratios import ratios
from bench.statistics.scaling import INPUT_MODELS, SIZE_MODELS, power_laws, residuals
from bench.statistics.settings import label_settings, varying
from bench.statistics.survival import GROUP_FIELDS
from bench.statistics.survival import groups as group_statistics
from bench.statistics.thresholds import thresholds
from bench.store.parts import Design, Store
from bench.store.schema import cells_of
from bench.store.several import n_put_together

# Beyond these the table would be too long to read.
MOST_SIGNALS = 24

# Dead layers are looked for in the asked network, and in the same under the first other initialisation.
WITH_DRAWS = 2

# The fields that signal propagation depends on, beside the seeds.
SIGNAL_FIELDS = ("init", "init_scale", "activation", "width", "depth", "d_in")


@dataclasses.dataclass(frozen=True, slots=True)
class Tables:
    """What a run says. A table without rows has nothing to say. `bench.protocol.columns` tells what the columns are.

    `failures` says of each table that could not be made why; it then has no rows. `left_out`: what a diagnosis had no time for.
    `design` says what the cells are: a product of lists; variants of the first of them, and then `evidence` has rows; or a
    search, which has no maps, since its sample counts are where the frontier is. `search_ratio`: how well a search was asked to
    know each N50. `n_runs`: how many runs were put together in the folder.
    """

    design: Design
    search_ratio: float | None
    cells: pd.DataFrame
    groups: pd.DataFrame
    evidence: pd.DataFrame
    capacity: pd.DataFrame
    capacity_by_budget: pd.DataFrame
    budget_growth: pd.DataFrame
    bands: pd.DataFrame
    ratios: pd.DataFrame
    by_lm: pd.DataFrame
    scaling: pd.DataFrame
    scaling_residuals: pd.DataFrame
    labels: pd.DataFrame
    published: pd.DataFrame
    theory: pd.DataFrame
    learning_rates: pd.DataFrame
    regularizers: pd.DataFrame
    log_rank: pd.DataFrame
    incidence: pd.DataFrame
    thresholds: pd.DataFrame
    learning_fans: pd.DataFrame
    predictions: pd.DataFrame
    signal_propagation: pd.DataFrame
    validation: pd.DataFrame
    failures: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    n_runs: int = 1

    @property
    def variants(self) -> bool:
        return self.design is Design.VARIANTS

    def named(self) -> dict[str, pd.DataFrame]:
        """The tables that have rows, by the names of their files."""
        tables = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("design", "search_ratio", "failures", "left_out", "n_runs")
        }
        return {name: table for name, table in tables.items() if len(table) or name in ("cells", "groups")}


def make(store: Store, told: Callable[[str, float], None] = lambda name, share: None) -> Tables:
    """All tables of a run folder.

    Args:
        store: the folder's.
        told: is called with the name of each table before it is made, and the share of tables that are.

    Raises:
        FileNotFoundError: the folder holds no run, or one of no cells.
    """
    cells = store.read_cells()
    if cells.empty:
        raise FileNotFoundError(
            f"{store.path}: its plan has no cells; train into this folder first (memcap run_dir={store.path})"
        )
    groups = group_statistics(cells)
    design, ratio = store.design()
    variants = design is Design.VARIANTS
    groups.insert(0, "setting", label_settings(groups, variants=variants))
    keyed = cells.merge(groups[["setting", *GROUP_FIELDS]], on=list(GROUP_FIELDS), how="left")
    product, searched = design is Design.PRODUCT, design is Design.SEARCH
    failures: list[str] = []
    names = [field.name for field in dataclasses.fields(Tables)]

    def made(name: str, table: Callable[[], pd.DataFrame], wanted: bool = True) -> pd.DataFrame:
        """The table; without rows where it is not wanted, or cannot be made: an error in one takes no other along."""
        told(name, names.index(name) / len(names))
        try:
            return table() if wanted else pd.DataFrame()
        except Exception as error:  # The page says which table is left out, and why.
            failures.append(f"table {name} ({type(error).__name__}: {error})")
            return pd.DataFrame(columns=list(columns_of(name)))

    known = cache(lambda: list(curves(keyed)))
    capacity = made("capacity", lambda: of_curves(known(), keyed), not variants)
    by_budget = made("capacity_by_budget", lambda: capacity_by_budget(keyed, known()), not variants)
    solved = made("by_lm", lambda: by_lm(capacity, keyed))
    laws = cache(lambda: scaling(capacity))
    return Tables(
        design=design,
        search_ratio=ratio,
        cells=cells,
        groups=groups,
        evidence=made("evidence", lambda: evidence(groups, cells), variants),
        capacity=capacity,
        capacity_by_budget=by_budget,
        budget_growth=made("budget_growth", lambda: growth(by_budget), len(by_budget) > 0),
        bands=made("bands", lambda: bands(keyed), product),
        ratios=made("ratios", lambda: ratios(capacity, keyed)),
        by_lm=solved,
        scaling=made("scaling", lambda: laws()[0]),
        scaling_residuals=made("scaling_residuals", lambda: laws()[1]),
        labels=made("labels", lambda: on_samples(keyed), product),
        published=made("published", lambda: published(cells, capacity, known(), solved), not variants),
        theory=made("theory", lambda: theory.table(groups), not variants),
        # And its rates were tried at sample counts and seeds of their own.
        learning_rates=made("learning_rates", lambda: compare_rates(groups.head(0) if searched else groups)),
        regularizers=made("regularizers", lambda: ranking(cells)),
        log_rank=made("log_rank", lambda: log_rank(keyed), product),
        incidence=made("incidence", lambda: incidence(keyed), product),
        thresholds=made("thresholds", lambda: thresholds(cells, groups), not searched),
        learning_fans=made("learning_fans", lambda: fans(store.read_curves(), keyed), not searched),
        predictions=made("predictions", lambda: _predictions(store, keyed)),
        signal_propagation=made("signal_propagation", lambda: signal_propagation(keyed, variants=variants)),
        validation=made("validation", lambda: _validation(keyed)),
        failures=tuple(failures),
        left_out=store.left_out(),
        n_runs=n_put_together(store.path),
    )


def scaling(capacity: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All power laws, and their residuals; a number of inputs makes a setting of its own, but for the law that is about it.

    Of swept rates those at the default and at the best have laws.
    """
    if capacity.empty:
        return pd.DataFrame(), pd.DataFrame()
    capacity = capacity[capacity["rates"] != "swept"]
    inputs = capacity.assign(n_samples=0, d_in=0, learning_rate=0.0)
    across = capacity.assign(setting=label_settings(inputs))
    laws = [power_laws(capacity, SIZE_MODELS), power_laws(across, INPUT_MODELS)]
    left = [residuals(capacity, SIZE_MODELS), residuals(across, INPUT_MODELS)]
    return _stacked(laws), _stacked(left)


def _stacked(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One below the other; a part without rows would make columns of objects."""
    return pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)


def _predictions(store: Store, cells: pd.DataFrame) -> pd.DataFrame:
    """Final predictions of the first cell of each setting that kept them."""
    table = store.read_predictions()
    kept = cells[cells["cell_id"].isin(table["cell_id"])].drop_duplicates("setting")
    about = ["cell_id", "setting", "depth", "width", "n_samples", "data_seed", "init_seed", "final_tau"]
    return kept[about].merge(table, on="cell_id", how="inner")


def signal_propagation(cells: pd.DataFrame, *, variants: bool) -> pd.DataFrame:
    """Signal propagation at initialisation of the first cell of each setting, where settings differ in what decides it.

    `cells` carry a `setting`; that of the table names what decides the signal alone.
    """
    first = cells.drop_duplicates("setting").head(MOST_SIGNALS)
    if not varying(first, among=("init", "init_scale", "activation")) and not (first["init"] == "uniform").any():
        first = first.head(0)
    first = first.drop_duplicates(list(SIGNAL_FIELDS))
    alike = {name: first[name].iloc[0] for name in GROUP_FIELDS if name not in SIGNAL_FIELDS and len(first)}
    first = first.assign(setting=label_settings(first.assign(**alike), variants=variants))
    about = first[["cell_id", "setting", "depth", "width", "init", "init_scale"]]
    table = about.merge(propagation(cells_of(first)), on="cell_id", how="inner")
    draws = [dead_layers(cell).assign(cell_id=cell.cell_id) for cell in (cells_of(first.head(WITH_DRAWS)) if variants else [])]
    none = pd.DataFrame(columns=["cell_id", "layer", "dead_draws", "n_draws"])
    return table.merge(pd.concat(draws) if draws else none, on=["cell_id", "layer"], how="left")


def asked_signals(signal: pd.DataFrame) -> pd.DataFrame:
    """Of the signals of variants, those of the asked network and of the same network under the first other initialisation."""
    if signal.empty:
        return signal
    asked = signal.iloc[0]
    same = signal[(signal["depth"] == asked["depth"]) & (signal["width"] == asked["width"])]
    return same[same["setting"].isin(same["setting"].unique()[:2])]


def _validation(cells: pd.DataFrame) -> pd.DataFrame:
    """Validation errors over their floor, the variance of the very targets they are measured on."""
    measured = cells[cells["best_val_mse"].notna()]
    floors = [validation_variance(cell) for cell in cells_of(measured.drop_duplicates(list(VALIDATION_FIELDS)))]
    known = measured.drop_duplicates(list(VALIDATION_FIELDS))[list(VALIDATION_FIELDS)].assign(validation_variance=floors)
    table = measured[["cell_id", "setting", *VALIDATION_FIELDS, "best_val_mse", "best_val_epoch", "final_val_mse"]]
    table = table.merge(known, on=list(VALIDATION_FIELDS), how="left")
    ratios = {name: table[f"{name}_val_mse"] / table["validation_variance"] for name in ("best", "final")}
    return table.assign(best_over_variance=ratios["best"], final_over_variance=ratios["final"])
