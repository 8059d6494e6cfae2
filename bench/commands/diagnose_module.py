"""`memcap diagnose model=package.module:factory`: why does my own network not memorize my own batch?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
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
    "run_dir",
)


def main(arguments: Sequence[str], *, fail: bool) -> int:
    """Print the diagnosis, leave its page; the exit status is 0, with `fail` 1 where the network does not memorize as asked."""

    def diagnose() -> int:
        # What model_args holds is the function's affair.
        ConfigStore.instance().store(name="schema", node=dict.fromkeys(SETTINGS) | {"model_args": {}})
        optimizer, others = _optimizer(arguments)
        made = [
            _diagnosed(cast("dict[str, Any]", OmegaConf.to_container(config)) | optimizer)
            for config, _ in composed("module", _open(others))
        ]
        return NO if fail and not all(made) else 0

    return exit_status(diagnose, SETTINGS, stopped="nothing is kept of a diagnosis that did not end")


def _open(arguments: Sequence[str]) -> list[str]:
    """Hydra takes a key that no schema knows after a plus sign."""
    return [f"++{own}" if own.startswith(("model_args.", "model_args=")) else own for own in arguments]


def _optimizer(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The optimizer that is named, and the other arguments: Hydra would look for it in conf/optimizer, of cells."""
    named = [own for own in arguments if own.startswith("optimizer=")]
    others = [own for own in arguments if own not in named]
    return ({"optimizer": named[-1].partition("=")[2]} if named else {}), others


@contextmanager
def _by_their_own_name() -> Iterator[None]:
    """Arguments are called model_args on the command line."""
    try:
        yield
    except GridError as error:
        if not error.name.startswith("arguments"):
            raise
        raise GridError(error.name.replace("arguments", "model_args", 1), error.value, error.rule, error.remedy) from None


def _diagnosed(values: dict[str, Any]) -> bool:
    """Diagnose and print; whether the network memorizes as asked."""
    for name in ("model", "loss", "optimizer"):
        if not isinstance(values[name], str) or not values[name]:
            raise GridError(name, values[name], "must be a text", "memcap diagnose --help lists the settings")
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
    with importable(), _by_their_own_name():
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
    if folder is not None:
        print(f"\nmemcap: report in {keep(folder, found, values)}")
    return found.verdict.cause is Cause.NOTHING
