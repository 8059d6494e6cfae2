"""What a sentence of the findings says, and so where it stands."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import NamedTuple


class Worth(enum.IntEnum):
    """What a sentence says, and so where it stands: the first that a reader wants to know comes first."""

    NOTICE = 5  # what all the others are to be read with
    ANSWER = 4  # the question that the run was made for
    EFFECT = 3  # a difference beyond its interval
    NUMBER = 2  # a measured number
    ACCOUNT = 1  # what was done
    UNDECIDED = 0  # what the run cannot tell


class Finding(NamedTuple):
    """A sentence, or a few about one thing."""

    worth: Worth
    text: str


def as_findings(worth: Worth, sentences: Iterable[str]) -> list[Finding]:
    """Sentences of one worth."""
    return [Finding(worth, text) for text in sentences]
