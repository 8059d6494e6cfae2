"""Many networks of one shape at once: parameters stacked, gradients under torch.func.vmap, torch.optim's own steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, vjp, vmap
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from bench.modules.activations import applied
from bench.modules.clocks import Clock
from bench.modules.networks import Prepared, quiet
from bench.modules.orders import batches
from bench.modules.traced import traced
from bench.modules.trials import Curve, Job, stopped_at

# Epochs between looks at the clock and at what was reached: at most so many, and so few that a look comes each so many seconds.
MOST_EPOCHS, LOOK_S = 64, 0.25

# Calls with the same shapes after which a function is traced; that takes as long as a hundred of them.
TRACE_AFTER = 50

# Where half of the networks take more than this share of the time of all, nothing is gained by giving more of them up: those
# that memorize until the time is over are known then.
NO_FASTER = 0.8

# Of so few parameters in all a step takes as long as its operators take to start, however many networks it is for.
FEW_NUMBERS = 2**16

# The losses before training are those of each network alone to this relative difference, or it is no stack.
AGREE = {torch.float32: 1e-3, torch.float64: 1e-8}
AGREE_ROUGHLY = 1e-2  # of numbers of fewer bits

# Of what torch says of an error a verdict repeats so many characters; and a clock may tell that no time has passed.
MOST_CHARACTERS, NO_TIME_S = 100, 1e-9


class CannotStack(Exception):
    """Why networks do not train together, in words."""


class _Captured:
    """A function of tensors, traced once to a flat list of operators after so many calls with the same shapes: what torch.func
    does in Python for each call takes longer than the arithmetic of small networks.
    """

    def __init__(self, function: Callable[..., Any], traceable: bool):
        self._function, self._traceable = function, traceable
        self._calls: dict[tuple, int] = {}
        self._runs: dict[tuple, Callable[..., Any]] = {}

    def __call__(self, *given: Any) -> Any:
        """Dictionaries and tuples of tensors, always of the same names."""
        flat = _flat(given)
        shapes = tuple(own.shape for own in flat)
        if (run := self._runs.get(shapes)) is not None:
            return run(flat)
        gave = self._function(*given)
        self._calls[shapes] = self._calls.get(shapes, 0) + 1
        if self._traceable and self._calls[shapes] == TRACE_AFTER:
            self._trace(shapes, given, gave)
        return gave

    def _trace(self, shapes: tuple, given: tuple, gave: Any) -> None:
        """Used only where it gives the same numbers."""
        inside, outside, flat = tree_flatten(given)[1], tree_flatten(gave)[1], _flat(given)

        def listed(*own: Tensor) -> tuple[Tensor, ...]:
            return tuple(tree_leaves(self._function(*tree_unflatten(list(own), inside))))

        # What cannot be traced goes on as it is.
        with suppress(Exception):
            run = _same(traced(listed, flat), flat, gave)
            if run is not None:
                self._runs[shapes] = lambda own: tree_unflatten(run(*own), outside)


def _flat(given: tuple) -> list[Tensor]:
    return [own for part in given for own in (part.values() if isinstance(part, dict) else part)]


def _same(run: Any, flat: list[Tensor], gave: Any) -> Any:
    """What runs, if it gives these numbers."""
    pairs = zip(tree_leaves(gave), run(*flat), strict=True)
    return run if all(torch.equal(one.nan_to_num(), other.nan_to_num()) for one, other in pairs) else None


class _Stack:
    """Networks in training: [network, ...] tensors, and which job each is."""

    def __init__(self, networks: Sequence[Prepared], jobs: Sequence[Job]):
        self.jobs = list(jobs)
        self.places = list(range(len(jobs)))
        first = networks[0]
        self.first, self.loss, self.trial = first, jobs[0].trial.loss, jobs[0].trial
        shapes = [{name: value.shape for name, value in own.params.items()} for own in networks]
        if any(own != shapes[0] for own in shapes):
            raise CannotStack("the function makes networks of different shapes")
        trainable = {name for name, value in first.module.named_parameters() if value.requires_grad} & set(first.recipe.names)
        stacked = {name: torch.stack([own.params[name] for own in networks]) for name in first.params}
        self.params = {name: value.requires_grad_() for name, value in stacked.items() if name in trainable}
        self.rest = {name: value for name, value in stacked.items() if name not in trainable}
        self.rest |= {name: torch.stack([own.buffers[name] for own in networks]) for name in first.buffers}
        self.inputs = [_shared([own.batch.inputs[k] for own in networks]) for k in range(len(first.batch.inputs))]
        self.several = isinstance(first.batch.targets, tuple)
        targets = [own.batch.targets if isinstance(own.batch.targets, tuple) else (own.batch.targets,) for own in networks]
        self.targets = [_shared([own[k] for own in targets]) for k in range(len(targets[0]))]
        rates = [own.recipe.rate for own in networks]
        fastest = networks[int(np.argmax(rates))].recipe
        self.slower = None
        if min(rates) < max(rates):
            device = next(iter(stacked.values())).device
            self.slower = torch.tensor([rate / max(rates) for rate in rates], dtype=torch.float64, device=device)
        self.optimizer = fastest.build(self.params, fused=True) if self.params else None
        count = len(first.batch)
        self.whole = self.trial.batch_size is None or self.trial.batch_size >= count
        # Where one pass is the loss that is measured and the loss of the step, it is taken once.
        self.fused = self.whole and first.judged is first.module and bool(self.params)
        dims = (dict.fromkeys(self.params, 0), dict.fromkeys(self.rest, 0))
        places = tuple(0 if one.own else None for one in self.inputs), tuple(0 if one.own else None for one in self.targets)
        mixed = tuple(0 for _ in self.inputs), tuple(0 for _ in self.targets)
        stepped = places if self.whole else mixed
        # Statistics that a pass changes would be changed twice where a trace is compared.
        self.traceable = not first.buffers
        self.step_of = _Captured(vmap(grad_and_value(self._value(first.module)), in_dims=(*dims, *stepped)), self.traceable)
        self.dims = (*dims, *places)
        self.loss_of = _Captured(vmap(self._value(first.judged), in_dims=self.dims), self.traceable)

    def _value(self, module: torch.nn.Module) -> Callable[..., Tensor]:
        def value(params: Any, rest: Any, inputs: Any, targets: Any) -> Tensor:
            output = applied(self.first.call, lambda: functional_call(module, {**params, **rest}, inputs))
            return self.loss.of(output, targets if self.several else targets[0])

        return value

    def _data(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        return tuple(one.tensor for one in self.inputs), tuple(one.tensor for one in self.targets)

    @property
    def _detached(self) -> dict[str, Tensor]:
        return {name: value.detach() for name, value in self.params.items()}

    def measure(self) -> Tensor:
        """The losses on the whole batch, in the mode of measuring."""
        with torch.no_grad():
            return self.loss_of(self._detached, self.rest, *self._data())

    def differentiate(self) -> None:
        """Measure as if there were a backward pass."""
        value = self._value(self.first.judged)

        def measured(params: Any, *others: Any) -> Tensor:
            return vjp(lambda own: value(own, *others), params)[0]

        self.loss_of = _Captured(vmap(measured, in_dims=self.dims), self.traceable)

    def epoch(self, number: int) -> Tensor | None:
        """Train an epoch; the losses before it, where they came with it."""
        if not self.params:
            return None
        if self.whole:
            gradients, losses = self.step_of(self._detached, self.rest, *self._data())
            self._update(gradients)
            return losses.detach() if self.fused else None
        count, device = len(self.first.batch), next(iter(self.params.values())).device
        size, shuffle = self.trial.batch_size, self.trial.shuffle
        orders = [batches(job.seed, number, count, size, shuffle=shuffle) for job in self.jobs]
        network = torch.arange(len(self.jobs), device=device)[:, None]
        for own in zip(*orders, strict=True):
            places = torch.stack([one for one in own if one is not None]).to(device)
            inputs, targets = (tuple(one.taken(network, places) for one in data) for data in (self.inputs, self.targets))
            self._update(self.step_of(self._detached, self.rest, inputs, targets)[0])
        return None

    def _update(self, gradients: dict[str, Tensor]) -> None:
        """The optimizer's step at the highest rate of all, of which each network takes its share."""
        if self.optimizer is None:
            return
        with torch.no_grad():
            before = {name: value.detach().clone() for name, value in self.params.items()} if self.slower is not None else {}
            for name, value in self.params.items():
                value.grad = gradients[name]
            self.optimizer.step()
            for name, old in before.items():
                value = self.params[name]
                share = self.slower.to(value.dtype).reshape(-1, *[1] * (value.ndim - 1))  # pyright: ignore[reportOptionalMemberAccess]
                value.copy_(torch.lerp(old, value, share))

    def keep(self, left: list[int]) -> None:
        """Go on with these of the networks alone."""
        index = torch.tensor(left, device=self.inputs[0].tensor.device)
        self.jobs, self.places = [self.jobs[k] for k in left], [self.places[k] for k in left]
        with torch.no_grad():
            for value in self.params.values():
                count = len(value)
                state = self.optimizer.state[value] if self.optimizer is not None else {}
                for key, own in state.items():
                    if isinstance(own, Tensor) and own.ndim and len(own) == count:
                        state[key] = own[index].clone()
                value.grad = None
                value.data = value.data[index].clone()
        self.rest = {name: value[index] for name, value in self.rest.items()}
        self.inputs = [one.kept(index) for one in self.inputs]
        self.targets = [one.kept(index) for one in self.targets]
        if self.slower is not None:
            self.slower = self.slower[index]


