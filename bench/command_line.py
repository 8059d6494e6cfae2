"""What the commands share: Hydra composes their settings, and whatever ends them is one line and an exit status."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench.config import EXECUTION, Settings, config_dir, register_schema, settings
from bench.grid import AXES, GridError
from bench.search import Search

EXIT_BAD_CONFIG = 2
EXIT_INTERRUPTED = 130
EXIT_PIPE = 141

KEPT = "what had finished is kept, and the same command goes on from there"

# Common names elsewhere for what is called otherwise here.
ALIASES = {"lr": "learning_rate", "epochs": "max_epochs", "batch": "batch_size", "hidden": "width", "layers": "depth"}

# How Hydra and OmegaConf say that a key is not in the schema: on the command line, and in a file.
_UNKNOWN_KEY = re.compile(r"(?:Could not override|Key) '([^'=]+)'(?:\. To append| not in)")

# How Hydra says that a group of conf/ has no such choice.
_UNKNOWN_CHOICE = re.compile(r"Could not find '(\w+)/(.+?)' Available options in '\w+': (.*)")

# How Hydra says that a group of conf/ is not among the command's.
_UNKNOWN_GROUP = re.compile(r"Could not override '([^']+)'\. No match in the defaults list")


def compose(config_name: str) -> list[Settings]:
    """The settings that a file of conf/ and the command line ask for, one for each run; more than one under Hydra's -m."""
    register_schema()
    return [settings(config, overrides) for config, overrides in composed(config_name)]


def composed(config_name: str) -> list[tuple[DictConfig, list[str]]]:
    """What Hydra makes of a file of conf/ and the command line, and the overrides that the latter gave, for each run."""
    # Hydra then raises what it would else print at length; a wrong config becomes one line.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    kept: list[tuple[DictConfig, list[str]]] = []

    def keep(config: DictConfig) -> None:
        # Interpolations of Hydra's own settings resolve only while its job runs.
        OmegaConf.resolve(config)
        kept.append((config, list(HydraConfig.get().overrides.task)))

    hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=config_name)(keep)()
    return kept


@contextmanager
def exit_statuses(known: Sequence[str] | None = None, stopped: str = KEPT) -> Iterator[None]:
    """Status 2 and one line for a wrong setting, 130 for Ctrl-C.

    `known` are the command's settings, if not those of a run; `stopped` is what it says of its results on Ctrl-C.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has heard enough; nor shall the interpreter try to write the rest as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_PIPE)
    except (GridError, HydraException, OmegaConfBaseException) as error:
        print(f"memcap: {one_line(error, known)}", file=sys.stderr)
        sys.exit(EXIT_BAD_CONFIG)
    except KeyboardInterrupt:
        print(f"\nmemcap: stopped; {stopped}", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)


def train_and_report(runs: list[Settings]) -> None:
    """Train what each of the settings asks for, write its report, and print what a terminal shows of it.

    Raises:
        GridError: two of them ask for one folder.
    """
    for number, chosen in enumerate(runs):
        if chosen.run_dir in [other.run_dir for other in runs[:number]]:
            remedy = "sweep grid.<field>=[...] in one run, or tell the folders apart, as in run_dir=results/tau-${tau}"
            raise GridError("run_dir", chosen.run_dir, "is that of another run of this command", remedy)
    for chosen in runs:
        _train_and_report(chosen)


def _train_and_report(chosen: Settings) -> None:
    from bench import report
    from bench.runs import run

    run(
        chosen.cells,
        run_dir=chosen.run_dir,
        device=chosen.device,
        engine=chosen.engine,
        executor=chosen.executor,
        threads=chosen.threads,
        n_predictions=chosen.n_predictions,
        jacobian_rank=chosen.jacobian_rank,
        fresh=chosen.fresh,
        search=chosen.search,
        variants=chosen.variants,
        progress=True,
        config=dict(chosen.resolved),
    )
    report.build(chosen.run_dir)


def one_line(error: Exception, known: Sequence[str] | None = None) -> str:
    """The message of a configuration error on one line; an unknown setting comes with the nearest known one."""
    text = " ".join(str(error).split())
    text = text.partition(" Config search path:")[0]
    if "--multirun" in text:
        lists = "a list of the grid is in brackets, grid.width=[16,32]; a range is text, \"grid.seed='range(5)'\""
        return f"{lists}; several runs need -m"
    if isinstance(error, OverrideParseException):
        if "=" not in error.override:
            return f"{error.override}: sets nothing; give setting=value, as in grid=smoke"
        remedy = 'a list is in brackets, what a shell would read itself in quotes: "grid.width=[16,32]"'
        return f"{error.override}: cannot be read; {remedy}"
    choice = _UNKNOWN_CHOICE.search(text)
    if choice:
        return f"{choice[1]}={choice[2]}: is no choice of conf/{choice[1]}; choose from: {', '.join(choice[3].split())}"
    group = _UNKNOWN_GROUP.search(text)
    if group:
        remedy = {"regularization": "set a strength itself, dropout=0.1", "grid": "describe one cell, depth=2 width=8"}
        return f"{group[1]}: is no choice of this command; {remedy.get(group[1], 'see conf/diagnose.yaml')}"
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
        axis = f"grid.{unknown[1]}"
        nearest = axis if axis in known else difflib.get_close_matches(unknown[1], known, n=1, cutoff=0.0)[0]
        close = ALIASES.get(unknown[1], nearest)
        return f"{unknown[1]}: is not a setting; did you mean {close}?"
    return text
