"""Of a module's diagnosis in worlds where chance alone decides, and where one change works: how often a cause is named."""

from __future__ import annotations

import pytest

from bench.modules.changes import levers
from bench.statistics.confirmation import FALSE_CAUSES, LEVELS, MOST_TRIED
from bench.statistics.evidence import Cause, Lever
from tests.modules.simulated import World, asked, diagnosed

# Where the rate is FALSE_CAUSES, more than 2 of 8 diagnoses come in one of a hundred and seventy tests.
RUNS, MOST_FALSE = 8, 2
NO_CAUSE = {Cause.NOTHING, Cause.LUCK, Cause.UNDECIDED}


@pytest.fixture(scope="module")
def own():
    return asked()


def false_causes(own, chance: float, runs: range) -> int:
    return sum(diagnosed(own, lambda _: chance, seed)[0].cause not in NO_CAUSE for seed in runs)


def test_all_looks_at_all_changes_of_all_stages_share_the_level_of_false_causes():
    """By the bound of Bonferroni, whatever the successes depend on and however many stages there are."""
    assert MOST_TRIED * sum(LEVELS.values()) <= FALSE_CAUSES


@pytest.mark.parametrize("chance", [0.3, 0.5])
def test_where_every_change_succeeds_as_often_as_none_no_cause_is_named(own, chance):
    assert false_causes(own, chance, range(RUNS)) <= MOST_FALSE


@pytest.mark.exhaustive
@pytest.mark.parametrize("chance", [0.0, 0.2, 0.3, 0.5])
def test_nor_in_two_hundred_diagnoses(own, chance):
    """At a rate of 0.05 more than 18 of 200 come in one of a hundred tests."""
    assert false_causes(own, chance, range(1000, 1200)) <= 18


@pytest.mark.parametrize("lever", [Lever.BUDGET, Lever.LEARNING_RATE, Lever.INITIALISATION])
def test_a_change_that_works_is_found_and_named(own, lever):
    """From 0.1 to 0.95 for every trial that pulls this lever. At a power of 0.85 fewer than 3 of 6 come in one of 170 tests."""

    def chance(trial):
        return 0.95 if lever in levers(trial, own.trial) else 0.1

    found = [diagnosed(own, chance, seed)[0] for seed in range(6)]
    assert sum(one.cause == lever and one.change is not None for one in found) >= 3


def test_no_more_changes_are_tried_on_fresh_seeds_than_share_the_level(own):
    """A world in which chance makes many changes stand out."""
    for seed in range(3):
        _, inquiry = diagnosed(own, lambda trial: 0.0 if trial == own.trial else 0.4, seed)
        assert isinstance(inquiry.trainer, World)
        fresh = {job.trial for job in inquiry.trainer.trained if job.seed not in inquiry.seeds}
        assert len(fresh - {own.trial}) <= MOST_TRIED + 2
