"""Diagnoses of cells whose answer is known by construction, and the ladder they climb."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import get_args

import numpy as np
import pandas as pd
import pytest

import bench
from bench.engines.packs import budget_flops
from bench.protocol import grid
from bench.protocol.cells import DEFAULTS, FIELDS, Cell, Dtype
from bench.protocol.networks import functional_dim
from bench.protocol.noise import training_data
from bench.protocol.signal import dead_layers, propagation
from bench.runs.executors.api import Wanted
from bench.runs.executors.here import Here
from bench.runs.inquiry import Inquiry, work
from bench.runs.ladder import SOUND, calmer, longest, other_networks, pairs, singles, solved, without
from bench.runs.training import Training
from bench.statistics.confirmation import LOOKS
from bench.statistics.evidence import MOST_EQUATIONS, Cause, Lever, equations, pulled_by
from bench.store.parts import Ended, Store
from tests.engines.training import train
from tests.runs.simulated import Clock

# Depth 0 is linear regression: its optimum, its rates and its budget are known exactly.
LINEAR = Cell(depth=0, d_in=8, n_samples=6, optimizer="sgd", tau=0.01, dtype="float64", max_epochs=2000, learning_rate=0.05)


def drawn(cell: Cell) -> list[Cell]:
    """The cell with every seed that a diagnosis of seed 0 may take."""
    return [dataclasses.replace(cell, data_seed=seed, init_seed=seed) for seed in range(LOOKS[-1] + 1)]


def curvatures(cell: Cell) -> list[float]:
    """The largest eigenvalue of the Hessian of the MSE of a linear model: gradient descent diverges at rates above 2 over it."""

    def largest(inputs):
        design = np.column_stack([inputs, np.ones(len(inputs))])
        return 2 * float(np.linalg.eigvalsh(design.T @ design / len(inputs)).max())

    return [largest(training_data(own).inputs) for own in drawn(cell)]


def epochs_of(cell: Cell) -> list[int]:
    ended = train(drawn(cell))
    epochs = [outcome.epoch_to_tau for outcome in ended.values()]
    assert None not in epochs
    return epochs


def test_a_linear_model_with_fewer_samples_than_weights_memorizes_as_it_is_and_no_ladder_is_trained():
    found = bench.diagnose(LINEAR, seeds=[0])
    assert found.verdict.cause == Cause.NOTHING
    assert (len(found.evidence), found.evidence["n_seeds"].iloc[0]) == (1, LOOKS[0])


def test_samples_beyond_the_weights_of_a_linear_model_are_beyond_its_capacity():
    """Gradient descent gets to 1 - (d_in + 1) / N of the variance; no rate, budget or precision gets lower."""
    found = bench.diagnose(dataclasses.replace(LINEAR, n_samples=64, max_epochs=500), seeds=[0, 1], budget_s=100)
    assert found.verdict.cause == Cause.CAPACITY
    samples = found.evidence[found.evidence["levers"] == "samples"]
    assert list(samples.loc[samples["n_memorized"] > 0, "n_samples"]) == [4]
    assert found.verdict.sentences[1].startswith("A linear model fits any 9 samples (d_in + 1); of 64 it leaves 85.9 %")
    assert found.verdict.sentences[2].startswith("As for the budget, max_epochs=")


def test_a_rate_beyond_the_stability_limit_is_the_learning_rates_fault():
    """At 2.5 over the largest curvature the error grows at every step, from any start; at a tenth of that it shrinks."""
    cell = dataclasses.replace(LINEAR, learning_rate=2.5 / min(curvatures(LINEAR)))
    found = bench.diagnose(cell, seeds=[0])
    assert found.evidence["n_diverged"].iloc[0] == found.evidence["n_seeds"].iloc[0] == 1 + LOOKS[0]
    assert (found.verdict.cause, found.verdict.together_with) == (Lever.LEARNING_RATE, ())
    assert any(" is too high: 6 of 6 seeds diverged, none of " in sentence for sentence in found.verdict.sentences)


def test_a_budget_that_ends_halfway_is_the_budgets_fault():
    """Near the best rate three times it diverges and a third of it is slower; so few epochs are too few for momentum."""
    cell = dataclasses.replace(LINEAR, n_samples=3, learning_rate=1 / max(curvatures(dataclasses.replace(LINEAR, n_samples=3))))
    found = bench.diagnose(dataclasses.replace(cell, max_epochs=min(epochs_of(cell)) // 2), seeds=[0])
    assert (found.verdict.cause, found.verdict.together_with) == (Lever.BUDGET, ())


def test_a_ridge_floor_above_the_threshold_is_the_regularizations_fault():
    """With L2 the residual at the optimum is a floor by bias (checked exactly elsewhere); here it is far above tau."""
    cell = dataclasses.replace(LINEAR, weight_decay=3.0, regularization="weight_decay")
    found = bench.diagnose(cell, seeds=[0])
    assert found.evidence["median_final_tau"].iloc[0] > 0.2
    assert (found.verdict.cause, found.verdict.together_with) == (Lever.REGULARIZATION, ())
    assert found.verdict.change == "weight_decay=0"


def test_features_without_signal_are_the_initialisations_fault():
    """Frozen weights U(-1e-30, 1e-30) make features of size 1e-30, which no trained readout reaches; 8 samples need 9 of 64."""
    cell = Cell(
        depth=1,
        width=64,
        d_in=8,
        n_samples=8,
        trainable="readout",
        init="uniform",
        init_scale=1e-30,
        tau=0.1,
        max_epochs=1000,
        learning_rate=0.01,
    )
    found = bench.diagnose(cell, seeds=[0])
    assert (found.verdict.cause, found.verdict.together_with) == (Lever.INITIALISATION, ())
    asked = found.signal[found.signal["setting"] == "as asked"]
    assert asked["variance_across_inputs"].iloc[0] < 1e-50


def test_a_threshold_below_the_rounding_of_float32_is_the_precisions_fault():
    cell = dataclasses.replace(LINEAR, d_in=64, n_samples=12, dtype="float32", tau=1e-18, max_epochs=2000)
    cell = dataclasses.replace(cell, learning_rate=1 / max(curvatures(cell)))
    assert max(epochs_of(dataclasses.replace(cell, dtype="float64"))) < 1000
    found = bench.diagnose(cell, seeds=[0])
    assert found.verdict.cause == Lever.PRECISION


def test_an_optimizer_that_cannot_move_is_the_optimizers_fault():
    """eps of 1e10 divides every step of Adam by as much; no rate around the asked one makes up for that."""
    found = bench.diagnose(Cell(depth=1, width=16, n_samples=16, eps=1e10, max_epochs=600), seeds=[0])
    assert (found.verdict.cause, found.verdict.change) == (Lever.OPTIMIZER, "eps=1e-08")


@pytest.mark.parametrize("rate", [1e-7, 1e3])
def test_a_rate_wrong_by_orders_of_magnitude_is_the_learning_rates_fault_still(rate):
    """The default rate of the optimizer is tried, however far away."""
    cell = Cell(depth=1, width=16, n_samples=16, learning_rate=rate, max_epochs=600)
    found = bench.diagnose(cell, seeds=[0])
    assert (found.verdict.cause, found.verdict.change) == (Lever.LEARNING_RATE, "learning_rate=0.003")


def test_two_equal_causes_are_both_named_since_taking_either_away_breaks_the_remedy():
    """A rate beyond stability under a floor by bias: neither repair is enough alone."""
    rate = 2.5 / min(curvatures(LINEAR))
    cell = dataclasses.replace(LINEAR, weight_decay=3.0, regularization="weight_decay", learning_rate=rate)
    found = bench.diagnose(cell, seeds=[0])
    assert (found.verdict.cause, found.verdict.together_with) == (Lever.REGULARIZATION, (Lever.LEARNING_RATE,))


def test_a_draw_that_decides_is_luck_and_said_with_its_interval():
    """XOR by two relu units depends on the draw (case 9 of public reports: about half of the draws); a share is no cause."""
    cell = Cell(depth=1, width=2, d_in=2, n_samples=4, target="rademacher", max_epochs=3000, learning_rate=0.01)
    found = bench.diagnose(cell, seeds=range(3))
    asked = found.evidence.iloc[0]
    assert 0 < asked["n_memorized"] < asked["n_seeds"] >= LOOKS[-1]
    assert found.verdict.cause != Cause.NOTHING
    assert any(sentence.startswith("As asked, the draw decides: ") for sentence in found.verdict.sentences)


def test_what_is_memorized_and_then_lost_is_said_where_training_goes_on_past_tau():
    """A linear model with more weights than samples, under Adam: 4e-14 on the way, 7e-6 at the end; a lower rate keeps it."""
    cell = Cell(depth=0, d_in=300, n_samples=20, learning_rate=0.01, tau=1e-9, max_epochs=2000)
    assert bench.diagnose(cell, seeds=[0]).verdict.cause == Cause.NOTHING
    found = bench.diagnose(cell, seeds=[0], past_tau=True)
    assert (found.verdict.cause, found.verdict.change) == (Cause.LOST, None)
    assert found.verdict.sentences[0].startswith(
        "Memorized and then lost, over 2000 epochs: 5 of the 5 seeds that reach tau 1e-09 end above it (95 %: 57 to 100 %); in the"
    )
    assert found.verdict.sentences[1].startswith("Kept to the end by (the same seeds, unconfirmed): lr_schedule=cosine (1 of 1")
    kept = bench.diagnose(dataclasses.replace(LINEAR, max_epochs=4000), seeds=[0], past_tau=True)
    assert kept.verdict.cause == Cause.NOTHING
    assert kept.verdict.sentences[1].startswith("Trained on past tau, over 4000 epochs: 0 of the 5 seeds that reach tau 0.01 ")
    with pytest.raises(bench.GridError, match="past_tau=yes: must be true or false"):
        bench.diagnose(cell, past_tau="yes")


SLOW = Cell(depth=2, width=50, d_in=1, n_samples=50, optimizer="sgd", learning_rate=0.1, batch_size=32, max_epochs=1000)


@pytest.mark.parametrize(
    ("cell", "budget_s"),
    [
        pytest.param(dataclasses.replace(SLOW, width=12, n_samples=16, batch_size=8, max_epochs=100), 8, id="in miniature"),
        pytest.param(SLOW, 60, id="as it was asked", marks=pytest.mark.exhaustive),
    ],
)
def test_what_slowly_falls_within_the_dimension_is_not_said_to_lack_capacity(cell, budget_s):
    """2601 dimensions for 50 samples of one input: fewer samples are memorized, and no rate and budget tried holds them all."""
    found = bench.diagnose(cell, budget_s=budget_s)
    assert found.evidence["n_memorized"].iloc[0] == 0
    assert cell.n_samples < found.evidence["functional_dim"].iloc[0] / 10
    assert found.verdict.cause not in (Cause.CAPACITY, Cause.NOTHING), found.verdict


SHORT = Cell(depth=1, width=5, activation="sigmoid", n_samples=120, optimizer="sgd", learning_rate=0.2, max_epochs=100)


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(dataclasses.replace(SHORT, width=3, d_in=4, n_samples=40), id="in miniature"),
        pytest.param(SHORT, id="as it was asked", marks=pytest.mark.exhaustive),
    ],
)
def test_beyond_the_dimension_capacity_is_said_with_the_budget_beside_it(cell):
    found = bench.diagnose(cell, budget_s=30)
    assert found.verdict.cause == Cause.CAPACITY
    assert any("times the functional dimension" in sentence for sentence in found.verdict.sentences)
    assert any(
        sentence.startswith(("Training had not ended either: max_epochs=", "As for the budget, max_epochs="))
        for sentence in found.verdict.sentences
    )
    if found.verdict.change and "width=" in found.verdict.change:
        row = found.evidence[found.evidence["setting"] == found.verdict.change].iloc[0]
        assert row["n_fresh_memorized"] >= LOOKS[0]


@pytest.mark.exhaustive
def test_each_single_lever_that_helps_plain_sgd_is_tried_and_no_pair_is_blamed():
    """Momentum alone does it by epoch 333 in the median, shuffled batches of 32 by 397."""
    fields = {"optimizer": "sgd", "learning_rate": 0.01, "activation": "tanh", "init": "torch_default"}
    found = bench.diagnose(Cell(depth=3, width=64, d_in=20, n_samples=256, max_epochs=500, **fields), budget_s=60)
    assert (found.verdict.cause, found.verdict.together_with) == (Lever.OPTIMIZER, ())
    rows = found.evidence.set_index("setting")
    for setting in ("momentum=0.9", "batch_size=32, shuffle=true"):
        assert rows.loc[setting, "n_memorized"] == rows.loc[setting, "n_seeds"] == 3
        assert any(setting in sentence for sentence in found.verdict.sentences)


def test_cells_of_a_few_epochs_do_not_make_longer_ones_look_out_of_reach():
    """What a round takes beside its training is not the speed of training: a second for a thousand FLOPs, say."""
    cell = Cell(depth=0, d_in=8, n_samples=6, max_epochs=3, optimizer="sgd", learning_rate=0.05)
    ended: dict[str, Ended] = {}
    inquiry = Inquiry([cell], lambda: ended)
    for planned in inquiry.rounds():
        time.sleep(0.3)
        ended |= {own.cell_id: Ended(False, own.max_epochs, 0.5) for own in planned}
        if any(own.max_epochs > 1000 for own in planned):
            break
    assert any(own.max_epochs > 1000 for own in inquiry.planned)


# The network of 10,000 samples whose ladder took 215 s, and FLOP/s of two cores of a laptop.
LARGE, SPEED = Cell(depth=2, width=32, d_in=50, n_samples=10_000, max_epochs=1000), 6e10


def simulated(clock: Clock, slower: Callable[[Cell], float]) -> tuple[Inquiry, dict[str, Ended]]:
    """An inquiry about it where nothing memorizes and trainings are so much slower than their work says; what ended."""
    ended: dict[str, Ended] = {}
    inquiry = Inquiry([dataclasses.replace(LARGE, data_seed=seed, init_seed=seed) for seed in range(3)], lambda: ended)
    for planned in inquiry.rounds():
        for cell in planned:
            if cell.cell_id not in ended and clock.now < inquiry.until:
                clock.now += slower(cell) * work(cell) / SPEED
                if clock.now < inquiry.until:
                    ended[cell.cell_id] = Ended(False, cell.max_epochs, 0.5)
    return inquiry, ended


@pytest.mark.parametrize("factor", [1, 3, 20], ids=["as predicted", "what is changed slower", "much slower"])
def test_the_verdict_over_ten_thousand_samples_is_there_within_its_time_with_each_stage_tried(factor, monkeypatch):
    """Where the asked training takes long the default limit is 75 s; a training that goes on at it is stopped."""
    monkeypatch.setattr("bench.runs.inquiry.time", clock := Clock())
    inquiry, ended = simulated(clock, lambda cell: factor if pulled_by(cell, LARGE) else 1)
    # One training is looked at when it ends.
    assert clock.now < 75 + factor * 30
    assert all(cell.cell_id in ended for cell in inquiry.planned), "a verdict waits for what is planned"
    assert inquiry.left_out
    tried = [pulled_by(cell, LARGE) for cell in inquiry.planned]
    assert factor > 1 or [Lever.BUDGET] in tried
    assert factor > 3 or any(Lever.SAMPLES in levers for levers in tried)


def test_seeds_that_are_quick_since_they_memorize_do_not_speak_for_those_that_were_stopped(monkeypatch):
    """Seven of ten memorize. Of the seeds that follow every second does at once, and the others are stopped."""
    monkeypatch.setattr("bench.runs.inquiry.time", clock := Clock())
    ended: dict[str, Ended] = {}
    inquiry = Inquiry(
        [dataclasses.replace(LARGE, data_seed=seed, init_seed=seed) for seed in range(10)], lambda: ended, budget_s=60
    )
    for planned in inquiry.rounds():
        for cell in planned:
            if cell.cell_id not in ended and clock.now < inquiry.until:
                hit = cell.data_seed < 7 if cell.data_seed < 10 else cell.data_seed % 2 == 0
                clock.now += 0.1 if hit or cell.data_seed < 10 else 1000
                if clock.now < inquiry.until:
                    ended[cell.cell_id] = Ended(hit, 10 if hit else cell.max_epochs, 0.0 if hit else 0.5)
    stopped = [cell for cell in inquiry.planned if cell.cell_id not in ended]
    assert clock.now > 1000 and not stopped
    assert (sum(one.memorized for one in inquiry._all(LARGE)), len(inquiry._all(LARGE))) == (7, 10)


def test_a_batch_of_few_samples_costs_more_than_its_flops():
    """Measured: 14.9 us an update in batches of 8, 16.4 of 32, 99.7 of 256, where the FLOPs alone are as 1 to 4 to 31."""
    small, middle, large = (work(dataclasses.replace(LARGE, batch_size=size)) / work(LARGE) for size in (8, 32, 256))
    assert 3 < small < 5
    assert 1.3 < middle < 2
    assert large < 1.15
    assert work(dataclasses.replace(LARGE, dtype="float64")) == 2 * work(LARGE)


def test_training_is_stopped_at_the_limit_and_what_had_ended_is_kept(tmp_path):
    quick, endless = Cell(depth=0, n_samples=4, max_epochs=5), dataclasses.replace(LARGE, max_epochs=10**6)
    store = Store(tmp_path)
    training = Training(store, Here(Wanted(device="cpu", threads=2)), progress=False)
    started = time.perf_counter()
    training.train([quick, endless], until=started + 1)
    assert time.perf_counter() - started < 10
    assert set(store.statuses()) == {quick.cell_id}
    assert (training.asked, training.trained) == (1, 1)


def test_a_diagnosis_that_is_stopped_at_its_limit_has_a_verdict_and_says_what_was_stopped(monkeypatch):
    """Prediction is wrong by a lot: every change looks free. Of three times as many samples as the network has dimensions none memorizes."""
    monkeypatch.setattr("bench.runs.inquiry.Inquiry._predicted_s", lambda *_: 0.0)
    found = bench.diagnose(dataclasses.replace(LARGE, n_samples=8000, max_epochs=200), seeds=[0], budget_s=2)
    assert found.verdict.cause == Cause.CAPACITY
    assert not found.evidence["n_pending"].any()
    assert any(sentence.startswith("Not tried for want of time") for sentence in found.verdict.sentences)


def test_what_there_is_no_time_for_past_tau_is_said():
    cell = Cell(depth=2, width=64, n_samples=64, max_epochs=100_000)
    found = bench.diagnose(cell, seeds=[0], past_tau=True, budget_s=1)
    assert (found.verdict.cause, len(found.evidence)) == (Cause.NOTHING, 1)
    assert found.verdict.sentences[1] == "Not tried for want of time (give more with budget_s): tau=1e-300."


def test_the_command_shows_what_was_lost_past_tau(memcap, tmp_path):
    words = ["depth=0", "d_in=300", "n_samples=20", "learning_rate=0.01", "tau=1.0e-9", "max_epochs=2000", "grid.seed=[0]"]
    done = memcap("diagnose", *words, "past_tau=true")
    assert done.status == 0, done.err
    assert "* As asked, yes: 5 of 5 seeds memorized" in done.out
    assert "* Memorized and then lost, over 2000 epochs: 5 of the 5 seeds that reach tau 1e-09 end above it" in done.out
    page = (tmp_path / "results/diagnose/report.html").read_text()
    assert "n_lost of the n_reached seeds end above it" in page and "<td>tau=1e-300</td>" in page


def test_a_limit_of_time_ends_in_a_verdict_that_says_what_was_not_tried():
    cell = Cell(depth=3, width=64, n_samples=2000, learning_rate=1e-6, max_epochs=150)
    started = time.perf_counter()
    found = bench.diagnose(cell, seeds=[0, 1], budget_s=0.5)
    assert time.perf_counter() - started < 30
    assert found.verdict.sentences[-3].startswith("Not tried for want of time (give more with budget_s): ")
    assert found.verdict.sentences[-2].startswith("Not tested: the scale of inputs and targets, the output activation")
    with pytest.raises(bench.GridError, match="budget_s=0: must be null or a positive number of seconds"):
        bench.diagnose(cell, budget_s=0)


def test_a_diagnosis_that_was_stopped_goes_on_where_it_was(tmp_path):
    """All that had ended is kept: of the same plan, the second trains nothing."""
    cell = dataclasses.replace(LINEAR, n_samples=64, max_epochs=50)
    first = bench.diagnose(cell, seeds=[0], run_dir=tmp_path / "run", budget_s=100)
    parts = sorted((tmp_path / "run/cells").iterdir())
    again = bench.diagnose(cell, seeds=[0], run_dir=tmp_path / "run", budget_s=100)
    assert sorted((tmp_path / "run/cells").iterdir()) == parts
    assert again.verdict == first.verdict


def test_a_diagnosis_reads_as_verdict_evidence_and_signals():
    found = bench.diagnose(dataclasses.replace(LINEAR, n_samples=64, max_epochs=50), seeds=[0])
    text = str(found)
    assert text.startswith("\n".join(found.verdict.sentences) + "\n\nmedians over seeds; fresh: seeds that chose no change;")
    assert "\nas asked\n\n" in text
    assert "it leaves 85.9 % of the variance on average.\n" in text


SPEC = Cell(
    depth=4,
    width=8,
    d_in=4,
    n_samples=256,
    batch_size=64,
    init="uniform",
    init_scale=0.1,
    dropout=0.1,
    regularization="dropout",
)


def changes(cells: list[Cell], asked: Cell) -> list[set[str]]:
    return [{name for name in FIELDS if getattr(cell, name) != getattr(asked, name)} for cell in cells]


def test_the_ladder_changes_one_lever_at_a_time_then_two_and_repairs_what_costs_nothing():
    for cell in singles(SPEC):
        assert len(pulled_by(cell, SPEC)) == 1, cell
    changed = changes(singles(SPEC), SPEC)
    for single in (
        {"init", "init_scale"},
        {"learning_rate"},
        {"dropout", "regularization"},
        {"batch_size"},
        {"shuffle"},
        {"batch_size", "shuffle"},
        {"dtype"},
        {"max_epochs"},
    ):
        assert single in changed
    paired = [set(pulled_by(cell, SPEC)) for cell in pairs(SPEC)]
    assert all(1 <= len(levers) <= 4 for levers in paired)
    assert {Lever.LEARNING_RATE, Lever.BUDGET} in paired
    repaired = [cell for cell in pairs(SPEC) if cell.dropout == 0 and cell.init != "uniform"]
    assert {(cell.init, cell.init_scale) for cell in repaired} == set(SOUND["relu"][:2])
    networks = other_networks(SPEC, SPEC)
    assert sum(change == {"depth"} for change in changes(networks, SPEC)) == 2
    assert any(cell.width > SPEC.width and cell.depth == 1 for cell in networks)
    assert any(cell.n_samples < SPEC.n_samples for cell in networks)
    assert any(cell.d_in > SPEC.d_in for cell in networks)


def test_of_a_network_by_muon_no_variant_is_one_that_it_is_not_for():
    (asked,) = bench.expand(optimizer="muon", depth=3, n_samples=200, dropout=0.1, activation="tanh")
    made = [*singles(asked), *pairs(asked), *other_networks(asked, asked), *solved(asked)]
    assert {"muon", "adam", "lm"} == {cell.optimizer for cell in made} and set(made) == set(grid.check(made))
    assert {cell.depth for cell in made} == {3, 6}


def test_lm_is_tried_of_what_it_can_fit_without_regularization_and_where_its_system_is_small():
    """And of a network that was asked about with settings of Adam's, none of these are left."""
    asked = Cell(n_samples=200, weight_decay=0.1, regularization="weight_decay", batch_size=16, shuffle=True, beta1=0.5)
    (cell,) = solved(asked)
    assert bench.expand(optimizer="lm", n_samples=200) == [cell]
    assert pulled_by(cell, asked) == [Lever.OPTIMIZER, Lever.REGULARIZATION]
    large, beyond = dataclasses.replace(asked, n_samples=2001, width=256), dataclasses.replace(asked, n_samples=2000, width=8)
    assert equations(large) == 2001 and not solved(large)
    assert not solved(beyond) and solved(dataclasses.replace(beyond, target="rademacher"))
    assert not solved(cell)


