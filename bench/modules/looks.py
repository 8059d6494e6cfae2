"""What is looked at before training: the batch, the loss, the network and the optimizer; a line and a number for each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from bench.modules.batches import Batch
from bench.modules.causes import Finding, Held
from bench.modules.losses import NAMED, Kind, Scale, best_outputs, scale_of
from bench.modules.networks import CONSTANT
from bench.modules.questions import Question
from bench.modules.trials import EVAL, TRAIN
from bench.statistics.evidence import Cause, Lever

# A column is off its scale where its mean is beyond so many standard deviations, or its root mean square beyond these.
FAR, SMALLEST, LARGEST = 1.2, 0.1, 2.0

# A signal is weak where less than this share of the inputs' variance reaches the output.
WEAK = 2e-5

# Weights this many times smaller or larger than torch draws them are unusual, and so are shares of units beyond a half.
UNUSUAL, MANY = 5.0, 0.5

# More names than these are counted.
MOST_NAMED = 6


def looks(asked: Question) -> tuple[Finding, ...]:
    """All findings, those that decide first."""
    batch = asked.seen
    batch = batch.map(lambda own: own.to(asked.device), lambda own: own.to(asked.device))
    found = [*_finite(batch)]
    if not found:
        scale = scale_asked(asked, batch)
        found += [*_shapes(asked, batch), *_contradiction(asked, batch, scale), *_output(asked, batch, scale)]
        found += [*_targets(asked, batch), *_columns("input", batch.inputs), *_numbers(asked, batch)]
        found += [*_linear(asked, batch, scale)]
    found += [*_parts(asked), *_signal(asked, batch), *_modes(asked), *_regularization(asked), *_capacity(asked, batch)]
    found += [Finding(None, line, math.nan) for line in asked.cast]
    return tuple(sorted(found, key=lambda one: (not one.sure, one.about is None)))


def scale_asked(asked: Question, batch: Batch) -> Scale:
    """What tau is measured on, as asked."""
    output = asked.facts.output
    if not isinstance(output, Tensor):
        return Scale(0.0, float(asked.trial.loss.of(output, batch.targets)))
    return scale_of(asked.trial.loss, batch.targets, batch.groups, output)


def _finite(batch: Batch) -> Iterator[Finding]:
    targets = batch.targets if isinstance(batch.targets, tuple) else (batch.targets,)
    for name, tensors in (("inputs", batch.inputs), ("targets", targets)):
        for tensor in tensors:
            bad = int((~torch.isfinite(tensor)).sum()) if tensor.is_floating_point() else 0
            if bad:
                rows = int((~torch.isfinite(tensor)).reshape(len(tensor), -1).any(dim=1).sum())
                text = f"{bad} of {tensor.numel()} {name} are NaN or infinite, in {rows} of {len(tensor)} samples"
                which = "x" if name == "inputs" else "y"
                code = f"keep = torch.isfinite({which}).reshape(len({which}), -1).all(dim=1); x, y = x[keep], y[keep]"
                yield Finding(Held.DATA, text, bad, sure=True, code=code)


def _shapes(asked: Question, batch: Batch) -> Iterator[Finding]:
    output, targets = asked.facts.output, batch.targets
    if asked.trial.loss.kind is Kind.CLASSES or not isinstance(output, Tensor) or not isinstance(targets, Tensor):
        return
    if output.shape == targets.shape:
        return
    try:
        pairs = math.prod(torch.broadcast_shapes(output.shape, targets.shape))
    except RuntimeError:
        return
    if asked.trial.loss.kind is Kind.OWN and pairs <= max(output.numel(), targets.numel()):
        return
    text = f"outputs are of shape {tuple(output.shape)}, targets of shape {tuple(targets.shape)}: the loss compares"
    if pairs == output.numel():
        # Outputs that equal their targets are there, so that it may be memorized, and is hardly what was meant.
        text = f"{text} each target with {pairs // targets.numel()} outputs"
        yield Finding(
            Held.SHAPES, text, pairs / targets.numel(), code="give one output for each target, or a target for each output"
        )
        return
    text = f"{text} {pairs} pairs in place of {output.numel()}"
    equal = output.numel() == targets.numel()
    change = (("shaped", True),) if equal else ()
    yield Finding(Held.SHAPES, text, pairs / output.numel(), sure=True, change=change, code=f"y = y.reshape({_shape(output)})")


def _shape(output: Tensor) -> str:
    return ", ".join(map(str, (-1, *output.shape[1:])))


def _contradiction(asked: Question, batch: Batch, scale: Scale) -> Iterator[Finding]:
    distinct = len(torch.unique(batch.groups))
    if distinct == len(batch):
        return
    share = scale.floor / scale.constant if scale.constant else 0.0
    text = f"{len(batch) - distinct} of {len(batch)} samples have the inputs of another one"
    if scale.floor <= CONSTANT * abs(scale.constant):
        yield Finding(None, f"{text}, with the same targets", len(batch) - distinct)
        return
    text += (
        f", with other targets: no network gets below a loss of {scale.floor:.4g}, {100 * share:.3g} % of that of the best"
        f" constant ({scale.constant:.4g})"
    )
    code = "x, index = torch.unique(x, dim=0, return_inverse=True)  # then one target for each, or a loss above this floor"
    yield Finding(Held.CONTRADICTION, text, scale.floor, sure=share > asked.trial.tau, code=code)


def _output(asked: Question, batch: Batch, scale: Scale) -> Iterator[Finding]:
    """What the output activation allows at best."""
    last, output, loss = asked.facts.output_activation, asked.facts.output, asked.trial.loss
    if not isinstance(output, Tensor):
        return
    removed = (("output", False),)
    code = f"remove the {last.activation.name} after the last layer" if last else ""
    if last is not None and last.activation.name == "softmax" and last.gave.shape[-1] == 1 and asked.facts.constant_output:
        text = "a softmax over a single unit gives 1 whatever the input: the output is constant"
        yield Finding(Held.OUTPUT, text, 1.0, sure=True, change=removed, code=code)
        return
    if asked.facts.constant_output:
        text = f"the output does not depend on the input: it is {float(output.flatten()[0]):.4g} for all samples"
        about = Held.OUTPUT if last is not None and asked.facts.layers and asked.facts.layers[-1].across > 0 else None
        yield Finding(about or Lever.INITIALISATION, text, 0.0, change=removed if about else (), code=code if about else "")
    if last is None or loss.kind is Kind.OWN or not isinstance(batch.targets, Tensor):
        return
    low, high = last.activation.low, last.activation.high
    best = best_outputs(loss, batch.targets, batch.groups, output).clamp(low, high)
    if best.shape != output.shape:
        return
    left = scale.tau(float(loss.of(best, batch.targets)))
    if left > CONSTANT:
        name = last.activation.name
        if loss.kind is Kind.NUMBERS:
            outside = int(((batch.targets < low) | (batch.targets > high)).sum())
            text = f"{outside} of {batch.targets.numel()} targets are outside what {name} can give, {_range(low, high)}"
        else:
            text = (
                f"{name} gives {_range(low, high)}, and {loss.name} takes any number, of which it takes the {_inner(loss.name)}"
            )
        text += f": at best tau is {left:.3g}"
        yield Finding(Held.OUTPUT, text, left, sure=left > asked.trial.tau, change=removed, code=code)


def _inner(loss: str) -> str:
    return "softmax itself" if loss == "cross_entropy" else "sigmoid itself"


def _range(low: float, high: float) -> str:
    if math.isinf(high):
        return f"{low:g} and more"
    return f"{low:g} to {high:g}" if math.isfinite(low) else f"{high:g} and less"


def _targets(asked: Question, batch: Batch) -> Iterator[Finding]:
    """Targets that the loss is not made for."""
    loss, targets = asked.trial.loss, batch.targets
    if not isinstance(targets, Tensor):
        return
    output = asked.facts.output
    if loss.kind is Kind.CLASSES and isinstance(output, Tensor) and output.ndim > 1 and output.shape[1] == 1:
        text = f"{loss.name} over a single output is 0 whatever it is, since one class has all of the probability"
        code = "loss = torch.nn.functional.binary_cross_entropy_with_logits  # or one output for each class"
        yield Finding(Held.LOSS, text, 0.0, sure=True, code=code)
        return
    to_mse = (("loss", NAMED["mse"]),)
    if loss.kind is Kind.CHANCES and bool(((targets < 0) | (targets > 1)).any()):
        outside = int(((targets < 0) | (targets > 1)).sum())
        text = f"{outside} of {targets.numel()} targets are outside 0 to 1, which {loss.name} takes for probabilities"
        yield Finding(Held.LOSS, text, outside, sure=True, change=to_mse, code="loss = torch.nn.functional.mse_loss")
    elif loss.kind is Kind.SIGNS and not bool(((targets == -1) | (targets == 1)).all()):
        outside = int(((targets != -1) & (targets != 1)).sum())
        text = f"{outside} of {targets.numel()} targets are not -1 or 1, which {loss.name} needs"
        yield Finding(Held.LOSS, text, outside, sure=True, change=to_mse, code="y = 2 * y - 1  # for labels of 0 and 1")
    elif loss.name == "mae" and len(torch.unique(targets)) == 2:
        text = "the targets have two values: under the mean absolute error a network that does not tell them apart has no slope"
        yield Finding(Held.LOSS, text, 2, change=to_mse, code="loss = torch.nn.functional.mse_loss")


def _columns(name: str, tensors: Sequence[Tensor]) -> Iterator[Finding]:
    """Scale and offset of columns, and those that are constant."""
    for number, tensor in enumerate(tensors, start=1):
        if not tensor.is_floating_point() or len(tensor) < 2:
            continue
        which = f"{name}s" if len(tensors) == 1 else f"{name}s {number}"
        # An image or a sequence has one scale.
        columns = tensor.double().reshape(len(tensor), -1) if tensor.ndim <= 2 else tensor.double().reshape(-1, 1)
        mean, spread = columns.mean(dim=0), columns.std(dim=0, correction=0)
        constant = spread <= CONSTANT * mean.abs()
        varying = ~constant
        if bool(constant.any()) and tensor.ndim <= 2:
            text = f"{int(constant.sum())} of {columns.shape[1]} columns of the {which} are constant"
            yield Finding(None, text, int(constant.sum()))
        if not bool(varying.any()):
            continue
        rms = columns.square().mean(dim=0).sqrt()[varying]
        offset = (mean.abs() / spread.clamp_min(torch.finfo(torch.float64).tiny))[varying]
        text = (
            f"{which}: mean {_extreme(mean[varying])}, standard deviation {_extreme(spread[varying])};"
            f" offsets of up to {float(offset.max()):.2g} standard deviations"
        )
        off = float(rms.max()) > LARGEST or float(rms.max()) < SMALLEST or float(offset.max()) > FAR
        change = (("standard_inputs", True),) if name == "input" else (("standard_targets", True),)
        code = _STANDARD["x" if name == "input" else "y"]
        yield Finding(
            Held.SCALE if off else None, text, float(offset.max()), change=change if off else (), code=code if off else ""
        )


_STANDARD = {which: f"{which} = ({which} - {which}.mean(0)) / {which}.std(0)" for which in ("x", "y")}


def _extreme(values: Tensor) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


def _numbers(asked: Question, batch: Batch) -> Iterator[Finding]:
    """The scale of targets, where they are numbers."""
    if asked.trial.loss.kind is Kind.NUMBERS and isinstance(batch.targets, Tensor):
        yield from _columns("target", (batch.targets,))


def _linear(asked: Question, batch: Batch, scale: Scale) -> Iterator[Finding]:
    """The least squares that an affine function leaves."""
    if not asked.facts.affine or not isinstance(batch.targets, Tensor) or not isinstance(asked.facts.output, Tensor):
        return
    if asked.trial.loss.kind is not Kind.NUMBERS or batch.targets.numel() != asked.facts.output.numel():
        return
    design = torch.cat([own.double().reshape(len(batch), -1) for own in batch.inputs], dim=1)
    design = torch.cat([design, torch.ones(len(batch), 1, dtype=torch.float64, device=design.device)], dim=1)
    targets = batch.targets.double().reshape(len(batch), -1)
    # By singular values: columns may depend on each other.
    fitted = design @ (torch.linalg.pinv(design) @ targets)
    best = fitted.reshape(asked.facts.output.shape).to(asked.facts.output.dtype)
    left = scale.tau(float(asked.trial.loss.of(best, batch.targets.reshape(asked.facts.output.shape))))
    text = f"the network is linear in its inputs: whatever its weights, least squares leave tau {max(left, 0.0):.3g}"
    sure = asked.trial.loss.name == "mse" and left > asked.trial.tau
    yield Finding(Held.LINEAR if sure else None, text, left, sure=sure, code="put an activation between the layers")


def _parts(asked: Question) -> Iterator[Finding]:
    """Parameters that will not move."""
    network = asked.source.template
    all_names = dict(network.named_parameters())
    frozen = [name for name, own in all_names.items() if not own.requires_grad]
    given = set(asked.trial.recipe.names)
    forgotten = [name for name, own in all_names.items() if own.requires_grad and name not in given]
    whole = (("whole", True),)
    if not all_names:
        yield Finding(Held.PART, "the network has no parameters", 0, sure=True)
    if forgotten:
        text = f"the optimizer was not given {_names(forgotten)}"
        code = "give the optimizer module.parameters()"
        yield Finding(Held.PART, text, len(forgotten), sure=True, change=whole, code=code)
    if asked.facts.unreached:
        text = f"no gradient reaches {_names(asked.facts.unreached)}: behind detach() or no_grad(), or never used"
        code = "remove the detach() or no_grad() behind them, or use them in forward"
        yield Finding(Held.PART, text, len(asked.facts.unreached), sure=True, code=code)
    if frozen:
        text = f"need no gradient, and stay as they are: {_names(frozen)}"
        yield Finding(Held.PART, text, len(frozen), change=whole, code="module.requires_grad_(True)")
    if asked.facts.zero:
        text = f"the gradient is 0 at the start for {_names(asked.facts.zero)}"
        yield Finding(None, text, len(asked.facts.zero))


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _signal(asked: Question, batch: Batch) -> Iterator[Finding]:
    """What of the inputs reaches the output, what of the loss reaches the first layer, and units that pass nothing on."""
    layers, units = asked.facts.layers, asked.facts.units
    dead = [layer.name for layer in layers if layer.dead == 1.0 and len(batch) > 1]
    if dead:
        text = f"all units give the same for every input in {_names(dead)}"
        yield Finding(Lever.INITIALISATION, text, len(dead), code=_RESCALED)
    stuck = [own for own in units if own.dead > 0 or own.saturated > 0]
    if stuck:
        told = "; ".join(
            f"{own.name} {number}: {100 * own.dead:.0f} % of units constant, {100 * own.saturated:.0f} % of outputs saturated"
            for number, own in enumerate(units[:MOST_NAMED], start=1)
            if own in stuck
        )
        worst = max(max(own.dead, own.saturated) for own in stuck)
        yield Finding(Lever.INITIALISATION if worst > MANY else None, f"before training, {told}", worst, code=_RESCALED)
    floats = [own.double() for own in batch.inputs if own.is_floating_point()]
    if layers and floats and len(batch) > 1:
        spread = sum(float(own.var(dim=0, correction=0).mean()) for own in floats) / len(floats)
        share = layers[-1].across / spread if spread else math.nan
        text = f"of the inputs' variance {share:.2g} reaches {layers[-1].name}, the last layer, before training"
        weak = share < WEAK and layers[-1].across > 0
        yield Finding(Lever.INITIALISATION if weak else None, text, share, code=_RESCALED if weak else "")
    unusual = [ratio for ratio in map(_against_default, asked.source.template.modules()) if ratio is not None]
    if unusual and (max(unusual) < 1 / UNUSUAL or min(unusual) > UNUSUAL):
        middle = sorted(unusual)[len(unusual) // 2]
        text = f"weights are {middle:.2g} times as large as torch draws them"
        yield Finding(Lever.INITIALISATION, text, middle, code=_RESCALED)


_RESCALED = "for layer in layers: layer.reset_parameters()  # or scale the weights so that each layer's outputs have variance 1"


def _against_default(part: nn.Module) -> float | None:
    """The spread of a layer's weights over that of torch's draws, U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""
    weight = getattr(part, "weight", None)
    if not isinstance(part, nn.Linear | nn.modules.conv._ConvNd) or not isinstance(weight, Tensor):
        return None
    fan_in = weight[0].numel()
    return float(weight.detach().double().square().mean().sqrt()) * math.sqrt(3 * fan_in)


