"""What to train next to find out why a cell does not memorize: the ladder in stages, and fresh seeds for what stands out.

What comes next depends on what came before and on the time left, so that a diagnosis that was stopped goes on where it was.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence

import numpy as np

from bench.engines.packs import budget_flops, epoch_flops
from bench.protocol.cells import MAX_SEED, SECOND_ORDER, Cell
from bench.protocol.grid import GridError
from bench.protocol.networks import n_params
from bench.runs import ladder
from bench.statistics.confirmation import LOOKS, MAJORITY, MOST_TRIED, TRIED_IN_A_STAGE, Answer, memorizable, needed, works
from bench.statistics.evidence import HALVED, Lever, pulled_by
from bench.statistics.survival import median_with_censoring
from bench.statistics.verdict import class_of
from bench.store.parts import Ended

# Without a limit of its own a diagnosis takes so long, or TIMES_ASKED what the asked cell took, whichever is more, but no
# longer than MOST_TIME_S; where that is less than LEAST_TIMES what the asked cell took, as long as these.
LEAST_TIME_S, TIMES_ASKED, MOST_TIME_S, LEAST_TIMES = 10.0, 15.0, 75.0, 3.0

# The share of the time left that a stage of the ladder may take, so that no stage keeps the next, nor fresh seeds, from being
# tried: levers one at a time, in pairs, optimizer=lm, still more epochs, other networks. One that takes OVERRUN times as long
# is cut short.
SHARES = {"singles": 0.5, "pairs": 0.4, "solved": 0.3, "longest": 0.5, "networks": 0.6}
OVERRUN = 1.5

# What a round takes beside its training: packs, processes' threads, and files.
ROUND_S = 0.1

# Measured of the native engine, widths 8 to 128 in batches of 8 and 32.
UPDATE_FLOPS, UPDATE_FLOPS_PER_PARAM = 2e4, 120

# FLOP/s: slower than this is no training but what comes with it, as of cells of a few epochs on a busy machine.
LEAST_SPEED = 1e7


@dataclasses.dataclass(frozen=True, slots=True)
class Diagnose:
    """That a run is a diagnosis. `budget_s`: no training begins that would not end within so many seconds of training, by the
    speed seen so far, and what has not ended then is stopped; None: `default_budget_s` of what the network as asked took.
    `past_tau`: what memorizes is trained on past tau too, to the end of its budget, to see whether it is kept.
    """

    budget_s: float | None = None
    past_tau: bool = False

    def __post_init__(self) -> None:
        value = self.budget_s
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf):
            raise GridError("budget_s", value, "must be null or a positive number of seconds", "give for example 60")
        if not isinstance(self.past_tau, bool):
            raise GridError("past_tau", self.past_tau, "must be true or false", "give past_tau=true")


def default_budget_s(asked_s: float) -> float:
    """The seconds of training of a diagnosis whose network takes `asked_s` as asked.

    >>> [default_budget_s(asked_s) for asked_s in (0.1, 2, 20, 600)]
    [10.0, 30.0, 75.0, 1800.0]
    """
    return max(LEAST_TIME_S, min(TIMES_ASKED * asked_s, MOST_TIME_S), LEAST_TIMES * asked_s)


def work(cell: Cell) -> float:
    """What a cell costs if it spends its budget: its FLOPs, and what an update costs beside them, as FLOPs.

    Of updates of few samples most of the time goes to the optimizer: so many FLOPs' worth for each, and for each parameter
    of it. Of float64 half as many numbers fit into a register.
    """
    updates = cell.max_epochs * cell.steps_per_epoch
    precision = 2 if cell.dtype == "float64" else 1
    return precision * (budget_flops(cell) + updates * (UPDATE_FLOPS + UPDATE_FLOPS_PER_PARAM * n_params(cell)))


# What of all cells has ended; one that failed has not.
Results = Callable[[], Mapping[str, Ended]]

Stage = Callable[[Cell, Cell], list[Cell]]

# The trainings that change no network; then those that do. `ladder.longest` comes between.
TUNINGS: tuple[Stage, ...] = (lambda asked, _: ladder.singles(asked), lambda asked, _: ladder.pairs(asked))
NETWORKS: Stage = ladder.other_networks


class Inquiry:
    """The rounds of a diagnosis. After them, `planned` are all cells and `left_out` the changes that there was no time for."""

    def __init__(
        self,
        asked: Sequence[Cell],
        results: Results,
        *,
        budget_s: float | None = None,
        past_tau: bool = False,
        tunings: Sequence[Stage] = TUNINGS,
        networks: Stage = NETWORKS,
    ):
        """Asked about are cells that differ in their seeds alone; the ladder is trained with the same seeds."""
        self._asked, self._results, self._tunings, self._networks = asked[0], results, tunings, networks
        self._seeds = [(cell.data_seed, cell.init_seed) for cell in asked]
        used = {seed for pair in self._seeds for seed in pair}
        self._fresh = [seed for seed in _after(max(used)) if seed not in used][: LOOKS[-1]]
        self._budget_s, self._limited, self._past_tau = budget_s, budget_s is not None, past_tau
        self._spent_s = self._work = 0.0
        self._rounds, self._left_to_try = 0, MOST_TRIED
        self._screened: dict[Cell, None] = dict.fromkeys(asked)
        self._more: dict[Cell, None] = {}
        self._known: Mapping[str, Ended] = {}
        self._ids: dict[Cell, str] = {}
        self.left_out: list[Cell] = []
        # When the training of this round is to be stopped, of `time.perf_counter`.
        self.until = math.inf
        self._void: set[Cell] = set()

    @property
    def planned(self) -> list[Cell]:
        """All cells so far: those of the ladder's seeds first, which tells them from those of fresh seeds."""
        return [*self._screened, *(cell for cell in self._more if cell not in self._screened)]

    def rounds(self) -> Generator[list[Cell], None, Cell | None]:
        """All cells to have results of, as often as there are new ones; returns the change that was confirmed, if any."""
        asked = self._asked
        yield from self._train(list(self._screened), always=True)
        yield from self._luck()
        yield from self._kept()
        if self._memorizable() is Answer.YES:
            return None
        tried: list[Cell] = []
        for stage, share in zip(self._tunings, (SHARES["singles"], SHARES["pairs"]), strict=True):
            new = yield from self._screen(stage(asked, asked), tried, share)
            if (found := (yield from self._confirm(new))) is not None:
                return found
        # It is compared with no other training but the asked one, and is the beginning of none.
        new = yield from self._screen(ladder.solved(asked), [], SHARES["solved"])
        if (found := (yield from self._confirm(new))) is not None:
            return found
        new = yield from self._screen(self._longest(tried), tried, SHARES["longest"])
        if (found := (yield from self._confirm(new))) is not None:
            return found
        yield from self._falling(tried)
        new = yield from self._screen(self._networks(asked, self._closest(tried)), tried, SHARES["networks"])
        return (yield from self._confirm(new))

    def _luck(self) -> Generator[list[Cell], None, None]:
        """More seeds of the asked cell, where some memorize and it is open whether most do."""
        if not any(ended.memorized for ended in self._of(self._asked)):
            return
        for total in LOOKS:
            if self._memorizable() is Answer.OPEN or len(self._all(self._asked)) < LOOKS[0]:
                more = max(0, total - len(self._seeds))
                yield from self._train(self._with(self._asked, self._fresh_seeds(more)), always=total == LOOKS[0])

    def _kept(self) -> Generator[list[Cell], None, None]:
        """The seeds of the asked cell past tau, where one memorizes; calmer trainings, where most are lost."""
        reached = [cell for cell in self._seeded(self._asked) if (ended := self._end(cell)) and ended.memorized]
        if not self._past_tau or not reached:
            return
        past = ladder.past_tau(self._asked)
        cells = [dataclasses.replace(cell, tau=past.tau) for cell in self._seeded(self._asked)]
        # It was asked for: only a limit that was asked for too keeps it from training.
        if self._limited and self._time_left() < self._predicted_s(sum(map(work, cells))):
            self.left_out.append(past)
            return
        self._screened |= dict.fromkeys(self._with(past, self._seeds))
        yield from self._train(cells, always=True)
        ends = self._ended(dataclasses.replace(cell, tau=past.tau) for cell in reached)
        if memorizable(sum(not end.final_tau <= self._asked.tau for end in ends), len(ends)) is Answer.YES:
            yield from self._screen(ladder.calmer(self._asked), [], SHARES["networks"])

    def _memorizable(self) -> Answer:
        ended = self._all(self._asked)
        return memorizable(sum(one.memorized for one in ended), len(ended)) if ended else Answer.OPEN

    def _screen(self, variants: Iterable[Cell], tried: list[Cell], share: float) -> Generator[list[Cell], None, list[Cell]]:
        """Train each new variant once with each seed of the ladder, in this share of the time left; adds those to `tried`.

        Where that is too little, each is trained with the first seed, and with the others what memorizes: first more epochs,
        without which there is no verdict, then the cheapest.
        """
        new = [
            cell for cell in dict.fromkeys(map(self._plain, variants)) if cell not in tried and cell != self._plain(self._asked)
        ]
        within_s = share * self._time_left()
        if self._predicted_s(sum(work(own) for cell in new for own in self._unknown(cell, self._seeds))) <= within_s:
            yield from self._try(new, self._seeds, within_s)
        else:
            first = self._seeds[:1]
            cost = {cell: sum(map(work, self._unknown(cell, first))) for cell in new}
            fits: list[Cell] = []
            for cell in sorted(new, key=lambda cell: (pulled_by(cell, self._asked) != [Lever.BUDGET], cost[cell])):
                if within_s >= self._predicted_s(sum(cost[own] for own in fits) + cost[cell]):
                    fits.append(cell)
                else:
                    self.left_out.append(cell)
            new = [cell for cell in new if cell in fits]
            yield from self._try(new, first, within_s)
            yield from self._try([cell for cell in new if self._share(cell)], self._seeds, self._time_left())
        new = [cell for cell in new if self._of(cell)]
        tried += new
        return new

    def _try(self, variants: list[Cell], seeds: list[tuple[int, int]], within_s: float) -> Generator[list[Cell], None, None]:
        """Train variants with seeds of the ladder; one that has no result then is left out."""
        cells = [own for cell in variants for own in self._with(cell, seeds)]
        self._screened |= dict.fromkeys(cells)
        yield from self._train(cells, always=True, within_s=min(self._time_left(), OVERRUN * within_s))
        if time.perf_counter() >= self.until:
            self.left_out += [cell for cell in variants if not self._of(cell)]

    def _unknown(self, cell: Cell, seeds: list[tuple[int, int]]) -> list[Cell]:
        """Of a variant with each of these seeds those that have no result yet."""
        return [own for own in self._with(cell, seeds) if self._end(own) is None]

    def _confirm(self, variants: list[Cell]) -> Generator[list[Cell], None, Cell | None]:
        """The first of the best variants that fresh seeds confirm, without the levers that it does not need."""
        good = [cell for cell in variants if self._share(cell) >= MAJORITY and Lever.TASK not in pulled_by(cell, self._asked)]
        for candidate in sorted(good, key=self._rank)[: min(TRIED_IN_A_STAGE, self._left_to_try)]:
            self._left_to_try -= 1
            if (yield from self._works(candidate)) is Answer.YES:
                return (yield from self._reduced(candidate))
        return None

    def _works(self, cell: Cell) -> Generator[list[Cell], None, Answer]:
        """Fresh seeds for a change and for the asked cell, until it is clear whether the change works better."""
        answer = Answer.OPEN
        for look in LOOKS:
            seeds = self._fresh_seeds(look)
            if not (yield from self._train([*self._with(self._asked, seeds), *self._with(cell, seeds)])):
                self.left_out.append(cell)
                return answer
            hits, trials, asked = self._beside(cell, seeds)
            if (answer := works(hits, trials, asked)) is not Answer.OPEN:
                return answer
        return answer

    def _beside(self, cell: Cell, seeds: list[tuple[int, int]]) -> tuple[int, int, int]:
        """Successes of a change, seeds that both it and the asked cell have results of, and successes of the asked cell."""
        pairs = zip(self._with(cell, seeds), self._with(self._asked, seeds), strict=True)
        ended = [(own, beside) for own, beside in ((self._end(a), self._end(b)) for a, b in pairs) if own and beside]
        return sum(own.memorized for own, _ in ended), len(ended), sum(beside.memorized for _, beside in ended)

    def _reduced(self, remedy: Cell) -> Generator[list[Cell], None, Cell]:
        """The remedy without each lever that it works as well without, the largest first; fresh seeds decide. What comes with
        optimizer=lm goes with it.
        """
        if remedy.optimizer == SECOND_ORDER:
            return remedy
        kept: list[Lever] = []
        while len(levers := pulled_by(remedy, self._asked)) > 1 and (left := [lever for lever in levers if lever not in kept]):
            less = self._plain(ladder.without(left[-1], remedy, self._asked))
            kept.append(left[-1])
            for look in LOOKS:
                seeds = self._fresh_seeds(look)
                cells = [own for cell in (self._asked, remedy, less) for own in self._with(cell, seeds)]
                if not (yield from self._train(cells)):
                    return remedy
                if needed(*self._fresh_counts(remedy), *self._fresh_counts(less)) is Answer.YES:
                    break
                hits, trials, asked = self._beside(less, seeds)
                if works(hits, trials, asked) is Answer.YES:
                    # What the larger change needed, the smaller one may not, and it is shown anew.
                    remedy, kept = less, []
                    break
        return remedy

    def _longest(self, tried: list[Cell]) -> list[Cell]:
        """Still more epochs, where what is left was seen to fall with them."""
        falls = [
            cell
            for cell in tried
            if cell.max_epochs > self._asked.max_epochs
            and self._is_halved(cell, self._plain(dataclasses.replace(cell, max_epochs=self._asked.max_epochs)))
        ]
        return ladder.longest(self._asked, min(falls, key=self._left)) if falls else []

    def _falling(self, tried: list[Cell]) -> Generator[list[Cell], None, None]:
        """Fresh seeds for the most epochs of the asked network, where these leave much less."""
        longer = [cell for cell in tried if pulled_by(cell, self._asked) == [Lever.BUDGET]]
        longest = max(longer, key=lambda cell: cell.max_epochs, default=None)
        if longest is not None and self._is_halved(longest, self._plain(self._asked)):
            seeds = self._fresh_seeds(LOOKS[0])
            yield from self._train([*self._with(self._asked, seeds), *self._with(longest, seeds)])

    def _is_halved(self, longer: Cell, shorter: Cell) -> bool:
        """Whether the longer training leaves at most half; one that diverged leaves all."""
        return math.isfinite(self._left(longer)) and self._left(longer) <= HALVED * self._left(shorter)

    def _closest(self, tried: list[Cell]) -> Cell:
        """The training of the asked network that left the least; the asked one where none left less."""
        return min([self._plain(self._asked), *tried], key=self._left)

    def _rank(self, cell: Cell) -> tuple[float, ...]:
        """The highest share first, then the smallest change."""
        epochs = [ended.epochs if ended.memorized else math.nan for ended in self._of(cell)]
        until = min(cell.max_epochs, median_with_censoring(np.array(epochs, float)))
        levers = pulled_by(cell, self._asked)
        return (-self._share(cell), class_of(levers), -cell.n_samples, len(levers), until * epoch_flops(cell))

    def _share(self, cell: Cell) -> float:
        ended = self._of(cell)
        return sum(one.memorized for one in ended) / len(ended) if ended else 0.0

    def _left(self, cell: Cell) -> float:
        taus = [ended.final_tau for ended in self._of(cell)]
        return float(np.median(taus)) if taus else math.inf

    def _of(self, cell: Cell) -> list[Ended]:
        """Results with the seeds of the ladder."""
        return self._ended(self._with(cell, self._seeds))

    def _all(self, cell: Cell) -> list[Ended]:
        """Results with all seeds."""
        return self._ended(self._with(cell, [*self._seeds, *self._fresh_seeds(len(self._fresh))]))

    def _seeded(self, cell: Cell) -> list[Cell]:
        """The cell with each seed that it has a result of."""
        seeds = [*self._seeds, *self._fresh_seeds(len(self._fresh))]
        return [own for own in self._with(cell, seeds) if self._end(own) is not None]

    def _ended(self, cells: Iterable[Cell]) -> list[Ended]:
        return [ended for ended in map(self._end, cells) if ended is not None]

    def _end(self, cell: Cell) -> Ended | None:
        """How a cell ended; None where it has not, or others of its round were stopped."""
        if cell in self._void:
            return None
        if cell not in self._ids:
            self._ids[cell] = cell.cell_id
        return self._known.get(self._ids[cell])

    def _fresh_counts(self, cell: Cell) -> tuple[int, int]:
        ended = self._ended(self._with(cell, self._fresh_seeds(len(self._fresh))))
        return sum(one.memorized for one in ended), len(ended)

    def _fresh_seeds(self, count: int) -> list[tuple[int, int]]:
        return [(seed, seed) for seed in self._fresh[:count]]

    def _plain(self, cell: Cell) -> Cell:
        return dataclasses.replace(cell, data_seed=self._asked.data_seed, init_seed=self._asked.init_seed)

    def _with(self, cell: Cell, seeds: Iterable[tuple[int, int]]) -> list[Cell]:
        return [dataclasses.replace(cell, data_seed=data, init_seed=init) for data, init in seeds]

    def _train(
        self, cells: Iterable[Cell], *, always: bool = False, within_s: float | None = None
    ) -> Generator[list[Cell], None, bool]:
        """Have results of the cells; False where there is no time for that, but for what is trained `always`.

        What has not ended after `within_s` seconds is stopped, and planned no longer; None: never what is trained always,
        else when the time is up.
        """
        self._known = self._results()
        cells = list(dict.fromkeys(cells))
        missing = [cell for cell in cells if self._end(cell) is None]
        self._void.difference_update(cells)
        if not always and missing and self._time_left() < self._predicted_s(sum(map(work, missing))):
            return False
        planned = len(self._screened) + len(self._more)
        self._more |= dict.fromkeys(cell for cell in cells if cell not in self._screened)
        if missing or planned != len(self._screened) + len(self._more) or not self._rounds:
            started = time.perf_counter()
            limit_s = within_s if within_s is not None else math.inf if always else self._time_left()
            self.until = started + limit_s
            yield self.planned
            self._known = self._results()
            if missing:
                took = time.perf_counter() - started
                if not self._spent_s and self._budget_s is None:
                    self._budget_s = default_budget_s(took)
                self._spent_s += took
                self._rounds += 1
                self._work += sum(work(cell) * ended.epochs / cell.max_epochs for cell in missing if (ended := self._end(cell)))
                if took >= limit_s:
                    return not self._stopped(missing)
        return True

    def _stopped(self, cells: Iterable[Cell]) -> bool:
        """Forget the cells of this round with whose seeds one was stopped, if any: those that had ended are the quick ones."""
        stopped = {self._plain(cell) for cell in cells if self._end(cell) is None}
        for cell in cells:
            if self._plain(cell) in stopped:
                self._void.add(cell)
                self._screened.pop(cell, None)
                self._more.pop(cell, None)
        return bool(stopped)

    def _time_left(self) -> float:
        return math.inf if self._budget_s is None else self._budget_s - self._spent_s

    def _predicted_s(self, more: float) -> float:
        """What training takes if every cell spends its budget, at the speed seen so far; `more`: their work."""
        training_s = max(self._spent_s - ROUND_S * self._rounds, 0.1 * self._spent_s)
        return ROUND_S + more * min(training_s / self._work, 1 / LEAST_SPEED) if self._work else 0.0


def _after(seed: int) -> Iterable[int]:
    """The seeds that follow this one; after the largest comes 0."""
    return ((seed + step) % (MAX_SEED + 1) for step in range(1, 4 * LOOKS[-1]))
