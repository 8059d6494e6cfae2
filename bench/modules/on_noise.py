"""Networks of one factory on noise: each training by what it is of, those that can together; and searches of N50 by them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from bench.modules.batches import Shapes, noise, shapes_of
from bench.modules.losses import first_line
from bench.modules.optimizers import recipe_of
from bench.modules.probe import MOST_OUTPUTS, rank
from bench.modules.questions import Question, question
from bench.modules.sources import Source
from bench.modules.threads import as_many_as_pay
from bench.modules.training import Trainer
from bench.modules.trials import EVAL, Ended, Job, Trial
from bench.protocol.cells import Status
from bench.protocol.grid import GridError
from bench.runs.search import Search, first_counts, next_counts

# Of a single sample BatchNorm has no variance.
LEAST_SAMPLES = 2

# Outputs of noise for each dimension that make a rank known.
ENOUGH = 2

# The first of all seeds: of what a network is, before any training.
FIRST_SEED = 0

# What trains: many at once under torch.func.vmap, or a plain loop of torch.
STACKED, ALONE = "stacked", "alone"


class Way(NamedTuple):
    """A network by its arguments in words, and how it trains: what N50 is of. `batch_size`: None for all samples a step."""

    model_args: str
    optimizer: str
    learning_rate: float
    batch_size: int | None


class Training(NamedTuple):
    """What a training is of: a `Way`, samples and seed."""

    model_args: str
    optimizer: str
    learning_rate: float
    batch_size: int | None
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

    shapes: Sequence[Sequence[Any]]
    loss: object = "mse"
    optimizer: object = "adam"
    batch_size: int | None = None
    max_epochs: int = 1000
    tau: float = 0.01
    measured: str = EVAL
    device: str | None = None
    first_seed: int = FIRST_SEED

    def __post_init__(self) -> None:
        _ = self.of_a_sample

    @property
    def of_a_sample(self) -> Shapes:
        """The shapes of one sample.

        Raises:
            GridError: they are none.
        """
        return shapes_of(self.shapes, samples=False)

    @property
    def outputs(self) -> int:
        """Numbers that a sample's target has."""
        return math.prod(self.of_a_sample.targets)


class OnNoise:
    """Networks that one function makes, or copies of one module. `why_alone`: why some could not train together, in words."""

    def __init__(self, module: object, setup: Setup, networks: Sequence[Mapping[str, Any]]):
        """`networks`: the arguments of each. They are made here until one can be asked about, to find what cannot be.

        Raises:
            GridError: a value that cannot be, or a module that raises, whatever its arguments.
        """
        self.module, self.setup = module, setup
        self.arguments = {spelled(own): own for own in networks}
        self.why_alone: list[str] = []
        self.first = self._first()
        self._sizes: dict[str, Size] = {}

    def _first(self) -> Question:
        raised: GridError | None = None
        for name in self.arguments:
            try:
                return self._question(name, LEAST_SAMPLES)
            except GridError as error:
                raised = raised or error
        assert raised is not None
        raise raised

    def sources(self) -> Iterator[tuple[str, Source]]:
        """Each network that can be made, by its arguments in words; made for this alone, since all at once may be too many."""
        for name, own in self.arguments.items():
            # What raises is told where it trains.
            with suppress(GridError):
                yield name, Source(self.module, own)

    def _question(self, model_args: str, count: int) -> Question:
        own = self.setup
        return question(
            self.module,
            shapes=own.of_a_sample.of(count),
            arguments=self.arguments[model_args],
            loss=own.loss,
            optimizer=own.optimizer,
            batch_size=own.batch_size,
            max_epochs=own.max_epochs,
            tau=own.tau,
            measured=own.measured,
            seeds=(own.first_seed,),
            device=own.device,
            ranked=False,
        )

    def size(self, model_args: str) -> Size:
        """Parameters and rank of a network.

        The rank grows with the samples until it is that of the functions. It is known where there is more noise than that by
        ENOUGH: of as much, a relu unit that few samples reach takes some away. Else parameters stand in for it.

        Raises:
            GridError: the network raises.
        """
        if model_args not in self._sizes:
            asked, outputs, count = self._question(model_args, LEAST_SAMPLES), self.setup.outputs, LEAST_SAMPLES
            network = asked.source.draw(self.setup.first_seed).to(asked.device)

            def found() -> int | None:
                shown = noise(self.setup.of_a_sample.of(count), self.setup.first_seed)
                with as_many_as_pay(count * outputs * asked.facts.n_params):
                    return rank(network, shown.map(lambda own: own.to(asked.device), lambda own: own))

            known = found()
            while known is not None and known * ENOUGH > count * outputs and 2 * count * outputs <= MOST_OUTPUTS:
                count *= 2
                known = found()
            known = known if known is not None and known * ENOUGH <= count * outputs else None
            n_params = asked.facts.n_params
            in_samples = (known if known is not None else n_params) / outputs
            self._sizes[model_args] = Size(n_params, known, max(1, round(in_samples)))
        return self._sizes[model_args]

    def way(self, model_args: str) -> Way:
        """A network, trained as it is asked for."""
        recipe, asked = self.first.trial.recipe, self.setup.optimizer
        name = asked[0] if isinstance(asked, tuple) else asked if isinstance(asked, str) else recipe.spelled()
        return Way(model_args, name, recipe.rate, self.setup.batch_size)

    def train(self, wanted: Sequence[Training]) -> Iterator[Rows]:
        """Train these, what can of a network at one sample count together; what came of each such pack.

        What raises has a row that says why. Ctrl-C passes when what is known by then was given out.
        """
        packs: dict[tuple[str, int], list[Training]] = {}
        for one in wanted:
            packs.setdefault((one.model_args, one.n_samples), []).append(one)
        for (model_args, count), own in packs.items():
            try:
                size, asked = self.size(model_args), self._question(model_args, count)
                jobs = {one: Job(self._trial(asked, one), one.seed) for one in own}
            except Exception as error:
                # The user's module: it may raise anything.
                yield {one: self._failed(one, _reason(error)) for one in own}
                continue
            trainer = Trainer(asked.source, asked.batch, asked.facts, asked.device)
            reasons: dict[Training, str] = {}

            def known(jobs: Any = jobs, trainer: Trainer = trainer, size: Size = size, reasons: Any = reasons) -> Rows:
                made = {
                    one: _row(one, trainer.results[job], size, trainer) for one, job in jobs.items() if job in trainer.results
                }
                return made | {one: self._failed(one, reason) for one, reason in reasons.items()}

            try:
                _train(trainer, jobs, reasons)
            except KeyboardInterrupt:
                yield known()
                raise
            self.why_alone += [reason for reason in trainer.why_alone if reason not in self.why_alone]
            yield known()

    def _trial(self, asked: Question, of: Training) -> Trial:
        own, trial = self.way(of.model_args), dataclasses.replace(asked.trial, batch_size=of.batch_size)
        if (of.optimizer, of.learning_rate) == (own.optimizer, own.learning_rate):
            return trial
        recipe = recipe_of((of.optimizer, of.learning_rate), asked.source.template, instance=False)
        return dataclasses.replace(trial, recipe=recipe)

    def _failed(self, of: Training, reason: str) -> dict[str, Any]:
        size = self._sizes.get(of.model_args)
        return {
            **of._asdict(),
            "status": Status.FAILED,
            "epoch_to_tau": math.nan,
            "best_tau": math.nan,
            "final_tau": math.nan,
            "n_params": size.n_params if size else None,
            "jacobian_rank": size.rank if size else None,
            "engine": None,
            "device": str(self.first.device),
            "reason": reason,
        }


