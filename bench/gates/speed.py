"""Is the head slower than the base? Times of the same benchmarks in turn, and groups of them judged by their ratios.

In each round both sides run every benchmark, each side in a new process, and take turns call by call. What slows the machine
for longer than a call slows both, and what takes it from one call is left out by the median over turns of log(head / base).
What a round says of a group is the mean of these over its benchmarks. Rounds are added until the ratio of every group is
known well enough, or until the limit of time: rounds, not turns, are independent, since memory lies anew in every process.
Each look at the data pays for itself in the width of the intervals.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from bench.gates.check import Finding, Verdict
from bench.protocol.columns import columns_of

# Of all groups and looks together: how often a check fails, where no group is slower than the margin allows.
FALSE_ALARMS = 0.01

# After so many rounds the data are looked at. Fewer than the first say too little of their own spread.
LOOKS = (6, 10, 16, 24)

# A head may be slower by this factor, unless asked otherwise: what moves code in memory moves times by a hundredth or two.
MARGIN = 0.05

# An interval with ends no further from its middle than this is narrow enough to stop.
NARROW = 0.02

GROUPS = list(columns_of("check_groups"))


def log_ratios(times: pd.DataFrame) -> pd.DataFrame:
    """For each group and round the mean over its benchmarks of the median over turns of log(head / base).

    Args:
        times: a row for each round, turn, side (base, head) and benchmark: its `group` and `time_s`, in seconds.

    Returns:
        `group`, `round`, `log_ratio`, and `n_benchmarks`.
    """
    sides = times.pivot_table(index=["group", "benchmark", "round", "turn"], columns="side", values="time_s", sort=False)
    logs = (sides["head"] / sides["base"]).map(math.log)
    medians = logs.groupby(["group", "benchmark", "round"], sort=False).median()
    made = medians.groupby(["group", "round"], sort=False).agg(["mean", "size"]).reset_index()
    return made.rename(columns={"mean": "log_ratio", "size": "n_benchmarks"})


def judged(ratios: pd.DataFrame, *, margin: float = MARGIN) -> pd.DataFrame:
    """Each group's ratio of the head's time to the base's, with an interval that holds for all groups and looks at once.

    Args:
        ratios: as `log_ratios` makes them.
        margin: how much slower a group may be.

    Returns:
        The columns of `check_groups`, slowest first. A group with a single round has no interval, and is not known.
    """
    n_groups = ratios["group"].nunique()
    rows = []
    for group, own in ratios.groupby("group", sort=False):
        low, middle, high = interval(own["log_ratio"].to_numpy(), n_groups)
        slower, known = low > math.log1p(margin), high - middle <= math.log1p(NARROW)
        rows.append(
            {
                "group": group,
                "n_benchmarks": own["n_benchmarks"].iloc[0],
                "n_rounds": len(own),
                **{name: math.exp(value) for name, value in (("ratio", middle), ("ratio_low", low), ("ratio_high", high))},
                "slower": slower,
                "known": known or slower,
            }
        )
    return pd.DataFrame(rows, columns=GROUPS).sort_values("ratio", ascending=False, ignore_index=True)


def interval(log_ratios: Float[np.ndarray, " round"], n_groups: int) -> tuple[float, float, float]:
    """(low, mean, high) of independent rounds by Student's t, at a level of which all groups and looks take an equal part.

    NaN ends where there is one round, which does not say how far rounds spread.
    """
    middle = float(np.mean(log_ratios))
    count = len(log_ratios)
    if count < 2:
        return math.nan, middle, math.nan
    level = FALSE_ALARMS / n_groups / len(LOOKS)
    half = float(stats.t.ppf(1 - level / 2, count - 1) * np.std(log_ratios, ddof=1)) / math.sqrt(count)
    return middle - half, middle, middle + half


def finished(ratios: pd.DataFrame, *, margin: float = MARGIN) -> bool:
    """Whether enough rounds were run: all that there will be, or so many that every group is known when they are looked at."""
    n_rounds = ratios["round"].nunique()
    return n_rounds >= LOOKS[-1] or (n_rounds in LOOKS and bool(judged(ratios, margin=margin)["known"].all()))


def findings(groups: pd.DataFrame, *, margin: float = MARGIN) -> list[Finding]:
    """A sentence for each group of `judged`."""
    return [_finding(row, margin) for _, row in groups.iterrows()]


def _finding(row: pd.Series, margin: float) -> Finding:
    ratio = f"{row['ratio']:.3f} times the base's time ({row['ratio_low']:.3f} to {row['ratio_high']:.3f})"
    said = f"{ratio}, {row['n_benchmarks']} benchmarks, {row['n_rounds']} rounds"
    if row["slower"]:
        return Finding(str(row["group"]), Verdict.FAILED, f"{said}: slower by more than {margin:.0%}")
    # Even the slow end of the interval lies within the margin, or it says nothing.
    if row["known"] or row["ratio_high"] <= 1 + margin:
        return Finding(str(row["group"]), Verdict.PASSED, said)
    return Finding(
        str(row["group"]), Verdict.UNDECIDED, f"{said}: not known to {NARROW:.0%}, raise limit_s or quiet the machine"
    )
