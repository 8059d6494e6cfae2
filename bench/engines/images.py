"""How cells lie in memory as the core reads them, made once for those that differ in their draws or learning rates alone."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from bench.engines.draws import NUMBER_BYTES, sample_counts, side_by_side
from bench.engines.packs import epoch_flops
from bench.engines.task import SPEC, check_size, packed_spec
from bench.protocol.cells import FIELDS, Cell
from bench.protocol.networks import n_params

# The arrays of a cell that the core reads, in the order in which they lie: pointers of a task.
ARRAYS = ("params", "inputs", "targets", "val_inputs", "val_targets", "rates")

# What only the arrays of a cell depend on. `regularization` names strengths that are fields themselves.
ARRAYS_ALONE = (
    *("data_seed", "init_seed", "target", "target_scaling", "init", "init_scale", "learning_rate", "regularization"),
)

FAMILY: list[Any] = [
    ("spec", SPEC),  # of one of the cells: the others have other variances, and other keys
    ("is_float32", np.bool_),
    ("epoch_flops", np.float64),
    ("counts", np.int64, len(ARRAYS)),  # numbers of each array
    ("arrays_at", np.int64, len(ARRAYS)),  # where it lies: numbers from the beginning of the cell's image
    ("image_bytes", np.int64),
    ("memory_bytes", np.int64),  # what a cell takes beside its image
]

_key = attrgetter(*(name for name in FIELDS if name not in ARRAYS_ALONE))


class Families:
    """The families of an engine's cells, by number. Engines that keep more of each extend `dtype` and `_row`."""

    dtype: np.dtype[Any] = np.dtype(FAMILY)

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], int | ValueError] = {}
        self._rows: list[Shaped[np.ndarray, ""]] = []

    def of(self, cells: Sequence[Cell]) -> tuple[list[Cell], Int[np.ndarray, " cell"], list[tuple[Cell, ValueError]]]:
        """The cells that the engine can train, the numbers of their families in `table`; and the others, with the reason."""
        own, numbers, refused = [], [], []
        for cell in cells:
            number = self._number(cell)
            if isinstance(number, ValueError):
                refused.append((cell, number))
            else:
                own.append(cell)
                numbers.append(number)
        return own, np.array(numbers, dtype=np.int64), refused

    def table(self) -> Shaped[np.ndarray, " family"]:
        """All that were asked for until now."""
        return np.array(self._rows, dtype=self.dtype)

    def _number(self, cell: Cell) -> int | ValueError:
        key = _key(cell)
        known = self._known.get(key)
        if known is None:
            try:
                row = self._row(cell)
            except ValueError as error:
                known = error
            else:
                known = len(self._rows)
                self._rows.append(row)
            self._known[key] = known
        return known

    def _row(self, cell: Cell) -> Shaped[np.ndarray, ""]:
        """Raises ValueError for a cell that the engine cannot train."""
        check_size(cell)
        row = np.zeros((), dtype=self.dtype)
        row["spec"] = np.frombuffer(packed_spec(cell, variance=1.0), dtype=SPEC)[0]
        row["is_float32"] = cell.storage == "float32"
        row["epoch_flops"] = epoch_flops(cell)
        n_rates = 1 if cell.lr_schedule == "constant" else cell.max_epochs + 1
        counts = row["counts"] = (n_params(cell), *sample_counts(cell), n_rates)
        *row["arrays_at"], end = side_by_side(counts).tolist()
        row["image_bytes"] = end * NUMBER_BYTES
        return row
