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
    """The loss of every network before each epoch."""
    run = _compiled(problem.epochs, problem.learning_rate)
    with jax.default_device(jax.devices("gpu" if device.startswith("cuda") else "cpu")[0]):
        layers = [tuple(map(jnp.asarray, layer)) for layer in zip(problem.weights, problem.biases, strict=True)]
        return np.asarray(run(layers, jnp.asarray(problem.inputs), jnp.asarray(problem.targets)))


@functools.cache
def _compiled(epochs: int, learning_rate: float) -> Any:
    optimizer = optax.adam(learning_rate, b1=BETA1, b2=BETA2, eps=EPS)

    def run(layers: Layers, x: Any, y: Any) -> Any:
        def step(carry: Any, _: None) -> Any:
            layers, state = carry
            loss, gradients = jax.value_and_grad(_loss)(layers, x, y)
            updates, state = optimizer.update(gradients, state)
            return (optax.apply_updates(layers, updates), state), loss

        return jax.lax.scan(step, (layers, optimizer.init(layers)), None, length=epochs)[1]

    return jax.jit(jax.vmap(run))


def _loss(layers: Layers, x: Any, y: Any) -> Any:
    for weight, bias in layers[:-1]:
        x = jax.nn.relu(x @ weight.T + bias)
    weight, bias = layers[-1]
    return jnp.mean(((x @ weight.T + bias)[:, 0] - y) ** 2)
