"""A network as a trial has it: drawn, changed in what the trial changes, with its batch and the scale of its tau."""

from __future__ import annotations

import copy
import dataclasses
import math
import random
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.modules.activations import applied
from bench.modules.batches import Batch
from bench.modules.losses import RAISED, Kind, Loss, Scale, first_line, scale_of, spelled
from bench.modules.optimizers import Recipe
from bench.modules.randomness import stream
from bench.modules.trials import TRAIN, Trial
from bench.protocol.grid import GridError

# Spreads below this share of the mean are rounding: a constant column is only shifted.
CONSTANT = 1e-6


def forward(module: nn.Module, inputs: tuple[Tensor, ...], name: str, call: int | None = None) -> Any:
    """What a module gives.

    Raises:
        GridError: it raises.
    """
    try:
        return applied(call, lambda: module(*inputs))
    except torch.OutOfMemoryError as error:
        rule = "does not fit into the memory of its device"
        raise GridError("module", name, rule, "give fewer samples, a smaller network, or device='cpu'") from error
    except RAISED as error:
        shapes = ", ".join(map(spelled, inputs))
        raise GridError("module", name, f"raised {first_line(error)}", f"it was given inputs {shapes}") from error


def checked(output: object, batch: Batch, loss: Loss, name: str) -> Any:
    """A module's output, which is a tensor with one entry for each sample, or anything that a loss of the user's own takes."""
    if isinstance(output, Tensor):
        if output.ndim == 0 or len(output) != len(batch):
            rule = f"gives a tensor of shape {tuple(output.shape)} for {len(batch)} samples"
            raise GridError("module", name, rule, "its first dimension must be the samples")
        bad = int((~torch.isfinite(output)).reshape(len(batch), -1).any(dim=1).sum())
        if bad and all(bool(torch.isfinite(own).all()) for own in batch.inputs):
            rule = f"gives NaN or infinite numbers before training, for {bad} of {len(batch)} samples"
            raise GridError("module", name, rule, "look at logarithms, roots and divisions in its forward")
        return output
    if loss.kind is not Kind.OWN:
        rule = f"gives {type(output).__name__}, no tensor"
        raise GridError("module", name, rule, "return the tensor that the loss takes, or give a loss that takes this")
    return output


def set_mode(module: nn.Module, mode: str, *, dropout: bool = True) -> None:
    """Train or eval; without dropout, in training too, parts of torch keep theirs off and the user's own parts are in eval."""
    module.train(mode == TRAIN)
    if dropout:
        return
    for part in module.modules():
        if isinstance(part, nn.modules.dropout._DropoutNd):
            part.p = 0.0
        elif isinstance(getattr(part, "dropout", None), float):
            # As torch.nn.LSTM has it: an attribute that nn.Module does not declare.
            setattr(part, "dropout", 0.0)  # noqa: B010
        if not type(part).__module__.startswith("torch."):
            part.training = False


@dataclasses.dataclass(slots=True, eq=False)
class Prepared:
    """A network that is ready to train.

    `module` is in the mode of training, `judged` the same parameters' module in the mode of measuring (the same object where
    these do not differ).
    """

    module: nn.Module
    judged: nn.Module
    params: dict[str, Tensor]
    buffers: dict[str, Tensor]
    recipe: Recipe
    batch: Batch
    scale: Scale
    call: int | None

    def output(self, module: nn.Module, tensors: Mapping[str, Tensor], inputs: tuple[Tensor, ...]) -> Any:
        """What the network gives with these parameters and buffers."""
        return applied(self.call, lambda: functional_call(module, dict(tensors), inputs))


def prepared(
    network: nn.Module,
    batch: Batch,
    trial: Trial,
    *,
    call: int | None,
    seed: int,
    modes_differ: bool,
    scales: dict[tuple, Scale],
) -> Prepared:
    """The network of a trial.

    Args:
        network: drawn anew for this; it is changed in place.
        batch: as given.
        trial: says what is changed.
        call: the number of the output activation's call, to leave it out.
        seed: of what is drawn here.
        modes_differ: whether training and evaluation mode are not the same to this network.
        scales: those that are known already, by what they depend on.
    """
    name = type(network).__name__
    if trial.double:
        network = network.double()
    if trial.init == "default":
        for part in network.modules():
            reset = getattr(part, "reset_parameters", None)
            if callable(reset):
                reset()
    if trial.batch_statistics:
        for part in network.modules():
            if isinstance(part, nn.modules.batchnorm._NormBase):
                part.track_running_stats, part.running_mean, part.running_var, part.num_batches_tracked = (
                    False,
                    None,
                    None,
                    None,
                )
    set_mode(network, trial.mode, dropout=trial.dropout)
    own = _batch(batch, trial, seed)
    left_out = None if trial.output else call
    if trial.init == "rescaled":
        rescale(network, own.inputs, name)
    if trial.gain != 1:
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(trial.gain)
    judged = network
    if modes_differ and (trial.measured != trial.mode):
        judged = copy.deepcopy(network)
        set_mode(judged, trial.measured, dropout=trial.dropout)
    if trial.whole:
        network.requires_grad_(True)
    recipe = trial.recipe
    if trial.whole:
        recipe = recipe.given([own_name for own_name, _ in network.named_parameters()])
    with torch.no_grad(), kept_buffers(network):
        output = checked(forward(network, own.inputs, name, left_out), own, trial.loss, name)
    if trial.shaped and isinstance(own.targets, Tensor) and isinstance(output, Tensor):
        own = Batch(own.inputs, own.targets.reshape(output.shape))
    if trial.loss.kind is Kind.NUMBERS and trial.double and isinstance(own.targets, Tensor):
        own = Batch(own.inputs, own.targets.double())
    told = (trial.loss, trial.n_samples, trial.standard_targets, trial.double, trial.shaped, trial.noise_targets and seed)
    if told not in scales:
        scales[told] = _scale(trial.loss, own, output)
    params = {key: value.detach().clone() for key, value in network.named_parameters()}
    buffers = {key: value.detach().clone() for key, value in network.named_buffers()}
    return Prepared(network, judged, params, buffers, recipe, own, scales[told], left_out)


