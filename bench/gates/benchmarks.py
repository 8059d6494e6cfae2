"""Each benchmark of a check, base beside head: as a table, and in pytest-benchmark's form for the tools that read it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from bench.protocol.columns import columns_of

COLUMNS = list(columns_of("check_benchmarks"))

# The version of pytest-benchmark whose form is written.
FORM = "5.1.0"

# Tukey's fences: beyond so many spreads of the middle half, a time is called an outlier.
FENCE = 1.5


def benchmarks(times: pd.DataFrame) -> pd.DataFrame:
    """The columns of `check_benchmarks`, in the order of the suite.

    Args:
        times: as `gates.rounds.rounds` returns them.
    """
    rows = []
    for (group, benchmark), own in times.groupby(["group", "benchmark"], sort=False):
        sides = own.pivot_table(index=["round", "turn"], columns="side", values="time_s")
        base, head = sides["base"], sides["head"]
        logs = (head / base).map(math.log).groupby("round").median()
        rows.append((group, benchmark, len(logs), float(base.median()), float(head.median()), math.exp(float(logs.mean()))))
    return pd.DataFrame(rows, columns=COLUMNS)


def as_pytest_benchmark(times: pd.DataFrame, side: str, run: Mapping[str, Any]) -> dict[str, Any]:
    """The times of one side as `pytest --benchmark-json` writes them: each call is a round of a benchmark's.

    Args:
        times: as of `benchmarks`.
        side: base or head.
        run: of that side what provenance.json holds: `commit`, `dirty`, `python`, `cpu`, `system`, `started_at`.
    """
    own = times[times["side"] == side]
    system, _, machine = str(run.get("system") or "").partition(" ")
    cpu = run.get("cpu") or {}
    return {
        "machine_info": {
            "system": system,
            "machine": machine,
            "python_version": run.get("python"),
            "cpu": {"brand_raw": cpu.get("model"), "flags": cpu.get("features", [])},
        },
        "commit_info": {"id": run.get("commit") or "unversioned", "dirty": bool(run.get("dirty")), "project": "memcap"},
        "benchmarks": [
            {
                "group": group,
                "name": name,
                "fullname": f"tests/perf/gated.py::{name}",
                "params": None,
                "param": None,
                "extra_info": {},
                "options": {},
                "stats": _statistics(rows["time_s"].to_numpy()),
            }
            for (group, name), rows in own.groupby(["group", "benchmark"], sort=False)
        ],
        "datetime": run.get("started_at"),
        "version": FORM,
    }


def _statistics(data: Float[np.ndarray, " round"]) -> dict[str, Any]:
    """The statistics of that form, times in seconds."""
    low, middle, high = _quartiles(np.sort(data))
    fences = low - FENCE * (high - low), high + FENCE * (high - low)
    within = data[(data >= fences[0]) & (data <= fences[1])]
    mean, spread = float(data.mean()), float(data.std(ddof=1)) if len(data) > 1 else 0.0
    far, beyond = int((np.abs(data - mean) > spread).sum()), len(data) - len(within)
    return {
        "min": float(data.min()),
        "max": float(data.max()),
        "mean": mean,
        "stddev": spread,
        "rounds": len(data),
        "median": middle,
        "iqr": high - low,
        "q1": low,
        "q3": high,
        "iqr_outliers": beyond,
        "stddev_outliers": far,
        "outliers": f"{far};{beyond}",
        "ld15iqr": float(within.min()),
        "hd15iqr": float(within.max()),
        "ops": 1 / mean,
        "total": float(data.sum()),
        "data": data.tolist(),
        "iterations": 1,
    }


def _quartiles(ordered: Float[np.ndarray, " round"]) -> tuple[float, float, float]:
    """The median, and those of the halves below and above it: of halves with the middle one and without, the mean."""
    count = len(ordered)
    if count < 2:
        only = float(ordered[0])
        return only, only, only
    sizes = (count // 2, (count + 1) // 2)
    low = np.mean([np.median(ordered[:size]) for size in sizes])
    high = np.mean([np.median(ordered[-size:]) for size in sizes])
    return float(low), float(np.median(ordered)), float(high)
