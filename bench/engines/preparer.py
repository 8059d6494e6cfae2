"""A process that prepares cells: batches come in over a pipe, images go out by shared memory. Run by `ahead.py`."""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection

from bench.engines.ahead import restored, rooms_in, write_image
from bench.engines.draws import Draws


def main(pipe_descriptor: int, memory_descriptor: int, n_rooms: int) -> None:
    """Prepare batches from the pipe with this file descriptor until its other end is closed."""
    rooms, draws = rooms_in(memory_descriptor, n_rooms), Draws()
    with Connection(pipe_descriptor) as pipe:
        try:
            while True:
                room, job = pipe.recv()
                image = write_image(rooms[room], *restored(job), draws)
                pipe.send_bytes(image.variances.tobytes())
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
