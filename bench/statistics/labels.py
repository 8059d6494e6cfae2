"""Random labels: how many a group of cells recalls, in bits, and what the literature says of that.

Bits of labels are bounded by what there is, n_samples * log2(n_classes). Those of targets that are numbers grow as tau falls,
and never stand beside them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import linprog
from scipy.stats import binom

from bench.protocol import theory
from bench.protocol.cells import SEEDS
from bench.protocol.columns import columns_of
from bench.protocol.noise import training_data
from bench.statistics.agreement import mean_interval, ratio_interval
from bench.statistics.capacity import what_is_known
from bench.statistics.claims import counted, line_of, n50_of, spelled, times
from bench.statistics.clusters import clusters
from bench.statistics.settings import label_settings
from bench.statistics.survival import GROUP_FIELDS, fraction_interval, of_grids
from bench.store.schema import cells_of

COLUMNS = list(columns_of("labels"))

LIU = "Liu 2026, kindxiaoming.github.io, Memory 2"
YE = "Ye, Feldman and Talwar 2026, arXiv 2604.08519: facts in language models"
MORRIS = theory.BITS_PER_PARAM[3.6].partition(":")[0]

# Their bits for each parameter with two layers of weights on ten inputs and ten classes.
LIU_BITS = 2.4

# On so many inputs, and as many classes.
LIU_CLASSES = 10

# What networks need not share whose numbers of classes are compared, or whose widths are.
_NOT_OF_CLASSES = ("n_samples", "width", "n_classes")
_NOT_OF_WIDTHS = ("n_samples", "width")

# The networks of Morris et al. hold 2.86 to 3.94 bits for each parameter: what is said to be the same may differ by as much.
SAME = 3.94 / 2.86

# Of networks with so many times as many parameters as another's at most, parameters are as good as equal.
AS_MANY = 1.1

# Fewer numbers of classes, or of samples, make no law.
LEAST_SIZES = 3

# More linear programs than this take too long for a report.
MOST_PROGRAMS = 3000


def on_samples(cells: pd.DataFrame) -> pd.DataFrame:
    """What each group of cells on labels recalls, in the order of the cells.

    Args:
        cells: one row for each cell, with their `setting`. Those of searches, whose seeds have a count each, do not count.

    Returns:
        The columns of `labels` (`bench.protocol.columns`).
    """
    known = of_grids(cells)
    rows = []
    for _, group in known[known["target"] == "labels"].groupby(list(GROUP_FIELDS), sort=False, dropna=False):
        # Of a loss that is not finite nothing is known.
        own = group[np.isfinite(group["calibrated_bits"].astype(float))]
        first = group.iloc[0]
        size, classes = int(first["n_samples"]), int(first["n_classes"])
        recalled, bits = own["recalled"].to_numpy(float), own["calibrated_bits"].to_numpy(float)
        seeds = clusters(own)
        # What guessing recalls of n labels is n / C: so many are known.
        learned = recalled - (size - recalled) / (classes - 1)
        row = {name: first[name] for name in COLUMNS if name in group}
        row |= {
            "n_cells": len(own),
            "n_seeds": len(np.unique(seeds)),
            "n_diverged": len(group) - len(own),
            "whole_bits": size * math.log2(classes),
            "chance_bits": first["functional_dim"] / (2 * math.log(2)),
            "raw_bits": own["memorized_bits"].astype(float).mean(),
        }
        for name, values in (("recalled", recalled), ("learned", learned), ("bits", bits)):
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), _mean(values, seeds), strict=True))
        row |= {f"bits_per_param{end}": row[f"bits{end}"] / first["n_params"] for end in ("", "_low", "_high")}
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def _mean(values: np.ndarray, seeds: np.ndarray) -> tuple[float, float, float]:
    """A mean over seeds, with its interval; NaN of none."""
    if not len(values):
        return math.nan, math.nan, math.nan
    return mean_interval(pd.Series(values).groupby(np.asarray(seeds)).mean().to_numpy(float))


def separable(cells: pd.DataFrame) -> np.ndarray:
    """For each cell of two classes whether a plane separates them, by linear programming."""
    found = []
    for cell in cells_of(cells):
        data = training_data(cell)
        signs = 2 * data.targets - 1
        # All of y (w x + b) >= 1, which some weights meet or none.
        rows = -signs[:, None] * np.hstack([data.inputs, np.ones((cell.n_samples, 1))])
        program = linprog(np.zeros(rows.shape[1]), A_ub=rows, b_ub=-np.ones(len(rows)), bounds=(None, None), method="highs")
        found.append(program.status == 0)
    return np.array(found, dtype=bool)


def cover(n_samples: int, d_in: int) -> float:
    """The share of labellings of so many points in general position that a plane separates (Cover 1965).

    >>> [round(cover(n, 10), 3) for n in (15, 18, 20, 22, 24, 30)]
    [0.971, 0.834, 0.676, 0.5, 0.339, 0.068]
    """
    return float(binom.cdf(d_in, n_samples - 1, 0.5))


def share_margin(d_in: int) -> float:
    """What a sample more takes from the share of separable labellings, where it is a half.

    >>> round(share_margin(10), 3), round(cover(21, 10) - cover(22, 10), 3)
    (0.088, 0.088)
    """
    return float(binom.pmf(d_in, 2 * d_in, 0.5)) / 2


def on_labels(cells: pd.DataFrame, curves: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """A row for each claim about random labels that a run has cells for.

    - *labels that a plane separates*: depth 0, two classes. Cover's share of separable labellings at each sample count, beside
      the share of cells that are separable, and that are recalled: what the second lacks is the budget's. And N50, theirs
      2 (d_in + 1).
    - *as many constraints as parameters* and *as many bits for each parameter*: networks of one depth and about as many
      parameters, N50 at the most classes over that at the fewest, times the classes, or times their bits; theirs 1.
    - *bits for each parameter* by Liu, for orientation: networks of one hidden layer, ten inputs and classes.
      *bits follow the width*, of two: the exponent of N50 in the parameters between the narrowest and the widest; theirs is
      that of the width.
    - *beyond capacity bits stay*, and *fewer are recalled*: cells that train to the end of their budget whatever they recall.
      Capacity is the sample count with the most bits, which are a little too many, being the most of several means. Bits at the
      largest count over those; labels that are known, beyond guesses, at the next larger count over those at capacity.

    Args:
        cells: with a result, without regularization.
        curves: their capacities, of swept rates the best.
    """
    if (cells["target"] == "labels").any():
        own = cells[cells["target"] == "labels"]
        recall = curves[curves["criterion"] == "recall"]
        yield from _cover(own[own["criterion"] == "recall"], recall)
        deep = recall[recall["depth"] > 0]
        yield from _classes(deep)
        yield from _widths(deep)
        yield from _beyond(own[(own["criterion"] == "tau") & (own["depth"] > 0)])


def _cover(cells: pd.DataFrame, curves: pd.DataFrame) -> Iterator[dict[str, Any]]:
    linear = cells[(cells["depth"] == 0) & (cells["n_classes"] == 2)]
    # Whether labels are separable depends on the data alone.
    sets = linear.drop_duplicates(["d_in", "n_samples", "data_seed"])
    if linear.empty or len(sets) > MOST_PROGRAMS:
        return
    sets = sets.assign(separable=separable(sets))
    for _, own in sets.groupby(["d_in", "n_samples"]):
        d_in, n_samples = int(own["d_in"].iloc[0]), int(own["n_samples"].iloc[0])
        law, margin = cover(n_samples, d_in), share_margin(d_in)
        hits = own["separable"].to_numpy(bool)
        share = float(hits.mean())
        low, high = fraction_interval(hits, own[list(SEEDS)].to_numpy())
        trained = linear[(linear["d_in"] == d_in) & (linear["n_samples"] == n_samples)]
        settings = trained["status"].eq("memorized").groupby(trained.groupby(list(GROUP_FIELDS), dropna=False).ngroup()).mean()
        recalled = float(settings.max())
        by = f" by the best of {len(settings)} settings" if len(settings) > 1 else ""
        yield line_of(
            (share, low, high),
            (law, law),
            (law - margin, law + margin),
            f"{margin:.2g}: what a sample more changes at N50",
            len(own),
            ratio=False,
            claim="labels that a plane separates",
            about=f"linear classification, d_in {d_in}, {n_samples} samples",
            source=theory.COVER.partition(":")[0],
            they=f"{law:.3f} of all labellings",
            here=f"{spelled((share, low, high))} of {len(own)} by linear programming; {recalled:.3f} recalled{by}, so the"
            f" budget leaves {share - recalled:.3f}",
            n_cells=len(trained),
        )
    for row in curves[(curves["depth"] == 0) & (curves["n_classes"] == 2)].to_dict("records"):
        law = 2 * (row["d_in"] + 1)
        yield line_of(
            n50_of(row),
            (law, law),
            (law - 1, law + 1),
            "a sample: counts are whole",
            row["n_seeds"],
            claim="a plane separates half of the labellings of 2 (d + 1) points",
            about=f"linear classification, d_in {row['d_in']}",
            source=theory.COVER.partition(":")[0],
            they=f"N50 = {law}",
            here=f"N50 {spelled(n50_of(row), what_is_known(row))}, {row['max_epochs']} epochs",
            n_cells=row["n_cells"],
        )


def _classes(curves: pd.DataFrame) -> Iterator[dict[str, Any]]:
    shared = [name for name in GROUP_FIELDS if name not in _NOT_OF_CLASSES and name in curves]
    for _, own in curves.groupby([*shared, "rates"], dropna=False, sort=False):
        least = own.loc[own["n50"].notna(), "n_params"].min()
        own = own[own["n_params"].between(least / AS_MANY, least * AS_MANY)].sort_values("n_classes")
        own, bounds = own[own["n50"].notna()], _bounds(own, "n_classes", "C")
        if own["n_classes"].nunique() < LEAST_SIZES:
            continue
        few, many = own.iloc[0], own.iloc[-1]
        about = (
            f"depth {few['depth']}, {own['n_params'].min()} to {own['n_params'].max()} parameters, {few['n_classes']} to"
            f" {many['n_classes']} classes"
        )
        for claim, source, they, weigh in (
            ("as many constraints as parameters", theory.BELKIN.partition(":")[0], "N C = P at each C", float),
            ("as many bits for each parameter", MORRIS, "N log2 C = b P at each C", math.log2),
        ):
            each = [n50_of(row, over=row["n_params"] / weigh(row["n_classes"])) for row in own.to_dict("records")]
            interval = ratio_interval(each[-1], each[0])
            values = ", ".join(f"{value:.3g}" for value, *_ in each)
            unit = "N C / P" if weigh is float else "N log2 C / P"
            yield line_of(
                interval,
                (1.0, 1.0),
                times(SAME),
                f"a factor of {SAME:.3g}: the range of the networks of Morris et al.",
                int(own["n_seeds"].min()),
                claim=claim,
                about=about,
                source=source,
                they=they,
                here=f"{unit} is {values} at C = {', '.join(map(str, own['n_classes']))}: {spelled(interval)} times from the"
                f" first to the last{bounds}",
                n_cells=int(own["n_cells"].sum()),
            )


def _bounds(curves: pd.DataFrame, field: str, name: str) -> str:
    """What is said of networks whose N50 is only known to lie above or below the counts that were trained."""
    rows = curves[curves["n50"].isna()].to_dict("records")
    told = [f"at {name} {row[field]} N50 is {spelled(n50_of(row), what_is_known(row))}" for row in rows]
    return f"; left out: {', '.join(told)}" if told else ""


def _widths(curves: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Of ten inputs and classes, as in Liu's."""
    alike = curves[(curves["n_classes"] == LIU_CLASSES) & (curves["d_in"] == LIU_CLASSES)]
    shared = [name for name in GROUP_FIELDS if name not in _NOT_OF_WIDTHS and name in alike]
    for _, own in alike.groupby([*shared, "rates"], dropna=False, sort=False):
        own = own.sort_values("width")
        own, bounds = own[own["n50"].notna()], _bounds(own, "width", "width")
        if own.empty or own["width"].iloc[0] == own["width"].iloc[-1]:
            continue
        least, most = own.iloc[0], own.iloc[-1]
        about = f"depth {least['depth']}, width {least['width']} to {most['width']}"
        bits = [n50_of(row, over=row["n_params"] / math.log2(LIU_CLASSES)) for row in own.to_dict("records")]
        told = ", ".join(spelled(one) for one in bits)
        if least["depth"] == 1:
            best = max(bits)
            yield _orientation(
                best,
                (LIU_BITS, LIU_BITS),
                own,
                claim="bits for each parameter, one hidden layer",
                about=about,
                they=f"{LIU_BITS} with two layers, without biases, through a bottleneck; one run",
                here=f"{told}, by width{bounds}",
            )
        if least["depth"] == 2:
            ratio = ratio_interval(n50_of(most.to_dict()), n50_of(least.to_dict()))
            by = math.log(most["n_params"] / least["n_params"])
            value, low, high = (math.log(end) / by if end > 0 else math.nan for end in ratio)
            law = math.log(most["width"] / least["width"]) / by
            yield _orientation(
                (value, low, high),
                (law, law),
                own,
                claim="bits follow the width and not the parameters, two hidden layers",
                about=about,
                they=f"as the width: parameters to the power {law:.2f}; one run",
                here=f"N50 as parameters to the power {spelled((value, low, high))}; bits for each {told}{bounds}",
            )


