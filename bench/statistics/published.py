"""What the literature reports that small networks can measure again: each claim, they, here, and whether the two agree."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from bench.protocol import theory
from bench.protocol.cells import SECOND_ORDER, SEEDS
from bench.protocol.columns import columns_of
from bench.protocol.networks import HOMOGENEOUS
from bench.statistics.agreement import agreement, holm_correction, mean_interval, ratio_interval
from bench.statistics.budgets import capacity_by_budget, growth
from bench.statistics.by_lm import as_capacity, of_curve
from bench.statistics.capacity import curves as curves_of
from bench.statistics.capacity import what_is_known
from bench.statistics.claims import counted, line_of, n50_of, span, spelled, times
from bench.statistics.clusters import clusters
from bench.statistics.labels import on_labels
from bench.statistics.settings import regularized
from bench.statistics.survival import GROUP_FIELDS, measured, median_with_censoring

# The largest threshold that stands for an exact fit, in float64.
NEAR_ZERO = 1e-4

# The law of least squares is that of the least error; only sample counts count whose cells end above their threshold but for
# this share of them.
STOPPED = 1e-3

# Fewer sizes than these make no trend.
LEAST_SIZES = 3

# Geiger et al. report "about 3", and scanned this range of N / (P - H) around the transition.
TRANSITION = (2.80, 3.30)

# Targets that take no value twice, so that each sample is an equality of its own.
CONTINUOUS = ("normal", "uniform")

# By which factor a mean may miss least squares' own: of about ten parameters, what two samples more or less than twice as many
# change. By which a depth may differ from another: half of the range that Geiger et al. scanned, on either side.
LEAST_SQUARES_MARGIN, DEPTH_MARGIN = 1.1, math.sqrt(TRANSITION[1] / TRANSITION[0])

# A threshold between two whole counts may be read half a sample off.
HALF_SAMPLE = 0.5

ALGEBRA = "least squares on Gaussian noise: a Beta distribution"
BELKIN = "Belkin, Hsu, Ma and Mandal, PNAS 2019"
GEIGER = "Geiger et al., Phys. Rev. E 100, 012115 (2019), arXiv 1809.09349"
ARPIT = "Arpit et al., ICML 2017"
EXPOSED = "Allen-Zhu and Li, ICLR 2025, arXiv 2404.05405: language models, knowledge"

# How often the models of Allen-Zhu and Li saw each piece of knowledge.
EXPOSURES = (100, 1000)

COLUMNS = list(columns_of("published"))

# A statement that is exact as it stands.
NO_MARGIN = "none: a bound"


def published(
    cells: pd.DataFrame,
    capacity: pd.DataFrame,
    known: Iterable[tuple[str, pd.DataFrame]] | None = None,
    solved: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """A row for each published claim that a run has cells for, and network where the claim is about one.

    Cells speak to a claim by their fields, and only without regularization. Failed and pending cells enter nothing,
    and a cell that stands there twice counts once.

    - *linear networks leave the least-squares error*: normal targets, full batch, depth 0 or a trained readout, p trained
      parameters. tau of the least-squares fit has mean (N - p) / (N - 1) for N > p. `value`: mean tau of a seed over that
      mean, averaged over seeds; theirs 1.
    - *linear networks memorize up to N = p*: of the same, N50 at a tau of at most NEAR_ZERO in float64; theirs p to p + 1.
    - *no exact fit beyond P - H*: relu networks under the squared error at such a tau: N50 / (P - H); theirs at most 1.
    - *transition of random labels*, under the quadratic hinge at such a tau: N50 / (P - H); theirs TRANSITION. They count
      P - H - 1, without the bias of the output. *independent of depth*: the same number of a network of each other depth over
      that of one of the least depth, those of most similar P - H; theirs 1.
    - what is said of random labels: `bench.statistics.labels.on_labels`.
    - *wider networks memorize sooner*, *more samples take longer*: Kendall's rank correlation of epoch_to_tau (infinite where
      there is none) with the size, all else equal, over LEAST_SIZES sizes or more, averaged within seeds, then over them;
      theirs below and above 0.
    - *bits for each parameter*: the largest among the networks at one tau, for orientation: the published ones are of other
      tasks.
    - *bits for each parameter grow with exposures*: N50 after EXPOSURES[1] epochs over that after EXPOSURES[0], over the
      networks of each setting (`bench.statistics.budgets.growth`); at one tau bits are proportional to N50. For orientation:
      theirs are lower bounds, of other networks, each trained on a schedule that ends with its exposures.

    Args:
        cells: one row for each cell. Those of optimizer=lm do not count.
        capacity: of the same cells (`bench.statistics.capacity.capacities`).
        known: the curves of these cells (`bench.statistics.capacity.curves`), where they are known.
        solved: what optimizer=lm makes of the same networks (`bench.statistics.by_lm.by_lm`), to stand beside each N50.

    Returns:
        The columns of `published` (`bench.protocol.columns`). Each claim has an equivalence margin, with its reason; `agree` is
        that of `bench.statistics.agreement.agreement`, a "no" after Holm's correction over all lines that are judged. One seed
        has no interval, and decides nothing.
    """
    # The literature's were trained by gradient descent and its kin: what another method reaches says nothing of theirs.
    cells = cells[cells["optimizer"] != SECOND_ORDER]
    results = measured(cells)
    plain = results[~regularized(results)]
    curves = capacity
    if len(capacity):
        others = capacity["rates"].isin(["default", "swept"]) | (capacity["optimizer"] == SECOND_ORDER)
        curves = capacity[~regularized(capacity) & ~others]
    rows = [*_least_squares(plain)]
    solved = pd.DataFrame() if solved is None else solved
    if len(curves):
        exact = curves[(curves["tau"] <= NEAR_ZERO) & (curves["dtype"] == "float64")]
        rows += [*_linear_thresholds(exact, solved), *_ceilings(exact, solved), *_transitions(exact, solved)]
    rows += [*_trend(plain, "width"), *_trend(plain, "n_samples")]
    if len(curves):
        rows += [*on_labels(plain, curves), *_bits(curves, solved)]
        rows += [*_exposures(cells, curves_of(cells) if known is None else _of_gradients(known))]
    return _judged(pd.DataFrame(rows, columns=COLUMNS))


def _of_gradients(known: Iterable[tuple[str, pd.DataFrame]]) -> list[tuple[str, pd.DataFrame]]:
    return [(rates, curve) for rates, curve in known if curve["optimizer"].iloc[0] != SECOND_ORDER]


def _judged(table: pd.DataFrame) -> pd.DataFrame:
    """The lines with their verdicts, which need all p-values."""
    table["p_holm"] = holm_correction(table["p_value"].to_numpy(float))
    agree = [
        agreement(row["low"], row["high"], (row["margin_low"], row["margin_high"]), row["p_holm"])
        for row in table.to_dict("records")
    ]
    return table.assign(agree=table["agree"].where(table["agree"].notna(), agree))


def against_literature(table: pd.DataFrame) -> list[str]:
    """The sentence that counts agreements and names what does not agree; none where no line was judged."""
    judged = table[table["agree"] != "for orientation"] if len(table) else table
    if judged.empty:
        return []
    verb, margins = ("agrees", "its margin") if len(judged) == 1 else ("agree", "their margins")
    lines = counted(len(judged), "claim")
    text = f"Against the literature {(judged['agree'] == 'yes').sum()} of {lines} {verb} within {margins}"
    for answer, words in (("no", f"disagree, with Holm's correction for {lines}"), ("undecided", "undecided")):
        named = [f"{row['claim']} ({row['about']})" for _, row in judged[judged["agree"] == answer].iterrows()]
        text += f"; {words}: {'; '.join(named)}" if named else ""
    return [f"{text}."]


def _linear(table: pd.DataFrame) -> pd.Series:
    return (table["depth"] == 0) | (table["trainable"] == "readout")


def _of_one(table: pd.DataFrame) -> pd.Series:
    """Of squared errors of one output."""
    return (table["loss"] == "mse") & (table["n_outputs"] == 1)


def _least_squares(cells: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The mean of what is left, for linear regression and for frozen features apart."""
    own = cells[_linear(cells) & _of_one(cells) & (cells["target"] == "normal") & cells["batch_size"].isna()]
    n, p = own["n_samples"], own["functional_dim"]
    own = own[(n > p) & np.isfinite(own["final_tau"].astype(float))]
    n, p = own["n_samples"], own["functional_dim"]
    own = own[stats.beta.cdf(own["tau"], (n - p) / 2, (p - 1) / 2) <= STOPPED]
    own = own.assign(expected=(own["n_samples"] - own["functional_dim"]) / (own["n_samples"] - 1))
    for is_linear, group in own.groupby(own["depth"] == 0, sort=False):
        sums = group.groupby(clusters(group))[["final_tau", "expected"]].sum()
        interval = mean_interval((sums["final_tau"] / sums["expected"]).to_numpy(float))
        yield line_of(
            interval,
            (1.0, 1.0),
            times(LEAST_SQUARES_MARGIN),
            f"a factor of {LEAST_SQUARES_MARGIN:g}: two samples in twice ten",
            len(sums),
            ratio=False,
            claim="linear networks leave the least-squares error",
            about="linear regression" if is_linear else "a readout of frozen features",
            source=ALGEBRA,
            they="tau = (N - p) / (N - 1) in the mean, p parameters",
            here=f"{spelled(interval)} times that, N = {span(group['n_samples'])}, {counted(len(sums), 'seed')}",
            n_cells=len(group),
        )


