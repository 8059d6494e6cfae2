"""How a command ends: its exit status, and every error of its user's on one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from bench.protocol.grid import GridError

# A command found what it was told to fail for.
NO = 1
WRONG_USE = 2
INTERRUPTED = 130
PIPE = 141

KEPT = "finished cells are kept, and the same command goes on from there"


class UsageError(Exception):
    """Something on the command line that cannot be. The message is one line: what, the rule, the remedy."""


def exit_status(command: Callable[[], int | None], known: Sequence[str] | None = None, stopped: str = KEPT) -> int:
    """Run a command: its own exit status (0 for None), 2 and one line for wrong use, 130 for Ctrl-C.

    `known` are the command's settings, if not those of a run; `stopped` is what it says of its results on Ctrl-C.
    """
    try:
        status = command()
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has heard enough; nor shall the interpreter try to write the rest as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE
    except KeyboardInterrupt:
        print(f"\nmemcap: stopped; {stopped}", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if not _is_wrong_use(error):
            raise
        print(f"memcap: {_one_line(error, known)}", file=sys.stderr)
        return WRONG_USE
    return status or 0


def _is_wrong_use(error: Exception) -> bool:
    """What Hydra and OmegaConf raise is about settings; they are not imported to tell, since not every command needs them."""
    return isinstance(error, UsageError | GridError) or type(error).__module__.partition(".")[0] in ("hydra", "omegaconf")


def _one_line(error: Exception, known: Sequence[str] | None) -> str:
    if isinstance(error, UsageError | GridError):
        return " ".join(str(error).split())
    from bench.commands.messages import one_line

    return one_line(error, known)