def test_plain_sgd_is_tried_with_momentum_smaller_batches_and_rates_with_a_budget():
    """The levers that were blamed on others while nobody had tried them."""
    plain = Cell(depth=3, width=64, d_in=20, n_samples=256, optimizer="sgd", learning_rate=0.01, activation="tanh")
    assert {"momentum"} in changes(singles(plain), plain)
    assert {"batch_size", "shuffle"} in changes(singles(plain), plain)
    both = changes(pairs(plain), plain)
    assert {"learning_rate", "max_epochs"} in both
    assert {"momentum", "max_epochs"} in both
    assert {"optimizer", "learning_rate", "max_epochs"} in both
    assert {"activation"} in changes(other_networks(plain, plain), plain)


def test_every_dtype_above_the_asked_one_is_tried():
    tried = {asked: {cell.dtype for cell in singles(dataclasses.replace(SPEC, dtype=asked))} for asked in get_args(Dtype)}
    assert tried == {"tf32": {"tf32", "float32", "float64"}, "float32": {"float32", "float64"}, "float64": {"float64"}}


def test_fewer_samples_keep_the_steps_of_an_epoch_and_present_no_more_samples():
    for cell in other_networks(SPEC, SPEC):
        if cell.n_samples < SPEC.n_samples:
            assert cell.steps_per_epoch == SPEC.steps_per_epoch
            assert cell.n_samples * cell.max_epochs <= SPEC.n_samples * SPEC.max_epochs


