"""Of a diagnosis in worlds where chance alone decides, and where one change works: how often a cause is named, and which."""

from __future__ import annotations

import dataclasses

import pytest

from bench.runs.inquiry import Inquiry
from bench.statistics.confirmation import FALSE_CAUSES, LEVELS, MOST_TRIED
from bench.statistics.evidence import Cause, Lever
from bench.store.parts import Ended
from tests.runs.simulated import ASKED, SEEDS, Clock, diagnosed, said, stages

# Where the rate is FALSE_CAUSES, more than 3 of 20 diagnoses come in one of sixty tests.
RUNS, MOST_FALSE = 20, 3
NO_CAUSE = {Cause.NOTHING, Cause.LUCK, Cause.UNDECIDED}


def test_all_looks_at_all_changes_share_the_level_of_false_causes():
    """By the bound of Bonferroni, whatever the successes depend on."""
    assert MOST_TRIED * sum(LEVELS.values()) <= FALSE_CAUSES


def test_no_more_changes_are_tried_on_fresh_seeds_than_the_levels_are_for_whatever_the_stages(monkeypatch):
    """All that is tried stands out and nothing is confirmed, and what is left falls, so that there is a stage of more epochs."""
    tried, works = [], Inquiry._works
    monkeypatch.setattr(Inquiry, "_works", lambda own, cell: tried.append(cell) or works(own, cell))
    asked, ended = [dataclasses.replace(ASKED, data_seed=seed, init_seed=seed) for seed in SEEDS], {}
    inquiry = Inquiry(asked, lambda: ended)
    for planned in inquiry.rounds():
        for cell in planned:
            hit = cell.data_seed in SEEDS and cell not in asked
            ended[cell.cell_id] = Ended(hit, cell.max_epochs, 50 / cell.max_epochs)
    assert len(tried) == MOST_TRIED


def false_causes(n_rows: int, chance: float, runs: range) -> int:
    return sum(said(diagnosed(n_rows, lambda _: chance, seed)[1]).cause not in NO_CAUSE for seed in runs)


@pytest.mark.parametrize("chance", [0.2, 0.3, 0.5])
def test_where_every_change_succeeds_as_often_as_none_no_cause_is_named(chance):
    assert false_causes(47, chance, range(RUNS)) <= MOST_FALSE


@pytest.mark.exhaustive
@pytest.mark.parametrize("chance", [0.2, 0.3, 0.5])
@pytest.mark.parametrize("n_rows", [20, 60])
def test_nor_in_two_hundred_diagnoses_with_ladders_of_20_and_60_rows(n_rows, chance):
    """At a rate of 0.05 more than 18 of 200 come in one of a hundred tests."""
    assert false_causes(n_rows, chance, range(1000, 1200)) <= 18


def found(n_rows: int, remedy, runs: range) -> int:
    return sum(diagnosed(n_rows, lambda cell: 0.95 if cell == remedy else 0.1, seed)[0] == remedy for seed in runs)


@pytest.mark.parametrize("place", ["single", "pair", "network"])
def test_a_change_that_works_is_found(place):
    """From 0.1 to 0.95, wherever it stands on the ladder. At a power of 0.85 fewer than 10 of 15 come in one of sixty tests."""
    (singles, pairs), networks = stages(47)
    assert found(47, {"single": singles[3], "pair": pairs[2], "network": networks[0]}[place], range(15)) >= 10


@pytest.mark.exhaustive
@pytest.mark.parametrize("place", ["single", "pair", "network"])
@pytest.mark.parametrize("n_rows", [20, 60])
def test_a_change_that_works_is_found_in_two_hundred_diagnoses(n_rows, place):
    (singles, pairs), networks = stages(n_rows)
    remedy = {"single": singles[3], "pair": pairs[2], "network": networks[0]}[place]
    assert found(n_rows, remedy, range(1000, 1200)) >= 0.85 * 200


def test_where_lm_alone_memorizes_the_cell_is_limited_by_its_optimizer_and_where_nothing_does_it_is_told_apart():
    for seed in range(3):
        remedy, cells = diagnosed(20, lambda cell: float(cell.optimizer == "lm"), seed)
        verdict = said(cells)
        assert remedy is not None and remedy.optimizer == "lm" and remedy.n_samples == ASKED.n_samples
        assert (verdict.cause, verdict.change) == (Cause.OPTIMIZER, "optimizer=lm")
    remedy, cells = diagnosed(20, lambda cell: 0.0, 0)
    told = "Nor is it memorized by Levenberg and Marquardt's method: 0 of 3 seeds, and 50 % is left (optimizer=lm)."
    assert remedy is None and told in said(cells).sentences


def test_the_verdict_names_the_change_that_was_confirmed():
    """What is trained next and what is said of it in the end are by one rule."""
    (singles, _), _ = stages(30)
    for seed in range(4):
        remedy, cells = diagnosed(30, lambda cell: 0.95 if cell == singles[3] else 0.1, seed)
        verdict = said(cells)
        assert remedy == singles[3]
        assert (verdict.cause, verdict.change) == (Lever.LEARNING_RATE, f"learning_rate={singles[3].learning_rate:g}")


def test_a_lever_that_a_remedy_does_not_need_is_not_named():
    """Of two changed together the momentum alone does it, and only the pair is on the ladder."""

    def chance(cell):
        return 0.95 if cell.momentum else 0.05

    verdict = said(diagnosed(30, chance, 1)[1])
    assert (verdict.cause, verdict.together_with, verdict.change) == (Lever.OPTIMIZER, (), "momentum=0.9")


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("bench.runs.inquiry.time", clock)
    return clock


# Seconds in which a ladder of 47 rows has not time for three seeds of each row, where each training takes one.
LITTLE_S = 130.0


def hurried(chance_of, seed: int, clock: Clock):
    """What `diagnosed` returns where there is little time."""
    clock.now = 0.0
    found, cells = diagnosed(47, chance_of, seed, clock=clock, budget_s=LITTLE_S, seconds_of=lambda _: 1.0)
    assert clock.now < LITTLE_S + 2
    return found, cells


@pytest.mark.parametrize("place", ["single", "pair", "network"])
def test_a_change_that_works_is_found_too_where_there_is_not_time_for_all_seeds(place, clock):
    """Of 60 diagnoses each it is found in 60, 60 and 53. At a power of 0.88 fewer than 5 of 8 come in one of 150 tests."""
    (singles, pairs), networks = stages(47)
    remedy = {"single": singles[3], "pair": pairs[2], "network": networks[0]}[place]
    results = [hurried(lambda cell: 0.95 if cell == remedy else 0.1, seed, clock) for seed in range(8)]
    assert sum(found == remedy for found, _ in results) >= 5
    if place != "single":
        assert all(cells.groupby(["learning_rate", "momentum"]).size().min() == 1 for _, cells in results)


@pytest.mark.parametrize("chance", [0.2, 0.5])
def test_nor_is_a_cause_named_by_chance_there(chance, clock):
    causes = [said(hurried(lambda _: chance, seed, clock)[1]).cause for seed in range(RUNS)]
    assert sum(cause not in NO_CAUSE for cause in causes) <= MOST_FALSE
