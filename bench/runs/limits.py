"""What is too large to train, told before any memory is taken."""

from __future__ import annotations

from collections.abc import Iterable

from bench.machine.memory import most_memory_bytes
from bench.protocol.cells import SECOND_ORDER, Cell
from bench.protocol.grid import GridError
from bench.protocol.networks import n_params, n_trained

# Data and initial weights are drawn in float64.
DRAWN_BYTES = 8

# A layer is a few objects of Python beside its numbers.
LAYER_BYTES = 500

# What every optimizer holds of each parameter: the drawn weight; in float32, the weight and its gradient. And what optimizer=lm
# holds of its system: itself, and its factor.
COPIES = 2

GB = 1e9


def check_size(cells: Iterable[Cell]) -> None:
    """That each of the cells fits into this machine's memory, by the least that its training takes.

    Raises:
        GridError: one does not.
    """
    most = most_memory_bytes()
    seen: set[tuple[int, ...]] = set()
    for cell in cells:
        shape = (
            cell.n_samples,
            cell.n_val,
            cell.d_in,
            cell.depth,
            cell.width,
            cell.optimizer == SECOND_ORDER and 1 + (cell.trainable == "readout"),
            0 if cell.lr_schedule == "constant" else cell.max_epochs,
        )
        if shape in seen:
            continue
        seen.add(shape)
        parts = _least_bytes(cell)
        if sum(parts.values()) > most:
            name = max(parts, key=parts.__getitem__)
            rule = f"takes at least {_spell(sum(parts.values()))} to train, and this machine has {_spell(most)} of memory"
            raise GridError(name, getattr(cell, name), rule, "give a smaller number")


def _least_bytes(cell: Cell) -> dict[str, int]:
    """The least that training takes, by the field that is most to blame."""
    network = "width" if cell.depth and cell.width >= cell.depth else "depth" if cell.depth else "d_in"
    samples = {name: getattr(cell, name) * (cell.d_in + 1) * DRAWN_BYTES for name in ("n_samples", "n_val")}
    if cell.optimizer == SECOND_ORDER:
        size = n_trained(cell)
        formed = cell.n_samples * size if size < cell.n_samples else 0
        samples["n_samples"] += (min(cell.n_samples, size) ** 2 * COPIES + formed) * DRAWN_BYTES
    rates = 0 if cell.lr_schedule == "constant" else cell.max_epochs * DRAWN_BYTES
    return {network: n_params(cell) * COPIES * DRAWN_BYTES + cell.depth * LAYER_BYTES, **samples, "max_epochs": rates}


def _spell(n_bytes: int) -> str:
    return f"{n_bytes / GB:.3g} GB"
