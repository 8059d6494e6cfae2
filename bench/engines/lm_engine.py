"""The engine of optimizer=lm: packs of networks of one shape by Levenberg and Marquardt's method, on any torch device.

Its epochs are iterations, each of one Jacobian: a gradient of each sample and output, where a full-batch epoch of the others
takes one of each sample, and the solution of a linear system besides. It is batched: a network's neighbours change its
products by rounding at most. A network that finds no step which lowers its loss stands still for the rest of its budget, and
is censored.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bench.engines import api
from bench.engines.api import NONE_BEGUN, TrainReport, goes_on_from
from bench.engines.derivatives import Layers, Shape, outputs, shape_of
from bench.engines.levenberg import WIDEST, Networks, iterate
from bench.engines.packs import Pack, epoch_flops
from bench.engines.record import RecordTable
from bench.engines.squares import labels_right, mean_loss
from bench.engines.task import predicted
from bench.protocol.cells import SECOND_ORDER, Cell, Checkpoint
from bench.protocol.networks import Layer, initial_layers, n_out
from bench.protocol.noise import training_data, validation_data

# What the matrices of networks that train at once take on one CPU core, and of a GPU's memory: of larger systems one at a time
# keeps a core busy, small ones share the cost of issuing operations.
CPU_BYTES = 1 << 24
CUDA_MEMORY_SHARE = 0.25
CUDA_SLOTS = 4096

# Iterations between reports.
CHUNK_S = 0.05

NUMBER_BYTES = 8


class LmEngine:
    """Trains packs on one torch device; see `bench.engines.api.Engine`."""

    name = "lm"
    threaded = False

    def __init__(self, device: str):
        """`device` is a torch device with float64, such as "cpu" or "cuda:0"."""
        self.device = torch.device(device)

    def device_name(self) -> str:
        """What the table says in its `device` column."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"

    def supports(self, cell: Cell) -> bool:
        """Every valid cell of its optimizer."""
        return cell.optimizer == SECOND_ORDER

    def kind(self, cell: Cell) -> Shape:
        return shape_of(cell)

    def slots(self, cell: Cell) -> int:
        """How many cells like this one train best at a time."""
        own = bytes_of(cell)
        if self.device.type != "cuda":
            return max(1, CPU_BYTES // own)
        memory = torch.cuda.get_device_properties(self.device).total_memory
        return max(1, min(CUDA_SLOTS, int(memory * CUDA_MEMORY_SHARE) // own))

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
            ValueError: the pack's cells are not of one shape.
        """
        shapes = {self.kind(cell) for cell in pack.cells}
        if len(shapes) != 1:
            rule = f"a pack of the lm engine holds cells of one shape, not of {len(shapes)}"
            raise ValueError(f"{rule}; make packs with bench.engines.packs.plan")
        (shape,) = shapes
        waiting = list(reversed(pack.cells))
        table = RecordTable(len(pack.cells))
        rows = np.zeros(0, dtype=np.int64)  # of the table, for each network
        networks: Networks | None = None
        saved_at = time.monotonic()
        while waiting or len(rows):
            started = time.perf_counter()
            new: list[Networks] = [] if networks is None else [networks]
            first = len(table.cells) - len(waiting)
            while waiting and len(rows) + len(new) - (networks is not None) < pack.slots:
                number, cell = len(table.cells) - len(waiting), waiting.pop()
                saved = goes_on_from(begun, cell, self.name, self.device_name())
                new.append(self._begin(table, number, cell, shape, saved))
            rows = np.concatenate([rows, np.arange(first, len(table.cells) - len(waiting))])
            networks = new[0].joined(*new[1:])
            cells = [cell for row in rows.tolist() if (cell := table.cells[row])]
            tau, val_mse, right, ended = _chunk(cells, table.epoch[rows], networks, shape, until=started + CHUNK_S)
            over = np.flatnonzero(ended)
            numbers = [np.asarray(one[over].cpu()) for one in (networks.targets, networks.outputs, networks.flat)]
            if len(over):
                networks = networks.of(torch.from_numpy(np.flatnonzero(~ended)).to(self.device))
            # What was measured last is followed by the iteration that it is the beginning of.
            if len(over) < len(rows):
                iterate(networks, shape)
            elapsed = time.perf_counter() - started
            trained = (len(tau) - ended).tolist()
            flops = sum(count * epoch_flops(cell) for count, cell in zip(trained, cells, strict=True))
            _absorb(table, rows, cells, tau, val_mse, right, ended, np.full(len(rows), elapsed / len(rows)))
            pairs = [_pairs(cells[at], y, said, n_predictions) for at, y, said in zip(over.tolist(), *numbers[:2], strict=True)]
            # What labels store is told from the final weights.
            wanted = jacobian_rank or shape.loss == "cross_entropy"
            layers = [_layers_of(flat, shape) for flat in numbers[2]] if wanted else None
            outcomes = table.outcomes(rows[over], self.name, self.device_name(), pairs, layers, ranks=jacobian_rank)
            rows = rows[~ended]
            checkpoints: list[Checkpoint] = []
            if time.monotonic() - saved_at >= api.CHECKPOINT_S:
                checkpoints, saved_at = self._checkpoints(table, rows, networks), time.monotonic()
            yield TrainReport(outcomes, flops, checkpoints=checkpoints)

    def _begin(self, table: RecordTable, number: int, cell: Cell, shape: Shape, saved: Checkpoint | None) -> Networks:
        """A network at epoch 0, or as it was saved."""
        train, val = training_data(cell), validation_data(cell)
        flat = np.concatenate([part.ravel() for layer in initial_layers(cell) for part in layer])
        inputs, targets, val_inputs, val_targets, params = (
            torch.from_numpy(array).to(self.device).unsqueeze(0)
            for array in (train.inputs, train.targets.ravel(), val.inputs, val.targets.ravel(), flat)
        )
        said = outputs(params, inputs, shape)
        damping = torch.full((1,), torch.nan, dtype=params.dtype, device=self.device)
        stuck, still = torch.zeros_like(damping), torch.zeros(1, dtype=torch.bool, device=self.device)
        variance = torch.full_like(damping, train.target_variance)
        smoothing = torch.full_like(damping, WIDEST if shape.kinked else 0.0)
        networks = Networks(params, inputs, targets, variance, val_inputs, val_targets, said, damping, smoothing, stuck, still)
        table.begin(np.array([number]), [cell], np.array([train.target_variance]))
        if saved and is_state_of(networks, saved.state):
            table.restore(number, saved.record)
            parts = torch.frombuffer(bytearray(saved.state), dtype=params.dtype).to(self.device)
            for own, part in zip(_trained(networks), parts.split([own.numel() for own in _trained(networks)]), strict=True):
                own.copy_(part.view_as(own))
        return networks

    def _checkpoints(self, table: RecordTable, rows: np.ndarray, networks: Networks) -> list[Checkpoint]:
        """Of the networks that train on, as many as may be saved at a time, those with the most epochs behind them first."""
        most = max(1, api.CHECKPOINT_BYTES // max(1, networks.flat[:1].nbytes + networks.outputs[:1].nbytes))
        chosen = np.argsort(-table.epoch[rows], kind="stable")[:most].tolist()
        state = {at: torch.cat([own[at].reshape(-1) for own in _trained(networks)]).cpu().numpy().tobytes() for at in chosen}
        return [
            Checkpoint(cell, int(table.epoch[row]), self.name, self.device_name(), table.saved(row), state[at])
            for at in chosen
            if (cell := table.cells[row := int(rows[at])])
        ]


def _chunk(
    cells: list[Cell], epochs: Int[np.ndarray, " cell"], networks: Networks, shape: Shape, *, until: float
) -> tuple[
    Float[np.ndarray, "epoch cell"], Float[np.ndarray, "epoch _"], Int[np.ndarray, "epoch _"], Bool[np.ndarray, " cell"]
]:
    """(tau, validation loss, labels right, which cells end with the last of these): epochs until one ends, or until then.

    Without validation samples, or labels, there are none of them.
    """
    budgets = np.array([cell.max_epochs for cell in cells])
    taus: list[np.ndarray] = []
    vals: list[np.ndarray] = []
    rights: list[np.ndarray] = []
    while True:
        taus.append(np.asarray((mean_loss(networks.outputs, networks.targets, shape) / networks.variance).cpu()))
        if shape.n_val:
            said = outputs(networks.flat, networks.val_inputs, shape)
            vals.append(np.asarray(mean_loss(said, networks.val_targets, shape).cpu()))
        if shape.loss == "cross_entropy":
            rights.append(np.asarray(labels_right(networks.outputs, networks.targets, shape).cpu()))
        ended = _memorized(cells, taus[-1], rights[-1] if rights else None)
        ended |= ~np.isfinite(taus[-1]) | (epochs + len(taus) > budgets) | np.asarray(networks.still.cpu())
        if ended.any() or time.perf_counter() >= until:
            none = np.zeros((len(taus), 0))
            return np.stack(taus), np.stack(vals) if vals else none, np.stack(rights) if rights else none.astype(int), ended
        iterate(networks, shape)


def _memorized(
    cells: list[Cell], tau: Float[np.ndarray, " cell"], right: Int[np.ndarray, " cell"] | None
) -> Bool[np.ndarray, " cell"]:
    """Which cells have by these measures."""
    reached = tau <= [cell.tau for cell in cells]
    if right is None:
        return reached
    everything = right == [cell.n_samples for cell in cells]
    return np.where([cell.criterion == "recall" for cell in cells], everything & np.isfinite(tau), reached)


def _pairs(
    cell: Cell, targets: Float[np.ndarray, " target"], said: Float[np.ndarray, " output"], count: int
) -> tuple[tuple[float, float], ...]:
    """(target, prediction) of the first samples; of several outputs the first."""
    count = min(count, cell.n_samples)
    told = predicted(cell, said[: count * n_out(cell)].tolist())
    return tuple(zip(targets[:: cell.n_outputs][:count].tolist(), told, strict=True)) if count else ()


def bytes_of(cell: Cell) -> int:
    """What training a cell takes at least, in bytes: its system twice, and the Jacobian where that is formed."""
    shape = shape_of(cell)
    rows = shape.n_residuals
    side, units = min(rows, shape.n_trained), shape.depth * shape.width + shape.d_in + 1
    formed = rows * shape.n_trained if shape.n_trained < rows else 0
    return NUMBER_BYTES * (2 * side**2 + formed + rows * (3 * units + shape.n_out))


def is_state_of(networks: Networks, state: bytes) -> bool:
    """Whether it is as long as what is saved of such a network: a file may hold anything, and then the cell begins anew."""
    return len(state) == sum(own[0].nbytes for own in _trained(networks))


def _trained(networks: Networks) -> tuple[Tensor, ...]:
    """What training changes, but for who stands still."""
    return networks.flat, networks.outputs, networks.damping, networks.smoothing, networks.stuck


def _layers_of(flat: np.ndarray, shape: Shape) -> list[Layer]:
    """Weights and biases of one network."""
    layers = Layers(torch.from_numpy(flat).unsqueeze(0), shape).of
    return [Layer(weight[0].numpy().copy(), bias[0, 0].numpy().copy()) for weight, bias in layers]


def _absorb(
    table: RecordTable,
    rows: np.ndarray,
    cells: list[Cell],
    tau: Float[np.ndarray, "epoch cell"],
    val_mse: Float[np.ndarray, "epoch _"],
    right: Int[np.ndarray, "epoch _"],
    ended: Bool[np.ndarray, " cell"],
    time_s: Float[np.ndarray, " cell"],
) -> None:
    """Into the table; who stands still measures the same until the budget is spent."""
    last = table.epoch[rows] + len(tau) - 1
    budgets = np.array([cell.max_epochs for cell in cells])
    stands = ended & np.isfinite(tau[-1]) & ~_memorized(cells, tau[-1], right[-1] if right.size else None)
    counts = len(tau) + np.where(stands, budgets - last, 0)

    def of_all(values: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [np.pad(own, (0, count - len(own)), mode="edge") for own, count in zip(values.T, counts, strict=True)]
        )

    every_right = of_all(right) if right.size else np.zeros(0, dtype=np.int64)
    table.absorb(rows, counts, ended, of_all(tau), of_all(val_mse) if val_mse.size else np.zeros(0), time_s, every_right)