@pytest.mark.parametrize(
    "several", [{"target": "labels", "n_classes": 4, "loss": "cross_entropy", "criterion": "recall"}, {"n_outputs": 3}]
)
def test_every_change_of_a_network_of_several_outputs_is_a_cell_that_trains(several):
    """By Levenberg and Marquardt's method too."""
    asked = Cell(depth=2, width=8, n_samples=14, dropout=0.1, regularization="dropout", **several)
    made = [
        *singles(asked),
        *pairs(asked),
        *solved(asked),
        *longest(asked, asked),
        *other_networks(asked, asked),
        *calmer(asked),
    ]
    assert len(made) > 30 and len(grid.check(made)) == len(set(made)) and len(solved(asked)) == 1
    large = dataclasses.replace(asked, n_samples=700, width=64)
    assert equations(large) == 700 * (several.get("n_classes") or several.get("n_outputs")) > MOST_EQUATIONS and not solved(
        large
    )
    # No ceiling says that labels cannot be recalled; that of three outputs is a third of the network's dimensions.
    assert len(solved(dataclasses.replace(asked, n_samples=100))) == ("n_classes" in several)


def test_a_batch_that_the_ladder_itself_shrank_is_no_lever():
    asked = dataclasses.replace(SPEC, n_samples=10000, batch_size=32)
    fewer = [cell for cell in other_networks(asked, asked) if cell.n_samples < asked.n_samples]
    assert 1 in {cell.batch_size for cell in fewer}
    assert all(pulled_by(cell, asked) == [Lever.SAMPLES] for cell in fewer)


