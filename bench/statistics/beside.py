"""Groups of one setting beside the same groups of another: times the epochs, and how many seeds memorize under either."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

# What is said of the other setting's groups.
MEASURES = ("n_memorized", "n_seeds", "median_epoch_to_tau")


def beside(groups: pd.DataFrame, baseline: pd.DataFrame, on: Sequence[str]) -> pd.DataFrame:
    """The groups that have a partner in the baseline, with its measures and `delay`.

    Args:
        groups: of one setting, `baseline`: of the other; rows as `bench.statistics.survival.groups` returns them.
        on: the fields that partners share, by which each is the only one of its setting.

    Returns:
        The columns of `groups`; those of MEASURES with `baseline_` before their names; and `delay`, the median epoch_to_tau
        over that of the baseline, each at least 1; NaN where either is infinite.
    """
    partners = baseline[[*on, *MEASURES]].rename(columns={name: f"baseline_{name}" for name in MEASURES})
    both = groups.merge(partners, on=list(on), how="inner")
    own, theirs = (both[name].clip(lower=1) for name in ("median_epoch_to_tau", "baseline_median_epoch_to_tau"))
    return both.assign(delay=(own / theirs).where(np.isfinite(own) & np.isfinite(theirs)))