class _Data:
    """A tensor that all networks share, or one for each."""

    def __init__(self, tensor: Tensor, own: bool):
        self.tensor, self.own = tensor, own

    def taken(self, network: Tensor, places: Tensor) -> Tensor:
        return self.tensor[network, places] if self.own else self.tensor[places]

    def kept(self, index: Tensor) -> _Data:
        return _Data(self.tensor[index], True) if self.own else self


def _shared(tensors: list[Tensor]) -> _Data:
    if all(one is tensors[0] or (one.shape == tensors[0].shape and torch.equal(one, tensors[0])) for one in tensors):
        return _Data(tensors[0], False)
    return _Data(torch.stack(tensors), True)


# What is told of a network that has ended while others train on: its place, and its losses.
Over = Callable[[int, Curve], None]


def train(
    networks: Sequence[Prepared],
    jobs: Sequence[Job],
    deadline: float,
    clock: Clock = time.process_time,
    over: Over = lambda place, curve: None,
) -> list[Curve]:
    """Losses of each network at epochs 0, 1, ..., until all memorized, diverged, were stopped or had their epochs.

    Networks and jobs belong to each other; their trials differ in rates, draws, data of one shape and epochs alone. Where the
    time until the deadline by this clock is too short for all, those with the most epochs are cut off, the last of
    the list first. `over` is called as a network ends, so that something is known of a pack that is stopped.

    Raises:
        CannotStack: torch cannot batch the network, or stacked it gives other losses than alone.
    """
    with quiet():
        stack = _stacked(networks, jobs)
        return _trained(stack, networks, deadline, clock, over)


