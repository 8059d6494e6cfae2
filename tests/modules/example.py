"""Networks of somebody's own, for results/reference/module and module_capacity."""

from __future__ import annotations

import torch
from torch import nn


def xor(bound: float, generator: torch.Generator) -> nn.Module:
    """Two tanh units and a tanh output, weights and biases U(-bound, bound): CNTK's issue 757."""
    network = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1), nn.Tanh())
    for parameter in network.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return network


def residual(width: int, blocks: int) -> nn.Module:
    """Eight inputs, so many residual blocks of so many relu units, one output."""
    return nn.Sequential(nn.Linear(8, width), *(Block(width) for _ in range(blocks)), nn.Linear(width, 1))


class Block(nn.Module):
    """x + V relu(W x)."""

    def __init__(self, width: int):
        super().__init__()
        self.inner, self.outer = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.outer(torch.relu(self.inner(x)))
