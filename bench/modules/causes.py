"""What holds anybody's network back, in words, where a cell's levers and causes have none; and what a look found."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

from bench.statistics.evidence import Cause, Lever


class Held(StrEnum):
    """Causes beside those of a cell (`bench.statistics.evidence.Cause`, `bench.statistics.evidence.Lever`)."""

    DATA = "numbers that are not finite"
    SHAPES = "shapes that the loss broadcasts"
    CONTRADICTION = "contradictory data"
    OUTPUT = "the output"
    PART = "a part that does not train"
    LINEAR = "a linear network"
    STOP = "the stopping rule"
    MODE = "train or evaluation mode"
    SCALE = "the scale of the data"
    LOSS = "the loss"
    LOST = "memorized and then lost"


Why = Held | Lever | Cause


class Finding(NamedTuple):
    """What a look before training found.

    `about`: the cause that it speaks for, None where it is plain information; `text`: a line; `value`: its number; `sure`:
    arithmetic says that the network as asked cannot memorize; `change`: fields of the trial that mend it; `code`: the same
    for whoever asked.
    """

    about: Why | None
    text: str
    value: float
    sure: bool = False
    change: tuple[tuple[str, Any], ...] = ()
    code: str = ""
