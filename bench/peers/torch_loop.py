"""One network after the other, as PyTorch's quickstart writes a training loop."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn

from bench.peers.problem import BETA1, BETA2, EPS, Problem


def train(problem: Problem, device: str) -> Float32[np.ndarray, "cell epoch"]:
    """The loss of every network before each of its epochs; with dropout by a pass in evaluation mode before the step."""
    return np.stack([_train_one(problem.part(i, i + 1), torch.device(device)) for i in range(len(problem))])


def _train_one(problem: Problem, device: torch.device) -> Float32[np.ndarray, " epoch"]:
    x, y = (torch.from_numpy(array[0]).to(device) for array in (problem.inputs, problem.targets))
    model = network(problem).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=problem.learning_rate, betas=(BETA1, BETA2), eps=EPS, fused=True)
    loss_of = nn.MSELoss()
    losses = torch.empty(problem.epochs, device=device)
    for epoch in range(problem.epochs):
        if problem.dropout:
            model.eval()
            with torch.no_grad():
                losses[epoch] = loss_of(model(x)[:, 0], y)
            model.train()
        loss = loss_of(model(x)[:, 0], y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if not problem.dropout:
            losses[epoch] = loss.detach()
    return losses.cpu().numpy()


def network(problem: Problem) -> nn.Sequential:
    """The first network, with its initial weights."""
    layers: list[nn.Module] = []
    for weight, bias in zip(problem.weights, problem.biases, strict=True):
        linear = nn.Linear(weight.shape[2], weight.shape[1])
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight[0]))
            linear.bias.copy_(torch.from_numpy(bias[0]))
        layers += [linear, nn.ReLU(), nn.Dropout(problem.dropout)] if problem.dropout else [linear, nn.ReLU()]
    return nn.Sequential(*layers[: layers.index(linear) + 1])
