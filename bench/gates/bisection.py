"""Which commit made a count grow? Half of the commits that are left are ruled out by each that is built and counted."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

from bench.gates.counts import MARGIN, Count


def first_worse(commits: Sequence[str], is_worse: Callable[[str], bool]) -> str:
    """The first of commits, oldest first, of which the last is known to be worse and that before the first not to be.

    Where a count rose and fell several times, it is one of the commits that made it rise.

    >>> first_worse(["a", "b", "c", "d"], lambda commit: commit >= "c")
    'c'
    """
    low, high = 0, len(commits) - 1
    while low < high:
        middle = (low + high) // 2
        if is_worse(commits[middle]):
            high = middle
        else:
            low = middle + 1
    return commits[high]


def blamed(
    names: Sequence[str], base: Mapping[str, Count], commits: Sequence[str], count: Callable[[str], Mapping[str, Count]]
) -> dict[str, str | None]:
    """For each of these counts the first commit whose count is worse than the base's; None where the last one's is not.

    Args:
        names: counts that the head has worse than the base.
        base: what the base counts.
        commits: those between base and head, oldest first.
        count: what a commit counts; it is asked once for each that is tried.
    """
    counted = functools.cache(count)

    def worse(name: str, commit: str) -> bool:
        own = counted(commit).get(name)
        return own is not None and own.value > (1 + MARGIN) * base[name].value

    # What is not committed yet made the count grow where no commit did.
    known = [name for name in names if commits and worse(name, commits[-1])]
    return {name: first_worse(commits, functools.partial(worse, name)) if name in known else None for name in names}
