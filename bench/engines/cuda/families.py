"""What cells have in common that differ in their draws or learning rates alone: looked up for each, made once."""

from __future__ import annotations

from operator import attrgetter
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from bench.engines.cuda.fits import Fits
from bench.engines.cuda.tiles import Kernel, threads_for
from bench.engines.draws import NUMBER_BYTES, sample_counts, side_by_side
from bench.engines.packs import epoch_flops
from bench.engines.task import SPEC, check_size, packed_spec
from bench.protocol.cells import FIELDS, Cell
from bench.protocol.networks import n_params

# The arrays of a cell that the core reads, in the order in which they lie: pointers of a task.
ARRAYS = ("params", "inputs", "targets", "val_inputs", "val_targets", "rates")

# Every cell's own memory begins on such a boundary, in bytes.
ALIGNMENT = 64

FAMILY = np.dtype(
    [
        ("spec", SPEC),  # of one of the cells: the others have other variances, and other keys
        ("group", np.int64),  # families that one launch can train together
        ("is_float32", np.bool_),
        ("n_params", np.int64),
        ("n_rates", np.int64),
        ("n_saved", np.int64),  # numbers that outlast an epoch: parameters and moments
        ("n_targets", np.int64),  # of a sample
        ("epoch_flops", np.float64),
        ("arrays_at", np.int64, len(ARRAYS)),  # numbers from the beginning of the cell's image
        ("image_bytes", np.int64),
        ("memory_bytes", np.int64),
        ("scratch_bytes", np.int64),
        ("shares", np.int64),
    ]
)

# What only the arrays of a cell depend on. `regularization` names strengths that are fields themselves.
ARRAYS_ALONE = (
    *("data_seed", "init_seed", "target", "target_scaling", "init", "init_scale", "learning_rate", "regularization"),
)

_key = attrgetter(*(name for name in FIELDS if name not in ARRAYS_ALONE))


class Group(NamedTuple):
    """What one launch has in common; blocks with a little more scratch fit as often."""

    kernel: Kernel
    threads: int
    places: int


class Families:
    """The families of a device's cells, by number."""

    def __init__(self, fits: Fits):
        self.groups: list[Group] = []
        self._fits = fits
        self._known: dict[tuple[object, ...], int | ValueError] = {}
        self._rows: list[Shaped[np.ndarray, ""]] = []

    def number(self, cell: Cell) -> int | ValueError:
        """Of a cell's family, a row of `table`; or why the device cannot train it."""
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

    def table(self) -> Shaped[np.ndarray, " family"]:
        """All that were asked for until now."""
        return np.array(self._rows, dtype=FAMILY)

    def _row(self, cell: Cell) -> Shaped[np.ndarray, ""]:
        check_size(cell)
        fit = self._fits.fit(cell)
        if fit is None:
            raise ValueError("its activations do not fit on the chip; use engine=torch")
        threads = threads_for(cell, fit.kernel)
        group = Group(fit.kernel, threads, self._fits.device.teams(fit.kernel, threads, fit.sizes.scratch, 1))
        if group not in self.groups:
            self.groups.append(group)
        row = np.zeros((), dtype=FAMILY)
        row["spec"] = np.frombuffer(packed_spec(cell, variance=1.0), dtype=SPEC)[0]
        row["group"] = self.groups.index(group)
        row["is_float32"] = cell.storage == "float32"
        row["n_params"] = n_params(cell)
        row["n_rates"] = 1 if cell.lr_schedule == "constant" else cell.max_epochs + 1
        row["n_saved"] = n_params(cell) * (2 if cell.optimizer == "sgd" else 4 if cell.amsgrad else 3)
        row["n_targets"] = cell.n_outputs
        row["epoch_flops"] = epoch_flops(cell)
        *arrays_at, end = side_by_side((n_params(cell), *sample_counts(cell), int(row["n_rates"]))).tolist()
        row["arrays_at"] = arrays_at
        row["image_bytes"] = end * NUMBER_BYTES
        row["memory_bytes"] = -(-fit.sizes.memory // ALIGNMENT) * ALIGNMENT
        row["scratch_bytes"] = fit.sizes.scratch
        row["shares"] = fit.sizes.shares
        return row
