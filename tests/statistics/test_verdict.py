"""Why a cell did not memorize, on literal tables: what each variant pulls, and the one verdict over all of them."""

from __future__ import annotations

import math

import pytest

from bench.protocol.cells import FIELDS
from bench.statistics.evidence import LEVER_OF, WATCHED, Lever, evidence
from bench.statistics.verdict import Cause, verdict, width_for
from tests.statistics.tables import labelled, seeds, table

# P = 97 and 89 functional dimensions.
ASKED = {"depth": 1, "width": 8, "d_in": 10, "n_samples": 64, "max_epochs": 100, "learning_rate": 0.01, "init": "uniform"}


def rung(epoch: int | None, left: float = 0.5, n_seeds: int = 2, **changes) -> list[dict]:
    """The seeds of one variant: all memorize at this epoch, or none does and this fraction of the variance is left."""
    status = "censored" if epoch is None else "memorized"
    rows = seeds([status] * n_seeds, [epoch] * n_seeds, **(ASKED | changes))
    return [row | {"final_tau": left if epoch is None else 0.01} for row in rows]


def evidence_of(*rungs: list[dict]):
    return evidence(labelled(table(*(row for rows in rungs for row in rows)), variants=True))


def test_every_field_of_a_cell_is_a_lever_or_changes_nothing_of_the_training():
    assert sorted((*LEVER_OF, *WATCHED)) == sorted(FIELDS)


@pytest.mark.parametrize(
    ("change", "levers"),
    [
        ({"init": "he_normal"}, "initialisation"),
        ({"learning_rate": 0.1, "init_scale": 2.0}, "initialisation + learning rate"),
        ({"n_val": 10}, ""),
        ({"dropout": 0.1, "regularization": "dropout"}, "regularization"),
        ({"dtype": "float64", "max_epochs": 200}, "precision + budget"),
        ({"width": 16}, "network"),
        ({"n_samples": 16}, "samples"),
        ({"n_samples": 16, "max_epochs": 400}, "samples"),
        ({"n_samples": 16, "learning_rate": 0.1}, "learning rate + samples"),
        ({"n_samples": 16, "batch_size": 4}, "batch size + samples"),
        ({"n_samples": 16, "max_epochs": 401}, "budget + samples"),
        ({"batch_size": 8, "shuffle": True}, "batch size"),
        ({"tau": 0.5}, "task"),
    ],
)
def test_a_variant_pulls_the_levers_of_the_fields_it_changes(change, levers):
    made = evidence_of(rung(None), rung(50, **change))
    assert list(made["levers"]) == ["", levers]


def test_a_batch_in_proportion_belongs_to_fewer_samples():
    made = evidence_of(rung(None, batch_size=8), rung(50, batch_size=8, n_samples=16), rung(50, batch_size=2, n_samples=16))
    assert list(made["levers"]) == ["", "samples", "samples"]


def test_cost_is_training_flops_over_those_of_the_asked_budget():
    """Half the epochs; twice the width, whose 177 - 1 weights... 10 * 16 + 16 = 176 against 88; a quarter of the samples."""
    made = evidence_of(rung(None), rung(50, init="he_normal"), rung(None, width=16), rung(100, n_samples=16))
    assert list(made["cost"]) == [1, 0.5, 2, 0.25]


def test_a_cell_that_memorizes_needs_no_change():
    found = verdict(evidence_of(rung(70), rung(10, init="he_normal")))
    assert (found.cause, found.change) == (Cause.NOTHING, "as asked")
    assert found.sentences == ("Memorizable as it is: 2 of 2 seeds memorized, by epoch 70 in the median.",)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"init": "he_normal"}, Lever.INITIALISATION),
        ({"learning_rate": 0.1}, Lever.LEARNING_RATE),
        ({"amsgrad": True}, Lever.OPTIMIZER),
        ({"batch_size": 8}, Lever.BATCH_SIZE),
        ({"weight_decay": 0.1, "regularization": "weight_decay"}, Lever.REGULARIZATION),
        ({"dtype": "float64"}, Lever.PRECISION),
        ({"max_epochs": 400}, Lever.BUDGET),
        ({"width": 16}, Cause.CAPACITY),
        ({"n_samples": 16}, Cause.CAPACITY),
    ],
)
def test_the_lever_of_the_one_change_that_works_is_the_cause(change, cause):
    others = [
        rung(None, **other)
        for other in ({"init": "he_normal"}, {"learning_rate": 0.1}, {"max_epochs": 400}, {"width": 16})
        if other != change
    ]
    found = verdict(evidence_of(rung(None), *others, rung(50, **change)))
    assert (found.cause, found.together_with) == (cause, ())
    assert found.change is not None
    assert f": {found.change} (2 of 2 seeds, median epoch 50)." in found.sentences[-1]


