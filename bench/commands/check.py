"""`memcap check`: a head against a base: what it learns, how fast it is. A file for each kind of check."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from bench.commands.exits import UsageError
from bench.protocol.names import did_you_mean

KINDS = ("capacity", "speed")


def main(arguments: Sequence[str]) -> int:
    """Hold a head against a base; the exit status is 0, 1 where a gate failed, or 2 where nothing could be checked."""
    kind, *rest = arguments or [""]
    if kind not in KINDS:
        remedy = did_you_mean(kind, KINDS, f"write memcap check {' or memcap check '.join(KINDS)}")
        raise UsageError(f"{kind or 'check'}: {'is not a check' if kind else 'needs to know what'}; {remedy}")
    return importlib.import_module(f"bench.commands.check_{kind}").main(rest)