@pytest.mark.parametrize("n_samples", [1, 2, 3, 7, 64, 5000])
def test_fewer_samples_reach_down_to_half_of_what_the_network_has_dimensions_for(n_samples):
    cell = Cell(depth=1, width=2, d_in=2, n_samples=n_samples)
    least = min([own.n_samples for own in other_networks(cell, cell)])
    assert least >= min(2, n_samples)
    assert least <= functional_dim(cell) / 2 or least < 8  # a quarter would be one sample


def test_where_samples_are_beyond_the_dimension_a_width_that_has_twice_as_many_is_tried():
    cell = Cell(depth=1, width=5, d_in=2, n_samples=120)
    assert any(functional_dim(own) >= 240 for own in other_networks(cell, cell))


def test_samples_of_several_targets_need_as_many_times_the_dimensions():
    cell = Cell(depth=1, width=50, d_in=2, n_samples=5000, n_outputs=3)
    found = other_networks(cell, cell)
    assert any(functional_dim(own) >= 3 * 10000 for own in found)
    assert min(own.n_samples for own in found) <= functional_dim(cell) / 3 / 2


@pytest.mark.parametrize("activation", sorted(SOUND))
def test_a_sound_initialisation_is_kept_and_another_tried(activation):
    for init, scale in SOUND[activation][:2]:
        cell = Cell(activation=activation, init=init, init_scale=scale)
        inits = {(own.init, own.init_scale) for own in (cell, *singles(cell))}
        assert len(inits) == 2
        assert (init, scale) in inits