def _stacked(networks: Sequence[Prepared], jobs: Sequence[Job]) -> _Stack:
    try:
        stack = _Stack(networks, jobs)
        try:
            losses = stack.measure()
        except RuntimeError:
            # Recurrent layers are batched where they are differentiated.
            stack.differentiate()
            losses = stack.measure()
    except CannotStack:
        raise
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        # torch has no one error for what vmap cannot do; a module that is wrong itself raises again where it trains alone.
        raise CannotStack(_reason(error)) from error
    first = networks[0]
    with torch.no_grad():
        output = first.output(first.judged, {**first.params, **first.buffers}, first.batch.inputs)
        alone = float(jobs[0].trial.loss.of(output, first.batch.targets))
    tolerance = AGREE.get(losses.dtype, AGREE_ROUGHLY)
    if losses.shape != (len(jobs),) or not np.isclose(float(losses[0]), alone, rtol=tolerance, atol=tolerance, equal_nan=True):
        raise CannotStack("stacked, it gives other outputs than alone")
    return stack


def _trained(stack: _Stack, networks: Sequence[Prepared], deadline: float, clock: Clock, over: Over) -> list[Curve]:
    jobs = list(stack.jobs)
    kept: list[list[np.ndarray]] = [[] for _ in jobs]
    given_up: set[int] = set()
    told_of: set[int] = set()
    # Where nothing is trained, one epoch tells all.
    most = max(job.trial.max_epochs for job in jobs) if stack.params else 1
    goals = [own.scale.goal(job.trial.tau) for own, job in zip(networks, jobs, strict=True)]
    epoch, block, begun = 0, 1, clock()
    # How long an epoch took before some were given up, and whether it is shorter without them.
    fewer_than: float | None = None
    worthwhile = sum(own.numel() for own in stack.params.values()) > FEW_NUMBERS
    # The fastest of the blocks with these networks tells how fast they are: one holds the trace.
    fastest = math.inf
    while True:
        started, rows = clock(), []
        until = min(epoch + block, most)
        while epoch < until:
            before = None if stack.fused else stack.measure()
            came = _first(stack) if epoch == 0 else stack.epoch(epoch)
            rows.append(came if before is None else before)
            epoch += 1
        if epoch == most:
            rows.append(stack.measure())
        told = torch.stack(rows).double().cpu().numpy()
        for column, place in enumerate(stack.places):
            kept[place].append(told[:, column])
        if epoch == most:
            break
        now = clock()
        fastest = min(fastest, (now - started) / max(1, len(rows)))
        each_s = fastest / len(stack.places)
        block = max(1, min(MOST_EPOCHS, 2 * block, int(LOOK_S / max(each_s * len(stack.places), NO_TIME_S))))
        left = [k for k, place in enumerate(stack.places) if not _is_over(kept[place], jobs[place], goals[place])]
        for place in {*stack.places} - {stack.places[k] for k in left} - told_of:
            told_of.add(place)
            over(place, Curve(np.concatenate(kept[place]), False))
        # Many will memorize before their epochs end, so that at first twice the time is planned. The first epoch is slower.
        ahead = {k: jobs[stack.places[k]].trial.max_epochs - epoch for k in left}
        hope = 1 + (deadline - now) / (deadline - begun) if math.isfinite(deadline) else 1.0
        if fewer_than is not None and fastest > NO_FASTER * fewer_than:
            worthwhile = False
        late = set(left) if now > deadline else set()
        if worthwhile and epoch > 1 and not late:
            late = _too_many(ahead, each_s, hope * (deadline - now), len(left) // 2)
        fewer_than = fastest if late else None
        given_up |= {stack.places[k] for k in late}
        left = [k for k in left if k not in late]
        if not left:
            break
        if late or len(left) <= len(stack.places) // 2:
            stack.keep(left)
            most, fastest = max(job.trial.max_epochs for job in stack.jobs), math.inf
    return [Curve(np.concatenate(own), place in given_up) for place, own in enumerate(kept)]


def _first(stack: _Stack) -> Any:
    try:
        return stack.epoch(0)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        # As in `_stacked`: what cannot be stacked shows in the first step at the latest.
        raise CannotStack(_reason(error)) from error


def _too_many(epochs: dict[int, int], each_s: float, left_s: float, most: int) -> set[int]:
    """Which networks there is no time for, of those that have so many epochs to go: the longest and the last."""
    late: set[int] = set()
    waiting = sorted(epochs, key=lambda k: (epochs[k], k))
    needed_s = each_s * sum(epochs.values())
    while len(late) < most and needed_s > left_s:
        given_up = waiting.pop()
        late.add(given_up)
        needed_s -= each_s * epochs[given_up]
    return late


def _is_over(parts: list[np.ndarray], job: Job, goal: float) -> bool:
    last = parts[-1]
    if not np.isfinite(last).all() or (not job.to_end and bool((last <= goal).any())):
        return True
    known = sum(map(len, parts))
    if known > job.trial.max_epochs:
        return True
    return job.trial.stop is not None and stopped_at(job.trial.stop, np.concatenate(parts)) is not None


def _reason(error: BaseException) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return (
        f"torch cannot stack it ({lines[0][:MOST_CHARACTERS]})" if lines else f"torch cannot stack it ({type(error).__name__})"
    )
