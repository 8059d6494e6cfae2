"""A chunk of epochs of many networks at once: forward, hand-written backward, update, and no word with the host in between.

Everything is laid out [cell][unit][sample]: the products are batched, the biases ride along in `baddbmm`, and the flat
[cell][parameter] arrays make an optimizer step a handful of element-wise passes.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bench.engines.activations import ACTIVATIONS
from bench.engines.orthogonal import orthogonalised
from bench.engines.precision import to_tf32
from bench.engines.torch_state import DTYPES, SAMPLE_GRANULE, Kind, State
from bench.protocol.cells import Cell
from bench.protocol.networks import Layer, layer_sizes
from bench.protocol.philox import dropout_masks, normals

# What runs once before a CUDA graph is captured, so that libraries allocate their workspaces outside it.
GRAPH_WARM_UP_EPOCHS = 1

# Random draws made in one go: enough to hide the cost of issuing operations, few enough to stay in a core's cache.
DRAWS_AT_ONCE = 1 << 18


@dataclasses.dataclass
class Tables:
    """What the host computes for a chunk beforehand: numbers that depend on the epoch or the step alone.

    `order` and `place` are empty but for shuffled batches: the sample that each place of an epoch's batches takes, and where
    the state's arrays hold it.
    """

    epoch: Float[Tensor, "epoch cell"]
    has_budget: Bool[Tensor, "epoch cell"]
    step: Int[Tensor, "step cell"]
    rate: Float[Tensor, "step cell 1"]
    inverse_correction1: Float[Tensor, "step cell 1"]
    inverse_sqrt_correction2: Float[Tensor, "step cell 1"]
    order: Int[Tensor, "epoch cell place"]
    place: Int[Tensor, "epoch cell place"]

    def copy_(self, other: Tables) -> None:
        for field in dataclasses.fields(self):
            getattr(self, field.name).copy_(getattr(other, field.name))


class History(NamedTuple):
    """What a chunk reports: each epoch's measures before its updates, and whether the cell went on from there.

    `right` counts labels, and is 0 where there are none.
    """

    tau: Float[Tensor, "epoch cell"]
    val_mse: Float[Tensor, "epoch cell"]
    right: Int[Tensor, "epoch cell"]
    active: Bool[Tensor, "epoch cell"]


class _Layers:
    """Views of a flat array of parameters as the weights [cell out in] and biases [cell out 1] of each layer."""

    def __init__(self, flat: Float[Tensor, "cell param"], kind: Kind):
        parts = flat.split(kind.blocks, dim=1)
        self.weights = [
            part[:, : out * fan_in].view(-1, out, fan_in) for part, (out, fan_in) in zip(parts[::2], kind.sizes, strict=True)
        ]
        self.biases = [part[:, :out].unsqueeze(2) for part, (out, _) in zip(parts[1::2], kind.sizes, strict=True)]


class Chunk:
    """Runs epochs of the cells in `state`. Scratch memory is allocated once; on CUDA the epochs are captured in a graph."""

    def __init__(self, state: State, kind: Kind):
        self.state, self.kind = state, kind
        self.activation = ACTIVATIONS[kind.activation]
        cells, device, dtype = len(state.params), state.params.device, DTYPES[kind.dtype]
        self.device = device

        def scratch(*shape: int) -> Tensor:
            return torch.empty(cells, *shape, dtype=dtype, device=device)

        self.trained = slice(-sum(kind.blocks[-2:]) if kind.trainable == "readout" else 0, None)
        self.layers = _Layers(state.params, kind)
        self.gradient = torch.zeros_like(state.params)
        self.gradients = _Layers(self.gradient, kind)
        self.ratio = torch.empty_like(state.params[:, self.trained])
        self.square = torch.empty_like(self.ratio)
        # By how much a step moves the mean of gradients: Adam's, or of what Muon trains its own.
        self.forgets = state.forgets1
        if kind.orthogonal:
            self.forgets = self.forgets.expand_as(state.params).clone()
            self.moments, self.ratios = _Layers(state.moment1, kind), _Layers(self.ratio, kind)
            for weight in _Layers(self.forgets, kind).weights[1:-1]:
                weight.copy_(state.forgets_momentum.unsqueeze(2))
        samples = kind.room
        self.outputs = [scratch(kind.width, samples) for _ in range(kind.depth)]
        self.inputs_of = (
            [scratch(kind.width, samples) for _ in range(kind.depth)] if self.activation.needs_input else self.outputs
        )
        self.dropped = [scratch(kind.width, samples) for _ in range(kind.depth)] if kind.dropout else self.outputs
        self.deltas = [scratch(kind.width, samples) for _ in range(2)]
        self.residual = scratch(kind.n_out, samples)
        self.has_labels = kind.loss == "cross_entropy"
        # exp saturates here, short of the smallest normal number, as in the native engine: no loss becomes 0 by underflow.
        self.least_exponent = math.ceil(math.log(torch.finfo(dtype).tiny))
        apart = max(kind.places if kind.evaluates_apart else 0, kind.n_val)
        self.evaluation = [scratch(kind.width, apart) for _ in range(2)]
        # One sum over all cells each: whether a term of the update is needed by any of them. For the others it is
        # then exactly neutral.
        self.has_weight_decay = bool(state.weight_decay.any())
        self.has_decoupled_decay = bool(state.decoupled_decay.any())
        self.has_l1 = bool(state.l1.any())
        self.has_max_norm = bool(torch.isfinite(state.max_norm).any())
        self.mask_units = self.activation.nonzero_at_zero and bool((state.units == 0).any())
        # Draws for several steps at a time, where these see the same samples: small tensors cost more to issue than to fill.
        draws = cells * samples * (kind.depth * kind.width * kind.dropout + kind.d_in * kind.input_noise)
        self.drawn_at_once = max(1, DRAWS_AT_ONCE // draws) if draws and len(kind.batches) == 1 else 1
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tables, History]] = {}

    def run(self, tables: Tables) -> History:
        """Train through the epochs of `tables`; a cell that ends on the way keeps the parameters it had at its end."""
        epochs = len(tables.epoch)
        if self.device.type != "cuda":
            history = self._new_history(epochs)
            self._epochs(tables, history)
            return history
        # Capture records the streams of the current device, whichever it is.
        with torch.cuda.device(self.device):
            if epochs not in self._graphs:
                self._graphs[epochs] = self._capture(tables)
            graph, own_tables, history = self._graphs[epochs]
            own_tables.copy_(tables)
            graph.replay()
        return history

    def predict(self, count: int) -> tuple[Float[Tensor, "cell sample"], Float[Tensor, "cell sample"]]:
        """Targets and outputs of the first `count` training samples, in evaluation mode; beyond a cell's own, whatever.

        Of several outputs the first of both; of classes the label and the one that is taken for it.
        """
        batch = self.kind.batch_size or self.kind.room
        last = (self.kind.n_samples or self.kind.room) - 1
        samples = torch.arange(-(-count // SAMPLE_GRANULE) * SAMPLE_GRANULE, device=self.device).clamp_max(last)
        places = samples // batch * self.kind.room + samples % batch
        inputs = self.state.inputs[:, :, places]
        scratch = [self.state.params.new_empty(len(inputs), self.kind.width, len(samples)) for _ in range(2)]
        outputs = self._evaluate(inputs, scratch)
        said = outputs.argmax(1).to(outputs.dtype) if self.has_labels else outputs[:, 0]
        return self.state.targets[:, 0, places][:, :count], said[:, :count]

    def layers_of(self, row: int, cell: Cell) -> list[Layer]:
        """Weights and biases of the cell in this row, in float64, without padding."""
        layers = []
        for weights, biases, (out, fan_in) in zip(self.layers.weights, self.layers.biases, layer_sizes(cell), strict=True):
            weight, bias = weights[row, :out, :fan_in], biases[row, :out, 0]
            layers.append(Layer(*(part.to("cpu", torch.float64, copy=True).numpy() for part in (weight, bias))))
        return layers

    def _capture(self, tables: Tables) -> tuple[torch.cuda.CUDAGraph, Tables, History]:
        """The chunk as a CUDA graph over buffers of its own. The state is put back as the warm-up run found it."""
        own_tables = Tables(**{field.name: getattr(tables, field.name).clone() for field in dataclasses.fields(tables)})
        history = self._new_history(len(tables.epoch))
        before = self.state.rows(torch.arange(len(self.state.params), device=self.device))
        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            self._epochs(own_tables, history, epochs=GRAPH_WARM_UP_EPOCHS)
        torch.cuda.current_stream(self.device).wait_stream(side)
        self.state.copy_(before)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._epochs(own_tables, history)
        return graph, own_tables, history

    def _new_history(self, epochs: int) -> History:
        cells = len(self.state.params)
        real = self.state.params.new_zeros(epochs, cells)
        right = torch.zeros(epochs, cells, dtype=torch.int64, device=self.device)
        return History(real, torch.zeros_like(real), right, torch.zeros_like(right, dtype=torch.bool))

    def _epochs(self, tables: Tables, history: History, epochs: int | None = None) -> None:
        state, kind = self.state, self.kind
        for k in range(len(tables.epoch) if epochs is None else epochs):
            if kind.evaluates_apart:
                self._measure(state.inputs, state.targets, state.valid, state.n_samples, history.tau[k], history.right[k])
            else:
                self._forward(state.inputs, None)
                self._losses(self.current, state.targets, state.valid, state.n_samples, history.tau[k], history.right[k])
            history.tau[k].div_(state.variance)
            if kind.n_val:
                self._measure(state.val_inputs, state.val_targets, state.val_valid, state.n_val, history.val_mse[k])
            self._decide(tables, history, k)
            if not kind.evaluates_apart:
                self._backward(state.inputs, state.n_samples, None)
                self._update(tables, k)
                continue
            for s, count in enumerate(kind.batches):
                self._batch_step(tables, k, s, count)

    def _batch_step(self, tables: Tables, k: int, s: int, count: int) -> None:
        """One optimizer step on the s-th batch of epoch k, of `count` samples."""
        state, kind = self.state, self.kind
        step, several = k * len(kind.batches) + s, kind.n_targets
        room = slice(s * kind.room, (s + 1) * kind.room)
        inputs, targets, valid = (tensor[:, :, room] for tensor in (state.inputs, state.targets, state.valid))
        samples = torch.arange(kind.room, device=self.device).repeat(len(state.params), 1) + s * (kind.batch_size or 0)
        if kind.shuffle:
            samples, places = tables.order[k][:, room], tables.place[k][:, None, room]
            inputs = state.inputs.gather(2, places.expand(-1, kind.d_in, -1))
            targets = state.targets.gather(2, places.expand(-1, several, -1))
        if kind.input_noise:
            inputs = torch.addcmul(inputs, self._noise(tables, step, samples), state.input_noise)
        masks = self._masks(tables, step, samples) if kind.dropout else None
        self._forward(inputs, masks)
        self._subtract(self.current, targets, valid)
        counts = state.n_samples if kind.batch_size is None else torch.full_like(state.n_samples, count)
        self._backward(inputs, counts, masks)
        self._update(tables, step)

    def _masks(self, tables: Tables, step: int, places: Int[Tensor, "cell sample"]) -> Float[Tensor, "layer cell unit sample"]:
        at = step % self.drawn_at_once
        if at == 0:
            steps = tables.step[step : step + self.drawn_at_once]
            self.drawn_masks = dropout_masks(
                self.state.dropout_key, self.state.dropout, steps, self.kind.depth, self.kind.width, places
            )
        return self.drawn_masks[at]

    def _noise(self, tables: Tables, step: int, places: Int[Tensor, "cell sample"]) -> Float[Tensor, "cell feature sample"]:
        at = step % self.drawn_at_once
        if at == 0:
            steps = tables.step[step : step + self.drawn_at_once]
            self.drawn_noise = normals(self.state.noise_key, steps, self.kind.d_in, places, self.state.params.dtype)
        return self.drawn_noise[at]

    def _decide(self, tables: Tables, history: History, k: int) -> None:
        """Which cells go on from epoch k: not those that reached tau, diverged, spent the budget, or ran out of patience."""
        state, tau = self.state, history.tau[k]
        unmet = tau > state.tau
        if self.has_labels:
            unmet = torch.where(state.by_recall, history.right[k] < state.n_samples, unmet)
        goes_on = unmet & torch.isfinite(tau) & tables.has_budget[k]
        if self.kind.n_val:
            better = history.val_mse[k] < state.best_val
            torch.where(better, history.val_mse[k], state.best_val, out=state.best_val)
            torch.where(better, tables.epoch[k], state.best_val_epoch, out=state.best_val_epoch)
            goes_on &= tables.epoch[k] - state.best_val_epoch < state.patience
        state.active &= goes_on
        history.active[k].copy_(state.active)

    def _evaluate(
        self, inputs: Float[Tensor, "cell feature sample"], scratch: list[Tensor]
    ) -> Float[Tensor, "cell output sample"]:
        """Outputs in evaluation mode, without keeping the hidden layers."""
        samples = inputs.shape[2]
        for layer in range(self.kind.depth):
            hidden = scratch[layer % 2][:, :, :samples]
            self._affine(layer, inputs, out=hidden)
            self.activation.forward(hidden, hidden)
            if self.mask_units:
                hidden.mul_(self.state.units)
            inputs = hidden
        return self._affine(-1, inputs)

    def _affine(self, layer: int, inputs: Tensor, out: Tensor | None = None) -> Tensor:
        return torch.baddbmm(self.layers.biases[layer], self._factor(self.layers.weights[layer]), self._factor(inputs), out=out)

    def _factor(self, numbers: Tensor) -> Tensor:
        """What a product takes of them."""
        return to_tf32(numbers) if self.kind.dtype == "tf32" else numbers

    def _measure(
        self, inputs: Tensor, targets: Tensor, valid: Tensor, count: Tensor, out: Tensor, right: Tensor | None = None
    ) -> None:
        """Loss over a whole data set, in evaluation mode, and how many labels are right."""
        self._losses(self._evaluate(inputs, self.evaluation), targets, valid, count, out, right)

    def _losses(
        self, outputs: Tensor, targets: Tensor, valid: Tensor, count: Tensor, out: Tensor, right: Tensor | None
    ) -> None:
        """The mean loss and how many labels are right; outputs become residuals, in place."""
        if not self.has_labels:
            total = self._subtract(outputs, targets, valid).square().sum((1, 2))
            torch.div(total if self.kind.n_out == 1 else total / self.kind.n_out, count, out=out)
            return
        labels = targets.long()
        first, own, most = outputs.argmax(1, keepdim=True), outputs.gather(1, labels), outputs.amax(1, keepdim=True)
        rest, mine = self._softmax(outputs, labels, most, valid)
        losses = rest.add_(mine.sub_(1)).log1p_().add_(most.sub_(own))
        if right is not None:
            # No number is right, whichever place it stands at.
            torch.sum((first == labels) & torch.isfinite(losses) & (valid > 0), (1, 2), out=right)
        torch.div(losses.mul_(valid).sum((1, 2)), count, out=out)

    def _softmax(self, outputs: Tensor, labels: Tensor, most: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs become probabilities less 1 for the label, in place, by e = exp(output - most).

        Returns [cell 1 sample] both: the sum of e over the other classes, and e of the label. From these a loss and the label's
        -rest / (rest + mine) keep their digits when all labels are known: neither is a small difference of large numbers.
        """
        mine = outputs.sub_(most).clamp_min_(self.least_exponent).exp_().gather(1, labels)
        rest = outputs.scatter_(1, labels, 0).sum(1, keepdim=True)
        outputs.scatter_(1, labels, -rest).mul_(valid / (rest + mine))
        return rest, mine

    def _forward(self, inputs: Tensor, masks: Float[Tensor, "layer cell unit sample"] | None) -> None:
        """Outputs into `residual`, keeping what the backward pass needs of each layer."""
        samples = inputs.shape[2]
        for layer in range(self.kind.depth):
            before, output = self.inputs_of[layer][:, :, :samples], self.outputs[layer][:, :, :samples]
            self._affine(layer, inputs, out=before)
            self.activation.forward(before, output)
            if self.mask_units:
                output.mul_(self.state.units)
            inputs = output
            if masks is not None:
                inputs = self.dropped[layer][:, :, :samples]
                torch.mul(output, masks[layer], out=inputs)
        self.current = self.residual[:, :, :samples]
        self._affine(-1, inputs, out=self.current)

    def _subtract(self, outputs: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
        """Outputs become residuals, in place. The hinge has none where an output lies beyond its target, seen from zero.

        Of labels they are the probabilities, less 1 for the label.
        """
        if self.has_labels:
            self._softmax(outputs, targets.long(), outputs.amax(1, keepdim=True), valid)
            return outputs
        residual = outputs.sub_(targets).mul_(valid)
        # NaN lies nowhere, and stays.
        return residual.masked_fill_(residual * targets > 0, 0) if self.kind.loss == "hinge" else residual

    def _backward(
        self, inputs: Tensor, count: Float[Tensor, " cell"], masks: Float[Tensor, "layer cell unit sample"] | None
    ) -> None:
        """Gradients of the batch's loss: from the residuals down to the inputs' layer."""
        kind, samples = self.kind, inputs.shape[2]
        slope = 1 if self.has_labels else 2 / kind.n_out
        delta = self.current.mul_((slope / count).view(-1, 1, 1))
        for layer in range(kind.depth, -1, -1):
            fed = self.dropped[layer - 1][:, :, :samples] if layer else inputs
            factor = self._factor(delta)
            torch.bmm(factor, self._factor(fed).transpose(1, 2), out=self.gradients.weights[layer])
            torch.sum(delta, 2, keepdim=True, out=self.gradients.biases[layer])
            if layer == 0 or kind.trainable == "readout":
                break
            below = self.deltas[layer % 2][:, :, :samples]
            torch.bmm(self._factor(self.layers.weights[layer]).transpose(1, 2), factor, out=below)
            if masks is not None:
                below.mul_(masks[layer - 1])
            self.activation.backward(below, self.inputs_of[layer - 1][:, :, :samples])
            if self.mask_units:
                below.mul_(self.state.units)
            delta = below

    def _update(self, tables: Tables, step: int) -> None:
        """One optimizer step as torch.optim's SGD, Adam, AdamW and Muon take it; cells that have ended stand still."""
        state, kind, trained = self.state, self.kind, self.trained
        params, gradient, moment1 = state.params[:, trained], self.gradient[:, trained], state.moment1[:, trained]
        active = state.active.unsqueeze(1)
        if self.has_weight_decay:
            gradient.addcmul_(params, state.weight_decay)
        if self.has_l1:
            gradient.addcmul_(params.sign(), state.l1)
        rate = tables.rate[step] * active
        if kind.adaptive:
            moment1.lerp_(gradient, self.forgets)
            moment2 = state.moment2[:, trained]
            torch.mul(gradient, gradient, out=self.square)
            moment2.mul_(state.beta2).addcmul_(self.square, state.forgets2)
            if kind.amsgrad:
                largest = state.moment2_max[:, trained]
                moment2 = torch.maximum(largest, moment2, out=largest)
            torch.sqrt(moment2, out=self.ratio)
            self.ratio.mul_(tables.inverse_sqrt_correction2[step]).add_(state.eps)
            torch.div(moment1, self.ratio, out=self.ratio)
            if self.has_decoupled_decay:
                params.mul_(1 - rate * state.decoupled_decay)
            if kind.orthogonal:
                self._orthogonalise(rate.unsqueeze(2))
            params.addcmul_(self.ratio, rate * tables.inverse_correction1[step], value=-1)
        else:
            moment1.mul_(state.momentum).add_(gradient)
            params.addcmul_(moment1, rate, value=-1)
        if self.has_max_norm:
            self._constrain(active.unsqueeze(2))

    def _orthogonalise(self, rate: Float[Tensor, "cell 1 1"]) -> None:
        """Steps of torch.optim.Muon for the matrices between hidden layers, which then take none of Adam's.

        With Nesterov's momentum, and 0.2 times the root of the width on the rate: its match_rms_adamw.
        """
        momentum, rate = self.state.momentum.unsqueeze(2), rate * (0.2 * self.state.width.sqrt())
        for layer in range(1, self.kind.depth):
            ahead = torch.lerp(self.gradients.weights[layer], self.moments.weights[layer], momentum)
            self.layers.weights[layer].addcmul_(orthogonalised(ahead), rate, value=-1)
            self.ratios.weights[layer].zero_()

    def _constrain(self, active: Bool[Tensor, "cell 1 1"]) -> None:
        """Scale the incoming weights of every trained unit (not its bias) down to norm max_norm where they exceed it."""
        first = self.kind.depth if self.kind.trainable == "readout" else 0
        for weight in self.layers.weights[first:]:
            norm = torch.linalg.vector_norm(weight, dim=2, keepdim=True)
            scale = torch.where(active & (norm > self.state.max_norm), self.state.max_norm / norm, 1.0)
            weight.mul_(scale)
