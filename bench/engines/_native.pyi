"""The compiled module of engines/fused/module.cpp."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int32, UInt32

def instruction_sets() -> list[str]:
    """The builds of the core that this processor can run, the fastest first."""

def multiply_adds(instruction_set: str, is_double: bool, rounds: int) -> float:
    """Run independent multiply-adds on registers, on this thread, without the GIL; return how many FLOPs they were.

    Raises ValueError for an instruction set that the processor has not.
    """

def elementary(instruction_set: str, is_double: bool, x: Float[np.ndarray, " number"]) -> tuple[bytes, bytes]:
    """exp(x) and ln(1 + x) as a build computes them in float64 or in float32: bytes of float64.

    Raises ValueError for an instruction set that the processor has not.
    """

def normals(
    instruction_set: str, radius: UInt32[np.ndarray, " word"], turn: UInt32[np.ndarray, " word"]
) -> tuple[bytes, bytes]:
    """The pairs of normal numbers that a build makes of words, by cosine and by sine: bytes of float32.

    Numbers beyond the last whole vector, of 16, 8 or 4 words, are 0. Raises ValueError for an instruction set that the
    processor has not, and where there are not as many words of both.
    """

task_bytes: int
"""The size of a `bench.engines.task.Task`, as this build knows it."""

def block_measure(dtype: int, block: int, rows: int, tensor_cores: bool, spec: bytes) -> tuple[int, int, int]:
    """What `measure` of kernels.cu says of a Spec: bytes of memory, bytes of scratch, shares.

    The first arguments are a `bench.engines.cuda.tiles.Kernel`, with `dtype` as its place in `bench.engines.task.DTYPES`.
    """

def block_train(
    dtype: int,
    block: int,
    rows: int,
    tensor_cores: bool,
    tasks: int,
    order: Int32[np.ndarray, " place"],
    teams: int,
    team: int,
    threads: int,
    epochs: int,
    scratch_bytes: int,
    descending: bool,
) -> None:
    """A slice of `epochs` epochs of each cell of `order`, indices into the Tasks at the address `tasks`.

    `teams` teams of `team` blocks of `threads` threads each take part, each block with so much scratch.
    `descending`: between barriers the last thread has the first turn.
    """

class Queue:
    """Cells and the threads that train them, in the order in which they come."""

    def __init__(self, threads: int, instruction_set: str):
        """Raises ValueError for an instruction set that the processor has not."""

    def push(
        self,
        number: int,
        spec: bytes,
        n_predictions: int,
        gives_params: bool,
        params: Float[np.ndarray, " param"],
        inputs: Float[np.ndarray, "sample feature"],
        targets: Float[np.ndarray, " target"],
        val_inputs: Float[np.ndarray, "val_sample feature"],
        val_targets: Float[np.ndarray, " val_target"],
        rates: Float[np.ndarray, " epoch"],
        progress: bytes,
        saved: Float[np.ndarray, " number"],
    ) -> None:
        """Add a cell, of which `spec` is the bytes of its Spec; all arrays are float64 and C-contiguous.

        One that was saved has the bytes of its Progress and the numbers that `poll` gave; both are empty for the others.
        Raises MemoryError where they do not fit, ValueError where numbers are not of such a cell.
        """

    def poll(
        self, timeout_s: float, save_every_s: float
    ) -> tuple[
        list[tuple[int, bool, int, float, list[float], list[float], list[float], list[float], list[float]]],
        list[tuple[int, int]],
        list[tuple[int, bytes, float, list[float], list[float], list[float], bytes]],
    ]:
        """Wait for a cell to end, at most so long.

        Returns the ended ones (number, whether it trained, last epoch, seconds, tau and validation MSE of each epoch, and how
        many labels were right where there are labels, all outputs of the samples predicted, final parameters where `push` asked
        for them), the epochs (number, count) done since the last call, and those that were saved, each when it had trained
        `save_every_s` (number, Progress, seconds, measures as before, parameters and moments as bytes of float64). Seconds and
        measures are those since a cell was saved last.
        """

    def close(self) -> None:
        """Drop the cells that wait, stop those that train at their next epoch, and wait for the threads."""
