"""`memcap diagnose model=package.module:factory`: why does my own network not memorize my own batch?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.commands.exits import NO, exit_status
from bench.commands.own_network import by_their_own_name, check_texts, composed_settings
from bench.protocol.grid import GridError

SETTINGS = (
    "model",
    "model_args",
    "data",
    "noise",
    "loss",
    "optimizer",
    "learning_rate",
    "batch_size",
    "max_epochs",
    "tau",
    "measured",
    "seeds",
    "budget_s",
    "device",
    "run_dir",
)


def main(arguments: Sequence[str], *, fail: bool) -> int:
    """Print the diagnosis, leave its page; the exit status is 0, with `fail` 1 where the network does not memorize as asked."""

    def diagnose() -> int:
        made = [_diagnosed(values) for values in composed_settings("module", arguments, SETTINGS)]
        return NO if fail and not all(made) else 0

    return exit_status(diagnose, SETTINGS, stopped="nothing is kept of a diagnosis that did not end")


def _diagnosed(values: dict[str, Any]) -> bool:
    """Diagnose and print; whether the network memorizes as asked."""
    check_texts(values, ("model", "loss", "optimizer"), "diagnose")
    check_texts(values, [name for name in ("data", "device") if values[name] is not None], "diagnose")
    if not isinstance(values["model_args"], dict):
        raise GridError("model_args", values["model_args"], "must be a mapping of arguments", "write model_args.NAME=value")
    rate = values["learning_rate"]
    if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf):
        raise GridError("learning_rate", rate, "must be a positive number", "give for example 0.01")
    if (values["data"] is None) == (values["noise"] is None):
        raise GridError("data", values["data"], "or noise must be given, one of them", "write data=batch.npz")
    from bench.modules.batches import read
    from bench.modules.diagnosis import diagnose
    from bench.modules.folder import keep, owned
    from bench.modules.optimizers import NAMED
    from bench.modules.sources import importable, imported
    from bench.statistics.evidence import Cause

    loss, optimizer = values["loss"], values["optimizer"]
    folder = None if values["run_dir"] is None else owned(Path(str(values["run_dir"])))
    # A factory may import what lies beside it when it is called.
    with importable(), by_their_own_name(shapes="noise"):
        found = diagnose(
            imported(values["model"]),
            None if values["data"] is None else read(values["data"]),
            shapes=values["noise"],
            arguments=values["model_args"],
            loss=loss,
            optimizer=optimizer
            if values["learning_rate"] is None or optimizer not in NAMED
            else (optimizer, values["learning_rate"]),
            progress=True,
            **{name: values[name] for name in ("batch_size", "max_epochs", "tau", "measured", "seeds", "budget_s", "device")},
        )
    print(found)
    if folder is not None:
        print(f"\nmemcap: report in {keep(folder, found, values)}")
    return found.verdict.cause is Cause.NOTHING
