"""The portable engine: packs of networks trained by batched PyTorch operations on any torch device.

A pack's cells share a kind (`torch_state.Kind`: the same code and the same padded array shapes). As many as pay train at once;
whenever some finish, the next of the pack take their places. A cell's arithmetic is a function of its kind alone, so its
neighbours do not enter into its result: on the CPU, where one thread runs each pack, bit for bit; on CUDA up to the
rounding of the
batched products that cuBLAS picks for the number of cells at hand.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Int

from bench.engines import api
from bench.engines.api import NONE_BEGUN, TrainReport, goes_on_from
from bench.engines.packs import Pack, epoch_flops
from bench.engines.precision import full_precision
from bench.engines.record import RecordTable
from bench.engines.schedules import learning_rates
from bench.engines.torch_chunk import Chunk, Tables
from bench.engines.torch_state import DTYPES, Kind, State, initial_state, kind_of
from bench.protocol.cells import SECOND_ORDER, Cell, Checkpoint
from bench.protocol.philox import permutation
from bench.protocol.streams import KERNEL_FIELDS, kernel_key

# Scratch and state of the cells that train at once on one CPU core. `make perf` shows the step's speed against the pack
# size: from
# about this much on, the arrays of a step fall out of a core's caches.
CPU_BYTES = 5 << 19
# On CUDA there is no cache to stay in: cells enough to fill the chip, bounded by a share of its memory.
CUDA_MEMORY_SHARE = 0.25
CUDA_SLOTS = 4096

# Padded sizes for each doubling. On a CPU padding costs arithmetic; on CUDA it buys fewer, larger launches.
CPU_PADDING_STEPS = 4
CUDA_PADDING_STEPS = 1

# A chunk is short enough to stop, report and refill at, and long enough to hide the host's part in it.
CHUNK_S = 0.05
FIRST_EPOCHS = 4
MOST_EPOCHS = 128
# On CUDA the optimizer steps in a chunk, which is a graph captured once and replayed: some ten thousand kernels.
CUDA_STEPS = 32
# Words of a Philox call in flight for one cell, beside the masks themselves.
BYTES_OF_DRAWS = 1 << 16


class TorchEngine:
    """Trains packs on one torch device; see `bench.engines.api.Engine`."""

    name = "torch"
    threaded = False

    def __init__(self, device: str):
        """`device` is a torch device, such as "cpu" or "cuda:0"."""
        self.device = torch.device(device)
        self._on_cuda = self.device.type == "cuda"

    def device_name(self) -> str:
        """What the table says in its `device` column."""
        return torch.cuda.get_device_name(self.device) if self._on_cuda else "cpu"

    def supports(self, cell: Cell) -> bool:
        """Every valid cell but those of optimizer=lm."""
        return cell.optimizer != SECOND_ORDER

    def kind(self, cell: Cell) -> Kind:
        return kind_of(cell, CUDA_PADDING_STEPS if self._on_cuda else CPU_PADDING_STEPS)

    def slots(self, cell: Cell) -> int:
        """How many cells like this one train best at a time: by the caches of a core, or by the memory of the device."""
        kind = self.kind(cell)
        if not self._on_cuda:
            return max(1, CPU_BYTES // _bytes_at_once(kind))
        # Of all its memory, not of what is free: what trains together must not depend on what else uses the device.
        memory = torch.cuda.get_device_properties(self.device).total_memory
        return max(1, min(CUDA_SLOTS, int(memory * CUDA_MEMORY_SHARE) // _bytes_in_all(kind)))

    def train(
        self,
        pack: Pack,
        *,
        n_predictions: int = 0,
        jacobian_rank: bool = False,
        begun: Mapping[Cell, Checkpoint] = NONE_BEGUN,
    ) -> Iterator[TrainReport]:
        """Train every cell of the pack to its end; see `bench.engines.api.Engine.train`.

        Raises:
            ValueError: the pack's cells are not of one kind.
        """
        kinds = {self.kind(cell) for cell in pack.cells}
        if len(kinds) != 1:
            rule = f"a pack of the torch engine holds cells of one kind, not of {len(kinds)}"
            raise ValueError(f"{rule}; make packs with bench.engines.packs.plan")
        (kind,) = kinds
        waiting = list(reversed(pack.cells))
        table = RecordTable(len(pack.cells))
        rows: list[int] = []  # of the table, for each row of the chunk
        chunk: Chunk | None = None
        epochs = max(1, CUDA_STEPS // len(kind.batches)) if self._on_cuda else FIRST_EPOCHS
        saved_at = time.monotonic()
        while waiting or rows:
            if chunk is None or self._has_room(table, rows):
                chunk = self._refilled(chunk, table, rows, waiting, kind, pack.slots, begun)
            cells = [cell for row in rows if (cell := table.cells[row])]
            if not self._on_cuda:
                left = (cell.max_epochs - epoch for cell, epoch in zip(cells, table.epoch[rows].tolist(), strict=True))
                epochs = min(epochs, 1 + max(left))
            started = time.perf_counter()
            with full_precision():
                history = chunk.run(self._tables(cells, table.epoch[rows], kind, epochs))
                tau, val_mse, right, active = (values.cpu().numpy() for values in history)
            elapsed = time.perf_counter() - started
            running = np.flatnonzero(~table.ended[rows])
            active = active[:, running]
            stopped = (~active).any(axis=0)
            counts = np.where(stopped, active.argmin(axis=0) + 1, len(active))
            measured = np.arange(len(active)) < counts[:, None]
            own_tau = tau.T[running][measured]
            own_val = val_mse.T[running][measured] if kind.n_val else own_tau[:0]
            trained = table.absorb(
                np.array(rows)[running],
                counts,
                np.asarray(stopped),
                own_tau.astype(np.float64),
                own_val.astype(np.float64),
                np.full(len(running), elapsed / len(running)),
                right.T[running][measured] if kind.loss == "cross_entropy" else None,
            )
            flops = sum(count * epoch_flops(cells[row]) for row, count in zip(running.tolist(), trained.tolist(), strict=True))
            ended = running[stopped].tolist()
            with full_precision():
                predictions = _predictions(chunk, ended, n_predictions)
            asked = jacobian_rank or kind.loss == "cross_entropy"
            layers = [chunk.layers_of(row, cells[row]) for row in ended] if asked else None
            pairs = [predictions[row] for row in ended]
            checkpoints: list[Checkpoint] = []
            if time.monotonic() - saved_at >= api.CHECKPOINT_S:
                checkpoints = self._checkpoints(chunk, table, rows)
                saved_at = time.monotonic()
            outcomes = table.outcomes(np.array(rows)[ended], self.name, self.device_name(), pairs, layers, ranks=jacobian_rank)
            yield TrainReport(outcomes, flops, checkpoints=checkpoints)
            if table.ended[rows].all():
                rows, chunk = [], None
            if not self._on_cuda:
                epochs = _next_epochs(epochs, elapsed)

    def _has_room(self, table: RecordTable, rows: list[int]) -> bool:
        """Whether to drop ended cells: on the CPU at once; on CUDA, where it costs a new graph, when half have ended."""
        ended = int(table.ended[rows].sum())
        return ended > 0 and (not self._on_cuda or 2 * ended >= len(rows))

    def _checkpoints(self, chunk: Chunk, table: RecordTable, rows: list[int]) -> list[Checkpoint]:
        """Of cells that train on, those with the most epochs behind them first, as many as may be saved at a time."""
        running = [(-int(table.epoch[number]), row, number) for row, number in enumerate(rows) if not table.ended[number]]
        most = max(1, api.CHECKPOINT_BYTES // (4 * chunk.state.params[0].nbytes))
        here = self.name, self.device_name()
        return [
            Checkpoint(cell, -epochs, *here, table.saved(number), chunk.state.saved(row))
            for epochs, row, number in sorted(running)[:most]
            if (cell := table.cells[number])
        ]

    def _refilled(
        self,
        chunk: Chunk | None,
        table: RecordTable,
        rows: list[int],
        waiting: list[Cell],
        kind: Kind,
        slots: int,
        before: Mapping[Cell, Checkpoint],
    ) -> Chunk:
        """The cells still running, and as many waiting ones as there are slots for. Updates `table`, `rows` and `waiting`."""
        states = []
        if chunk is not None:
            kept = [row for row, number in enumerate(rows) if not table.ended[number]]
            rows[:] = [rows[row] for row in kept]
            states.append(chunk.state.rows(torch.tensor(kept, device=self.device)))
        begun = len(table.cells) - len(waiting)
        admitted = [waiting.pop() for _ in range(min(len(waiting), slots - len(rows)))]
        if admitted:
            fresh = initial_state(admitted, kind, self.device)
            new = range(begun, begun + len(admitted))
            table.begin(np.array(new), admitted, fresh.variance.cpu().numpy().astype(np.float64))
            for row, (number, cell) in enumerate(zip(new, admitted, strict=True)):
                if saved := goes_on_from(before, cell, self.name, self.device_name()):
                    table.restore(number, saved.record)
                    fresh.restore(row, saved.state)
            rows += new
            states.append(fresh)
        return Chunk(functools.reduce(State.joined, states), kind)

    def _tables(self, cells: Sequence[Cell], first: Int[np.ndarray, " cell"], kind: Kind, epochs: int) -> Tables:
        """The host's numbers for the next chunk; each cell counts epochs and steps from its own start."""
        per_epoch = len(kind.batches)
        offsets = np.arange(epochs)
        steps = np.arange(epochs * per_epoch)
        columns = []
        for cell, at in zip(cells, first.tolist(), strict=True):
            at_steps = at * per_epoch + steps
            taken = at_steps + 1
            rates = learning_rates(cell, at + offsets).repeat(per_epoch)
            columns.append((at + offsets, at_steps, rates, 1 / (1 - cell.beta1**taken), 1 / np.sqrt(1 - cell.beta2**taken)))
        epoch, step, rate, inverse1, inverse2 = (np.stack(column, axis=1) for column in zip(*columns, strict=True))
        budget = np.array([cell.max_epochs for cell in cells])
        order = place = np.zeros((epochs, len(cells), 0), dtype=np.int64)
        if kind.shuffle:
            order, place = _shuffled(cells, first, kind, epochs)

        def real(values: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(values.astype(np.float64)).to(self.device, DTYPES[kind.dtype])

        return Tables(
            epoch=real(epoch),
            has_budget=torch.from_numpy(epoch < budget).to(self.device),
            step=torch.from_numpy(step).to(self.device),
            rate=real(rate[:, :, None]),
            inverse_correction1=real(inverse1[:, :, None]),
            inverse_sqrt_correction2=real(inverse2[:, :, None]),
            order=torch.from_numpy(order).to(self.device),
            place=torch.from_numpy(place).to(self.device),
        )


def _next_epochs(epochs: int, elapsed_s: float) -> int:
    """Epochs for the next chunk, a power of two near CHUNK_S. Results do not depend on it: an ended cell stands still."""
    if elapsed_s > CHUNK_S:
        return max(1, epochs // 2)
    return min(MOST_EPOCHS, epochs * 2) if 2 * elapsed_s < CHUNK_S else epochs


def _shuffled(cells: Sequence[Cell], first: Int[np.ndarray, " cell"], kind: Kind, epochs: int) -> tuple[np.ndarray, np.ndarray]:
    """For each epoch, cell and place of a batch: the sample it takes, and where the state's arrays hold it."""
    order = np.zeros((epochs, len(cells), kind.places), dtype=np.int64)
    # Where sample i of the order goes: batch after batch, each at the beginning of its room. Other places take sample 0,
    # without weight.
    batch = kind.batch_size or kind.room
    samples = np.arange(sum(kind.batches))
    goes_to = samples // batch * kind.room + samples % batch
    for row, (cell, at) in enumerate(zip(cells, first.tolist(), strict=True)):
        key = kernel_key(cell, "batch order", KERNEL_FIELDS)
        for k in range(epochs):
            order[k, row, goes_to] = permutation(key, at + k, len(samples))
    return order, order // batch * kind.room + order % batch


def _predictions(chunk: Chunk, rows: list[int], count: int) -> dict[int, tuple[tuple[float, float], ...]]:
    """(target, prediction) pairs of the first samples of the cells in these rows."""
    if not rows or not count:
        return dict.fromkeys(rows, ())
    targets, outputs = (values.cpu().tolist() for values in chunk.predict(count))
    sizes = chunk.state.n_samples.long().tolist()
    return {row: tuple(zip(targets[row], outputs[row], strict=True))[: sizes[row]] for row in rows}


def _bytes_at_once(kind: Kind) -> int:
    """What one cell touches again and again in a step: activations, deltas, parameters and their optimizer state."""
    samples = max(kind.room, kind.places // 8 if kind.evaluates_apart else 0)
    activations = ((kind.depth * (1 + kind.dropout) + 2) * kind.width + 2 * (kind.n_out - 1)) * samples
    return (activations + 4 * sum(kind.blocks)) * DTYPES[kind.dtype].itemsize


def _bytes_in_all(kind: Kind) -> int:
    """Upper estimate of all that one cell takes on a device, while a refill holds the old state beside the new."""
    samples = kind.places + kind.n_val
    state = samples * (kind.d_in + 1 + kind.n_targets) + 4 * sum(kind.blocks)
    layers = 3 + kind.dropout if kind.dropout else 2
    several = 4 * (kind.n_out - 1) * samples
    scratch = several + (kind.depth * layers + 2) * kind.width * kind.room + 2 * kind.width * samples + 3 * sum(kind.blocks)
    scratch += kind.orthogonal * (sum(kind.blocks) + 5 * kind.width**2)
    tables = CUDA_STEPS * (8 + 4 * kind.places * kind.shuffle)
    return (2 * state + scratch + tables) * DTYPES[kind.dtype].itemsize + BYTES_OF_DRAWS * (kind.dropout or kind.input_noise)
