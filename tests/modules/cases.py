"""Networks that did not fit, as their owners set them up, and what was found to be the cause.

Each is of a public question or bug report, named behind it. Where nothing is said of the weights, they are torch's own.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from bench.modules.causes import Held, Why
from bench.modules.trials import Stop
from bench.statistics.evidence import Cause, Lever

XOR = (torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0], [1.0], [1.0], [0.0]]))


@dataclasses.dataclass(frozen=True)
class Case:
    """What is given to `bench.diagnose`, the causes that are right, and words that the text must hold."""

    make: Any
    batch: tuple
    causes: tuple[Why, ...]
    settings: dict[str, Any]
    words: tuple[str, ...] = ()


def mlp(*units: int, activation: Callable[[], nn.Module] | None, last: nn.Module | None = None) -> nn.Sequential:
    parts: list[nn.Module] = []
    for fan_in, out in itertools.pairwise(units):
        parts += [nn.Linear(fan_in, out), *([activation()] if activation else [])]
    if activation:
        parts.pop()
    return nn.Sequential(*parts, *([last] if last else []))


def uniform(network: nn.Module, bound: float, *, zero_biases: bool = False) -> nn.Module:
    for name, parameter in network.named_parameters():
        if zero_biases and name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.uniform_(parameter, -bound, bound)
    return network


def case_1() -> Case:
    """PyTorch forum 96648."""
    x = torch.arange(1.0, 4000.0)[:, None]
    return Case(
        lambda: mlp(1, 50, 1, activation=nn.ReLU), (x, x**3), (Held.SCALE,), dict(optimizer=("adam", 1e-3), max_epochs=1000)
    )


def case_2() -> Case:
    """Stack Overflow 48934338."""
    x = torch.arange(0, 5, 0.1)[:, None]
    y = 5 * x**2 + 2 * torch.randn(50, 1, generator=torch.Generator().manual_seed(0))
    return Case(
        lambda: uniform(mlp(1, 50, 30, 1, activation=nn.ReLU), 0.05),
        (x, y),
        (Lever.LEARNING_RATE,),
        dict(optimizer=("sgd", 0.1), batch_size=32, max_epochs=1000),
        ("too high for data of this scale",),
    )


def case_3() -> Case:
    """Flux.jl 2623."""
    x = torch.arange(1.0, 7.0)[:, None]
    return Case(
        lambda: nn.Linear(1, 1),
        (x, 4 * x + 2),
        (Lever.LEARNING_RATE,),
        dict(optimizer=("sgd", 0.1), max_epochs=200),
        ("too high for data of this scale",),
    )


def case_4() -> Case:
    """Cross Validated 386214. Two hidden units cannot tell all 16 points: what can be known is what leaves a third."""
    grid = torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0))
    pattern = ((grid[:, :1] >= 2) ^ (grid[:, 1:] >= 2)).float()
    return Case(
        lambda: uniform(mlp(2, 2, 1, activation=nn.Sigmoid, last=nn.Sigmoid()), 1.0, zero_biases=True),
        (grid, pattern),
        (Held.SCALE,),
        dict(optimizer=("sgd", 0.01), max_epochs=5000, tau=0.1),
        ("inputs standardised leaves",),
    )


def case_5() -> Case:
    """deeplearning.ai 324182."""
    x = torch.arange(-3.0, 4.0)[:, None]
    return Case(
        lambda: mlp(1, 4, 2, 1, activation=nn.ReLU, last=nn.ReLU()),
        (x, 2 * x - 1),
        (Held.OUTPUT,),
        dict(optimizer=("adam", 0.001), max_epochs=500),
        ("outside what relu can give",),
    )


def case_6() -> Case:
    """Stack Overflow 34311586."""
    x = torch.cat([XOR[0], XOR[0][:2]])
    y = torch.cat([XOR[1], XOR[1][:2]])
    return Case(
        lambda: uniform(mlp(2, 2, 3, 1, activation=nn.Sigmoid, last=nn.Softmax(dim=1)), 0.05),
        (x, y),
        (Held.OUTPUT,),
        dict(optimizer=lambda own: torch.optim.SGD(own, lr=0.001, momentum=0.9), max_epochs=20),
        ("softmax over a single unit",),
    )


def case_7() -> Case:
    """CNTK 757."""
    return Case(
        lambda: uniform(mlp(2, 2, 1, activation=nn.Tanh, last=nn.Tanh()), 0.05),
        XOR,
        (Lever.INITIALISATION,),
        dict(optimizer=("sgd", 1.0), max_epochs=1000, tau=0.1),
    )


def case_8() -> Case:
    """synaptic 224."""
    return Case(
        lambda: mlp(2, 10, 10, 1, activation=nn.Sigmoid, last=nn.Sigmoid()),
        XOR,
        (Lever.BUDGET,),
        dict(optimizer=("sgd", 0.1), batch_size=1, max_epochs=5000, tau=0.1),
    )


def case_9() -> Case:
    """AI Stack Exchange 5904."""
    return Case(
        lambda: mlp(2, 2, 1, activation=nn.ReLU),
        XOR,
        (Cause.LUCK,),
        dict(optimizer=("adam", 0.01), max_epochs=3000),
        ("of the draws of the initial weights memorize",),
    )


def case_10() -> Case:
    """Stack Overflow 31556268."""
    return Case(
        lambda: mlp(2, 4, 1, activation=nn.Sigmoid, last=nn.Sigmoid()),
        XOR,
        (Held.LOSS,),
        dict(loss="mae", optimizer=lambda own: torch.optim.SGD(own, lr=0.05, momentum=0.11), max_epochs=1000, tau=0.1),
    )


def case_11() -> Case:
    """scikit-learn 19743."""
    x = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4)
    return Case(
        lambda: mlp(4, 16, 4, 1, activation=nn.Sigmoid),
        (x, x.prod(dim=1, keepdim=True)),
        (Held.STOP,),
        dict(optimizer=("adam", 1e-3), max_epochs=7500, stop=Stop(10, 1e-4), tau=0.05),
        ("The stopping rule ended",),
    )


def case_12() -> Case:
    """Data Science Stack Exchange 115368."""
    x = torch.rand(1000, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return Case(
        lambda: mlp(2, 10, 5, 1, activation=nn.ReLU),
        (x, x.square().sum(dim=1)),
        (Held.SHAPES,),
        dict(optimizer=("adam", 0.01), max_epochs=200),
        ("the loss compares 1000000 pairs in place of 1000", "y.reshape"),
    )


def case_13() -> Case:
    """Binary patterns that repeat."""
    draws = torch.Generator().manual_seed(0)
    x = torch.randint(0, 2, (200, 6), generator=draws).float()
    labels = torch.randint(0, 2, (200,), generator=draws)
    return Case(
        lambda: mlp(6, 128, 128, 2, activation=nn.ReLU),
        (x, labels),
        (Held.CONTRADICTION,),
        dict(loss="cross_entropy", optimizer=("adam", 1e-3), max_epochs=300),
        ("no network gets below a loss of",),
    )


def case_14() -> Case:
    """Data Science Stack Exchange 25024."""
    draws = torch.Generator().manual_seed(0)
    return Case(
        lambda: nn.Linear(1000, 1),
        (torch.randn(64, 1000, generator=draws), torch.randn(64, 1, generator=draws)),
        (Held.LOST,),
        dict(loss=lambda output, target: (output - target).square().sum(), optimizer=("adam", 1e-3), max_epochs=5000, tau=1e-9),
        ("at best, at epoch",),
    )


def case_15() -> Case:
    """Pytorch-UNet 165: statistics that lag behind training, and evaluation mode."""
    draws = torch.Generator().manual_seed(0)
    return Case(
        lambda: nn.Sequential(nn.Linear(4, 64), nn.BatchNorm1d(64, momentum=1e-4), nn.ReLU(), nn.Linear(64, 1)),
        (torch.randn(16, 4, generator=draws), torch.randn(16, 1, generator=draws)),
        (Held.MODE,),
        dict(optimizer=("adam", 0.01), max_epochs=300),
        ("trained in training mode, measured in evaluation mode; the two differ, by the statistics of batches",),
    )


def case_16() -> Case:
    """Cross Validated 387150."""
    return Case(
        lambda: mlp(1, 10, 1, activation=None),
        (torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[0.0], [2.0], [1.0]])),
        (Held.LINEAR,),
        dict(optimizer=("adam", 1e-5), max_epochs=2000),
        ("least squares leave tau 0.75",),
    )


class Detached(nn.Module):
    """Its first layer is behind detach()."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(2, 3), nn.Linear(3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.first(x)).detach())


def case_17() -> Case:
    """Constructed."""
    return Case(Detached, XOR, (Held.PART,), dict(optimizer=("adam", 0.01), max_epochs=500), ("first.weight", "first.bias"))


CASES = {number: globals()[f"case_{number}"] for number in range(1, 18)}