def test_what_costs_nothing_comes_before_epochs_and_those_before_networks():
    found = verdict(
        evidence_of(
            rung(None),
            rung(10, width=16),
            rung(20, learning_rate=0.1, init="he_normal"),
            rung(300, max_epochs=400),
        )
    )
    assert (found.cause, found.together_with) == (Lever.LEARNING_RATE, (Lever.INITIALISATION,))
    assert found.sentences == (
        "Held back by the learning rate, together with the initialisation.",
        "The smallest change that works: init=he_normal, learning_rate=0.1 (2 of 2 seeds, median epoch 20).",
        "Also works: max_epochs=400 (2 of 2 seeds, median epoch 300); width=16 (2 of 2 seeds, median epoch 10).",
    )


def test_one_lever_is_enough_where_one_works_and_the_least_training_decides_among_equals():
    found = verdict(
        evidence_of(
            rung(None),
            rung(10, learning_rate=0.1, init="he_normal"),
            rung(90, learning_rate=0.001),
            rung(60, learning_rate=0.003),
        )
    )
    assert (found.change, found.together_with) == ("learning_rate=0.003", ())


def mixed(hits: int, n_seeds: int, **changes) -> list[dict]:
    """A variant that so many of its seeds memorize."""
    rows = rung(50, n_seeds=n_seeds, **changes)
    for row in rows[hits:]:
        row |= {"status": "censored", "epoch_to_tau": None, "final_tau": 0.5}
    return rows


@pytest.mark.parametrize(
    ("as_asked", "changed", "n_seeds", "clear"),
    [
        (0, 1, 1, True),
        (0, 2, 2, True),
        (0, 1, 2, False),
        (0, 3, 3, True),
        (0, 2, 3, False),
        (1, 3, 3, False),
        (0, 4, 5, True),
        (0, 3, 5, False),
        (1, 5, 5, True),
        (3, 9, 10, True),
        (4, 8, 10, False),
    ],
)
def test_a_change_is_a_remedy_where_chance_would_seldom_set_it_so_far_apart(as_asked, changed, n_seeds, clear):
    found = verdict(evidence_of(mixed(as_asked, n_seeds), mixed(changed, n_seeds, init="he_normal")))
    assert found.cause == (Lever.INITIALISATION if clear else Cause.UNDECIDED)


def test_too_few_seeds_to_tell_are_said_to_be_too_few():
    found = verdict(evidence_of(mixed(1, 3), mixed(2, 3, init="he_normal"), mixed(1, 3, learning_rate=0.1)))
    assert found.sentences == (
        "Undecided: 1 of 3 seeds memorize as asked, and of the changes at most 2 of 3 seeds (init=he_normal), which are too"
        " few to tell apart; give more seeds, grid.seed=[0,1,2,3,4,5,6,7,8,9], from Python seeds=range(10).",
    )


def test_of_two_free_changes_the_one_that_trains_less_decides_and_needless_levers_are_not_named():
    """As a rate thirty times higher can outrun dropout; and both together are no third way."""
    found = verdict(
        evidence_of(
            rung(None, dropout=0.1),
            rung(80, dropout=0.1, learning_rate=0.1),
            rung(40),
            rung(20, learning_rate=0.1),
        )
    )
    assert (found.cause, found.change) == (Lever.REGULARIZATION, "dropout=0")
    assert found.sentences[-1] == "Also works: learning_rate=0.1 (2 of 2 seeds, median epoch 80)."


def test_a_cell_that_most_seeds_memorize_is_memorizable_as_it_is():
    assert verdict(evidence_of(mixed(2, 3), mixed(3, 3, init="he_normal"))).cause == Cause.NOTHING


def test_a_change_of_the_task_is_no_remedy():
    found = verdict(evidence_of(rung(None), rung(5, d_in=20)))
    assert (found.cause, found.change) == (Cause.UNDECIDED, None)
    assert found.sentences[-1] == "On another task it works: d_in=20 (2 of 2 seeds, median epoch 5)."


def test_failed_variants_are_no_evidence_and_are_named():
    failed = rung(50, init="he_normal")
    for row in failed:
        row |= {"status": "failed", "epoch_to_tau": None}
    found = verdict(evidence_of(rung(None), failed))
    assert found.cause == Cause.UNDECIDED
    assert found.sentences[-1] == "1 changes have failed cells (the reasons are in cells.csv)."


def test_there_is_no_verdict_before_all_cells_have_ended():
    """A cheaper change may still turn out to work."""
    pending = rung(50, init="he_normal")
    for row in pending[1:]:
        row |= {"status": "pending", "epoch_to_tau": None}
    found = verdict(evidence_of(rung(None), pending, rung(50, n_samples=16)))
    assert found.cause == Cause.UNDECIDED
    assert found.sentences == ("Undecided: 1 cells have no result yet; the same command goes on from there.",)


