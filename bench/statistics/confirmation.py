"""When a number of successes says that a change works: looks at fresh seeds, one after the other, with a level for each."""

from __future__ import annotations

from enum import StrEnum
from functools import cache

from scipy import stats

from bench.statistics.survival import wilson_interval

# A change that stood out on the seeds of the ladder is tried on so many fresh seeds, beside the network as asked, and on more
# while the answer is open.
LOOKS = (5, 10, 20)

# The best changes of each stage of the ladder are tried so, one after the other. A ladder of more stages than these
# tries no more changes in all of them.
STAGES, TRIED_IN_A_STAGE = 3, 3
MOST_TRIED = STAGES * TRIED_IN_A_STAGE

# The probability with which chance alone may confirm one, at each look (Fisher's exact test, one-sided). Over all looks at all
# changes that are tried it is at most FALSE_CAUSES. Five of five against none of five has 0.00397, and most of it goes there,
# since a remedy that always works is then found with the fewest trainings.
FALSE_CAUSES = 0.05
LEVELS: dict[int, float] = dict(zip(LOOKS, (0.004, 0.0008, 0.0007), strict=True))

# And the probability with which it may say that a part of a remedy is needed.
NEEDED_LEVELS: dict[int, float] = dict(zip(LOOKS, (0.025, 0.015, 0.01), strict=True))

# A change works where at least this share of its seeds memorized.
MAJORITY = 0.5


class Answer(StrEnum):
    """What successes say; `OPEN` where more seeds would tell."""

    YES = "yes"
    NO = "no"
    OPEN = "open"


def memorizable(hits: int, trials: int) -> Answer:
    """Whether a network memorizes clearly more often than not: its 95 % interval (Wilson) is above a half, or below.

    >>> memorizable(5, 5), memorizable(5, 10), memorizable(0, 5)
    (<Answer.YES: 'yes'>, <Answer.OPEN: 'open'>, <Answer.NO: 'no'>)
    """
    low, high = wilson_interval(hits, trials)
    return Answer.YES if low > MAJORITY else Answer.NO if high < MAJORITY else Answer.OPEN


def works(hits: int, trials: int, asked_hits: int) -> Answer:
    """Whether a change clearly works better than the network as asked, on the same number of fresh seeds.

    It must memorize on at least half of them. A change that is behind that, or is not clear at the last look, does not.

    >>> works(5, 5, 0), works(4, 5, 0), works(10, 10, 2), works(2, 5, 0)
    (<Answer.YES: 'yes'>, <Answer.OPEN: 'open'>, <Answer.YES: 'yes'>, <Answer.NO: 'no'>)
    """
    look = _look(trials)
    if look is None:
        return Answer.OPEN
    if hits < MAJORITY * trials:
        return Answer.NO
    if chance(hits, trials, asked_hits, trials) <= LEVELS[look]:
        return Answer.YES
    return Answer.OPEN if look < LOOKS[-1] else Answer.NO


def needed(hits: int, trials: int, without_hits: int, without_trials: int) -> Answer:
    """Whether taking a part away from a remedy breaks it: clearly fewer seeds memorize without it.

    >>> needed(5, 5, 1, 5), needed(5, 5, 3, 5), needed(20, 20, 19, 20)
    (<Answer.YES: 'yes'>, <Answer.OPEN: 'open'>, <Answer.NO: 'no'>)
    """
    look = _look(min(trials, without_trials))
    if look is None:
        return Answer.OPEN
    if chance(hits, trials, without_hits, without_trials) <= NEEDED_LEVELS[look]:
        return Answer.YES
    return Answer.OPEN if look < LOOKS[-1] else Answer.NO


def stands_out(hits: int, trials: int, asked_hits: int, asked_trials: int, among: int) -> Answer:
    """The same from seeds of the ladder alone, which chose the change `among` so many: each has its share of the level."""
    if hits < MAJORITY * trials:
        return Answer.NO
    return Answer.YES if chance(hits, trials, asked_hits, asked_trials) <= FALSE_CAUSES / among else Answer.OPEN


@cache
def chance(hits: int, trials: int, other_hits: int, other_trials: int) -> float:
    """The probability that chance sets the first so far above the second: Fisher's exact test, one-sided.

    >>> round(chance(3, 3, 0, 3), 3)
    0.05
    """
    successes = hits + other_hits
    return float(stats.hypergeom.sf(hits - 1, trials + other_trials, successes, trials))


def _look(trials: int) -> int | None:
    """The last look that so many seeds have reached; a seed that failed has no result."""
    return max((look for look in LOOKS if look <= trials), default=None)
