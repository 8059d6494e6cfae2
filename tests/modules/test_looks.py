"""What is seen before training, and the floor and the scale of every loss."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import bench
from bench.modules.causes import Held
from bench.modules.looks import looks, scale_asked
from bench.modules.losses import loss_of, scale_of
from bench.modules.networks import quiet
from bench.modules.questions import question
from bench.statistics.evidence import Cause, Lever
from tests.modules.cases import CASES, Detached, mlp

DRAWS = torch.Generator().manual_seed(0)


def found(module, batch, **settings):
    with quiet():
        return looks(question(module, batch, **settings))


def about(findings, cause):
    return [own for own in findings if own.about == cause]


def lines(findings):
    return "\n".join(own.text for own in findings)


def groups(*numbers):
    return torch.tensor(numbers)


def test_tau_of_the_mean_squared_error_without_equal_inputs_is_the_share_of_the_variance():
    targets = torch.tensor([[1.0], [2.0], [4.0], [9.0]])
    scale = scale_of(loss_of("mse"), targets, groups(0, 1, 2, 3), torch.zeros(4, 1))
    assert scale.floor == 0 and scale.constant == pytest.approx(float(targets.var(correction=0)))


@pytest.mark.parametrize(
    ("loss", "targets", "outputs", "floor", "constant"),
    [
        # Samples 0 and 1 are equal, and 2 and 3.
        ("mse", [[0.0], [2.0], [5.0], [5.0]], 1, 0.5, 4.5),
        ("mae", [[0.0], [2.0], [5.0], [5.0]], 1, 0.5, 2.0),
        ("huber", [[0.0], [1.0], [5.0], [5.0]], 1, 0.0625, None),
        ("cross_entropy", [0, 1, 2, 2], 3, math.log(2) / 2, 1.5 * math.log(2)),
        ("bce_with_logits", [[0.0], [1.0], [1.0], [1.0]], 1, math.log(2) / 2, 0.5623351446),
        ("bce", [[0.0], [1.0], [1.0], [1.0]], 1, math.log(2) / 2, 0.5623351446),
        ("hinge", [[-1.0], [1.0], [1.0], [1.0]], 1, 0.5, 0.75),
    ],
)
def test_the_floor_and_the_best_constant_of_every_loss_are_those_of_closed_forms(loss, targets, outputs, floor, constant):
    scale = scale_of(loss_of(loss), torch.tensor(targets), groups(0, 0, 1, 1), torch.full((4, outputs), 0.5))
    assert scale.floor == pytest.approx(floor, rel=1e-5)
    if constant is not None:
        assert scale.constant == pytest.approx(constant, rel=1e-5)
    own = loss_of(lambda o, t: loss_of(loss).value(o, t))
    if loss != "bce":
        searched = scale_of(own, torch.tensor(targets), groups(0, 0, 1, 1), torch.full((4, outputs), 0.5))
        assert searched.floor == pytest.approx(scale.floor, rel=1e-3, abs=1e-3)
        assert searched.constant == pytest.approx(scale.constant, rel=1e-3, abs=1e-3)


def test_scale_offset_and_constant_columns_are_told():
    x = torch.cat([1000 + torch.randn(20, 1, generator=DRAWS), torch.ones(20, 1)], dim=1)
    seen = found(mlp(2, 8, 1, activation=nn.ReLU), (x, torch.randn(20, 1, generator=DRAWS)))
    assert "1 of 2 columns of the inputs are constant" in lines(seen)
    (offset,) = about(seen, Held.SCALE)
    assert offset.text.startswith("inputs: mean 1e+03") and offset.value == pytest.approx(1000, rel=0.5)


def test_numbers_that_are_not_finite_are_told_and_nothing_is_trained():
    x = torch.randn(8, 2, generator=DRAWS)
    x[3, 1] = math.nan
    seen = found(mlp(2, 4, 1, activation=nn.ReLU), (x, torch.zeros(8, 1)))
    assert seen[0].about == Held.DATA and seen[0].sure
    assert seen[0].text == "1 of 16 inputs are NaN or infinite, in 1 of 8 samples"


def test_targets_outside_the_range_of_the_output_activation_have_a_floor():
    """relu gives 0 at best where the target is negative, so that those squares are left."""
    x = torch.arange(-3.0, 4.0)[:, None]
    y = 2 * x - 1
    # Where the draw's output is dead, that is told too.
    told = about(found(mlp(1, 4, 1, activation=nn.ReLU, last=nn.ReLU()), (x, y)), Held.OUTPUT)
    (seen,) = (one for one in told if "outside" in one.text)
    negative = float((y.clamp(max=0) ** 2).mean() / y.var(correction=0))
    assert seen.sure and seen.value == pytest.approx(negative, rel=1e-5)
    assert seen.text.startswith("4 of 7 targets are outside what relu can give, 0 and more")


class Functional(nn.Module):
    """The activation is called as a function, and the shape changes after it."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 1)

    def forward(self, x):
        return torch.sigmoid(self.linear(x)).squeeze(1)


