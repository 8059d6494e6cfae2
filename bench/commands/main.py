"""`memcap COMMAND ...`: which command was asked for, and the help of all of them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence

from bench.commands.line import EXIT_BAD_CONFIG
from bench.protocol.names import did_you_mean
from bench.protocol.version import __version__

# Each command is a file of this folder with a function `main(arguments) -> exit status`.
COMMANDS = {
    "run": "train the networks of a grid; write tables, maps and report.html (what memcap does without a command)",
    "diagnose": "say why a network does not memorize, and what to change",
    "report": "write the tables, maps and report.html of a finished run again",
    "compare": "train the same networks with other libraries and compare speed and losses",
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


def main() -> None:
    """Entry point of `memcap` and `python -m bench`; ends the process with the command's exit status."""
    sys.exit(dispatch(sys.argv[1:]))


def dispatch(arguments: Sequence[str]) -> int:
    """Run the command that the arguments begin with, `run` if they begin with a setting.

    Returns:
        the exit status: 0; 1 where a command found what it was told to fail for; 2 for wrong arguments; 130 for Ctrl-C.
    """
    first, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if first in ("-h", "--help", "help"):
        lines = [f"  {name:<12}{about}" for name, about in COMMANDS.items()]
        print(USAGE.format(commands="\n".join(lines)))
        return 0
    if first in ("-V", "--version"):
        print(f"memcap {__version__}")
        return 0
    if first in COMMANDS:
        return _command(first)(rest)
    if first and "=" not in first and not first.startswith("-"):
        remedy = did_you_mean(first, COMMANDS, "memcap --help lists the commands; a setting is name=value, as in grid=smoke")
        print(f"memcap: {first}: is not a command; {remedy}", file=sys.stderr)
        return EXIT_BAD_CONFIG
    return _command("run")(arguments)


def _command(name: str) -> Callable[[Sequence[str]], int]:
    return importlib.import_module(f"bench.commands.{name}").main