def _train(trainer: Trainer, jobs: Mapping[Training, Job], reasons: dict[Training, str]) -> None:
    """Train jobs; where a pack raises, each of those that it has no result of by itself, and why one raises is a reason."""
    try:
        trainer.train(jobs.values(), math.inf)
    except Exception as error:
        # The user's module: it may raise anything, and the memory may be too small.
        left = {one: job for one, job in jobs.items() if job not in trainer.results}
        if len(jobs) == 1:
            reasons |= dict.fromkeys(left, _reason(error))
            return
        for one, job in left.items():
            _train(trainer, {one: job}, reasons)


def _reason(error: Exception) -> str:
    return error.rule if isinstance(error, GridError) else f"raised {first_line(error)}"


def _row(of: Training, ended: Ended, size: Size, trainer: Trainer) -> dict[str, Any]:
    diverged = Status.DIVERGED if ended.diverged else Status.CENSORED
    return {
        **of._asdict(),
        "status": Status.MEMORIZED if ended.memorized else diverged,
        "epoch_to_tau": math.nan if ended.epoch_to_tau is None else float(ended.epoch_to_tau),
        "best_tau": ended.best,
        "final_tau": ended.last if math.isfinite(ended.last) else math.inf,
        "n_params": size.n_params,
        "jacobian_rank": size.rank,
        "engine": STACKED if ended.together else ALONE,
        "device": str(trainer.device),
        "reason": None,
    }


def spelled(arguments: Mapping[str, Any]) -> str:
    """Arguments in words, as Python writes them.

    In the order of their names: the order in which they are given makes no other network.

    >>> spelled({"hidden": 8, "act": "relu"}), spelled({})
    ("act='relu', hidden=8", '')
    """
    return ", ".join(f"{name}={arguments[name]!r}" for name in sorted(arguments))


def searches(
    networks: Mapping[Way, int], known: Rows, search: Search, first_seed: int = FIRST_SEED
) -> Iterator[list[Training]]:
    """The trainings to make next, until N50 of each network is known well enough; what is known is not asked for again.

    What comes next depends on what came before alone, so that a search that is stopped goes on where it was.

    Args:
        networks: each with the dimension that its search begins from. One of which a training fails is searched no further.
        known: what came of each training; whoever asks for the next adds to it.
        search: how well N50 is to be known, and what that may cost.
        first_seed: each training of a network has the next one.
    """
    waiting = [_search(way, dimension, known, search, first_seed) for way, dimension in networks.items()]
    while True:
        rounds = [(own, wanted) for own in waiting if (wanted := next(own, None)) is not None]
        if not rounds:
            return
        waiting = [own for own, _ in rounds]
        if new := [one for _, wanted in rounds for one in wanted if one not in known]:
            yield new


def _search(way: Way, dimension: int, known: Rows, search: Search, first_seed: int) -> Iterator[list[Training]]:
    tried: list[Training] = []
    counts = first_counts(dimension, LEAST_SAMPLES)
    while counts and len(tried) < search.most_cells:
        counts = counts[: search.most_cells - len(tried)]
        wanted = [Training(*way, count, first_seed + len(tried) + number) for number, count in enumerate(counts)]
        yield wanted
        tried += wanted
        if any(known[one]["status"] == Status.FAILED for one in wanted):
            return
        n_samples = np.array([one.n_samples for one in tried])
        success = np.array([known[one]["status"] == Status.MEMORIZED for one in tried])
        counts = next_counts(n_samples, success, dimension, search, LEAST_SAMPLES)
