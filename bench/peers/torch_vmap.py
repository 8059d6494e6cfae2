"""Networks together, as PyTorch's tutorial on model ensembling writes it: stacked parameters under torch.func.vmap."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn
from torch.func import functional_call, grad_and_value, vmap

from bench.peers.problem import BETA1, BETA2, EPS, Problem
from bench.peers.torch_loop import network


def train(problem: Problem, device: str) -> Float32[np.ndarray, "cell epoch"]:
    """The loss of every network before each epoch."""
    return _train(problem, torch.device(device), lambda gradients: gradients)


# Every shape is another compilation of the same function, for sizes that do not change; beyond the limit the rest would run
# uncompiled.
SHAPES_COMPILED = 1000

_compiled: dict[tuple, Callable] = {}


def train_compiled(problem: Problem, device: str) -> Float32[np.ndarray, "cell epoch"]:
    """The same with the gradients under torch.compile, compiled once for each shape."""
    torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit = SHAPES_COMPILED
    shape = (len(problem), *(weight.shape for weight in problem.weights), problem.inputs.shape)
    return _train(
        problem, torch.device(device), lambda gradients: _compiled.setdefault(shape, torch.compile(gradients, dynamic=False))
    )


def _train(problem: Problem, device: torch.device, wrap: Callable[[Callable], Callable]) -> Float32[np.ndarray, "cell epoch"]:
    x, y = (torch.from_numpy(array).to(device) for array in (problem.inputs, problem.targets))
    skeleton = network(problem).to("meta")
    params: dict[str, torch.Tensor] = {}
    for i, (weight, bias) in enumerate(zip(problem.weights, problem.biases, strict=True)):
        params[f"{2 * i}.weight"] = torch.from_numpy(weight.copy()).to(device)
        params[f"{2 * i}.bias"] = torch.from_numpy(bias.copy()).to(device)
    optimizer = torch.optim.Adam(list(params.values()), lr=problem.learning_rate, betas=(BETA1, BETA2), eps=EPS, fused=True)

    def loss(one: dict[str, torch.Tensor], inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.mse_loss(functional_call(skeleton, one, (inputs,))[:, 0], targets)

    gradients = wrap(vmap(grad_and_value(loss)))
    losses = torch.empty(problem.epochs, len(problem), device=device)
    for epoch in range(problem.epochs):
        grads, losses[epoch] = gradients(params, x, y)
        for name, param in params.items():
            param.grad = grads[name]
        optimizer.step()
    return losses.T.cpu().numpy()
