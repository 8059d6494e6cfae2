"""Figures drawn and saved, by several processes where there are many. Run by itself this file is one of the others.

Drawing keeps Python busy, so that threads would wait for one another. The other processes are plain children that read what to
draw from their standard input, so a caller's own script is never imported again. Which of them draws a figure changes no byte.
"""

from __future__ import annotations

import dataclasses
import gc
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

from bench.machine.child import start
from bench.machine.cores import available_cores
from bench.report.pictures import Drawing, Picture
from bench.report.style import save

# A process that starts imports libraries in about the time that so many maps take.
PICTURES_WORTH_A_PROCESS = 4


def draw(
    drawings: Sequence[Drawing],
    folder: Path,
    processes: int | None = None,
    told: Callable[[int, int], None] = lambda done, count: None,
) -> list[Picture | str]:
    """The pictures, in the same order, without their figures: those are files in the folder.

    In place of one that cannot be drawn stands a sentence that says why.

    Args:
        drawings: what to draw (`bench.report.pictures.drawings`).
        folder: where the files go.
        processes: that draw, this one among them; None: as many as there are cores for and figures.
        told: is called before each figure that this process draws, with how many are drawn about, and how many there are.
    """
    useful = 1 + len(drawings) // (2 * PICTURES_WORTH_A_PROCESS)
    count = min(available_cores(), useful) if processes is None else processes
    # The others have to start first, and get fewer.
    late = PICTURES_WORTH_A_PROCESS if count > 1 else 0
    turns = [number % count if number >= late else 0 for number in range(len(drawings))]
    shares = [[n for n, turn in enumerate(turns) if turn == own] for own in range(count)]
    with ExitStack() as stack:
        others = [stack.enter_context(_Other([drawings[n] for n in share], folder)) for share in shares[1:]]

        def begun(number: int) -> None:
            told(number * len(drawings) // len(shares[0]), len(drawings))

        made = dict(zip(shares[0], _save([drawings[n] for n in shares[0]], folder, begun), strict=True))
        for share, other in zip(shares[1:], others, strict=True):
            pictures = other.pictures()
            # One that died, for want of memory perhaps, leaves its share to this process.
            made |= zip(share, _save([drawings[n] for n in share], folder) if pictures is None else pictures, strict=True)
    return [made[n] for n in range(len(drawings))]


class _Other:
    """A process that draws its share. A context manager, which ends it."""

    def __init__(self, drawings: Sequence[Drawing], folder: Path):
        self._pipe, theirs = Pipe(duplex=False)
        # A file without a name, which nobody else can write to: a pipe would keep this process waiting until the other reads.
        with tempfile.TemporaryFile() as asked:
            pickle.dump((drawings, folder), asked)
            asked.seek(0)
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            self._process = start(
                "bench.report.drawing", str(theirs.fileno()), stdin=asked, pass_fds=[theirs.fileno()], **quiet
            )
        theirs.close()

    def __enter__(self) -> _Other:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        self._pipe.close()

    def pictures(self) -> list[Picture | str] | None:
        """What it has drawn, once it has; None where it ended before."""
        try:
            # Pickled by this program's own child, over a pipe of theirs alone: into its standard output a library may print.
            return self._pipe.recv()
        except (EOFError, OSError):
            return None


def _save(drawings: Sequence[Drawing], folder: Path, begun: Callable[[int], None] = lambda number: None) -> list[Picture | str]:
    pictures: list[Picture | str] = []
    # A drawing makes many small objects; looking for garbage among the tables at every turn takes an eighth of the time.
    gc.freeze()
    try:
        for number, drawing in enumerate(drawings):
            begun(number)
            try:
                picture = drawing()
                assert picture.figure is not None
                for ending in picture.endings:
                    save(picture.figure, folder / f"{picture.name}.{ending}")
                pictures.append(dataclasses.replace(picture, figure=None))
            except OSError:  # A full disk is no fault of the figure.
                raise
            except Exception as error:  # It takes no other figure along, nor the page.
                pictures.append(f"Left out for an error: a figure ({type(error).__name__}: {error}).")
    finally:
        gc.unfreeze()
    return pictures


def main(descriptor: int) -> None:
    """Draws what its parent left in the file that is the standard input, and sends the pictures into this pipe."""
    # What is unpickled can run code: it is this program's own, from a file that only the parent could write to.
    drawings, folder = pickle.load(sys.stdin.buffer)
    with Connection(descriptor, readable=False) as pipe:
        pipe.send(_save(drawings, folder))


if __name__ == "__main__":
    main(int(sys.argv[1]))
