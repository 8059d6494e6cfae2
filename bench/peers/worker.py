"""A process for each side of a comparison: libraries do not share threads or memory, and each is imported and compiled once."""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import time
from collections.abc import Sequence
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from bench.machine.cores import available_cores
from bench.machine.parent import end_with
from bench.machine.usage import forget_peak_memory, joules, peak_memory_mb
from bench.peers.problem import problem_of
from bench.peers.registry import PEERS
from bench.protocol.cells import Cell

# A process that waits for work ends within this.
CLOSE_S = 2.0


class Trained(NamedTuple):
    """What one call took and gave.

    `losses` are those before each epoch; `energy_j` is the whole machine's, `peak_memory_mb` (1e6 bytes) the process's with
    its libraries; both are NaN where the system does not tell.
    """

    time_s: float
    losses: Float32[np.ndarray, "cell epoch"]
    peak_memory_mb: float
    energy_j: float


class PeerError(Exception):
    """A peer raised; the message is its own."""


class Worker:
    """A peer in a process of its own, asked to train and waited for."""

    def __init__(self, name: str, device: str):
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(name, device, theirs))
        self._process.start()
        theirs.close()

    def train(self, cells: Sequence[Cell], epochs: int, pack: int) -> Trained:
        """Train the cells in packs of so many.

        Raises:
            PeerError: the peer raised, or its process died.
        """
        try:
            self._pipe.send((tuple(cells), epochs, pack))
            answer = self._pipe.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            self._process.join()
            raise PeerError(f"its process ended with exit status {self._process.exitcode}") from error
        if isinstance(answer, str):
            raise PeerError(answer)
        return answer

    def close(self) -> None:
        """End the process: of its own accord if it waits for work, else by force."""
        with contextlib.suppress(BrokenPipeError):
            self._pipe.send(None)
        self._process.join(CLOSE_S)
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _serve(name: str, device: str, pipe: Connection) -> None:
    if (parent := parent_process()) is not None and parent.pid is not None:
        end_with(parent.pid)
    kind, _, index = device.partition(":")
    if kind == "cuda":
        # The one device that this process sees; all libraries then agree on which it is.
        os.environ["CUDA_VISIBLE_DEVICES"] = index or "0"
        device = "cuda:0"
    # JAX would take most of a GPU's memory at once, and its neighbours could not train; and it may round products to TF32, as
    # PyTorch does where its variable is 1, which some containers set.
    os.environ |= {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "JAX_DEFAULT_MATMUL_PRECISION": "highest"}
    os.environ["TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"] = "0"
    if hasattr(os, "sched_setaffinity"):
        # Libraries start a thread for each core they see, whatever the quota of a container.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: available_cores()])
    while True:
        try:
            asked = pipe.recv()
            if asked is None:
                return
            pipe.send(_train(name, device, *asked))
        except (EOFError, BrokenPipeError, KeyboardInterrupt):
            return
        except Exception as error:
            # Any error: a peer is other people's code, and its kinds of failure are not ours to list. It becomes a row of the
            # table with its reason and no speed, the others go on, and the command ends with status 1.
            pipe.send(" ".join(f"{type(error).__name__}: {error}".split()))


def _train(name: str, device: str, cells: Sequence[Cell], epochs: int, pack: int) -> Trained:
    peer = PEERS[name]
    train = getattr(importlib.import_module(peer.module), peer.function)
    problem = problem_of(cells, epochs)
    parts = [problem.part(start, start + pack) for start in range(0, len(cells), pack)]
    forget_peak_memory()
    energy_j, started = joules(), time.perf_counter()
    losses = [train(part, device) for part in parts]
    time_s = time.perf_counter() - started
    used_j = joules() - energy_j
    # A counter that has begun again from zero says nothing.
    return Trained(time_s, np.concatenate(losses), peak_memory_mb(), used_j if used_j > 0 else math.nan)
