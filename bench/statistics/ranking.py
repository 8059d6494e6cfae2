"""What each regularizer takes away: cells against the same cells without it, with intervals, a placebo and a test."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Shaped

from bench.protocol.cells import DEFAULT_STRENGTHS, FIELDS, SEEDS, STRENGTHS, Status
from bench.protocol.columns import columns_of
from bench.statistics.agreement import holm_correction
from bench.statistics.clusters import clusters, effective_number, fraction_effect
from bench.statistics.paired import discordant, exchanged
from bench.statistics.settings import regularized, spell, strengths_on
from bench.statistics.survival import of_grids, wilson_interval

# What a cell shares with its twin without regularization: all but that, and the samples that are only watched.
PAIR_KEY = [name for name in FIELDS if name not in ("n_val", "regularization", *STRENGTHS)]

# What the twins of one network on one sample count share.
NETWORK_KEY = [name for name in PAIR_KEY if name not in SEEDS]

# What makes a row: the regularization with its strengths. Decoupled weight decay is that of the optimizer adamw.
ROW_KEY = ["regularization", "optimizer", *STRENGTHS]

COLUMNS = list(columns_of("regularizers"))


def ranking(cells: pd.DataFrame) -> pd.DataFrame:
    """One row for each regularization at each of its strengths, the one that hinders memorization most first.

    A pair is a cell and its twin: all fields the same, seeds too, without any regularization. Failed and pending cells make no
    pair, nor do those of a search; a cell that stands there twice counts once. Over all pairs those count that disagree,
    memorized only without the regularizer and only with it, and a test whether exchanging the two would change anything: the
    labels of whole seeds are exchanged, since a seed's cells share data.

    Shares and delays are of the pairs where the twins of all other seeds memorized, so that little but the regularizer can be
    why a cell does not. The pair's own twin has no say in that: else the twins would be chosen for their success, and a
    regularizer that changes nothing would seem to take something away. The share of these twins that memorized is its placebo.

    Returns:
        The columns of `regularizers` (`bench.protocol.columns`), ranked by the least fraction memorized, then the longest
        delay, then the most that is left. Intervals count as many independent pairs as the spread between seeds allows
        (`effective_number`). No rows without twins. Where there is one seed, its own twin has to have memorized, and there is
        neither placebo nor test.
    """
    measured = of_grids(cells)
    off = ~regularized(measured)
    plain = measured[off].drop_duplicates(PAIR_KEY)
    twins = plain[PAIR_KEY].assign(twin_epoch=plain["epoch_to_tau"].astype(float), others=_others_memorized(plain))
    pairs = measured[~off].merge(twins, on=PAIR_KEY, how="inner")
    if not pairs["others"].any():
        return pd.DataFrame(columns=COLUMNS)
    pairs["delay"] = _delays(pairs["epoch_to_tau"].astype(float).to_numpy(), pairs["twin_epoch"].to_numpy())
    rows = []
    by_row = [(whole, whole[whole["others"]]) for _, whole in pairs.groupby(ROW_KEY, dropna=False, sort=False)]
    by_row = [(whole, own) for whole, own in by_row if len(own)]
    effects = [fraction_effect((own["status"] == Status.MEMORIZED).to_numpy(), clusters(own)) for _, own in by_row]
    unseen = max((effect for effect in effects if effect is not None), default=None)
    for whole, own in by_row:
        memorized, without = (own["status"] == Status.MEMORIZED).to_numpy(), own["twin_epoch"].notna().to_numpy()
        seeds = clusters(own)
        alone = len(np.unique(clusters(whole))) < 2
        n = effective_number(memorized, seeds, unseen)
        low, high = wilson_interval(memorized.mean() * n, n)
        told = own["delay"].notna().to_numpy()
        delay_low, delay, delay_high = median_interval(own["delay"].to_numpy()[told], seeds[told])
        rows.append(
            own.iloc[0][ROW_KEY].to_dict()
            | _discordance(whole)
            | {"n_pairs": len(own), "n_memorized": int(memorized.sum()), "fraction_memorized": float(memorized.mean())}
            | {"fraction_low": low, "fraction_high": high}
            | {"fraction_without": math.nan if alone else float(without.mean())}
            | {"median_delay": delay, "delay_low": delay_low, "delay_high": delay_high}
            | {"median_final_tau": own["final_tau"].median()}
        )
    table = pd.DataFrame(rows)
    table["p_holm"] = holm_correction(table["p_value"].to_numpy(float))
    table["regularizer"] = [_name(row, common=table["optimizer"].iloc[0]) for _, row in table.iterrows()]
    table["at_default"] = [_at_default(row) for _, row in table.iterrows()]
    hardest = ["fraction_memorized", "median_delay", "median_final_tau"]
    order = table.sort_values(hardest, ascending=[True, False, False], ignore_index=True)
    return order.assign(rank=np.arange(1, len(order) + 1))[COLUMNS]


def _others_memorized(plain: pd.DataFrame) -> Bool[np.ndarray, " twin"]:
    """For each twin, whether all others of its network and sample count memorized; itself too where all share one seed."""
    seed = pd.Series(clusters(plain), index=plain.index, name="seed")
    network = plain.groupby(NETWORK_KEY, dropna=False).ngroup().rename("network")
    missed = (plain["status"] != Status.MEMORIZED).astype(int)
    of_network = missed.groupby(network).transform("sum")
    of_seed = missed.groupby([network, seed]).transform("sum")
    has_others = seed.groupby(network).transform("nunique") > 1
    return (of_network - of_seed.where(has_others, 0) == 0).to_numpy(bool)


def _delays(epochs: Float[np.ndarray, " pair"], without: Float[np.ndarray, " pair"]) -> Float[np.ndarray, " pair"]:
    """Epochs over those of the twins: infinite where only the twin memorized, 0 where only the cell did, NaN where neither."""
    # A cell that starts below the threshold has epoch 0; one epoch is the least time there is.
    ratio = np.maximum(epochs, 1) / np.maximum(without, 1)
    never, twin_never = np.isnan(epochs), np.isnan(without)
    return np.where(never & twin_never, math.nan, np.where(never, math.inf, np.where(twin_never, 0.0, ratio)))


def _discordance(pairs: pd.DataFrame) -> dict[str, float]:
    """How many pairs disagree either way, and how often exchanging the labels of whole seeds makes as large a difference."""
    difference = discordant(pairs["twin_epoch"].notna().to_numpy(), (pairs["status"] == Status.MEMORIZED).to_numpy())
    seeds = clusters(pairs)
    found = exchanged(np.bincount(seeds, weights=difference))
    return {
        "n_twins": len(pairs),
        "n_only_without": int((difference < 0).sum()),
        "n_only_with": int((difference > 0).sum()),
        "p_value": found.p_value if len(np.unique(seeds)) > 1 else math.nan,
    }


def median_interval(values: Float[np.ndarray, " pair"], clusters: Shaped[np.ndarray, " pair"]) -> tuple[float, float, float]:
    """(low, median, high): the median with a 95 % interval, from quantiles at the ends of the interval for one half.

    Infinite values are values like others, so censoring needs no more than that. One cluster has no interval, and no value no
    median (NaN). Source: Woodruff 1952, JASA 47, 635-646.
    """
    ordered = np.sort(values)
    if not len(values):
        return math.nan, math.nan, math.nan

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