def test_an_output_activation_is_seen_when_it_is_called_as_a_function():
    x = torch.randn(8, 2, generator=DRAWS)
    (seen,) = about(found(Functional(), (x, 3 * x[:, 0])), Held.OUTPUT)
    assert "outside what sigmoid can give, 0 to 1" in seen.text


def test_a_softmax_before_cross_entropy_is_one_too_many():
    x = torch.randn(9, 2, generator=DRAWS)
    labels = torch.arange(9) % 3
    network = mlp(2, 8, 3, activation=nn.ReLU, last=nn.Softmax(dim=1))
    (seen,) = about(found(network, (x, labels), loss="cross_entropy"), Held.OUTPUT)
    # One class has e, two have 1; the best constant has a third each.
    best = math.log(1 + 2 / math.e)
    assert seen.sure and seen.value == pytest.approx(best / math.log(3), rel=1e-4)


def test_parts_that_do_not_train_are_named():
    network = mlp(2, 4, 1, activation=nn.Tanh)
    optimizer = torch.optim.Adam(network[2].parameters())
    (seen,) = about(found(network, None, shapes=((8, 2), (8, 1)), optimizer=optimizer), Held.PART)
    assert seen.text == "the optimizer was not given 0.weight, 0.bias" and seen.sure
    (seen,) = about(found(Detached(), None, shapes=((8, 2), (8, 1))), Held.PART)
    assert seen.text.startswith("no gradient reaches first.weight, first.bias: behind detach()")
    network[0].requires_grad_(False)
    (seen,) = about(found(network, None, shapes=((8, 2), (8, 1))), Held.PART)
    assert seen.text == "need no gradient, and stay as they are: 0.weight, 0.bias" and not seen.sure


def test_signals_that_vanish_and_weights_that_are_small_speak_for_the_initialisation():
    network = mlp(2, 8, 8, 8, 1, activation=nn.Tanh)
    with torch.no_grad():
        for own in network.parameters():
            own.mul_(0.05)
    told = about(found(network, None, shapes=((8, 2), (8, 1))), Lever.INITIALISATION)
    assert any("reaches 6, the last layer" in own.text for own in told)
    assert any(own.text.startswith("weights are 0.0") for own in told)


def test_saturated_units_are_counted():
    network = mlp(2, 8, 1, activation=nn.Tanh)
    with torch.no_grad():
        network[0].weight.mul_(1000)
    (seen,) = [own for own in found(network, None, shapes=((64, 2), (64, 1))) if "saturated" in own.text]
    assert seen.about == Lever.INITIALISATION and seen.value > 0.9


def test_modes_and_regularization_are_told():
    network = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.3), nn.BatchNorm1d(4), nn.Linear(4, 1)).eval()
    settings = dict(shapes=((8, 2), (8, 1)), optimizer=lambda own: torch.optim.SGD(own, lr=0.1, weight_decay=0.01))
    seen = found(network, None, **settings)
    (mode,) = about(seen, Held.MODE)
    assert mode.text == "trained in evaluation mode, measured in evaluation mode; the two differ, by dropout"
    (found_,) = about(seen, Lever.REGULARIZATION)
    assert found_.text == "regularization found: dropout of up to 0.3 in 1 part, weight decay 0.01"
    assert "normalization by batches found in 1 part" in lines(seen)