def test_what_takes_a_lever_away_from_a_remedy_leaves_the_others():
    remedy = dataclasses.replace(
        SPEC, n_samples=64, batch_size=16, max_epochs=4 * SPEC.max_epochs, optimizer="sgd", learning_rate=0.1
    )
    assert pulled_by(remedy, SPEC) == [Lever.OPTIMIZER, Lever.SAMPLES]
    assert pulled_by(without(Lever.SAMPLES, remedy, SPEC), SPEC) == [Lever.OPTIMIZER]
    assert pulled_by(without(Lever.OPTIMIZER, remedy, SPEC), SPEC) == [Lever.SAMPLES]


@pytest.mark.parametrize("activation", sorted(SOUND))
def test_sound_initialisations_still_tell_inputs_apart_in_the_eighth_layer(activation):
    """By a tenth of the variance of the first layer; no initialisation manages that for sigmoids, and these lose least."""

    def kept(init: str, scale: float) -> float:
        cells = [
            Cell(
                depth=8, width=64, n_samples=1000, activation=activation, init=init, init_scale=scale, data_seed=s, init_seed=s
            )
            for s in range(3)
        ]
        variance = propagation(cells).groupby("layer")["variance_across_inputs"].median()
        return float(variance[8] / variance[1])

    for init, scale in SOUND[activation]:
        if activation == "sigmoid":
            assert kept(init, scale) > 1000 * kept("he_normal", 1.0)
        else:
            assert 0.1 < kept(init, scale) < 10


