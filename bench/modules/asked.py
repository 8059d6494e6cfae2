"""`bench.diagnose`: of a cell of a grid, or of anybody's module."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, overload

from bench.modules import diagnosis
from bench.modules.diagnosis import ModuleDiagnosis
from bench.protocol.cells import Cell
from bench.runs import diagnosis as of_cells
from bench.runs.diagnosis import Diagnosis


@overload
def diagnose(
    asked: Cell,
    *,
    seeds: Iterable[int] | int = ...,
    budget_s: float | None = ...,
    past_tau: bool = ...,
    run_dir: str | Path | None = ...,
    device: str = ...,
    engine: str = ...,
    threads: int | None = ...,
    progress: bool = ...,
) -> Diagnosis: ...
@overload
def diagnose(
    asked: object,
    batch: object = None,
    *,
    shapes: object = ...,
    arguments: Mapping[str, Any] | None = ...,
    loss: object = ...,
    optimizer: object = ...,
    batch_size: int | None = ...,
    shuffle: bool = ...,
    max_epochs: int = ...,
    tau: float = ...,
    stop: object = ...,
    measured: str = ...,
    seeds: Iterable[int] | int = ...,
    budget_s: float | None = ...,
    device: str | None = ...,
    progress: bool = ...,
) -> ModuleDiagnosis: ...
def diagnose(asked: Any, batch: object = None, **settings: Any) -> Diagnosis | ModuleDiagnosis:
    """Say why a network does not memorize, from variants of it that are trained beside it.

    Args:
        asked: a `bench.Cell`, which is trained on noise; or a torch.nn.Module, or a function that makes one.
        batch: of a module, the inputs and targets (x, y).
        settings: of a module, shapes, arguments, loss, optimizer, batch_size, shuffle, max_epochs, tau, stop, measured, seeds,
            budget_s, device and progress, as `bench.modules.diagnosis.diagnose` explains; of a cell, seeds, budget_s, past_tau,
            run_dir, device, engine, threads and progress, as `bench.runs.diagnosis.diagnose` does.

    Raises:
        bench.GridError: a value that cannot be.

    >>> import torch
    >>> print(str(diagnose(torch.nn.Linear(1, 1), shapes=((2, 1), (2, 1)), optimizer=("sgd", 0.1))).split(":")[0])
    Memorizable as it is
    """
    if isinstance(asked, Cell) or (batch is None and not callable(asked)):
        return of_cells.diagnose(asked, **settings)
    return diagnosis.diagnose(asked, batch, **settings)
