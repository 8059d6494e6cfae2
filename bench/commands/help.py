"""`memcap COMMAND --help`: what a command does, its settings with their defaults, and an example of each.

Defaults and meanings of settings are those of the files in conf/, those of fields the list in `bench.protocol.fields`.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from omegaconf import OmegaConf

from bench.commands.config import config_dir
from bench.peers.registry import SHAPE
from bench.protocol.cells import DEFAULTS, SEEDS, field_choices
from bench.protocol.fields import FIELD_LIST

WIDTH = 118

# A setting in a file of conf/: its name, its value, and what the comment behind it says.
_COMMENTED = re.compile(r"^(?P<name>\w+): +(?P<value>.*?) +# (?P<meaning>.+)$", re.MULTILINE)


class Setting(NamedTuple):
    """A line of a help text."""

    name: str
    default: str
    meaning: str
    example: str


# Values worth trying of the settings that are no fields of a cell.
EXAMPLES = {
    "run_dir": "results/mine",
    "device": "cpu",
    "threads": "1",
    "fresh": "true",
    "n_predictions": "60",
    "jacobian_rank": "true",
    "budget_s": "60",
    "past_tau": "true",
    "ratio": "1.3",
    "cells_per_round": "8",
    "most_cells": "64",
    "base": "results/old",
    "head": "results/new",
    "base_python": "old/bin/python",
    "margin": "0.1",
    "limit_s": "600",
    "no_skips": "true",
    "bisect": "true",
    "peers": "[native,jax]",
    "rounds": "3",
    "networks": "16",
    "epochs": "500",
    "flops": "1.0e+9",
    "model": "mynets.small:make",
    "shapes": "[[8],[1]]",
    "grid": "",
    "search": "",
    "model_args": "{width: 16}",
    "data": "batch.npz",
    "noise": "[[64,8],[64,1]]",
    "loss": "cross_entropy",
    "optimizer": "sgd",
    "learning_rate": "0.01",
    "batch_size": "32",
    "max_epochs": "500",
    "tau": "0.1",
    "measured": "train",
    "seeds": "[0,1,2,3,4]",
}

TEXTS = {
    "run": """\
usage: memcap [run] [--table] [grid=NAME] [setting=value ...] [grid.FIELD=[value,value] ...]
       memcap run [--table] model=package.module:factory shapes=[[INPUTS],[TARGETS]] [setting=value ...]

Trains the networks of a grid, and writes tables, maps and report.html into run_dir. The same command again trains only
what is missing. Ctrl-C keeps what had finished.

examples:
  memcap grid=smoke
  memcap run 'grid.depth=[1,2]' 'grid.width=[16,64]' tau=0.1 run_dir=results/mine
  memcap -m grid=smoke,question
  memcap run grid=frontier optimizer=lm 'grid.regularization=[none]'
  memcap run model=mynets.small:make 'shapes=[[8],[1]]' 'grid.model_args.width=[8,16]' 'grid.n_samples=[32,64]'

  --table                 print the table of results in full, not its first 15 rows
  -m                      a run for every combination of values that are written a,b
  --cfg=job [--resolve]   show the settings in place of running
  --allow-env             values may be ${{oc.env:NAME}}, of the environment; run_dir keeps them

{grids}

settings of the run, with a value to try; none changes a result:
{execution}

settings of grid=frontier, which searches the sample count that half of the seeds memorize:
{search}

fields of a network and its training. tau=0.1 sets one value, grid.tau=[0.1,0.01] trains every value. A field that the
grid sweeps already takes a list: grid.depth=[4]. The default grid sweeps depth, width, n_samples, regularization and
seed. In a shell quote what has brackets, and write no space in a list.
grid.seed=[0,1,2] sets data_seed and init_seed together. grid.load=[0.5,1] sets n_samples to that times the parameters.
grid.regularization=[none,dropout] takes names: {regularizations}.
"grid.variants=[{{}},{{init: orthogonal}}]" repeats the grid with other values.
{fields}

settings of networks of your own on noise; the page stays in run_dir. The file that model= names is run:
{networks}""",
    "diagnose": """\
usage: memcap diagnose [--fail] [--table] [field=value ...]
       memcap diagnose [--fail] model=package.module:factory data=FILE [setting=value ...]

Trains the network that the fields describe on noise. Says whether it memorizes as asked; if not, trains variants of it,
confirms what stands out on fresh seeds, and says what holds it back. Leaves a page in run_dir.