def _linear_thresholds(curves: pd.DataFrame, solved: pd.DataFrame) -> Iterator[dict[str, Any]]:
    own = curves[_linear(curves) & _of_one(curves) & curves["target"].isin(CONTINUOUS)]
    for row in own.to_dict("records"):
        p = row["functional_dim"]
        yield line_of(
            n50_of(row),
            (p, p + 1),
            (p - HALF_SAMPLE, p + 1 + HALF_SAMPLE),
            "half a sample: counts are whole",
            row["n_seeds"],
            claim="linear networks memorize up to N = p",
            about=_network(row),
            source=BELKIN,
            they=f"N = {p} is fitted, {p + 1} is not",
            here=f"N50 {_equals(row)}, {_protocol(row)}",
            n_cells=row["n_cells"],
            **_by_lm(row, solved),
        )


def _ceilings(curves: pd.DataFrame, solved: pd.DataFrame) -> Iterator[dict[str, Any]]:
    own = curves[~_linear(curves) & _of_one(curves) & curves["target"].isin(CONTINUOUS)]
    for row in own[own["activation"].isin(HOMOGENEOUS)].to_dict("records"):
        interval = n50_of(row, over=row["functional_dim"])
        yield line_of(
            interval,
            (-math.inf, 1.0),
            (-math.inf, 1.0),
            NO_MARGIN,
            row["n_seeds"],
            claim="no exact fit beyond P - H",
            about=_network(row),
            source=theory.GRIGSBY,
            they="N50 / (P - H) is at most 1",
            here=f"{spelled(interval, what_is_known(row))}, P - H = {row['functional_dim']}, {_protocol(row)}",
            n_cells=row["n_cells"],
            **_by_lm(row, solved, over=row["functional_dim"]),
        )


