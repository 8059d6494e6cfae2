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
    """The loss of every network before each epoch; with dropout by a pass in evaluation mode before the training step."""
    return _train(problem, torch.device(device), lambda name, function: function)


# Every shape is another compilation of the same function, for sizes that do not change; beyond the limit the rest would run
# uncompiled.
SHAPES_COMPILED = 1000

_compiled: dict[tuple, Callable] = {}


def train_compiled(problem: Problem, device: str) -> Float32[np.ndarray, "cell epoch"]:
    """The same with gradients and evaluation under torch.compile, compiled once for each shape."""
    torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit = SHAPES_COMPILED
    shape = (len(problem), *(weight.shape for weight in problem.weights), problem.inputs.shape, problem.dropout)

    def compiled(name: str, function: Callable) -> Callable:
        return _compiled.setdefault((name, *shape), torch.compile(function, dynamic=False))

    return _train(problem, torch.device(device), compiled)


def _train(
    problem: Problem, device: torch.device, wrap: Callable[[str, Callable], Callable]
) -> Float32[np.ndarray, "cell epoch"]:
    x, y = (torch.from_numpy(array).to(device) for array in (problem.inputs, problem.targets))
    skeleton = network(problem).to("meta")
    arrays = [array for layer in zip(problem.weights, problem.biases, strict=True) for array in layer]
    names = [name for name, _ in skeleton.named_parameters()]
    params = {name: torch.from_numpy(array.copy()).to(device) for name, array in zip(names, arrays, strict=True)}
    optimizer = torch.optim.Adam(list(params.values()), lr=problem.learning_rate, betas=(BETA1, BETA2), eps=EPS, fused=True)
    gradients = wrap("gradients", vmap(grad_and_value(_loss_of(skeleton)), randomness="different"))
    evaluated = wrap("evaluated", vmap(_loss_of(network(problem).to("meta").eval())))
    losses = torch.empty(problem.epochs, len(problem), device=device)
    for epoch in range(problem.epochs):
        if problem.dropout:
            with torch.no_grad():
                losses[epoch] = evaluated(params, x, y)
        grads, loss = gradients(params, x, y)
        if not problem.dropout:
            losses[epoch] = loss
        for name, param in params.items():
            param.grad = grads[name]
        optimizer.step()
    return losses.T.cpu().numpy()


def _loss_of(skeleton: nn.Module) -> Callable[[dict[str, torch.Tensor], torch.Tensor, torch.Tensor], torch.Tensor]:
    """The loss of one network, from its parameters, in the mode of the skeleton."""

    def loss(one: dict[str, torch.Tensor], inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.mse_loss(functional_call(skeleton, one, (inputs,))[:, 0], targets)

    return loss