examples:
  memcap diagnose depth=2 width=8 n_samples=64 learning_rate=0.0001
  memcap diagnose --fail depth=4 width=16 n_samples=200 dropout=0.1
  memcap diagnose model=mynets.small:make data=batch.npz loss=cross_entropy

  --fail                  end with exit status 1 where it does not memorize clearly more often than not, or, with
                          past_tau=true, loses it again; for scripts
  --table                 print all that was tried, and what reaches each layer
  grid.seed=[0,1,2,3,4]   the seeds of data and weights of the variants; fresh ones follow (default range(3))

settings of the run, with a value to try; budget_s and past_tau decide what is tried, the others change no result:
{execution}

fields of the network and its training:
{fields}

settings of a network of your own; the page stays in run_dir. The file that model= names is run:
{module}""",
    "report": """\
usage: memcap report [--table] [--redraw] [FOLDER]
       memcap report [FOLDER] figures=paper
       memcap report FOLDER FOLDER ... run_dir=FOLDER

Writes tables, figures and report.html of a run again, from the results in its folder; of a check its page. Trains
nothing. Without a folder it takes results/default. Several runs become one report: run_dir gets what all hold, each
cell once. Of a folder that holds runs it writes index.html, a page that leads to their reports.

figures=paper writes into FOLDER/figures/paper instead: PDF and SVG, 3.25 and 6.75 inches wide, text of at least
7 points, no titles, captions beside them.

examples:
  memcap report results/smoke
  memcap report results/smoke figures=paper
  memcap report results/default results/mine run_dir=results/together
  memcap report results

  --table                 print the table of results in full, not its first 15 rows
  --redraw                draw the figures again that are there and show these results""",
    "compare": """\
usage: memcap compare [setting=value ...]

Trains the same networks with this program and with other libraries, turn by turn; compares speed and losses. Ends with
exit status 1 where a library failed or its losses differ.

examples:
  memcap compare
  memcap compare shapes=speed 'peers=[native,jax]' rounds=3

settings:
{compare}

shapes of the networks, each a list; shapes=table has 4 shapes, shapes=speed 120, shapes=dropout 6.
"shapes.variants=[{{width: 8, depth: 1}},{{width: 64, depth: 4}}]" names them one by one:
{shapes}""",
    "check": """\
usage: memcap check capacity [setting=value ...]
       memcap check speed [setting=value ...]

A head is held against a base. The exit status is 1 where it fails, and 2 where nothing could be checked. What was
found is left in run_dir: report.html to read, check.md, check.json, check.xml (JUnit) and tables.

capacity trains a small grid with every optimizer, regularizer, activation, initialisation and schedule. It compares
it with the reference that comes with this program, or with another run, and names the settings that moved.

speed builds two commits of a checkout and runs benchmarks on both in turn, until the ratios of their times are known.
It names the groups that are slower by more than a margin. The times are left in pytest-benchmark's form too:
benchmark_base.json and benchmark_head.json.

examples:
  memcap check capacity
  memcap check capacity engine=torch
  memcap check capacity base=results/old head=results/new
  memcap check speed base=HEAD~1

settings of memcap check capacity:
{check_capacity}

settings of memcap check speed:
{check_speed}""",
    "shard": """\
usage: memcap shard RUN_DIR/shards/CUT NUMBER

Trains a share of a run's cells, and writes them into the folder of the run. executor=slurm deals cells out to shards,
and has the batch system call this line for each of them; it can be called again by hand, on any machine that shares
the folder, as long as the run waits for it.

example:
  memcap shard results/default/shards/0a1b2c3d 0""",
    "columns": """\
usage: memcap columns [TABLE ...] [COLUMN ...]

Says what a row of a table is, and of each column the unit, the meaning and where it comes from; or the same of one
column. Without a name it lists the tables.

