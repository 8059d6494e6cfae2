"""The compiled module of engines/fused/module.cpp."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

def instruction_sets() -> list[str]:
    """The builds of the core that this processor can run, the fastest first."""

def multiply_adds(instruction_set: str, is_double: bool, rounds: int) -> float:
    """Run independent multiply-adds on registers, on this thread, without the GIL; return how many FLOPs they were.

    Raises ValueError for an instruction set that the processor has not.
    """

class Spec:
    """The numbers that the core knows of a cell (fused/spec.h); every field is 0 until it is set."""

    n_samples: int
    d_in: int
    depth: int
    width: int
    n_val: int
    batch_size: int
    shuffle: int
    activation: int
    readout: int
    optimizer: int
    amsgrad: int
    patience: int
    max_epochs: int
    variance: float
    tau: float
    momentum: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    l1: float
    dropout: float
    input_noise: float
    max_norm: float

    def set_keys(self, dropout: list[int], noise: list[int], order: list[int]) -> None:
        """Two words each: the keys of the draws made inside training."""

def check_size(spec: Spec) -> None:
    """Raises ValueError where the parameters or the samples are more numbers than the core can index."""

class Queue:
    """Cells and the threads that train them, in the order in which they come."""

    def __init__(self, threads: int, instruction_set: str):
        """Raises ValueError for an instruction set that the processor has not."""

    def push(
        self,
        number: int,
        spec: Spec,
        is_double: bool,
        n_predictions: int,
        params: Float[np.ndarray, " param"],
        inputs: Float[np.ndarray, "sample feature"],
        targets: Float[np.ndarray, " sample"],
        val_inputs: Float[np.ndarray, "val_sample feature"],
        val_targets: Float[np.ndarray, " val_sample"],
        rates: Float[np.ndarray, " epoch"],
    ) -> None:
        """Add a cell; all arrays are float64 and C-contiguous.

        Raises MemoryError where they do not fit.
        """

    def poll(
        self, timeout_s: float
    ) -> tuple[list[tuple[int, bool, int, float, list[float], list[float], list[float]]], list[tuple[int, int]]]:
        """Wait for a cell to end, at most so long.

        Returns the ended ones (number, whether it trained, last epoch, seconds, tau and validation MSE of each epoch,
        predictions), and the epochs (number, count) done since the last call.
        """

    def close(self) -> None:
        """Drop the cells that wait, stop those that train at their next epoch, and wait for the threads."""