@contextmanager
def quiet() -> Iterator[None]:
    """Within, attention is computed by operators that can be stacked, and torch does not warn of what is said here anyway."""
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        # Operators that are slow where they are stacked; targets of another shape; a recurrent layer of one.
        for message in (
            "There is a performance drop",
            "Using a target size",
            "dropout option adds dropout after all but last",
        ):
            warnings.filterwarnings("ignore", message=message)
        yield


@contextmanager
def kept_buffers(network: nn.Module) -> Iterator[None]:
    """Passes within leave the buffers (BatchNorm's statistics) as they were."""
    before = {key: value.clone() for key, value in network.named_buffers()}
    try:
        yield
    finally:
        with torch.no_grad():
            for key, value in network.named_buffers():
                value.copy_(before[key])


def _scale(loss: Loss, batch: Batch, output: Any) -> Scale:
    """The scale of tau; where a module gives no single tensor, its share of the loss before training."""
    if not isinstance(output, Tensor):
        with torch.no_grad():
            return Scale(0.0, float(loss.of(output, batch.targets)))
    return scale_of(loss, batch.targets, batch.groups, output)


def _batch(batch: Batch, trial: Trial, seed: int) -> Batch:
    if trial.n_samples is not None:
        # Data may be in an order.
        draws = torch.Generator().manual_seed(stream("samples"))
        chosen = torch.randperm(len(batch), generator=draws)[: trial.n_samples].sort().values
        batch = batch.map(lambda own: own[chosen.to(own.device)], lambda own: own[chosen.to(own.device)])
    if trial.double:
        batch = batch.map(_double, _double)
    if trial.noise_targets:
        order = list(range(len(batch)))
        random.Random(stream("noise targets", seed)).shuffle(order)
        batch = batch.map(lambda own: own, lambda own: own[order])
    if trial.standard_inputs:
        batch = batch.map(standard, lambda own: own)
    if trial.standard_targets:
        batch = batch.map(lambda own: own, standard)
    return batch


def _double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def standard(tensor: Tensor) -> Tensor:
    """Mean 0 and variance 1: each column of a table, or all numbers of what has more dimensions; whole numbers stay.

    >>> standard(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    tensor([[-1.,  0.],
            [ 1.,  0.]])
    """
    if not tensor.is_floating_point():
        return tensor
    over = 0 if tensor.ndim <= 2 else tuple(range(tensor.ndim))
    exact = tensor.double()
    mean, spread = exact.mean(over, keepdim=True), exact.std(over, correction=0, keepdim=True)
    spread = torch.where(spread > CONSTANT * mean.abs(), spread, torch.ones_like(spread))
    return ((exact - mean) / spread).to(tensor.dtype)


def rescale(network: nn.Module, inputs: tuple[Tensor, ...], name: str) -> None:
    """Scale each layer's weights so that its outputs have variance 1 on these inputs, and shift its biases to mean 0.

    Layer by layer in the order in which they are called, as Mishkin and Matas 2016 (arXiv 1511.06422) do, without
    orthogonal weights.
    """

    def scaled(part: nn.Module, given: tuple[Tensor, ...], gave: Tensor) -> Tensor | None:
        spread = float(gave.std())
        if id(part) in seen or not 0 < spread < math.inf:
            return None
        seen.add(id(part))
        weight, bias = part.weight, part.bias
        assert isinstance(weight, Tensor)
        weight.mul_(1 / spread)
        if isinstance(bias, Tensor):
            bias.zero_()
            bias.sub_(part.forward(*given).mean())
        return part.forward(*given)

    seen: set[int] = set()
    hooks = [part.register_forward_hook(scaled) for part in network.modules() if isinstance(part, _LAYERS)]
    try:
        with torch.no_grad(), kept_buffers(network):
            forward(network, inputs, name)
    finally:
        for hook in hooks:
            hook.remove()


_LAYERS = (nn.Linear, nn.modules.conv._ConvNd)
