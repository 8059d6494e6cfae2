"""What every side of a comparison trains: networks of one shape, as arrays, and for how many epochs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from bench.protocol.cells import Cell
from bench.protocol.networks import initial_layers
from bench.protocol.noise import training_data

# Adam's, the same for all sides; the libraries' defaults differ.
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


@dataclasses.dataclass(frozen=True)
class Problem:
    """Relu networks of one shape, each with its own data, trained by full-batch Adam on the mean squared error.

    `weights` and `biases` hold the initial values layer by layer, the readout last. Each hidden unit's output is dropped with
    the probability `dropout` in every training step, by masks of the library's own. Losses are those in evaluation mode,
    without masks, before each epoch over the whole training set: without dropout the training step has them, with dropout every
    side makes a forward pass for them.
    """

    cells: tuple[Cell, ...]
    epochs: int
    inputs: Float32[np.ndarray, "cell sample feature"]
    targets: Float32[np.ndarray, "cell sample"]
    weights: tuple[Float32[np.ndarray, "cell out in"], ...]
    biases: tuple[Float32[np.ndarray, "cell out"], ...]
    learning_rate: float
    dropout: float

    def __len__(self) -> int:
        return len(self.cells)

    def part(self, start: int, stop: int) -> Problem:
        """The cells from `start` to `stop`."""
        return dataclasses.replace(
            self,
            cells=self.cells[start:stop],
            inputs=self.inputs[start:stop],
            targets=self.targets[start:stop],
            weights=tuple(weight[start:stop] for weight in self.weights),
            biases=tuple(bias[start:stop] for bias in self.biases),
        )


def problem_of(cells: Sequence[Cell], epochs: int) -> Problem:
    """The arrays of cells that differ in their seeds alone."""
    data = [training_data(cell) for cell in cells]
    layers = list(zip(*(initial_layers(cell) for cell in cells), strict=True))
    return Problem(
        cells=tuple(cells),
        epochs=epochs,
        inputs=np.stack([one.inputs for one in data]).astype(np.float32),
        targets=np.stack([one.targets for one in data]).astype(np.float32),
        weights=tuple(np.stack([layer.weight for layer in same]).astype(np.float32) for same in layers),
        biases=tuple(np.stack([layer.bias for layer in same]).astype(np.float32) for same in layers),
        learning_rate=cells[0].learning_rate,
        dropout=cells[0].dropout,
    )