def _orientation(
    interval: tuple[float, float, float], theirs: tuple[float, float], own: pd.DataFrame, **texts: Any
) -> dict[str, Any]:
    nothing = (math.nan, math.nan)
    seeds = int(own["n_seeds"].min())
    made = line_of(interval, theirs, nothing, "", seeds, source=LIU, n_cells=int(own["n_cells"].sum()), **texts)
    return made | {"agree": "for orientation", "p_value": math.nan}


def _beyond(cells: pd.DataFrame) -> Iterator[dict[str, Any]]:
    if cells.empty:
        return
    table = on_samples(cells if "setting" in cells else cells.assign(setting=label_settings(cells)))
    network = [name for name in GROUP_FIELDS if name not in ("n_samples",) and name in table]
    for _, group in table.groupby(network, dropna=False, sort=False):
        diverged = int(group["n_diverged"].sum())
        own = group[group["n_cells"] > 0].sort_values("n_samples")
        if own.empty:
            continue
        place = int(own["bits"].argmax())
        if len(own) < LEAST_SIZES or place == len(own) - 1:
            continue
        best = own.iloc[place]
        claims = (
            ("bits", "beyond capacity bits stay", MORRIS, "bits stay at b P", (1.0, 1.0), times(SAME)),
            ("learned", "beyond capacity fewer are recalled", YE, "fewer than at capacity", (-math.inf, 1.0), (-math.inf, 1.0)),
        )
        for name, claim, source, they, theirs, within in claims:
            about = f"depth {best['depth']}, width {best['width']}, {best['n_classes']} classes, N to {own['n_samples'].max()}"
            last = own.iloc[-1 if name == "bits" else place + 1]
            above, below = _ends(last, name), _ends(best, name)
            if below[0] <= 0:
                continue
            none = (0.0, 0.0, above[2] / below[1] if below[1] > 0 else math.inf)
            interval = ratio_interval(above, below) if above[0] > 0 else none
            unit = "bits" if name == "bits" else "labels more than guesses"
            lost = f"; {counted(diverged, 'cell')} that diverged left out" if diverged else ""
            yield line_of(
                interval,
                theirs,
                within,
                f"a factor of {SAME:.3g}: the range of the networks of Morris et al." if name == "bits" else "none: a bound",
                int(own["n_seeds"].min()),
                claim=claim,
                about=about,
                source=source,
                they=they,
                here=f"{spelled(interval)} times: {last[name]:.4g} {unit} of {last['n_samples']} samples,"
                f" {best[name]:.4g} of {best['n_samples']}; {counted(int(last['max_epochs']), 'epoch')}{lost}",
                n_cells=int(own["n_cells"].sum()),
            )


