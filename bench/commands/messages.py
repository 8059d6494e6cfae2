"""What Hydra and OmegaConf raise, in this program's words, on one line."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from hydra.errors import OverrideParseException
from omegaconf.errors import InterpolationResolutionError

from bench.commands.config import EXECUTION
from bench.protocol.grid import AXES
from bench.protocol.names import did_you_mean
from bench.runs.search import Search

LISTED = "memcap COMMAND --help lists the settings"

# How Hydra and OmegaConf say that a key is not in the schema: on the command line, and in a file.
_UNKNOWN_KEY = re.compile(r"(?:Could not override|Key) '([^'=]+)'(?:\. To append| not in)")

# How Hydra says that a group of conf/ has no such choice.
_UNKNOWN_CHOICE = re.compile(r"Could not find '(\w+)/(.+?)' Available options in '\w+': (.*)")

# How Hydra says that a group of conf/ is not among the command's.
_UNKNOWN_GROUP = re.compile(r"Could not override '([^']+)'\. No match in the defaults list")

# What to do in a diagnosis instead of choosing from a group of conf/.
_INSTEAD = {"regularization": "set a strength itself, dropout=0.1", "grid": "describe one network, depth=2 width=8"}


def one_line(error: Exception, known: Sequence[str] | None = None) -> str:
    """The message of an error of Hydra's or OmegaConf's on one line; an unknown setting comes with the nearest known one.

    `known` are the settings of the command, if not those of a run.
    """
    if isinstance(error, InterpolationResolutionError):
        what = str(error).split("\n")[0]
        return f"${{...}}: {what[:1].lower()}{what[1:]}; ${{name}} stands for the value of another setting"
    text = " ".join(str(error).split())
    text = text.partition(" Config search path:")[0]
    if isinstance(error, OverrideParseException):
        remedy = 'a list is in brackets, what a shell would read itself in quotes: "grid.width=[16,32]"'
        return f"{error.override}: cannot be read; {remedy}"
    choice = _UNKNOWN_CHOICE.search(text)
    if choice:
        return f"{choice[1]}={choice[2]}: is not in conf/{choice[1]}; choose from: {', '.join(choice[3].split())}"
    group = _UNKNOWN_GROUP.search(text)
    if group:
        remedy = LISTED if known else _INSTEAD.get(group[1], LISTED)
        return f"{group[1]}: cannot be chosen in this command; {remedy}"
    unknown = _UNKNOWN_KEY.search(text)
    if unknown:
        searched = [f"search.{field.name}" for field in dataclasses.fields(Search)]
        if not known and unknown[1] in searched:
            return f"{unknown[1]}: needs a search; choose grid=frontier"
        return f"{unknown[1]}: is not a setting; {did_you_mean(unknown[1], known or _of_a_run(searched), LISTED)}"
    return text


def _of_a_run(searched: Sequence[str]) -> list[str]:
    """The settings of a run, by the names that a command line gives them."""
    fields = [name for name in AXES if name not in ("seed", "load")]
    grid = ["grid", *(f"grid.{axis}" for axis in (*AXES, "variants"))]
    return [*EXECUTION, *searched, *fields, "engine", "executor", *grid]
