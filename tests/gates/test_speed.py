"""The judge of times: false alarms and power on simulated rounds, and what it says."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from bench.gates.check import Check, Verdict
from bench.gates.speed import FALSE_ALARMS, LOOKS, findings, finished, interval, judged, log_ratios

GROUPS = {f"group {i}": 2 for i in range(8)}


def simulated(
    rng: np.random.Generator, n_rounds: int, *, slower: float = 1.0, noise: float = 0.015, busy: float = 0.05, n_turns: int = 5
) -> pd.DataFrame:
    """Times of eight groups; the machine's own speed drifts and jumps, each process has a speed of its own, and now and then
    something else takes the machine from a call. Of the first group the head takes `slower` times as long."""
    rows = []
    drift = 0.0
    for number in range(n_rounds):
        process = {side: rng.normal(0, noise) for side in ("base", "head")}
        for group, count in GROUPS.items():
            for benchmark, turn in itertools.product(range(count), range(n_turns)):
                drift += rng.normal(0, 0.02)
                for side in process:
                    factor = slower if side == "head" and group == "group 0" else 1.0
                    lost = (rng.random() < busy) * rng.exponential(0.5)
                    time_s = 0.1 * factor * math.exp(drift + process[side] + rng.normal(0, noise) + lost)
                    rows.append((number, turn, side, group, f"{group} {benchmark}", time_s))
    return pd.DataFrame(rows, columns=["round", "turn", "side", "group", "benchmark", "time_s"])


def checked(rng: np.random.Generator, **world) -> tuple[pd.DataFrame, int]:
    """As a check goes: rounds until it is finished; the judgement, and how many rounds there were."""
    ratios = log_ratios(simulated(rng, LOOKS[-1], **world))
    for count in LOOKS:
        seen = ratios[ratios["round"] < count]
        if finished(seen):
            return judged(seen), count
    raise AssertionError("the last look ends the rounds")


@pytest.mark.parametrize("checks", [25, pytest.param(1000, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("slower", [1.0, 1.05])
def test_a_head_within_the_margin_is_rarely_called_slower(slower, checks):
    """Where nothing is slower, and at the margin itself: no more than the level and three standard errors."""
    rng = np.random.default_rng(int(100 * slower))
    alarms = sum(checked(rng, slower=slower)[0]["slower"].any() for _ in range(checks))
    assert alarms <= checks * FALSE_ALARMS + 3 * math.sqrt(checks * FALSE_ALARMS)


@pytest.mark.parametrize("checks", [20, pytest.param(300, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize(("slower", "least"), [(1.15, 0.9), (1.3, 1.0)])
def test_a_head_that_is_slower_is_found_and_its_group_is_named(slower, least, checks):
    rng, found = np.random.default_rng(7), 0
    for _ in range(checks):
        groups, _ = checked(rng, slower=slower)
        found += list(groups.loc[groups["slower"], "group"]) == ["group 0"]
    assert found >= least * checks


def test_a_quiet_machine_takes_few_rounds_and_a_noisy_one_all_of_them():
    rng = np.random.default_rng(3)
    assert checked(rng, noise=0.003, busy=0.0)[1] <= LOOKS[1]
    groups, count = checked(rng, noise=0.3)
    assert count == LOOKS[-1]
    assert not groups["known"].all()


def test_the_interval_is_students_at_a_level_shared_by_groups_and_looks():
    values = np.array([0.0, 0.02, 0.04, 0.02])
    low, middle, high = interval(values, n_groups=1)
    assert middle == pytest.approx(0.02)
    # t of 0.99875 with three degrees of freedom, from a table.
    assert high - middle == pytest.approx(9.46 * np.std(values, ddof=1) / 2, rel=0.01)
    assert middle - low == pytest.approx(high - middle)
    low, middle, high = interval(values[:1], n_groups=1)
    assert middle == 0
    assert math.isnan(low) and math.isnan(high)


def test_the_ratio_is_the_geometric_mean_over_benchmarks_and_rounds():
    rows = [
        (r, 0, side, "g", b, t)
        for r in range(2)
        for b, one in (("a", 1.0), ("b", 3.0))
        for side, t in (("base", one), ("head", one * (2 if b == "a" else 1)))
    ]
    groups = judged(log_ratios(pd.DataFrame(rows, columns=["round", "turn", "side", "group", "benchmark", "time_s"])))
    assert groups.loc[0, "ratio"] == pytest.approx(math.sqrt(2))
    assert groups.loc[0, ["n_benchmarks", "n_rounds"]].tolist() == [2, 2]
    assert groups.loc[0, "slower"]


def test_each_group_is_a_sentence_the_slowest_first():
    rng = np.random.default_rng(1)
    said = findings(judged(log_ratios(simulated(rng, 10, slower=1.5, noise=0.004, busy=0.0))))
    assert [finding.verdict for finding in said] == [Verdict.FAILED] + [Verdict.PASSED] * 7
    assert said[0].test == "group 0"
    assert 1.48 < float(said[0].said.split()[0]) < 1.52
    assert said[0].said.endswith("2 benchmarks, 10 rounds: slower by more than 5%")


def test_after_one_round_nothing_is_known_and_nothing_is_called_slower():
    groups = judged(log_ratios(simulated(np.random.default_rng(2), 1, slower=2.0)))
    assert not groups["slower"].any()
    assert not groups["known"].any()
    said = findings(groups)
    assert {finding.verdict for finding in said} == {Verdict.UNDECIDED}
    assert said[0].said.endswith("not known to 2%, raise limit_s or quiet the machine")
    # A check that found nothing out is no green one.
    assert not Check("speed", "a", "b", said).passed
