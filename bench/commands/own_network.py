"""What commands about somebody's own network have in common: how their settings reach Hydra, and what errors call them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from bench.commands.line import composed
from bench.protocol.grid import GridError

# Settings whose keys no schema knows: what they hold is the function's affair, or a list of the grid.
_OPEN = ("model_args", "grid", "search")

# A range as a list of a grid has it, which Hydra would take for several runs.
_RANGE = re.compile(r"(grid\.[\w.]+)=(range\([^'\"]*\))")


def composed_settings(config_name: str, arguments: Sequence[str], settings: Sequence[str]) -> list[dict[str, Any]]:
    """The values that a file of conf/ and the command line give these settings, for each run; `model_args` is a mapping.

    Raises:
        bench.commands.exits.UsageError, hydra.errors.HydraException, omegaconf.errors.OmegaConfBaseException: settings that
            cannot be.
    """
    node = dict.fromkeys(settings) | {name: {} for name in _OPEN if name in settings}
    ConfigStore.instance().store(name="schema", node=node)
    # Hydra would look for these in conf/optimizer and conf/shapes, of cells.
    named = [own for own in arguments if own.startswith(("optimizer=", "shapes=")) and own.partition("=")[0] in settings]
    given = dict(map(_read, named))
    others = [_opened(own) for own in arguments if own not in named]
    return [cast("dict[str, Any]", OmegaConf.to_container(config)) | given for config, _ in composed(config_name, others)]


def _read(argument: str) -> tuple[str, Any]:
    """A setting and its value; that of an optimizer is its name."""
    name, _, value = argument.partition("=")
    return name, value if name == "optimizer" else OverridesParser.create().parse_overrides([argument])[0].value()


def _opened(argument: str) -> str:
    """Hydra takes a key that no schema knows after a plus sign, and a range as a text."""
    argument = _RANGE.sub(r"\1='\2'", argument) if _RANGE.fullmatch(argument) else argument
    name = argument.partition("=")[0]
    return f"++{argument}" if name == "model_args" or name.startswith(tuple(f"{own}." for own in _OPEN)) else argument


def check_texts(values: Mapping[str, Any], names: Sequence[str], command: str) -> None:
    """Refuse what is no text.

    Raises:
        GridError: one of these is none.
    """
    for name in names:
        if not isinstance(values[name], str) or not values[name]:
            raise GridError(name, values[name], "must be a text", f"memcap {command} --help lists the settings")


@contextmanager
def by_their_own_name(**names: str) -> Iterator[None]:
    """Arguments are called model_args on the command line; `names`: what else is called otherwise there."""
    try:
        yield
    except GridError as error:
        first, point, rest = error.name.partition(".")
        own = {"arguments": "model_args", **names}.get(first)
        if own is None:
            raise
        # As it is written there.
        remedy = error.remedy.replace("((", "[[").replace("))", "]]") if own == "noise" else error.remedy
        raise GridError(f"{own}{point}{rest}", error.value, error.rule, remedy) from None
