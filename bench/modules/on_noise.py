"""Networks of one factory on noise: each training by what it is of, those that can together; and searches of N50 by them."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bench.modules.optimizers import recipe_of
from bench.modules.probe import MOST_OUTPUTS
from bench.modules.questions import Question, question
from bench.modules.sources import Source
from bench.modules.training import Trainer
from bench.modules.trials import EVAL, Ended, Job
from bench.protocol.grid import GridError
from bench.runs.search import Search, first_counts, next_counts

# Of a single sample BatchNorm has no variance.
LEAST_SAMPLES = 2

# Outputs of noise for each dimension that make a rank known.
ENOUGH = 2

# The first of all seeds: of what a network is, before any training.
FIRST_SEED = 0


class Training(NamedTuple):
    """What a training is of: a network by its arguments in words, its rate, samples and seed."""

    model_args: str
    learning_rate: float
    n_samples: int
    seed: int


class Size(NamedTuple):
    """Parameters of a network, the rank of its Jacobian over enough noise (None: not known), and where a search begins."""

    n_params: int
    rank: int | None
    dimension: int


# Of each training what came of it: the columns of `network_trainings` (`bench.protocol.columns`).
Rows = dict[Training, dict[str, Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Setup:
    """How all networks are trained: what `bench.capacity` takes, but for the arguments of the factory."""

    shapes: Sequence[Sequence[int]]
    loss: object = "mse"
    optimizer: object = "adam"
    batch_size: int | None = None
    max_epochs: int = 1000
    tau: float = 0.01
    measured: str = EVAL
    device: str | None = None
    first_seed: int = FIRST_SEED

    def __post_init__(self) -> None:
        rule, remedy = "must be the shapes of one sample's inputs and targets", "give for example ((8,), (1,))"
        own = self.shapes
        if isinstance(own, str) or not isinstance(own, Sequence) or len(own) != 2:
            raise GridError("shapes", own, rule, remedy)
        for shape in own:
            if isinstance(shape, str) or not isinstance(shape, Sequence):
                raise GridError("shapes", own, rule, remedy)
            if not all(type(size) is int and size > 0 for size in shape):
                raise GridError("shapes", own, rule, remedy)

    @property
    def outputs(self) -> int:
        """Numbers that a sample's target has."""
        return math.prod(self.shapes[1])


class OnNoise:
    """Networks that one function makes, or copies of one module. `why_alone`: why some could not train together, in words."""

    def __init__(self, module: object, setup: Setup, networks: Sequence[Mapping[str, Any]]):
        """`networks`: the arguments of each; the first is made here, to find what cannot be.

        Raises:
            GridError: a value that cannot be, or a module that raises.
        """
        self.module, self.setup = module, setup
        self.arguments = {spelled(own): own for own in networks}
        self.why_alone: list[str] = []
        self._asked = functools.cache(self._question)
        self.first = self._asked(next(iter(self.arguments)), 2)
        self._sizes: dict[str, Size] = {}

    @functools.cached_property
    def sources(self) -> dict[str, Source]:
        """Each network by its arguments in words.

        Raises:
            GridError: the function raises, or has no such argument.
        """
        return {name: Source(self.module, own) for name, own in self.arguments.items()}

    def _question(self, model_args: str, count: int) -> Question:
        own = self.setup
        return question(
            self.module,
            shapes=tuple((count, *shape) for shape in own.shapes),
            arguments=self.arguments[model_args],
            loss=own.loss,
            optimizer=own.optimizer,
            batch_size=own.batch_size,
            max_epochs=own.max_epochs,
            tau=own.tau,
            measured=own.measured,
            seeds=(own.first_seed,),
            device=own.device,
        )

    def size(self, model_args: str) -> Size:
        """Parameters and rank of a network.

        The rank grows with the samples until it is that of the functions. It is known where there is more noise than that by
        ENOUGH: of as much, a relu unit that few samples reach takes some away. Else parameters stand in for it.
        """
        if model_args not in self._sizes:
            outputs = self.setup.outputs
            count, facts = 2, self._asked(model_args, 2).facts
            while facts.rank is not None and facts.rank * ENOUGH > count * outputs and 2 * count * outputs <= MOST_OUTPUTS:
                count *= 2
                facts = self._asked(model_args, count).facts
            known = facts.rank is not None and facts.rank * ENOUGH <= count * outputs
            rank = facts.rank if known else None
            in_samples = (rank if rank is not None else facts.n_params) / outputs
            self._sizes[model_args] = Size(facts.n_params, rank, max(1, round(in_samples)))
        return self._sizes[model_args]

    def rate(self) -> float:
        """The learning rate of the optimizer as it is asked for."""
        return self.first.trial.recipe.rate

    def train(self, wanted: Sequence[Training]) -> Iterator[Rows]:
        """Train these, all rates and seeds of a network at one sample count together; what came of each such pack."""
        packs: dict[tuple[str, int], list[Training]] = {}
        for one in wanted:
            packs.setdefault((one.model_args, one.n_samples), []).append(one)
        for (model_args, count), own in packs.items():
            asked = self._asked(model_args, count)
            trainer = Trainer(asked.source, asked.batch, asked.facts, asked.device)
            jobs = {one: Job(self._trial(asked, one.learning_rate), one.seed) for one in own}
            trainer.train(jobs.values(), math.inf)
            self.why_alone += [reason for reason in trainer.why_alone if reason not in self.why_alone]
            yield {one: _row(one, trainer.results[job], self.size(model_args)) for one, job in jobs.items()}

    def _trial(self, asked: Question, rate: float) -> Any:
        if rate == asked.trial.recipe.rate:
            return asked.trial
        recipe = recipe_of((self.setup.optimizer, rate), asked.source.template, instance=False)
        return dataclasses.replace(asked.trial, recipe=recipe)


