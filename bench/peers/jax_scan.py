"""Networks together in JAX: jit(vmap(scan over epochs)), with optax's Adam."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float32

from bench.peers.problem import BETA1, BETA2, EPS, Problem

Layers = list[tuple[Any, Any]]


def train(problem: Problem, device: str) -> Float32[np.ndarray, "cell epoch"]:
    """The loss of every network before each epoch; with dropout by another forward pass in the same scan."""
    run = _compiled(problem.epochs, problem.learning_rate, problem.dropout)
    with jax.default_device(jax.devices("gpu" if device.startswith("cuda") else "cpu")[0]):
        layers = [tuple(map(jnp.asarray, layer)) for layer in zip(problem.weights, problem.biases, strict=True)]
        keys = jax.vmap(jax.random.key)(jnp.asarray([cell.init_seed for cell in problem.cells], dtype=jnp.uint32))
        return np.asarray(run(layers, jnp.asarray(problem.inputs), jnp.asarray(problem.targets), keys))


@functools.cache
def _compiled(epochs: int, learning_rate: float, dropout: float) -> Any:
    optimizer = optax.adam(learning_rate, b1=BETA1, b2=BETA2, eps=EPS)

    def run(layers: Layers, x: Any, y: Any, key: Any) -> Any:
        def step(carry: Any, epoch: Any) -> Any:
            layers, state = carry
            if dropout:
                masks = jax.random.split(jax.random.fold_in(key, epoch), len(layers) - 1)
                loss, gradients = _loss(layers, x, y), jax.grad(_loss)(layers, x, y, dropout, masks)
            else:
                loss, gradients = jax.value_and_grad(_loss)(layers, x, y)
            updates, state = optimizer.update(gradients, state)
            return (optax.apply_updates(layers, updates), state), loss

        return jax.lax.scan(step, (layers, optimizer.init(layers)), jnp.arange(epochs))[1]

    return jax.jit(jax.vmap(run))


def _loss(layers: Layers, x: Any, y: Any, dropout: float = 0.0, masks: Any = None) -> Any:
    """With `masks`, a key for each hidden layer, in training mode."""
    for i, (weight, bias) in enumerate(layers[:-1]):
        x = jax.nn.relu(x @ weight.T + bias)
        if masks is not None:
            x = jnp.where(jax.random.bernoulli(masks[i], 1 - dropout, x.shape), x / (1 - dropout), 0)
    weight, bias = layers[-1]
    return jnp.mean(((x @ weight.T + bias)[:, 0] - y) ** 2)