def _transitions(curves: pd.DataFrame, solved: pd.DataFrame) -> Iterator[dict[str, Any]]:
    own = curves[~_linear(curves) & (curves["loss"] == "hinge") & curves["activation"].isin(HOMOGENEOUS)]
    for row in own.to_dict("records"):
        interval = n50_of(row, over=row["functional_dim"])
        yield line_of(
            interval,
            TRANSITION,
            TRANSITION,
            "none: the range that they scanned",
            row["n_seeds"],
            claim="transition of random labels",
            about=_network(row),
            source=GEIGER,
            they=f"N / (P - H) is about 3 ({TRANSITION[0]:.2f} to {TRANSITION[1]:.2f} scanned)",
            here=f"{spelled(interval, what_is_known(row))}, P - H = {row['functional_dim']}, {_protocol(row)}",
            n_cells=row["n_cells"],
            **_by_lm(row, solved, over=row["functional_dim"]),
        )
    for _, group in own.groupby(list(_PROTOCOL), dropna=False, sort=False):
        least = group["depth"].min()
        for depth in sorted(set(group["depth"]) - {least}):
            yield _depths(group[group["depth"] == least], group[group["depth"] == depth])


# What networks share whose depths are compared.
_PROTOCOL = tuple(name for name in GROUP_FIELDS if name not in ("n_samples", "depth", "width", "d_in"))


