"""A network of somebody's own, for results/reference/module: CNTK's issue 757, XOR from weights that are too small."""

from __future__ import annotations

import torch
from torch import nn


def xor(bound: float, generator: torch.Generator) -> nn.Module:
    """Two tanh units and a tanh output, weights and biases U(-bound, bound)."""
    network = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1), nn.Tanh())
    for parameter in network.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return network