def test_a_diagnosis_costs_at_most_a_stated_multiple_of_the_asked_budget():
    """Of the question's own cell: what its variants take if every one spends its budget, which the limit of time bounds."""
    cell = Cell(depth=11, width=25, d_in=2, n_samples=10000, batch_size=1000, init="uniform", init_scale=0.25)
    cells = [*singles(cell), *pairs(cell), *other_networks(cell, cell)]
    assert sum(map(budget_flops, cells)) < 400 * budget_flops(cell)


def test_the_command_trains_prints_the_verdict_and_leaves_a_page(memcap, tmp_path):
    done = memcap("diagnose", "depth=0", "d_in=4", "n_samples=40", "max_epochs=60", "grid.seed=[3]")
    assert done.status == 0, done.err
    assert "* Held back by capacity" in done.out
    assert "* A linear model fits any 5 samples (d_in + 1); of 40 it leaves 87.5 % of the variance on average." in done.out
    page = (tmp_path / "results/diagnose/report.html").read_text()
    assert "<h1>Diagnosis: does this network memorize noise?</h1>" in page and "Verdict</h2>" in page
    assert "Held back by capacity" in page
    assert 'id="evidence"' in page
    assert (tmp_path / "results/diagnose/tables/evidence.csv").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_an_optimizer_by_name_is_the_same_from_a_command_and_from_python(memcap, tmp_path):
    """No momentum, no other rate, no other initialisation come with it."""
    words = ["depth=1", "width=4", "d_in=2", "n_samples=4", "optimizer=sgd", "max_epochs=20", "grid.seed=[0]"]
    assert memcap("diagnose", *words).status == 0
    python = bench.diagnose(Cell(depth=1, width=4, d_in=2, n_samples=4, optimizer="sgd", max_epochs=20), seeds=[0])
    command = pd.read_csv(tmp_path / "results/diagnose/tables/evidence.csv").iloc[0]
    for name in ("optimizer", "learning_rate", "momentum", "init"):
        assert command[name] == python.evidence.iloc[0][name] == DEFAULTS[name] or name == "optimizer"


