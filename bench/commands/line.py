"""What Hydra makes of a command line: the settings of each run. It composes values; it starts nothing and writes nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Sweep
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers import oc

from bench.commands.config import EXECUTION, Settings, config_dir, register_schema, settings
from bench.commands.exits import UsageError
from bench.commands.messages import LISTED
from bench.commands.options import FAIL, TABLE
from bench.protocol.cells import FIELDS
from bench.protocol.names import did_you_mean, shortened

SEVERAL, SHOWN, RESOLVED, FROM_ENVIRONMENT = ("-m", "--multirun"), ("-c", "--cfg"), ("--resolve",), ("--allow-env",)
# Options of every command with settings: several runs; show the configuration in place of running, as it is or resolved; let
# values name variables of the environment, which the folder of results then keeps.
OPTIONS = (*SEVERAL, *SHOWN, *RESOLVED, *FROM_ENVIRONMENT)

# A setting longer than this takes seconds to read, and is no list that somebody wrote.
MOST_CHARACTERS = 10_000
# What Hydra raises beside its own errors where it is given what it does not expect.
_OF_SETTINGS = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)

# Runs of one command.
MOST_RUNS = 1000
# Names of files of conf/, which the system looks for, are shorter.
LONGEST_CHOICE = 200
# Of a setting that is told in an error.
TOLD = 60


class _Line(NamedTuple):
    """A command line: its settings, and which options it has."""

    overrides: list[str]
    several: bool
    shown: bool
    resolved: bool
    from_environment: bool


def compose(config_name: str, arguments: Sequence[str]) -> list[Settings]:
    """The settings that a file of conf/ and the command line ask for, one for each run; more than one under -m."""
    register_schema()
    return [settings(config, overrides) for config, overrides in composed(config_name, arguments)]


def composed(config_name: str, arguments: Sequence[str]) -> list[tuple[DictConfig, list[str]]]:
    """What Hydra makes of a file of conf/ and the command line, and the overrides that the latter gave, for each run.

    None under --cfg, which prints the configurations.

    Raises:
        UsageError: an option that no command has, what is no setting, or a list that the shell has split.
        hydra.errors.HydraException, omegaconf.errors.OmegaConfBaseException: settings that cannot be.
    """
    _refuse_split(arguments)
    line = _read(arguments)
    with initialize_config_dir(version_base="1.3", config_dir=str(config_dir())):
        try:
            points = _points(OverridesParser.create().parse_overrides(line.overrides), several=line.several)
            made = [(_composed(config_name, overrides, line), overrides) for overrides in points]
        except (HydraException, OmegaConfBaseException):
            raise
        except _OF_SETTINGS as error:
            # Hydra was given nothing but these settings.
            told = shortened(" ".join(line.overrides), TOLD)
            raise UsageError(f"{told}: cannot be read ({type(error).__name__}: {error}); {LISTED}") from error
    if line.shown:
        for config, _ in made:
            print(OmegaConf.to_yaml(config))
        return []
    return made


def _read(arguments: Sequence[str]) -> _Line:
    overrides: list[str] = []
    options: set[str] = set()
    waiting = iter(arguments)
    for argument in waiting:
        name, equals, value = argument.partition("=")
        if not argument.startswith("-"):
            overrides.append(_checked(argument))
            continue
        if name not in OPTIONS or (equals and name not in SHOWN):
            # One that other commands have is no slip.
            known = {*OPTIONS, "--help", "--version", *([] if argument in (FAIL, TABLE) else [FAIL, TABLE])} - {argument}
            remedy = did_you_mean(argument, sorted(known), "memcap COMMAND --help lists them")
            if name.strip("-") in (*FIELDS, *EXECUTION):
                remedy = f"settings have no dashes, write {name.strip('-')}=..."
            raise UsageError(f"{shortened(argument, TOLD)}: is not an option of this command; {remedy}")
        if name in SHOWN and (value := value if equals else next(waiting, "")) != "job":
            raise UsageError(f"{name} {shortened(value, TOLD)}: shows nothing; write {name} job")
        options.add(name)
    return _Line(overrides, *(bool(options & set(names)) for names in (SEVERAL, SHOWN, RESOLVED, FROM_ENVIRONMENT)))


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


def _checked(argument: str) -> str:
    """A setting that Hydra may read."""
    name = argument.partition("=")[0]
    told = shortened(argument, TOLD)
    if len(argument) > MOST_CHARACTERS:
        rule = f"has {len(argument):,} characters, and {MOST_CHARACTERS:,} are read"
        raise UsageError(f"{told}: {rule}; many seeds are a range, \"grid.seed='range(1000)'\"")
    if argument.startswith("~"):
        raise UsageError(f"{told}: a setting cannot be taken away; leave it out, or set it to null")
    if not name.lstrip("+") or "=" not in argument:
        raise UsageError(f"{told or repr('')}: is not a setting; write setting=value, as in grid=smoke")
    if len(name) > LONGEST_CHOICE:
        raise UsageError(f"{shortened(name, TOLD)}: is not a setting; {LISTED}")
    if name.lstrip("+").split("@")[0].replace("/", ".").split(".")[0] == "hydra":
        raise UsageError(f"{shortened(name, TOLD)}: is not a setting; {LISTED}")
    return argument


def _points(overrides: Sequence[Override], *, several: bool) -> list[list[str]]:
    """The overrides of each run: every combination of what is listed."""
    groups = [path.name for path in config_dir().iterdir() if path.is_dir()]
    lists = []
    for override in overrides:
        key, value = override.get_key_element(), override.value()
        told = str(override.input_line)
        if override.key_or_group in groups and (len(told) > LONGEST_CHOICE or not isinstance(value, str | list | Sweep)):
            known = ", ".join(sorted(path.stem for path in (config_dir() / override.key_or_group).glob("*.yaml")))
            raise UsageError(f"{shortened(told, TOLD)}: chooses nothing; choose from: {known}")
        if not override.is_sweep_override():
            lists.append([told])
            continue
        if not several:
            remedy = "a list of the grid is in brackets, grid.width=[16,32]; a range is text, \"grid.seed='range(5)'\""
            raise UsageError(f"{remedy}; several runs need -m")
        if not override.is_discrete_sweep():
            raise UsageError(f"{shortened(told, TOLD)}: has no end of values; list them")
        lists.append([f"{key}={value}" for value in itertools.islice(override.sweep_string_iterator(), MOST_RUNS + 1)])
    points = [list(point) for point in itertools.islice(itertools.product(*lists), MOST_RUNS + 1)]
    if len(points) > MOST_RUNS:
        raise UsageError(f"-m: asks for more than {MOST_RUNS} runs; sweep fields as lists of the grid, grid.width=[16,32]")
    return points


def _composed(config_name: str, overrides: list[str], line: _Line) -> DictConfig:
    """The configuration of a run; resolved, unless it is only shown."""
    with _environment(allowed=line.from_environment):
        config = hydra_compose(config_name, overrides, return_hydra_config=True)
        # For what refers to the names that were chosen from conf/: hydra:runtime.choices.
        HydraConfig.instance().set_config(config)
        with open_dict(config):
            del config["hydra"]
        if line.resolved or not line.shown:
            OmegaConf.resolve(config)
    return config


@contextmanager
def _environment(*, allowed: bool) -> Iterator[None]:
    """While this lasts, values may name variables of the environment only if that is allowed: the folder of results keeps them.

    Raises:
        UsageError: one does, and it is not.
    """
    refused: list[str] = []

    def refuse(name: str, default: object = None) -> None:
        refused.append(name)
        raise ValueError

    if not allowed:
        OmegaConf.register_new_resolver("oc.env", refuse, replace=True)
    try:
        yield
    except (OmegaConfBaseException, ValueError) as error:
        if not refused:
            raise
        told = f"${{oc.env:{shortened(refused[0], TOLD)}}}"
        raise UsageError(f"{told}: is of the environment, and results would keep it; --allow-env allows that") from error
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)
