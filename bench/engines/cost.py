"""Which cells PyTorch trains faster than the native engine: those that `engine=auto` leaves to it on a CPU."""

from __future__ import annotations

from typing import NamedTuple

from bench.protocol.cells import Cell


class Wide(NamedTuple):
    """From this depth, width and number of samples at a time on, all three, PyTorch's large matrix products pay."""

    depth: int
    width: int
    samples: int


# By the native engine's instruction set, as `make perf ARGS='-k test_engines'` measures it, up to width 2048. Of those that are
# not here nobody has seen PyTorch ahead: not of AVX-512, which was measured, nor of the others, which were not.
FASTER_BY_TORCH = {"avx2": Wide(depth=2, width=1024, samples=512)}


def torch_is_faster(cell: Cell, instruction_set: str) -> bool:
    """Whether PyTorch trains this cell faster than the native engine with this instruction set does.

    By the cell alone, so that what trains beside it does not change which engine it gets, and with it the last digits; a run
    with fewer wide cells than threads may wait for them longer than it would have. What draws random numbers in every step
    (dropout, input noise) is native's: the draws cost PyTorch more than the products save.
    """
    least = FASTER_BY_TORCH.get(instruction_set)
    if least is None or cell.dropout or cell.input_noise:
        return False
    at_once = min(cell.n_samples, cell.batch_size or cell.n_samples)
    return cell.depth >= least.depth and cell.width >= least.width and at_once >= least.samples
