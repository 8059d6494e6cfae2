"""What a verdict says of networks whose answer is known beforehand."""

from __future__ import annotations

import dataclasses
import time

import pytest
import torch
from torch import nn

import bench
from bench.modules.causes import Held
from bench.modules.inquiry import Inquiry
from bench.modules.questions import question
from bench.modules.training import Trainer
from bench.statistics.confirmation import FALSE_CAUSES, LEVELS, Answer
from bench.statistics.evidence import Cause

DRAWS = torch.Generator().manual_seed(0)
BATCH = torch.randn(8, 3, generator=DRAWS), torch.randn(8, 1, generator=DRAWS)


def test_however_many_stages_a_ladder_has_so_many_changes_are_tried_as_share_the_level_of_false_causes(monkeypatch):
    asked = question(nn.Linear(3, 1), BATCH)
    inquiry = Inquiry(asked, (), Trainer(asked.source, asked.batch, asked.facts, asked.device), None)
    tried = []
    monkeypatch.setattr(inquiry, "good", lambda _: True)
    monkeypatch.setattr(inquiry, "_works", lambda trial: tried.append(trial) or Answer.NO)
    for stage in range(5):
        new = [dataclasses.replace(asked.trial, max_epochs=2000 + 10 * stage + k) for k in range(4)]
        inquiry.tried |= dict.fromkeys(new)
        assert inquiry._confirm(new) is None
    assert len(tried) * sum(LEVELS.values()) <= FALSE_CAUSES


class Waiting(nn.Module):
    """Each pass waits for something else than a processor."""

    def __init__(self):
        super().__init__()
        self.linear, self.dropout = nn.Linear(3, 1), nn.Dropout(0.1)

    def forward(self, x):
        time.sleep(0.01)
        return self.linear(self.dropout(x))


def test_a_limit_of_time_is_of_time_that_passes():
    began = time.monotonic()
    bench.diagnose(Waiting(), BATCH, optimizer=("sgd", 1e-6), seeds=[0], budget_s=1.0)
    assert time.monotonic() - began < 8
    began = time.monotonic()
    with pytest.raises(AssertionError, match=r"not within 0.375 s"):
        bench.assert_memorizes(Waiting(), BATCH, optimizer=("sgd", 1e-6), within_epochs=100_000, budget_s=0.5)
    assert time.monotonic() - began < 10


class Bare(nn.Module):
    """Its parameters are of no part that draws them."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.full((3, 1), 0.1))

    def forward(self, x):
        return x @ self.weight


def test_what_one_draw_alone_shows_is_called_perhaps():
    x = BATCH[0]
    found = bench.diagnose(
        Bare(), (x, x.sum(dim=1, keepdim=True)), optimizer=("adam", 1e-4), max_epochs=100, budget_s=4
    ).verdict
    assert found.sentences[0].startswith("Perhaps held back by ")
    assert "the weights could not be drawn anew" in found.sentences[1] and found.change is None and found.code


@pytest.mark.parametrize(("dropout", "cause", "fits"), [(0.01, Cause.NOTHING, True), (0.95, Held.MODE, False)])
def test_training_mode_holds_a_network_back_only_where_it_does_not_memorize_in_it(dropout, cause, fits):
    network = nn.Sequential(nn.Linear(3, 64), nn.Tanh(), nn.Dropout(dropout), nn.Linear(64, 1)).eval()
    verdict = bench.diagnose(network, BATCH, optimizer=("adam", 0.05), max_epochs=60, tau=0.1, seeds=[0], budget_s=4).verdict
    assert verdict.cause is cause, verdict
    assert verdict.sentences[0].startswith("Memorizable as it is" if fits else "Held back by train or evaluation mode")
    told = [line for line in verdict.sentences if "In training mode, measured in evaluation mode" in line]
    assert len(told) == 1 and (" 0 of " not in told[0]) == fits