def _row(of: Training, ended: Ended, size: Size) -> dict[str, Any]:
    return {
        **of._asdict(),
        "memorized": ended.memorized,
        "epoch_to_tau": math.nan if ended.epoch_to_tau is None else float(ended.epoch_to_tau),
        "best_tau": ended.best,
        "final_tau": ended.last if math.isfinite(ended.last) else math.inf,
        "n_params": size.n_params,
        "jacobian_rank": size.rank,
        "together": ended.together,
    }


def spelled(arguments: Mapping[str, Any]) -> str:
    """Arguments in words, as Python writes them.

    >>> spelled({"hidden": 8, "act": "relu"}), spelled({})
    ("hidden=8, act='relu'", '')
    """
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())


def searches(
    networks: Mapping[tuple[str, float], int], known: Rows, search: Search, first_seed: int = FIRST_SEED
) -> Iterator[list[Training]]:
    """The trainings to make next, until N50 of each network is known well enough; what is known is not asked for again.

    What comes next depends on what came before alone, so that a search that is stopped goes on where it was.

    Args:
        networks: arguments in words and rate, with the dimension that the search begins from.
        known: what came of each training; whoever asks for the next adds to it.
        search: how well N50 is to be known, and what that may cost.
        first_seed: each training of a network has the next one.
    """
    waiting = [_search(*network, dimension, known, search, first_seed) for network, dimension in networks.items()]
    while True:
        rounds = [(own, wanted) for own in waiting if (wanted := next(own, None)) is not None]
        if not rounds:
            return
        waiting = [own for own, _ in rounds]
        if new := [one for _, wanted in rounds for one in wanted if one not in known]:
            yield new


def _search(
    model_args: str, rate: float, dimension: int, known: Rows, search: Search, first_seed: int
) -> Iterator[list[Training]]:
    tried: list[Training] = []
    counts = first_counts(dimension, LEAST_SAMPLES)
    while counts and len(tried) < search.most_cells:
        counts = counts[: search.most_cells - len(tried)]
        wanted = [Training(model_args, rate, count, first_seed + len(tried) + number) for number, count in enumerate(counts)]
        yield wanted
        tried += wanted
        n_samples = np.array([one.n_samples for one in tried])
        success = np.array([known[one]["memorized"] for one in tried])
        counts = next_counts(n_samples, success, dimension, search, LEAST_SAMPLES)