def _ends(row: pd.Series, name: str) -> tuple[float, float, float]:
    """A number with its interval, at 0 where means are below: neither bits nor labels are fewer."""
    value, low, high = (float(np.maximum(0.0, row[f"{name}{end}"])) for end in ("", "_low", "_high"))
    return value, low, high


def in_words(table: pd.DataFrame) -> Sequence[str]:
    """What labels come to in bits, in a sentence for the cells that train to the end of their budget."""
    own = table[(table["criterion"] == "tau") & (table["n_cells"] > 0)] if len(table) else table
    if own.empty:
        return []
    best, last = own.iloc[int(own["bits_per_param"].argmax())], own.iloc[int(own["n_samples"].argmax())]
    text = f"On labels networks store at most {_spelled(best)} ({best['n_samples']} samples)"
    if last["n_samples"] > best["n_samples"]:
        text += f"; of the most samples, {last['n_samples']}, {_spelled(last)}"
    return [f"{text}; a linear softmax keeps 0.72 for each effective parameter of any number."]


def _spelled(row: pd.Series) -> str:
    low, high = row["bits_per_param_low"], row["bits_per_param_high"]
    ends = "" if math.isnan(low) else f" ({low:.2f} to {high:.2f})"  # One seed has none.
    return f"{row['bits_per_param']:.2f}{ends} bits for each parameter"