def test_the_rank_and_the_parameters_are_held_against_the_outputs():
    seen = found(nn.Linear(3, 2), None, shapes=((20, 3), (20, 2)))
    (short,) = about(seen, Cause.CAPACITY)
    assert short.text.startswith("8 parameters, 8 of them trained, for 40 outputs (20 samples); the Jacobian's rank")
    assert short.value == 8


def test_targets_that_a_loss_is_not_made_for_are_told():
    (seen,) = about(found(nn.Linear(2, 1), (torch.randn(4, 2), torch.tensor([[0.0], [1], [1], [0]])), loss="hinge"), Held.LOSS)
    assert seen.text == "2 of 4 targets are not -1 or 1, which hinge needs"
    (seen,) = about(found(nn.Linear(2, 1), (torch.randn(2, 2), torch.tensor([[0.0], [2]])), loss="bce_with_logits"), Held.LOSS)
    assert seen.text == "1 of 2 targets are outside 0 to 1, which bce_with_logits takes for probabilities"


@pytest.mark.parametrize("number", [12, 13, 16])
def test_arithmetic_finds_the_cause_of_a_real_question_before_training(number):
    case = CASES[number]()
    seen = found(case.make, case.batch, **case.settings)
    assert [own.about for own in seen if own.sure] == [case.causes[0]]


def test_the_floor_of_contradictory_labels_is_their_conditional_entropy():
    """By counting: for each pattern the entropy of its labels, weighed by how often it is there."""
    case = CASES[13]()
    x, labels = case.batch
    asked = question(case.make, case.batch, **case.settings)
    floor = 0.0
    for pattern in {tuple(row.tolist()) for row in x}:
        own = labels[(x == torch.tensor(pattern)).all(dim=1)]
        for count in torch.bincount(own).tolist():
            floor -= count / len(x) * math.log(count / len(own)) if count else 0.0
    assert scale_asked(asked, asked.seen).floor == pytest.approx(floor, rel=1e-5)


class Rising(nn.Module):
    """Its branch, a curve that is no activation of torch's, begins at 0."""

    def __init__(self):
        super().__init__()
        self.skip, self.scale = nn.Linear(1, 1), nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return self.skip(x) + self.scale * torch.sin(x)


def test_only_what_is_linear_whatever_its_inputs_and_parameters_is_called_so():
    """Inputs of 100 to 200 are all on one side of every kink."""
    x = torch.linspace(100, 200, 32)[:, None]
    for make in (lambda: mlp(1, 16, 1, activation=nn.ReLU), lambda: mlp(1, 16, 1, activation=nn.LeakyReLU), Rising):
        assert not any(question(make, (x, x.sin()), seeds=(seed,)).facts.affine for seed in range(3))
    assert question(lambda: mlp(1, 16, 16, 1, activation=None), (x, x.sin())).facts.affine


def test_a_loss_over_classes_of_a_single_output_says_nothing_and_is_told_so():
    found = bench.diagnose(
        nn.Linear(2, 1), (torch.randn(6, 2), torch.rand(6, 1)), loss="cross_entropy", max_epochs=3, seeds=[0]
    )
    assert str(found).startswith("Held back by the loss: cross_entropy over a single output is 0 whatever it is")


def test_targets_that_are_compared_with_several_outputs_are_told_and_may_be_memorized():
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    found = bench.diagnose(nn.Linear(2, 2), (x, x[:, :1]), optimizer=("adam", 0.1), max_epochs=400, seeds=[0])
    (told,) = (one for one in found.findings if one.about is Held.SHAPES)
    assert told.text.endswith("the loss compares each target with 2 outputs") and not told.sure
    assert found.verdict.cause is Cause.NOTHING