def test_a_network_whose_layers_pass_nothing_on_has_a_verdict_and_a_page(memcap, tmp_path):
    done = memcap("diagnose", "depth=10", "width=2", "n_samples=4", "max_epochs=10", "grid.seed=[0]")
    assert done.status == 0, done.err
    assert "* Dead before training, in " in done.out
    assert "Dead before training, in " in (tmp_path / "results/diagnose/report.html").read_text()


def test_a_unit_with_one_input_is_dead_where_no_sample_is_on_its_side():
    """Two samples are on one side of 0 in half of the draws, and the weight points to the other in half of those."""
    found = dead_layers(Cell(depth=1, width=1, d_in=1, n_samples=2))
    assert list(found["n_draws"]) == [100]
    assert abs(found["dead_draws"].iloc[0] / 100 - 1 / 4) < 4 * (3 / 16 / 100) ** 0.5
    wide = dead_layers(Cell(depth=1, width=64, n_samples=64))
    assert (wide["dead_draws"].iloc[0], wide["n_draws"].iloc[0]) == (0, 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["grid.width=[4,8]"],
            "grid=...: describes several networks, and a diagnosis is about one; sweep nothing but the seeds",
        ),
        (["regularization=dropout"], "regularization: cannot be chosen in this command; set a strength itself, dropout=0.1"),
        (
            ["+regularization=dropout"],
            "regularization=dropout: has no effect on a diagnosis; set its strength itself, dropout=0.1 or weight_decay=0.001",
        ),
        (["grid=smoke"], "grid: cannot be chosen in this command; describe one network, depth=2 width=8"),
        (["data_seed=7"], "data_seed=7: is swept by this grid, so one value has no effect; set grid.seed=[7]"),
        (
            ["-m", "depth=1,2"],
            "run_dir=results/diagnose: is also the folder of another run of this command; sweep grid.<field>=[...] in one run, or give each"
            " run its own folder, as in run_dir=results/tau-${tau}",
        ),
        (["depht=3"], "depht: is not a setting; did you mean depth?"),
        (["depth=-1"], "depth=-1: must be at least 0; give 0 or more"),
        (["patience=5"], "patience=5: needs a validation error, and n_val is 0; set n_val, for example n_val=256"),
    ],
)
def test_what_cannot_be_diagnosed_is_one_line_and_exit_status_2(arguments, message, memcap, tmp_path):
    done = memcap("diagnose", *arguments)
    assert (done.status, done.err) == (2, f"memcap: {message}\n")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("cell", "seeds", "message"),
    [
        (Cell(), [-1], "grid.seed=-1: must be in 0..4294967295; give a seed in that range"),
        (Cell(), [], "grid.seed=[]: is empty, so the grid has no cells; give at least one value"),
        (Cell(), ["a"], "grid.seed=a: must be a whole number; give a number, for example 1"),
        ({"depth": 2}, [0], "cell=dict: is not a cell; give a bench.Cell, bench.Cell(depth=2, width=8)"),
        (
            Cell(depth=0, dropout=0.5),
            [0],
            "dropout=0.5: has no effect without a hidden layer (depth of at least 1); set that too, or leave dropout out",
        ),
    ],
)
def test_what_cannot_be_diagnosed_from_python_is_said(cell, seeds, message):
    with pytest.raises(bench.GridError) as raised:
        bench.diagnose(cell, seeds=seeds)
    assert str(raised.value) == message


def test_seeds_may_be_one_number_or_those_of_numpy():
    cell = dataclasses.replace(LINEAR, max_epochs=20)
    assert len(bench.diagnose(cell, seeds=np.arange(1)).evidence) == len(bench.diagnose(cell, seeds=0).evidence)
