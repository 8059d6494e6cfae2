"""What an executor is: something that trains cells somewhere, and reports how they ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from bench.engines.api import TrainReport
from bench.protocol.cells import Cell, Checkpoint, Outcome


class ClusterError(OSError):
    """What a cluster refused, or lost. The message is one line."""


class Wanted(NamedTuple):
    """How cells are to train, as a user says it; each machine makes of `auto` what it has. `threads`: None is all cores."""

    engine: str = "auto"
    device: str = "auto"
    threads: int | None = None
    n_predictions: int = 0
    jacobian_rank: bool = False


class Facts(NamedTuple):
    """Engine, device and threads: those of this machine, or as a cluster was asked for them; and what is an executor's own."""

    engine: str
    device: str
    threads: int | None
    own: Mapping[str, Any]


class Executor(Protocol):
    """One test of all (tests/runs/test_executors.py) holds that none changes a result."""

    # Whether the outcomes that it reports are in the run folder already, written by whoever trained them.
    stores: bool

    # Why `auto` took no faster engine or device here, if it did not.
    notice: str | None

    def train(self, cells: Sequence[Cell], begun: Mapping[Cell, Checkpoint]) -> Generator[TrainReport]:
        """Train every cell to its end, and report outcomes as they come, so that the caller can keep them and show progress.

        Those of the cells that have `begun` go on from there, where the same engine and device train them.
        Closing the iterator stops the work.

        Raises:
            GridError: an engine or device that is not where the cells were to train.
            ClusterError: a cluster refused the work, or lost some of it; the other cells have ended.
        """
        ...

    def give_up(self) -> None:
        """Before the iterator is closed: nobody will ask again for what has not ended, so nothing is to train on by itself."""
        ...

    def facts(self) -> Facts:
        """What provenance.json says of who trained."""
        ...

    def close(self) -> None:
        """Let go of what `train` has kept for the next round."""
        ...


class Tally:
    """Which engines on which devices trained how many cells: it tells nodes of different instruction sets."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Count outcomes; those of cells that nobody could train count nowhere."""
        self._counts.update((one.engine, one.device) for one in outcomes if one.engine and one.device)

    def counts(self) -> dict[str, int]:
        """Cells by engine and device, in words."""
        return {f"{engine} on {device}": count for (engine, device), count in sorted(self._counts.items())}

    def notice(self) -> str | None:
        """That results of one engine come from devices that round differently; None where they do not."""
        by_engine: dict[str, dict[str, int]] = {}
        for (engine, device), count in sorted(self._counts.items()):
            by_engine.setdefault(engine, {})[device] = count
        mixed = [
            ", ".join(f"{count} cells on {device}" for device, count in devices.items())
            for devices in by_engine.values()
            if len(devices) > 1
        ]
        return f"{'; '.join(mixed)}: results of different devices differ by rounding" if mixed else None