def _modes(asked: Question) -> Iterator[Finding]:
    trial = asked.trial
    words = {TRAIN: "training", EVAL: "evaluation"}
    text = f"trained in {words[trial.mode]} mode, measured in {words[trial.measured]} mode"
    if not asked.facts.modes_differ:
        yield Finding(None, f"{text}; the network is the same in both", 0)
        return
    off = trial.mode == EVAL or trial.measured == TRAIN
    why = "dropout" if asked.facts.random else "the statistics of batches"
    text += f"; the two differ, by {why}"
    code = "module.train() before training, module.eval() before measuring"
    yield Finding(Held.MODE if off else None, text, 1, code=code if off else "")


def _regularization(asked: Question) -> Iterator[Finding]:
    parts = list(asked.source.template.modules())
    rates = [own.p for own in parts if isinstance(own, nn.modules.dropout._DropoutNd) and own.p]
    rates += [rate for rate in (getattr(own, "dropout", None) for own in parts) if isinstance(rate, float) and rate]
    decay = max((float(group.option("weight_decay") or 0) for group in asked.trial.recipe.groups), default=0.0)
    told = []
    if rates:
        told.append(f"dropout of up to {max(rates):g} in {len(rates)} part{'s' * (len(rates) > 1)}")
    elif asked.facts.random:
        told.append("random numbers in training mode, as of functional dropout")
    if decay:
        told.append(f"weight decay {decay:g}")
    if told:
        yield Finding(Lever.REGULARIZATION, f"regularization found: {', '.join(told)}", len(told))
    if norms := asked.facts.n_norms:
        yield Finding(None, f"normalization by batches found in {norms} part{'s' * (norms > 1)}", norms)


def _capacity(asked: Question, batch: Batch) -> Iterator[Finding]:
    output, facts = asked.facts.output, asked.facts
    if not isinstance(output, Tensor):
        return
    needed = output.numel()
    trained = sum(own.numel() for own in asked.source.template.parameters() if own.requires_grad)
    text = f"{facts.n_params} parameters, {trained} of them trained, for {needed} outputs ({len(batch)} samples)"
    if facts.rank is not None:
        text += f"; the Jacobian's rank before training is {facts.rank}: so many outputs can be fitted at first order"
    short = trained < needed * (1 - asked.trial.tau)
    yield Finding(Cause.CAPACITY if short else None, text, math.nan if facts.rank is None else facts.rank)