def _depths(shallow: pd.DataFrame, deep: pd.DataFrame) -> dict[str, Any]:
    pairs = [(one, other) for one in shallow.to_dict("records") for other in deep.to_dict("records")]
    one, other = min(pairs, key=lambda pair: abs(math.log(pair[1]["functional_dim"] / pair[0]["functional_dim"])))
    above, below = (n50_of(row, over=row["functional_dim"]) for row in (other, one))
    interval = ratio_interval(above, below)
    return line_of(
        interval,
        (1.0, 1.0),
        times(DEPTH_MARGIN),
        f"a factor of {DEPTH_MARGIN:.3g}: half of the range that they scanned",
        min(one["n_seeds"], other["n_seeds"]),
        claim="independent of depth",
        about=f"{_network(other)}, over {_network(one)}",
        source=GEIGER,
        they="the transition N / (P - H) is the same",
        here="unknown" if math.isnan(interval[0]) else f"{spelled(interval)} times",
        n_cells=one["n_cells"] + other["n_cells"],
    )


def _trend(cells: pd.DataFrame, axis: str) -> Iterator[dict[str, Any]]:
    """Whether epochs to tau fall with the width, or grow with the sample count."""
    own = cells[~_linear(cells) & (cells["loss"] == "mse")]
    if own.empty:
        return
    own = own.assign(epoch=own["epoch_to_tau"].astype(float).fillna(math.inf))
    others = [name for name in (*GROUP_FIELDS, *SEEDS) if name != axis]
    own["line"] = own.groupby(others, dropna=False, sort=False).ngroup()
    correlation = _rank_correlations(own.pivot_table(index="line", columns=axis, values="epoch", aggfunc="first"))
    used = own[own["line"].isin(correlation.index)]
    if used.empty:
        return
    seeds = used.drop_duplicates("line").set_index("line")[list(SEEDS)]
    by_seed = correlation.groupby(clusters(seeds.loc[correlation.index])).mean()
    value, low, high = mean_interval(by_seed.to_numpy(float))
    # Student's interval does not know where correlations end.
    interval = (value, max(low, -1.0), min(high, 1.0))
    # Of networks and protocols measured between the same sizes, those that are most; others would compare what is not alike.
    spans = used.groupby("line")[axis].agg(["min", "max"])
    least, most = spans.value_counts().index[0]
    alike = used[used["line"].isin(spans.index[(spans["min"] == least) & (spans["max"] == most)])]
    ends = {size: alike.loc[alike[axis] == size, "epoch"] for size in (least, most)}
    medians = [f"{_epochs(values)} at {axis}={size}" for size, values in ends.items()]
    theirs = (-math.inf, 0.0) if axis == "width" else (0.0, math.inf)
    yield line_of(
        interval,
        theirs,
        theirs,
        "none: a direction",
        len(by_seed),
        ratio=False,
        claim="wider networks memorize sooner" if axis == "width" else "more samples take longer",
        about=f"{axis} {span(used[axis])}, depth {span(used['depth'])}",
        source=ARPIT,
        they="epochs to fit fall with the width" if axis == "width" else "epochs to fit grow with the number of samples",
        here=f"rank correlation {spelled(interval)}, {counted(len(by_seed), 'seed')}; median epoch {', '.join(medians)}",
        n_cells=len(used),
    )


def _rank_correlations(epochs: pd.DataFrame) -> pd.Series:
    """Kendall's tau-b of each row with the names of the columns, which ascend; NaN stands for what was not measured.

    Rows with fewer than LEAST_SIZES measured have no trend, and those of one value, for example where no cell memorized, no
    order: they are left out.
    """
    left, right = (epochs.to_numpy(float)[:, places] for places in np.triu_indices(epochs.shape[1], 1))
    up, down, tied = (compare(left, right).sum(axis=1) for compare in (np.less, np.greater, np.equal))
    ordered = (epochs.notna().sum(axis=1) >= LEAST_SIZES) & (up + down > 0)
    with np.errstate(invalid="ignore"):
        tau = (up - down) / np.sqrt((up + down) * (up + down + tied))
    return pd.Series(tau, index=epochs.index)[ordered]