def test_a_cell_without_a_result_has_no_verdict():
    asked = rung(None)
    for row in asked:
        row |= {"status": "failed"}
    found = verdict(evidence_of(asked, rung(50, init="he_normal")))
    assert (found.cause, found.sentences) == (Cause.UNDECIDED, ("Undecided: the cell that was asked about has no result.",))


def test_a_shallower_network_of_fewer_dimensions_that_works_means_depth():
    found = verdict(evidence_of(rung(None, depth=4), rung(50, depth=2)))
    assert (found.cause, found.sentences[0]) == (Cause.DEPTH, "Held back by the depth.")
    assert verdict(evidence_of(rung(None, depth=4), rung(50, depth=8))).cause == Cause.CAPACITY


def test_a_smaller_change_that_may_work_leaves_it_undecided_and_a_larger_one_does_not():
    asked, fewer = rung(None, n_seeds=3), rung(50, n_seeds=3, n_samples=16)
    found = verdict(evidence_of(asked, fewer, mixed(2, 3, learning_rate=0.03)))
    assert (found.cause, found.change) == (Cause.UNDECIDED, None)
    assert found.sentences == (
        "Undecided: 0 of 3 seeds memorize as asked, and of the changes that are smaller than what clearly works, n_samples=16"
        " (3 of 3 seeds, median epoch 50), at most 2 of 3 seeds (learning_rate=0.03), which are too few to tell apart;"
        " give more seeds, grid.seed=[0,1,2,3,4,5,6,7,8,9], from Python seeds=range(10).",
    )
    assert verdict(evidence_of(asked, fewer, mixed(2, 3, n_samples=32))).cause == Cause.CAPACITY
    found = verdict(evidence_of(asked, rung(300, n_seeds=3, max_epochs=400), mixed(2, 3, learning_rate=0.03)))
    assert (found.cause, found.change) == (Lever.BUDGET, "max_epochs=400")
    assert found.sentences[-1] == "Perhaps less is enough: learning_rate=0.03 (2 of 3 seeds, median epoch 50), too few to tell."


def test_training_that_had_not_ended_is_the_budgets_fault_even_where_nothing_gets_there():
    """64 samples are within the 89 dimensions, and four times the epochs leave a third."""
    longer = rung(None, 0.15, max_epochs=400, learning_rate=0.1)
    for others in ([], [rung(50, n_samples=16)]):
        found = verdict(evidence_of(rung(None, 0.6), rung(None, 0.45, init="he_normal"), longer, *others))
        assert (found.cause, found.together_with, found.change) == (Lever.BUDGET, (Lever.LEARNING_RATE,), None)
        assert found.sentences[0] == (
            "Held back by the budget, together with the learning rate: training had not ended. No change that was tried memorizes"
            " all 64 samples, but"
            " learning_rate=0.1, max_epochs=400 leaves 15 %, where the asked number of epochs leaves 45 % at best."
        )
    lucky = mixed(1, 3, width=16)
    alone = rung(None, 0.2, max_epochs=400)
    assert verdict(evidence_of(rung(None, 0.6, n_seeds=3), longer, alone, lucky)).sentences[0] == (
        "Held back by the budget: training had not ended. No change that was tried clearly memorizes all 64 samples"
        " (at most 1 of 3 seeds: width=16), but max_epochs=400 leaves 20 %, where the asked number of epochs leaves 60 % at best."
    )
    slow = rung(None, 0.25, max_epochs=400)
    assert verdict(evidence_of(rung(None, 0.45), slow, rung(50, n_samples=16))).cause == Cause.CAPACITY


def test_a_network_that_was_seen_to_hold_the_asked_samples_is_the_remedy():
    found = verdict(evidence_of(rung(None), rung(None, width=16), rung(80, width=32, learning_rate=0.1)))
    assert (found.cause, found.together_with) == (Cause.CAPACITY, (Lever.LEARNING_RATE,))
    assert found.sentences == (
        "Held back by capacity, together with the learning rate.",
        "The smallest change that works: width=32, learning_rate=0.1 (2 of 2 seeds, median epoch 80).",
    )


def test_capacity_estimates_a_width_from_the_frontier_between_what_was_and_was_not_memorized():
    """16 of 64 samples, not 32. 89 dimensions hold 16 to 32 samples, so 64 take 178 to 356: 11 * width + 1 of them."""
    found = verdict(
        evidence_of(rung(None), rung(None, n_samples=32), rung(None, n_samples=16), rung(70, n_samples=16, init="he_normal"))
    )
    assert (found.cause, found.together_with) == (Cause.CAPACITY, (Lever.INITIALISATION,))
    assert found.sentences[1] == (
        "This network memorized 16 samples and not 32: its frontier lies between, at 0.18 to 0.36 of its functional dimension."
        " If what is memorized grows with the functional dimension, 64 samples take a width of 17 to 33 at depth 1"
        " (an estimate, not a measurement)."
    )


