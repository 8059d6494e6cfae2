"""How a command ends: its exit status, and every error of its user's or of the system's on one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from bench.machine.signals import Stopped, answered, nowhere
from bench.protocol.grid import GridError
from bench.protocol.names import shortened
from bench.store.claims import Claimed

# A command found what it was told to fail for, or cells failed.
NO = 1
WRONG_USE = 2
# What the system refused (a full disk, a folder that nobody may write to), and what another process holds: EX_IOERR and
# EX_TEMPFAIL of sysexits.h.
REFUSED = 74
HELD = 75
INTERRUPTED = 130
PIPE = 141

KEPT = "finished cells are kept, and the same command goes on from there"

MOST_CHARACTERS = 400


class UsageError(Exception):
    """Something on the command line that cannot be. The message is one line: what, the rule, the remedy."""


def exit_status(command: Callable[[], int | None], known: Sequence[str] | None = None, stopped: str = KEPT) -> int:
    """Run a command: its own exit status (0 for None), or that of what ended it, with one line.

    That is 2 for wrong use, 74 for what the system refuses, 75 for what another process holds, and 130, 143 or 129 for Ctrl-C,
    SIGTERM or SIGHUP.

    `known` are the command's settings, if not those of a run; `stopped` is what it says of its results where it did not come to
    its end.
    """
    try:
        status = command()
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has heard enough; nor shall the interpreter try to write the rest as it ends.
        nowhere(sys.stdout.fileno())
        return PIPE
    except KeyboardInterrupt as interrupt:
        answered()
        return _ended(f"stopped; {stopped}", interrupt.status if isinstance(interrupt, Stopped) else INTERRUPTED)
    except Claimed as error:
        return _ended(str(error), HELD)
    except Exception as error:
        # First, since Hydra's error of a choice that there is not is an OSError too.
        if _is_wrong_use(error):
            return _ended(_one_line(error, known), WRONG_USE)
        if isinstance(error, OSError):
            return _ended(f"{_refusal(error)}; {stopped}", REFUSED)
        raise
    return status or 0


def _ended(line: str, status: int) -> int:
    """The exit status, after a line that says why; what was printed before stands before it."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere(sys.stdout.fileno())
    text = "".join(character if character.isprintable() else " " for character in line)
    print(f"memcap: {shortened(' '.join(text.split()), MOST_CHARACTERS - len('memcap: '))}", file=sys.stderr)
    return status


def _refusal(error: OSError) -> str:
    """What the system refused: the file, if it is known, and the reason in the system's words."""
    reason = os.strerror(error.errno) if error.errno else error.strerror or str(error) or type(error).__name__
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    if not name and isinstance(error, FileNotFoundError) and not _has_folder():
        name = "the working directory"
    return f"{name}: {reason}" if name else reason


def _is_wrong_use(error: Exception) -> bool:
    """What Hydra and OmegaConf raise is about settings; they are not imported to tell, since not every command needs them."""
    return isinstance(error, UsageError | GridError) or type(error).__module__.partition(".")[0] in ("hydra", "omegaconf")


def _one_line(error: Exception, known: Sequence[str] | None) -> str:
    if isinstance(error, UsageError | GridError):
        return str(error)
    from bench.commands.messages import one_line

    return one_line(error, known)


def _has_folder() -> bool:
    """Whether the folder that this process works in is still there."""
    try:
        os.getcwd()
    except OSError:
        return False
    return True