def _bits(curves: pd.DataFrame, solved: pd.DataFrame) -> Iterator[dict[str, Any]]:
    # Of targets that are numbers: bits of labels are told by themselves.
    own = curves[~_linear(curves) & curves["bits_per_param"].notna() & (curves["target"] != "labels")]
    for _, group in own.groupby("tau", sort=False):
        best = group.iloc[int(group["bits_per_param"].argmax())].to_dict()
        value = best["bits_per_param"]
        interval = (value, value * best["n50_low"] / best["n50"], value * best["n50_high"] / best["n50"])
        least, most = min(theory.BITS_PER_PARAM), max(theory.BITS_PER_PARAM)
        yield line_of(
            interval,
            (least, most),
            (math.nan, math.nan),
            "",
            best["n_seeds"],
            claim="bits for each parameter",
            about=f"{_network(best)}: the most among {len(group)} N50",
            source="; ".join(theory.BITS_PER_PARAM.values()),
            they=" / ".join(f"{bits:g}" for bits in theory.BITS_PER_PARAM),
            here=f"{spelled(interval)}, {_protocol(best)}",
            n_cells=best["n_cells"],
            **_by_lm(best, solved, over=best["n50"] / value),
        ) | {"agree": "for orientation", "p_value": math.nan}


def _exposures(cells: pd.DataFrame, known: Iterable[tuple[str, pd.DataFrame]]) -> Iterator[dict[str, Any]]:
    """Of the settings without regularization whose rate is asked for: what was swept has another rate at each budget."""
    few, many = EXPOSURES
    own = []
    for rates, curve in known:
        first = curve.head(1)
        if rates == "as asked" and not (regularized(first) | _linear(first) | (first["target"] != "normal")).iloc[0]:
            own.append((rates, curve))
    table = capacity_by_budget(cells, own, lambda most: (many, few) if most >= many else ())
    for row in growth(table).to_dict("records"):
        doublings = math.log2(many / few)
        interval = tuple(row[name] ** doublings for name in ("growth", "growth_low", "growth_high"))
        networks = table[(table["setting"] == row["setting"]) & (table["budget"] == many)]
        bounds = row["n_above"] + row["n_below"]
        yield line_of(
            (interval[0], interval[1], interval[2]),
            (math.nan, math.nan),
            (math.nan, math.nan),
            "",
            row["n_networks"],
            claim="bits for each parameter grow with exposures",
            about=f"{row['n_networks']} of {counted(len(networks), 'network')}"
            + (f", {counted(bounds, 'bound')}" if bounds else ""),
            source=EXPOSED,
            they=f"at least 1 after {few} exposures, at least 2 after {many}",
            here=f"N50 after {many} epochs is {spelled(interval)} times that after {few}, tau {span(networks['tau'])}",
            n_cells=int(networks["n_cells"].sum()),
        ) | {"agree": "for orientation", "p_value": math.nan}


def _by_lm(row: Mapping[Any, Any], solved: pd.DataFrame, over: float = 1.0) -> dict[str, Any]:
    """The same number by optimizer=lm, and over that by the optimizer of the row; nothing where lm did not train it."""
    own = of_curve(solved, row)
    if own is None:
        return {}
    lm = as_capacity(own)
    interval = n50_of(lm, over)
    ratio = (own["ratio"], own["ratio_low"], own["ratio_high"])
    beside = "" if math.isnan(ratio[0]) else f", {spelled(ratio)} times"
    numbers = dict(zip(("value_lm", "low_lm", "high_lm"), interval, strict=True))
    numbers |= dict(zip(("ratio_lm", "ratio_lm_low", "ratio_lm_high"), ratio, strict=True))
    return {"by_lm": f"{spelled(interval, what_is_known(lm))}{beside}", **numbers}


def _network(row: Mapping[Any, Any]) -> str:
    if row["depth"] == 0:
        return f"linear regression, d_in {row['d_in']}"
    return f"{'readout, ' * (row['trainable'] == 'readout')}depth {row['depth']}, width {row['width']}, d_in {row['d_in']}"


def _protocol(row: Mapping[Any, Any]) -> str:
    return f"tau {row['tau']:g}, {row['max_epochs']} epochs, {counted(row['n_seeds'], 'seed')}"


def _equals(row: Mapping[Any, Any]) -> str:
    says = what_is_known(row)
    return f"{'= ' * (says == 'value')}{spelled(n50_of(row), says)}"


def _epochs(values: pd.Series) -> str:
    median = median_with_censoring(values.replace(math.inf, math.nan).to_numpy(float))
    return "never" if math.isinf(median) else f"{median:.0f}"
