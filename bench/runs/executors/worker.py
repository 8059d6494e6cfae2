"""A worker process of the local executor: packs come in over a pipe, reports go out. Run by `local.py`, not by hand."""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection

import torch

from bench.engines.choice import make_engine
from bench.runs.executors.local import PackDone, train_guarded


def main(descriptor: int) -> None:
    """Train packs from the pipe with this file descriptor until its other end is closed."""
    torch.set_num_threads(1)
    with Connection(descriptor) as pipe:
        spec, n_predictions, jacobian_rank = pipe.recv()
        engine = make_engine(spec)
        try:
            while True:
                pack, begun = pipe.recv()
                for report in train_guarded(engine, pack, n_predictions, jacobian_rank, begun):
                    pipe.send(report)
                pipe.send(PackDone())
        except (EOFError, BrokenPipeError):
            return


if __name__ == "__main__":
    main(int(sys.argv[1]))