def test_the_estimated_width_is_above_every_width_that_failed_and_left_out_where_none_is_left():
    seen = [rung(None, n_samples=32), rung(70, n_samples=16)]
    found = verdict(evidence_of(rung(None), rung(None, width=24), *seen))
    assert "64 samples take a width of 25 to 33 at depth 1" in found.sentences[1]
    found = verdict(evidence_of(rung(None), rung(None, width=40), *seen))
    assert found.sentences[1].endswith("at 0.18 to 0.36 of its functional dimension.")


def test_the_estimated_width_has_at_least_the_dimensions_of_the_samples():
    """200 samples are beyond 89 dimensions, and 19 is the least width that has as many; the frontier alone would say 10."""
    asked = {"n_samples": 200}
    found = verdict(evidence_of(rung(None, **asked), rung(None, n_samples=180), rung(70, n_samples=45)))
    assert "200 samples take a width of 19 to 36 at depth 1" in found.sentences[2]


def test_the_frontier_is_that_of_this_network_on_this_task():
    rungs = [rung(50, n_samples=8), rung(50, n_samples=16, width=64), rung(50, n_samples=32, d_in=40), rung(None, n_samples=32)]
    found = verdict(evidence_of(rung(None), *rungs))
    assert "This network memorized 8 samples and not 32:" in found.sentences[1]


def test_of_fewer_samples_the_most_that_were_memorized_count():
    found = verdict(evidence_of(rung(None), rung(20, n_samples=4), rung(90, n_samples=16, learning_rate=0.1)))
    assert found.change == "n_samples=16, learning_rate=0.1"


def test_samples_beyond_the_functional_dimension_are_said_and_decide_where_nothing_works():
    found = verdict(evidence_of(rung(None, n_samples=200), rung(None, 0.4, n_samples=200, init="he_normal")))
    assert (found.cause, found.change) == (Cause.CAPACITY, None)
    assert found.sentences == (
        "Held back by capacity: no change that was tried memorizes; as asked 50 % is left, and by the closest, init=he_normal,"
        " 40 %.",
        "n_samples is 2.25 times the functional dimension (89): no exact fit of generic continuous targets exists (Grigsby et al."
        " 2022, arXiv 2209.04036); at depth 1 it takes a width of at least 19.",
    )


@pytest.mark.parametrize("change", [{"tau": 0.6}, {"target": "rademacher"}])
def test_a_loose_threshold_and_discrete_targets_are_beyond_no_dimension(change):
    """Of 200 samples 40 % must fit, 80 of 89 dimensions; and two signs are no generic targets."""
    found = verdict(
        evidence_of(rung(None, 0.9, n_samples=200, **change), rung(None, 0.8, n_samples=200, init="he_normal", **change))
    )
    assert found.cause == Cause.UNDECIDED


def test_where_nothing_works_within_the_functional_dimension_the_verdict_is_open():
    diverged = rung(None, math.nan, learning_rate=0.1)
    for row in diverged:
        row |= {"status": "diverged"}
    found = verdict(evidence_of(rung(None), rung(None, 0.25, init="he_normal"), diverged, rung(None, 0.1, n_samples=16)))
    assert (found.cause, found.change) == (Cause.UNDECIDED, None)
    assert found.sentences == (
        "Undecided: no change that was tried memorizes; as asked 50 % is left, and by the closest, init=he_normal, 25 %.",
    )


def test_a_linear_model_has_its_own_law():
    """E[train MSE] = sigma2 (1 - (d_in + 1) / N)."""
    found = verdict(evidence_of(rung(None, depth=0), rung(50, depth=0, n_samples=10)))
    assert found.sentences[1] == (
        "A linear model fits any 11 samples (d_in + 1); of 64 it leaves 82.8 % of the variance on average."
    )


def test_the_least_width_has_the_dimension_and_one_less_has_not():
    from bench.protocol.cells import Cell
    from bench.protocol.networks import functional_dim

    for depth, activation in ((1, "relu"), (3, "tanh"), (11, "relu")):
        asked = labelled(table(*rung(None, depth=depth, activation=activation))).iloc[0]
        width = width_for(asked, 5000)
        dimensions = [functional_dim(Cell(d_in=10, depth=depth, activation=activation, width=w)) for w in (width - 1, width)]
        assert dimensions[0] < 5000 <= dimensions[1]
    assert width_for(labelled(table(*rung(None, depth=0))).iloc[0], 5000) is None
