"""`memcap diagnose`: a network and variants of it are trained, and the report says why it does not memorize."""

from __future__ import annotations

from collections.abc import Sequence

from bench.commands.exits import NO
from bench.commands.line import compose
from bench.commands.options import FAIL, TABLE
from bench.commands.run import say_failures, train_and_report
from bench.protocol.grid import GridError


def main(arguments: Sequence[str]) -> int:
    """Diagnose the network that the arguments describe, or the one that `model=` names.

    The exit status is 0, or 1 where cells failed; with `--fail` 1 where the seeds do not memorize clearly more often than not,
    as asked.
    """
    settings = [argument for argument in arguments if argument not in (FAIL, TABLE)]
    if any(argument.startswith("model=") for argument in settings):
        from bench.commands import diagnose_module

        return diagnose_module.main(settings, fail=FAIL in arguments)
    runs = compose("diagnose", settings)
    for chosen in runs:
        for name in chosen.resolved["regularization"]:
            remedy = "set its strength itself, dropout=0.1 or weight_decay=0.001"
            raise GridError("regularization", name, "has no effect on a diagnosis", remedy)
    tables = train_and_report(runs, table=TABLE in arguments, diagnose=True)
    if say_failures(tables):
        return NO
    if FAIL not in arguments:
        return 0
    from bench.statistics.confirmation import Answer, memorizable
    from bench.statistics.survival import groups

    # The first group of each is the network as asked.
    asked = [groups(cells).iloc[0] for cells in tables]
    yes = all(memorizable(int(group["n_memorized"]), int(group["n_seeds"])) is Answer.YES for group in asked)
    return 0 if yes else NO
