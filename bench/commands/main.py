"""`memcap COMMAND ...`: which command was asked for, and the help of all of them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from bench.commands.exits import UsageError, exit_status
from bench.machine.signals import listen
from bench.protocol.names import did_you_mean
from bench.protocol.version import __version__

# Each command is a file of this folder with a function `main(arguments) -> exit status`. Only the one that runs is imported.
COMMANDS = {
    "run": "train the networks of a grid; write tables, maps and report.html (what memcap does without a command)",
    "diagnose": "say why a network does not memorize, and what to change",
    "report": "write the tables, maps and report.html of a finished run again",
    "compare": "train the same networks with other libraries and compare speed and losses",
    "check": "hold a head against a base: does it learn the same, is it as fast?",
    "shard": "train a share of a run's cells, as a batch system is told to by executor=slurm",
    "columns": "say what the columns of the tables mean, and in which unit they are",
}

USAGE = """\
memcap measures when a neural network memorizes pure noise.

usage: memcap [COMMAND] [setting=value ...]

{commands}

  memcap COMMAND --help       what a command does, and its settings
  memcap --version            the version of this program

examples:
  memcap grid=smoke           train 32 small networks, in seconds
  memcap diagnose depth=4 width=16 n_samples=200
  memcap report results/smoke"""

HELP, VERSION = ("-h", "--help"), ("-V", "--version")


def main() -> None:
    """Entry point of `memcap` and `python -m bench`; ends the process with the command's exit status."""
    listen()
    sys.exit(dispatch(sys.argv[1:]))


def dispatch(arguments: Sequence[str]) -> int:
    """Run the command that the arguments begin with, `run` if they begin with a setting.

    Returns:
        the exit status: 0; 1 where a command found what it was told to fail for, or cells failed; else as of `exit_status`.
    """
    return exit_status(lambda: _dispatch(list(arguments)))


def _dispatch(arguments: list[str]) -> int:
    first = arguments[0] if arguments else ""
    if first in COMMANDS:
        name, rest = first, arguments[1:]
    elif first and first not in (*HELP, "help") and "=" not in first and not first.startswith("-"):
        raise UsageError(f"{first}: is not a command; {_remedy(first)}")
    else:
        name, rest = "run", arguments
    if set(rest) & set(VERSION):
        print(f"memcap {__version__}")
        return 0
    if first not in COMMANDS and (first == "help" or set(rest) & set(HELP)):
        lines = [f"  {command:<12}{about}" for command, about in COMMANDS.items()]
        print(USAGE.format(commands="\n".join(lines)))
        return 0
    if set(rest) & set(HELP):
        from bench.commands.help import help_of

        print(help_of(name))
        return 0
    return importlib.import_module(f"bench.commands.{name}").main(rest)


def _remedy(word: str) -> str:
    from bench.commands.config import config_dir

    # A word may be no name that a file can have.
    if word in {path.stem for path in (config_dir() / "grid").glob("*.yaml")}:
        return f"did you mean grid={word}?"
    return did_you_mean(word, COMMANDS, "memcap --help lists the commands; a setting is name=value, as in grid=smoke")
