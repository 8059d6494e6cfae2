"""`memcap diagnose`: a network and variants of it are trained, and the report says why it does not memorize."""

from __future__ import annotations

from collections.abc import Sequence

from bench.commands.exits import NO, UsageError
from bench.commands.line import compose
from bench.commands.options import FAIL, TABLE
from bench.commands.run import say_failures, train_and_report
from bench.protocol.grid import GridError


def main(arguments: Sequence[str]) -> int:
    """Diagnose the network that the arguments describe, or the one that `model=` names.

    The exit status is 0, or 1 where cells failed; with `--fail` 1 unless the verdict is "as asked, yes": where the seeds do not
    memorize clearly more often than not, or lose again what they memorized and `past_tau` asks about that.
    """
    settings = [argument for argument in arguments if argument not in (FAIL, TABLE)]
    if any(argument.startswith("model=") for argument in settings):
        from bench.commands import diagnose_module

        return diagnose_module.main(settings, fail=FAIL in arguments)
    for argument in settings:
        if argument.startswith("data="):
            raise UsageError(f"{argument}: is for a network of your own; name that too, model=package.module:function")
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
    from bench.statistics.evidence import Cause, evidence
    from bench.statistics.settings import label_settings
    from bench.statistics.survival import groups
    from bench.statistics.verdict import verdict

    causes = []
    for cells in tables:
        own = groups(cells)
        own.insert(0, "setting", label_settings(own, variants=True))
        causes.append(verdict(evidence(own, cells)).cause)
    return 0 if all(cause is Cause.NOTHING for cause in causes) else NO
