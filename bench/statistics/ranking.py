"""What each regularizer takes away: cells against the same cells without it, those that memorize there, with intervals."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from bench.protocol.cells import DEFAULT_STRENGTHS, FIELDS, SEEDS, STRENGTHS, Status
from bench.protocol.columns import columns_of
from bench.statistics.clusters import clusters, effective_number, fraction_effect
from bench.statistics.settings import regularized, spell, strengths_on
from bench.statistics.survival import wilson_interval
from bench.store.parts import PENDING

# What a cell shares with its twin without regularization: all but that, and the samples that are only watched.
PAIR_KEY = [name for name in FIELDS if name not in ("n_val", "regularization", *STRENGTHS)]

# What the twins of one network on one sample count share.
NETWORK_KEY = [name for name in PAIR_KEY if name not in SEEDS]

# What makes a row: the regularization with its strengths. Decoupled weight decay is that of the optimizer adamw.
ROW_KEY = ["regularization", "optimizer", *STRENGTHS]

COLUMNS = list(columns_of("regularizers"))


def ranking(cells: pd.DataFrame) -> pd.DataFrame:
    """One row for each regularization at each of its strengths, the one that hinders memorization most first.

    A pair is a cell and its twin: all fields the same, seeds too, without any regularization. Only networks and sample counts
    count where every twin memorized, so that nothing but the regularizer can be why its cell does not. Failed and pending cells
    make no pair.

    Returns:
        The columns of `regularizers` (`bench.protocol.columns`), ranked by the least fraction memorized, then the longest
        delay, then the most that is left. Intervals count as many independent pairs as the spread between seeds allows
        (`effective_number`). No rows without twins.
    """
    measured = cells[~cells["status"].isin([Status.FAILED, PENDING])]
    off = ~regularized(measured)
    plain = measured[off].drop_duplicates(PAIR_KEY)
    hits = (plain["status"] == Status.MEMORIZED).groupby([plain[name] for name in NETWORK_KEY], dropna=False)
    plain = plain[hits.transform("all")]
    twins = plain[[*PAIR_KEY, "epoch_to_tau"]].rename(columns={"epoch_to_tau": "twin_epoch"})
    pairs = measured[~off].merge(twins, on=PAIR_KEY, how="inner")
    if pairs.empty:
        return pd.DataFrame(columns=COLUMNS)
    epochs = pairs["epoch_to_tau"].astype(float).fillna(math.inf).to_numpy()
    # A twin that starts below the threshold has epoch 0; one epoch is the least time there is.
    pairs["delay"] = np.maximum(epochs, 1) / np.maximum(pairs["twin_epoch"].to_numpy(float), 1)
    rows = []
    by_row = pairs.groupby(ROW_KEY, dropna=False, sort=False)
    effects = [fraction_effect((own["status"] == Status.MEMORIZED).to_numpy(), clusters(own)) for _, own in by_row]
    unseen = max((effect for effect in effects if effect is not None), default=None)
    for _, own in by_row:
        memorized = (own["status"] == Status.MEMORIZED).to_numpy()
        seeds = clusters(own)
        n = effective_number(memorized, seeds, unseen)
        low, high = wilson_interval(memorized.mean() * n, n)
        delay_low, delay, delay_high = median_interval(own["delay"].to_numpy(), seeds)
        rows.append(
            own.iloc[0][ROW_KEY].to_dict()
            | {"n_pairs": len(own), "n_memorized": int(memorized.sum()), "fraction_memorized": float(memorized.mean())}
            | {"fraction_low": low, "fraction_high": high}
            | {"median_delay": delay, "delay_low": delay_low, "delay_high": delay_high}
            | {"median_final_tau": own["final_tau"].median()}
        )
    table = pd.DataFrame(rows)
    table["regularizer"] = [_name(row, common=table["optimizer"].iloc[0]) for _, row in table.iterrows()]
    table["at_default"] = [_at_default(row) for _, row in table.iterrows()]
    hardest = ["fraction_memorized", "median_delay", "median_final_tau"]
    order = table.sort_values(hardest, ascending=[True, False, False], ignore_index=True)
    return order.assign(rank=np.arange(1, len(order) + 1))[COLUMNS]


def median_interval(values: Float[np.ndarray, " pair"], clusters: Shaped[np.ndarray, " pair"]) -> tuple[float, float, float]:
    """(low, median, high): the median with a 95 % interval, from quantiles at the ends of the interval for one half.

    Infinite values are values like others, so censoring needs no more than that. One cluster has no interval (NaN). Source:
    Woodruff 1952, JASA 47, 635-646.
    """
    ordered = np.sort(values)

    def quantile(share: float) -> float:
        return float(ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))])

    median = quantile(0.5)
    if len(np.unique(clusters)) < 2:
        return math.nan, median, math.nan
    n = effective_number(values <= median if math.isfinite(median) else np.isfinite(values), clusters)
    low, high = wilson_interval(n / 2, n)
    return quantile(low), median, quantile(high)


def _name(row: pd.Series, common: str) -> str:
    """The strengths that act; the optimizer where it is not the common one."""
    shown = [*strengths_on(row), *["optimizer"] * (row["optimizer"] != common)]
    return ", ".join(spell(name, row[name]) for name in shown)


def _at_default(row: pd.Series) -> bool:
    return all(row[name] == DEFAULT_STRENGTHS[name] for name in strengths_on(row))
