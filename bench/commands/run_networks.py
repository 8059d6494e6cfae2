"""`memcap run model=package.module:factory`: how many samples of noise do my own networks hold?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from bench.commands.exits import NO, exit_status
from bench.commands.own_network import by_their_own_name, check_texts, composed_settings
from bench.protocol.grid import GridError

SETTINGS = (
    "model",
    "model_args",
    "shapes",
    "grid",
    "search",
    "loss",
    "optimizer",
    "learning_rate",
    "batch_size",
    "max_epochs",
    "tau",
    "measured",
    "device",
    "fresh",
    "run_dir",
)

# Of a network's samples: what one training is, as `bench.modules.on_noise.Setup` has it.
_OF_TRAINING = ("loss", "max_epochs", "tau", "measured", "device")

STOPPED = "finished trainings are kept, and the same command goes on from there"


def main(arguments: Sequence[str], *, table: bool) -> int:
    """Train what the arguments ask for, and leave its report; `table`: print the table of N50 in full.

    The exit status is 0, or 1 where trainings failed.
    """

    def run() -> int:
        asked = composed_settings("networks", arguments, SETTINGS)
        for number, values in enumerate(asked):
            if values["run_dir"] in [other["run_dir"] for other in asked[:number]]:
                rule = "is also the folder of another run of this command"
                raise GridError(
                    "run_dir", values["run_dir"], rule, "sweep grid.NAME=[...] in one run, or name a folder for each"
                )
        failed = [_run(values, table=table) for values in asked]
        return NO if any(failed) else 0

    return exit_status(run, SETTINGS, stopped=STOPPED)


def _run(values: dict[str, Any], *, table: bool) -> bool:
    """Train and report; whether trainings failed."""
    check_texts(values, ("model", "loss", "optimizer", "run_dir"), "run")
    if values["device"] is not None:
        check_texts(values, ("device",), "run")
    if type(values["fresh"]) is not bool:
        raise GridError("fresh", values["fresh"], "must be true or false", "memcap run --help lists the settings")
    for name in ("grid", "model_args", "search"):
        if not isinstance(values[name] or {}, dict):
            raise GridError(name, values[name], "must be a mapping of settings", f"write {name}.NAME=VALUE")
    if values["shapes"] is None:
        rule = "must be given, those of one sample's inputs and of its targets"
        raise GridError("shapes", None, rule, "write 'shapes=[[8],[1]]'")
    from bench.modules.grid import grid_of, run_grid
    from bench.modules.on_noise import Setup
    from bench.modules.sources import importable, imported
    from bench.report.network_page import report_networks

    grid = grid_of(
        values["grid"] or {},
        model_args=values["model_args"] or {},
        optimizer=values["optimizer"],
        learning_rate=values["learning_rate"],
        batch_size=values["batch_size"],
        search=values["search"] or None,
    )
    of_training = {name: values[name] for name in _OF_TRAINING}
    setup = Setup(values["shapes"], optimizer=grid.optimizers[0], batch_size=grid.batch_sizes[0], **of_training)
    # A factory may import what lies beside it when it is called.
    with importable(), by_their_own_name():
        module = imported(values["model"])
        folder = run_grid(module, values["model"], grid, setup, values["run_dir"], fresh=values["fresh"], config=values)
    told = report_networks(folder, table=table)
    if told:
        print(f"memcap: {told}", file=sys.stderr)
    return bool(told)
