"""`memcap diagnose model=package.module:factory`: why does my own network not memorize my own batch?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from bench.commands.exits import NO, exit_status
from bench.commands.line import composed
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
)


def main(arguments: Sequence[str], *, fail: bool) -> int:
    """Print the diagnosis; the exit status is 0, with `fail` 1 where the network does not memorize as asked."""

    def diagnose() -> int:
        # What model_args holds is the function's affair.
        ConfigStore.instance().store(name="schema", node=dict.fromkeys(SETTINGS) | {"model_args": {}})
        made = [_diagnosed(OmegaConf.to_container(config)) for config, _ in composed("module", _open(arguments))]
        return NO if fail and not all(made) else 0

    return exit_status(diagnose, SETTINGS, stopped="nothing is kept of a diagnosis that did not end")


def _open(arguments: Sequence[str]) -> list[str]:
    """Hydra takes a key that no schema knows after a plus sign."""
    return [f"++{own}" if own.startswith("model_args.") else own for own in arguments]


def _diagnosed(config: Any) -> bool:
    """Diagnose and print; whether the network memorizes as asked."""
    values = cast("dict[str, Any]", config)
    for name in ("model", "loss", "optimizer"):
        if not isinstance(values[name], str) or not values[name]:
            raise GridError(name, values[name], "must be a text", "memcap diagnose --help lists the settings")
    if (values["data"] is None) == (values["noise"] is None):
        raise GridError("data", values["data"], "or noise must be given, one of them", "write data=batch.npz")
    from bench.modules.batches import read
    from bench.modules.diagnosis import diagnose
    from bench.modules.optimizers import NAMED
    from bench.modules.sources import imported
    from bench.statistics.evidence import Cause

    loss, optimizer = values["loss"], values["optimizer"]
    found = diagnose(
        imported(values["model"]),
        None if values["data"] is None else read(values["data"]),
        shapes=values["noise"],
        arguments=values["model_args"],
        loss=loss,
        optimizer=optimizer
        if values["learning_rate"] is None or optimizer not in NAMED
        else (optimizer, values["learning_rate"]),
        **{name: values[name] for name in ("batch_size", "max_epochs", "tau", "measured", "seeds", "budget_s", "device")},
    )
    print(found)
    return found.verdict.cause is Cause.NOTHING
