"""`memcap shard`: a share of a run's cells, for batch systems to call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.commands.exits import UsageError


def main(arguments: Sequence[str]) -> int:
    """Train the shard that is named into its run's folder; the exit status is 0 when each of its cells has an outcome."""
    if len(arguments) != 2 or not arguments[1].isdecimal():
        raise UsageError(f"{' '.join(arguments)}: is not a cut and a number; write memcap shard RUN_DIR/shards/CUT NUMBER")
    from bench.runs.executors.shard import train_shard

    train_shard(Path(arguments[0]), int(arguments[1]))
    return 0
