"""What Hydra makes of a command line: the settings of each run."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from bench.commands.config import EXECUTION, Settings, config_dir, register_schema, settings
from bench.commands.exits import UsageError
from bench.commands.options import FAIL, TABLE
from bench.protocol.cells import FIELDS
from bench.protocol.names import did_you_mean

# Hydra's options that a command passes on to it: several runs; show the configuration in place of running.
OPTIONS = ("-m", "--multirun", "--cfg", "-c", "--resolve")


def compose(config_name: str, arguments: Sequence[str]) -> list[Settings]:
    """The settings that a file of conf/ and the command line ask for, one for each run; more than one under Hydra's -m."""
    register_schema()
    return [settings(config, overrides) for config, overrides in composed(config_name, arguments)]


def composed(config_name: str, arguments: Sequence[str]) -> list[tuple[DictConfig, list[str]]]:
    """What Hydra makes of a file of conf/ and the command line, and the overrides that the latter gave, for each run.

    Raises:
        UsageError: an option that no command has, or a list that the shell has split.
    """
    _refuse_split(arguments)
    for argument in arguments:
        if argument.startswith("-") and argument.partition("=")[0] not in OPTIONS:
            # One that other commands have is no slip.
            known = {*OPTIONS, "--help", "--version", *([] if argument in (FAIL, TABLE) else [FAIL, TABLE])}
            remedy = did_you_mean(argument, sorted(known), "memcap COMMAND --help lists them")
            if argument.strip("-").partition("=")[0] in (*FIELDS, *EXECUTION):
                remedy = f"settings have no dashes, write {argument.strip('-').partition('=')[0]}=..."
            raise UsageError(f"{argument}: is not an option of this command; {remedy}")
    # Hydra then raises what it would else print at length; a wrong config becomes one line.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    kept: list[tuple[DictConfig, list[str]]] = []

    def keep(config: DictConfig) -> None:
        # Interpolations of Hydra's own settings resolve only while its job runs.
        OmegaConf.resolve(config)
        kept.append((config, list(HydraConfig.get().overrides.task)))

    with tempfile.TemporaryDirectory(prefix="memcap-") as folder:
        # Under -m Hydra leaves a multirun.yaml, which is no result.
        several = [f"hydra.sweep.dir={folder}"] if {"-m", "--multirun"} & set(arguments) else []
        # Hydra reads the arguments of the process.
        before, sys.argv = sys.argv, [sys.argv[0], *arguments, *several]
        try:
            hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=config_name)(keep)()
        finally:
            sys.argv = before
    return kept


def _refuse_split(arguments: Sequence[str]) -> None:
    """A list with a space in it comes from a shell in pieces, of which the first opens more brackets than it closes."""
    for number, argument in enumerate(arguments):
        pieces = [argument]
        for later in arguments[number + 1 :]:
            if "=" not in argument or "=" in later or _open(pieces) <= 0:
                break
            pieces.append(later)
        if len(pieces) > 1 and _open(pieces) == 0:
            raise UsageError(f"{' '.join(pieces)}: was split at a space by the shell; write '{''.join(pieces)}'")


def _open(pieces: Sequence[str]) -> int:
    """How many brackets are open at the end."""
    text = "".join(pieces)
    return sum(text.count(bracket) for bracket in "[{(") - sum(text.count(bracket) for bracket in "]})")
