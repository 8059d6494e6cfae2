"""One network after the other by Keras' `model.fit`, on JAX where it is installed, else on PyTorch."""

from __future__ import annotations

import functools
import importlib.util
import os

os.environ.setdefault("KERAS_BACKEND", "jax" if importlib.util.find_spec("jax") else "torch")

import keras
import numpy as np
from jaxtyping import Float32

from bench.peers.problem import BETA1, BETA2, EPS, Problem

# A compiled model for each shape: fit compiles again for every new one.
_models: dict[tuple[float, ...], keras.Model] = {}


def train(problem: Problem, device: str) -> Float32[np.ndarray, "cell epoch"]:
    """The loss of every network before each of its epochs; with dropout that of fit's validation, on the training set."""
    with keras.device("gpu:0" if device.startswith("cuda") else "cpu"):
        return np.stack([_train_one(problem.part(i, i + 1)) for i in range(len(problem))])


def _train_one(problem: Problem) -> Float32[np.ndarray, " epoch"]:
    sizes, rate = (problem.inputs.shape[2], *(weight.shape[1] for weight in problem.weights)), problem.dropout
    if (*sizes, rate) not in _models:
        layers = []
        for size in sizes[1:-1]:
            layers.append(keras.layers.Dense(size, activation="relu"))
            if rate:
                layers.append(keras.layers.Dropout(rate))
        model = keras.Sequential([keras.Input((sizes[0],)), *layers, keras.layers.Dense(1)])
        optimizer = keras.optimizers.Adam(problem.learning_rate, beta_1=BETA1, beta_2=BETA2, epsilon=EPS)
        model.compile(optimizer=optimizer, loss="mse")
        optimizer.build(model.trainable_variables)
        _models[*sizes, rate] = model
    model = _models[*sizes, rate]
    model.set_weights([array for w, b in zip(problem.weights, problem.biases, strict=True) for array in (w[0].T, b[0])])
    for variable in model.optimizer.variables:
        if variable is not model.optimizer.learning_rate:
            variable.assign(keras.ops.zeros(variable.shape, variable.dtype))
    x, y = problem.inputs[0], problem.targets[0]
    fit = functools.partial(model.fit, x, y, batch_size=len(x), epochs=problem.epochs, shuffle=False, verbose=0)  # pyright: ignore[reportArgumentType] (its stub says str, its documentation and code 0)
    if not rate:
        return np.asarray(fit().history["loss"], dtype=np.float32)
    before = model.evaluate(x, y, batch_size=len(x), verbose=0)  # pyright: ignore[reportArgumentType]
    after = fit(validation_data=(x, y), validation_batch_size=len(x)).history["val_loss"]
    return np.asarray([before, *after[:-1]], dtype=np.float32)