examples:
  memcap columns capacity
  memcap columns n50_low""",
}


def help_of(command: str) -> str:
    """What `memcap COMMAND --help` says."""
    config = "diagnose" if command == "diagnose" else "config"
    parts: dict[str, Callable[[], str]] = {
        "grids": _grids,
        "execution": lambda: _aligned(execution(config)),
        "search": lambda: _aligned(search()),
        "fields": lambda: _fields(config),
        "compare": lambda: _aligned(commented("compare")),
        "check_capacity": lambda: _aligned([*commented("check_capacity"), _group("engine", "who trains", "torch")]),
        "check_speed": lambda: _aligned(
            [s._replace(example="HEAD~1") if s.name == "base" else s for s in commented("check_speed")]
        ),
        "module": lambda: _aligned(commented("module")),
        "networks": lambda: _aligned(networks()),
        "shapes": lambda: _aligned(shapes()),
        "regularizations": lambda: ", ".join(sorted(path.stem for path in (config_dir() / "regularization").glob("*.yaml"))),
    }
    return TEXTS[command].format_map({name: make() for name, make in parts.items() if f"{{{name}}}" in TEXTS[command]})


def execution(config_name: str) -> list[Setting]:
    """How a command runs: the settings that are no fields of a cell."""
    settings = [*commented("execution"), *commented(config_name)]
    changed = {name: value for name, value in _values(config_dir() / f"{config_name}.yaml").items() if name != "run_dir"}
    settings = [s._replace(default=_spelled(changed[s.name])) if s.name in changed else s for s in settings]
    return [*settings, _group("engine", "who trains", "torch"), _group("executor", "where training runs", "local")]


def search() -> list[Setting]:
    """How well a search knows each N50, and what it may spend."""
    values = _values(config_dir() / "grid" / "frontier.yaml")["search"]
    meanings = {
        "ratio": "a network is done when the ends of N50's 95 % interval are no further apart than this factor",
        "cells_per_round": "cells that a network trains in each round",
        "most_cells": "cells that a network trains in all",
    }
    return [Setting(f"search.{name}", str(values[name]), meaning, EXAMPLES[name]) for name, meaning in meanings.items()]


def networks() -> list[Setting]:
    """The settings of a grid of somebody's own networks; of what holds several, one of them."""
    swept = {"grid": ("grid.n_samples", "[16,32]", "none"), "search": ("search.ratio", "1.3", "1.15")}
    made = []
    for setting in commented("networks"):
        name, example, default = swept.get(setting.name, (setting.name, setting.example, setting.default))
        made.append(setting._replace(name=name, example="huber" if name == "loss" else example, default=default))
    return made


def shapes() -> list[Setting]:
    """What tells one shape of a comparison from another."""
    named = {field.name: field for field in FIELD_LIST}
    return [Setting(f"shapes.{n}", "those of shapes=NAME", named[n].meaning, f"[{named[n].example}]") for n in SHAPE]


def fields(config_name: str) -> dict[str, list[Setting]]:
    """The fields of a cell by topic, with the defaults of a command."""
    changed = _values(config_dir() / f"{config_name}.yaml")
    topics: dict[str, list[Setting]] = {}
    for field in FIELD_LIST:
        choices = field_choices().get(field.name)
        meaning = f"{field.meaning} ({', '.join(choices)})" if choices else field.meaning
        default = _spelled(changed.get(field.name, DEFAULTS[field.name]))
        # The name of a regularization follows from the strengths; a diagnosis sweeps both seeds together.
        if field.name != "regularization" and not (config_name == "diagnose" and field.name in SEEDS):
            topics.setdefault(field.topic, []).append(Setting(field.name, default, meaning, field.example))
    return topics


def commented(config_name: str) -> list[Setting]:
    """The settings of a file of conf/ that have a comment behind them."""
    text = (config_dir() / f"{config_name}.yaml").read_text(encoding="utf-8")
    text = text.replace("${hydra:runtime.choices.grid}", "GRID")
    return [
        Setting(found["name"], found["value"].replace(" ", ""), found["meaning"], EXAMPLES[found["name"]])
        for found in _COMMENTED.finditer(text)
    ]


def _values(path: Path) -> Mapping[str, Any]:
    return cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.load(path), resolve=False))


def _group(name: str, about: str, example: str) -> Setting:
    choices = sorted(path.stem for path in (config_dir() / name).glob("*.yaml"))
    default = "auto" if "auto" in choices else choices[0]
    return Setting(name, default, f"{about}: {', '.join(choices)}", example)


def _grids() -> str:
    """Each grid of conf/grid, with the question that its file begins with."""
    lines = ["grids:"]
    for path in sorted((config_dir() / "grid").glob("*.yaml")):
        comment = " ".join(line[2:] for line in path.read_text(encoding="utf-8").splitlines()[1:4] if line.startswith("# "))
        lines.append(f"  {path.stem:<16}{re.split(r'(?<=[.?])(?= |$)', comment)[0]}")
    return "\n".join(lines)


def _fields(config_name: str) -> str:
    return "\n".join(f"  {topic}\n{_aligned(settings)}" for topic, settings in fields(config_name).items())


def _aligned(settings: Iterable[Setting]) -> str:
    """Each setting with a value worth trying, what it means, and its default."""
    lines = []
    for setting in settings:
        head = f"    {f'{setting.name}={setting.example}':<27} "
        text = f"{setting.meaning} (default {setting.default})"
        lines.append(textwrap.fill(text, WIDTH, initial_indent=head, subsequent_indent=" " * 32, break_on_hyphens=False))
    return "\n".join(lines)


def _spelled(value: Any) -> str:
    """A value as the command line spells it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value).replace(" ", "")
