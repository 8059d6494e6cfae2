"""What the commands share: Hydra composes their settings, and whatever ends them is one line and an exit status."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
import tempfile
from collections.abc import Callable, Sequence

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench.commands.config import EXECUTION, Settings, config_dir, register_schema, settings
from bench.protocol.grid import AXES, GridError
from bench.protocol.names import did_you_mean
from bench.runs.search import Search

# A command found what it was told to fail for.
EXIT_NO = 1
EXIT_BAD_CONFIG = 2
EXIT_INTERRUPTED = 130
EXIT_PIPE = 141

KEPT = "finished cells are kept, and the same command goes on from there"

# How Hydra and OmegaConf say that a key is not in the schema: on the command line, and in a file.
_UNKNOWN_KEY = re.compile(r"(?:Could not override|Key) '([^'=]+)'(?:\. To append| not in)")

# How Hydra says that a group of conf/ has no such choice.
_UNKNOWN_CHOICE = re.compile(r"Could not find '(\w+)/(.+?)' Available options in '\w+': (.*)")

# How Hydra says that a group of conf/ is not among the command's.
_UNKNOWN_GROUP = re.compile(r"Could not override '([^']+)'\. No match in the defaults list")


def compose(config_name: str, arguments: Sequence[str]) -> list[Settings]:
    """The settings that a file of conf/ and the command line ask for, one for each run; more than one under Hydra's -m."""
    register_schema()
    return [settings(config, overrides) for config, overrides in composed(config_name, arguments)]


def composed(config_name: str, arguments: Sequence[str]) -> list[tuple[DictConfig, list[str]]]:
    """What Hydra makes of a file of conf/ and the command line, and the overrides that the latter gave, for each run."""
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


def exit_status(command: Callable[[], int | None], known: Sequence[str] | None = None, stopped: str = KEPT) -> int:
    """Run a command: its own exit status (0 for None), 2 and one line for a wrong setting, 130 for Ctrl-C.

    `known` are the command's settings, if not those of a run; `stopped` is what it says of its results on Ctrl-C.
    """
    try:
        status = command()
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has heard enough; nor shall the interpreter try to write the rest as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    except (GridError, HydraException, OmegaConfBaseException) as error:
        print(f"memcap: {one_line(error, known)}", file=sys.stderr)
        return EXIT_BAD_CONFIG
    except KeyboardInterrupt:
        print(f"\nmemcap: stopped; {stopped}", file=sys.stderr)
        return EXIT_INTERRUPTED
    return status or 0


def one_line(error: Exception, known: Sequence[str] | None = None) -> str:
    """The message of a configuration error on one line; an unknown setting comes with the nearest known one."""
    text = " ".join(str(error).split())
    text = text.partition(" Config search path:")[0]
    if "--multirun" in text:
        lists = "a list of the grid is in brackets, grid.width=[16,32]; a range is text, \"grid.seed='range(5)'\""
        return f"{lists}; several runs need -m"
    if isinstance(error, OverrideParseException):
        if "=" not in error.override:
            return f"{error.override}: is not a setting; write setting=value, as in grid=smoke"
        remedy = 'a list is in brackets, what a shell would read itself in quotes: "grid.width=[16,32]"'
        return f"{error.override}: cannot be read; {remedy}"
    choice = _UNKNOWN_CHOICE.search(text)
    if choice:
        return f"{choice[1]}={choice[2]}: is not in conf/{choice[1]}; choose from: {', '.join(choice[3].split())}"
    group = _UNKNOWN_GROUP.search(text)
    if group:
        remedy = {"regularization": "set a strength itself, dropout=0.1", "grid": "describe one cell, depth=2 width=8"}
        return f"{group[1]}: cannot be chosen in this command; {remedy.get(group[1], 'see conf/diagnose.yaml')}"
    unknown = _UNKNOWN_KEY.search(text)
    if unknown:
        fields = [name for name in AXES if name not in ("seed", "load")]
        searched = [f"search.{field.name}" for field in dataclasses.fields(Search)]
        if not known and unknown[1] in searched:
            return f"{unknown[1]}: needs a search; choose grid=frontier"
        known = known or [
            *EXECUTION,
            *searched,
            *fields,
            "engine",
            "executor",
            "grid",
            *(f"grid.{axis}" for axis in (*AXES, "variants")),
        ]
        return f"{unknown[1]}: is not a setting; {did_you_mean(unknown[1], known, 'memcap COMMAND --help lists the settings')}"
    return text
