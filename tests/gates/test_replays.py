"""The judge of times on recorded rounds: those of two equal sides, drawn again and again, exchanged at random, and made slower."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.gates.speed import FALSE_ALARMS, LOOKS, finished, judged, log_ratios

# `memcap check speed` of a commit against itself; how is in results/reference/README.md.
RECORDED = Path(__file__).parents[2] / "results" / "reference" / "check_speed" / "tables" / "check_times.csv"


@pytest.fixture(scope="module")
def recorded() -> pd.DataFrame:
    return log_ratios(pd.read_csv(RECORDED))


def replayed(recorded: pd.DataFrame, rng: np.random.Generator, slower: float) -> pd.DataFrame:
    """The judgement of a check whose rounds are drawn from the recorded ones; in one group the head is slower by a factor."""
    drawn = rng.integers(0, recorded["round"].nunique(), LOOKS[-1])
    wide = recorded.pivot_table(index="round", columns="group", values="log_ratio", sort=False).iloc[drawn]
    # Equal sides are as well the other way round.
    wide = wide.mul(rng.choice([-1, 1], len(wide)), axis=0)
    wide["kernel, wide"] += math.log(slower)
    wide.index = range(len(wide))
    ratios = (
        wide.rename_axis("round").reset_index().melt("round", var_name="group", value_name="log_ratio").assign(n_benchmarks=1)
    )
    for count in LOOKS:
        seen = ratios[ratios["round"] < count]
        if finished(seen):
            return judged(seen)
    raise AssertionError("the last look ends the rounds")


def alarms(recorded: pd.DataFrame, replays: int, slower: float) -> tuple[int, int]:
    """Of so many checks those that find the slower group, and those that find another."""
    rng, right, wrong = np.random.default_rng(int(1000 * slower)), 0, 0
    for _ in range(replays):
        groups = judged_slower(replayed(recorded, rng, slower))
        right += "kernel, wide" in groups
        wrong += bool(groups - {"kernel, wide"})
    return right, wrong


def judged_slower(groups: pd.DataFrame) -> set[str]:
    return set(groups.loc[groups["slower"], "group"])


@pytest.mark.parametrize("replays", [40, pytest.param(2000, marks=pytest.mark.exhaustive)])
def test_equal_sides_are_rarely_called_slower(recorded, replays):
    found = sum(alarms(recorded, replays, 1.0))
    print(f"\nreplays of equal sides: {found} of {replays} checks fail")
    assert found <= replays * FALSE_ALARMS + 3 * math.sqrt(replays * FALSE_ALARMS)


@pytest.mark.parametrize("replays", [20, pytest.param(500, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize(("slower", "least"), [(1.1, 0.9), (1.3, 1.0)])
def test_a_slower_kernel_is_found(recorded, replays, slower, least):
    right, wrong = alarms(recorded, replays, slower)
    print(f"\nreplays with a kernel {slower} times as slow: {right} of {replays} checks find it, {wrong} find another")
    assert right >= least * replays
    assert wrong <= replays * FALSE_ALARMS + 3 * math.sqrt(replays * FALSE_ALARMS)


@pytest.mark.exhaustive
def test_the_power_rises_with_the_slowdown(recorded):
    shares = {slower: alarms(recorded, 200, slower)[0] / 200 for slower in (1.0, 1.03, 1.05, 1.06, 1.07, 1.08, 1.1, 1.15)}
    print("\npower of the judge of times, by slowdown:", shares)
    assert list(shares.values()) == sorted(shares.values())
    assert shares[1.05] <= 0.05
