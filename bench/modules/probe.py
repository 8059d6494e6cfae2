"""One pass forward and back through an untrained network: what each part gives, and what reaches its parameters."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap

from bench.modules.activations import Watch, Watched, last_of
from bench.modules.batches import Batch
from bench.modules.losses import Loss
from bench.modules.networks import checked, forward, quiet, set_mode
from bench.modules.randomness import drawn
from bench.modules.states import changed_by_a_pass
from bench.modules.trials import EVAL, TRAIN

# A spread below this share of the largest is rounding.
ROUNDING = 1e-6

# Outputs of two passes are the same to this relative difference: kernels of training and of evaluation round otherwise.
ALIKE = 1e-4

# Outputs in float64 halfway between two are so near to the mean of theirs where a network is linear, and to the largest.
LINEAR_TO, LINEAR_OF_LARGEST = 1e-8, 1e-10

# The other end of a line through each sample is so many times another sample, far enough that kinks lie between. On fewer
# samples than these a line tells nothing.
FAR_ON, FEWEST = 3, 3

# Outputs of an activation that are within this share of its range from an end are saturated.
NEAR_END = 0.01

# A Jacobian of more numbers is not taken, nor one of more outputs.
MOST_NUMBERS, MOST_OUTPUTS = 2**24, 1024


class Layer(NamedTuple):
    """What a part of the network gives before training.

    `second_moment`: mean square of its outputs; `across`: their variance across inputs, mean over units; `gradient`: root mean
    square of the loss' gradient by its outputs; `dead`: share of its units that give the same for all inputs.
    """

    name: str
    kind: str
    second_moment: float
    across: float
    gradient: float
    dead: float


class Units(NamedTuple):
    """An activation that was called: how many of its units are the same for all inputs, and of its outputs at an end."""

    name: str
    dead: float
    saturated: float


class Facts(NamedTuple):
    """What the passes showed; `unreached` are parameters that no gradient reaches, `zero` those whose gradient is all 0.

    `call`, `output_activation`: number and kind of the activation that gives the output; `random`: training mode draws
    random numbers; `modes_differ`: training and evaluation mode give other outputs; `affine`: the output is an affine
    function of the inputs; `n_outputs`: numbers that the layers give for the batch;
    `n_norms`: parts that normalize by batches; `numbers`: inputs are numbers, not places in a
    table; `rank`: of the Jacobian, None where it was not taken; `kept`: an attribute that a
    pass changes, None where there is none.
    """

    output: Any
    layers: list[Layer]
    units: list[Units]
    unreached: list[str]
    zero: list[str]
    call: int | None
    output_activation: Watched | None
    random: bool
    modes_differ: bool
    affine: bool
    n_params: int
    n_outputs: int
    n_norms: int
    numbers: bool
    rank: int | None
    constant_output: bool
    kept: str | None


def probe(network: nn.Module, batch: Batch, loss: Loss, mode: str, *, ranked: bool = True) -> Facts:
    """Look at a network that was drawn for it; `ranked`: the Jacobian is taken too, most of the work where it is large.

    Raises:
        GridError: the network or the loss raises, or gives what cannot be.
    """
    name = type(network).__name__
    for _ in range(2):
        # A lazy part takes its shapes from the first pass.
        network = copy.deepcopy(network)
        set_mode(network, EVAL)
        with torch.no_grad():
            calm = checked(forward(network, batch.inputs, name), batch, loss, name)
    random, differ = _modes(network, batch, calm)
    set_mode(network, mode)
    gave: list[tuple[str, nn.Module, Tensor]] = []
    hooks = [
        part.register_forward_hook(_noting(gave, path or name, part))
        for path, part in network.named_modules()
        if _is_layer(part)
    ]
    try:
        with drawn(0), torch.enable_grad():
            with Watch() as watch:
                output = forward(network, batch.inputs, name)
            value = loss.of(output, batch.targets)
    finally:
        for hook in hooks:
            hook.remove()
    call = last_of(watch.calls, output) if isinstance(output, Tensor) else None
    params = {key: own for key, own in network.named_parameters() if own.requires_grad}
    wanted = [*params.values(), *(tensor for _, _, tensor in gave if tensor.requires_grad)]
    found = torch.autograd.grad(value, wanted, allow_unused=True) if value.requires_grad and wanted else [None] * len(wanted)
    of_param = dict(zip(params, found, strict=False))
    of_layer = iter(found[len(params) :])
    layers = [_layer(key, part, tensor, next(of_layer) if tensor.requires_grad else None) for key, part, tensor in gave]
    return Facts(
        output=output.detach() if isinstance(output, Tensor) else output,
        layers=layers,
        units=[_units(own) for own in watch.calls],
        unreached=[key for key, gradient in of_param.items() if gradient is None],
        zero=[key for key, gradient in of_param.items() if gradient is not None and not gradient.any()],
        call=call,
        output_activation=watch.calls[call] if call is not None else None,
        random=random,
        modes_differ=differ,
        # An activation that acts on nothing now may act later: where one is called, nothing is sure.
        affine=not watch.calls and _is_affine(network, batch),
        n_params=sum(own.numel() for own in network.parameters()),
        n_outputs=sum(tensor.numel() for _, _, tensor in gave),
        numbers=any(own.is_floating_point() for own in batch.inputs),
        n_norms=sum(isinstance(part, nn.modules.batchnorm._NormBase) for part in network.modules()),
        rank=rank(network, batch) if ranked else None,
        constant_output=isinstance(calm, Tensor) and len(batch) > 1 and _across(calm) == 0,
        kept=changed_by_a_pass(network, batch),
    )


def _is_layer(part: nn.Module) -> bool:
    """A part with parameters of its own."""
    return next(part.parameters(recurse=False), None) is not None


def _noting(gave: list, path: str, part: nn.Module) -> Callable[..., None]:
    def note(_: nn.Module, __: Any, output: Any) -> None:
        first = output[0] if isinstance(output, tuple) and output else output
        if isinstance(first, Tensor) and first.is_floating_point():
            gave.append((path, part, first))

    return note


def _modes(network: nn.Module, batch: Batch, calm: Any) -> tuple[bool, bool]:
    """Whether training mode draws random numbers, and whether it gives other outputs than evaluation mode."""
    loud = []
    for seed in (1, 2):
        own = copy.deepcopy(network)
        set_mode(own, TRAIN)
        with drawn(seed), torch.no_grad():
            loud.append(forward(own, batch.inputs, type(network).__name__) if len(batch) > 1 else calm)
    random = not _same(loud[0], loud[1])
    return random, random or not _same(loud[0], calm)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and bool(torch.allclose(one, other, rtol=ALIKE, atol=ROUNDING, equal_nan=True))
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) == len(other) and all(map(_same, one, other))
    return True


def _across(tensor: Tensor) -> float:
    """Variance across samples, mean over the others; 0 where it is rounding."""
    own = tensor.detach().double()
    spread = float(own.var(dim=0, correction=0).mean())
    return spread if spread > ROUNDING**2 * float(own.square().mean()) else 0.0


def _layer(name: str, part: nn.Module, tensor: Tensor, gradient: Tensor | None) -> Layer:
    own = tensor.detach().double()
    return Layer(
        name=name,
        kind=type(part).__name__,
        second_moment=float(own.square().mean()),
        across=_across(own),
        gradient=math.nan if gradient is None else float(gradient.double().square().mean().sqrt()),
        dead=_constant_share(own),
    )


def _constant_share(own: Tensor) -> float:
    """The share of entries of a sample that are the same for all samples."""
    if len(own) < 2:
        return 0.0
    flat = own.reshape(len(own), -1)
    spread = flat.amax(dim=0) - flat.amin(dim=0)
    return float((spread <= ROUNDING * flat.abs().amax(dim=0)).double().mean())


def _units(call: Watched) -> Units:
    own = call.gave.detach().double()
    low, high = call.activation.low, call.activation.high
    saturated = 0.0
    if math.isfinite(low) and math.isfinite(high):
        near = NEAR_END * (high - low)
        saturated = float(((own < low + near) | (own > high - near)).double().mean())
    return Units(call.activation.name, _constant_share(own), saturated)


def _is_affine(network: nn.Module, batch: Batch) -> bool:
    """Whether the mean of any two inputs gives the mean of their outputs, in evaluation mode, whatever the parameters.

    The batch alone does not tell: far from 0 the kinks of a network are all on one side, and near it every curve is straight.
    So N(0, 1) points and their mirror images are taken too, at the drawn parameters and at others: a branch that begins at 0
    ends elsewhere.
    """
    if len(batch) < FEWEST or not all(own.is_floating_point() for own in batch.inputs):
        return False
    own = copy.deepcopy(network).double()
    set_mode(own, EVAL)
    draws = torch.Generator().manual_seed(0)
    one = tuple(x.double() for x in batch.inputs)
    points = tuple(torch.randn(x.shape, dtype=torch.float64, generator=draws).to(x.device) for x in one)
    pairs = [(one, tuple(x.roll(1, dims=0) * FAR_ON for x in one)), (points, tuple(-x for x in points))]
    with torch.no_grad():
        for moved in (False, True):
            for parameter in own.parameters() if moved else ():
                noise = torch.randn(parameter.shape, dtype=torch.float64, generator=draws)
                parameter.add_(noise.to(parameter.device))
            if not all(_halfway(own, *pair) for pair in pairs):
                return False
    return True


def _halfway(network: nn.Module, one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> bool:
    """Whether the outputs halfway between two batches of inputs are halfway between theirs, and differ between samples."""
    middle = tuple((a + b) / 2 for a, b in zip(one, other, strict=True))
    try:
        first, second, between = network(*one), network(*other), network(*middle)
    except (RuntimeError, TypeError, ValueError, IndexError):
        return False
    if not isinstance(first, Tensor) or not first.is_floating_point() or _across(first) == 0:
        return False
    return bool(
        torch.allclose((first + second) / 2, between, rtol=LINEAR_TO, atol=LINEAR_OF_LARGEST * float(first.abs().max()))
    )


def rank(network: nn.Module, batch: Batch) -> int | None:
    """The rank of the Jacobian of all outputs for the batch by all trained parameters, in float64 and evaluation mode."""
    own = copy.deepcopy(network).double()
    set_mode(own, EVAL)
    inputs = tuple(x.double() if x.is_floating_point() else x for x in batch.inputs)
    with torch.no_grad():
        try:
            # A lazy part takes its shapes from it.
            shown = own(*(x[:1] for x in inputs))
        except (RuntimeError, TypeError, ValueError, IndexError):
            return None
    params = {key: value.detach() for key, value in own.named_parameters() if value.requires_grad}
    rest = {key: value.detach() for key, value in own.named_parameters() if not value.requires_grad} | dict(own.named_buffers())
    count = sum(value.numel() for value in params.values())
    if not isinstance(shown, Tensor) or not count:
        return None
    outputs = len(batch) * shown.numel()
    if outputs > MOST_OUTPUTS or outputs * count > MOST_NUMBERS:
        return None

    def pulled(sample: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """A row for each output of one sample. `jacrev` is the same, and imports torch's compiler, which takes seconds."""

        def outputs_of(tensors: dict[str, Tensor]) -> Tensor:
            return functional_call(own, {**tensors, **rest}, tuple(x[None] for x in sample)).flatten()

        pull: Any = vjp(outputs_of, params)[1]
        return vmap(pull)(torch.eye(shown.numel(), dtype=torch.float64, device=shown.device))[0]

    try:
        with quiet():
            parts = vmap(pulled)(inputs)
        matrix = torch.cat([part.reshape(outputs, -1) for part in parts.values()], dim=1)
    except (RuntimeError, ValueError, NotImplementedError):
        # What vmap raises for an operator that it has no rule for.
        matrix = _one_by_one(own, inputs)
    if not torch.isfinite(matrix).all():
        return None
    few, many = sorted(matrix.shape)
    tolerance = many * torch.finfo(matrix.dtype).eps
    if many > 2 * few:
        # A triangle of the same singular values, which takes a fraction of the time that the whole does.
        matrix = torch.linalg.qr(matrix if len(matrix) == many else matrix.T, mode="r").R
    return int(torch.linalg.matrix_rank(matrix, rtol=tolerance))


def _one_by_one(network: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    """The same by a backward pass for each output."""
    params = [own for own in network.parameters() if own.requires_grad]
    with torch.enable_grad():
        outputs = network(*inputs).flatten()
        rows = []
        for output in outputs:
            parts = torch.autograd.grad(output, params, retain_graph=True, allow_unused=True, materialize_grads=True)
            rows.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(rows)
