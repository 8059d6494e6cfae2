"""Packs on this machine: in this process, or in one worker process for each training thread.

Worker processes, because small batched products keep Python busy enough that threads wait for one another. They are plain
children that speak over a pipe, so a caller's own script is never imported again, a worker that dies takes down one pack and no
more, and Ctrl-C reaches only the parent.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, Pipe, wait
from typing import NamedTuple

from bench.engines.api import NONE_BEGUN
from bench.engines.choice import Engine, EngineSpec, TrainReport, make_engine
from bench.engines.packs import Pack, budget_flops
from bench.machine.child import start
from bench.protocol.cells import Cell, Checkpoint, Outcome, Status

# Starting a worker costs seconds (it imports torch); a core does about this many useful FLOPs in that time.
FLOPS_WORTH_A_WORKER = 2e10


def run_local(
    packs: Sequence[Pack],
    spec: EngineSpec,
    *,
    threads: int,
    n_predictions: int = 0,
    jacobian_rank: bool = False,
    apart: bool = False,
    begun: Mapping[Cell, Checkpoint] = NONE_BEGUN,
) -> Generator[TrainReport]:
    """Train the packs, `threads` at a time, and `apart` from this process if that is asked. Close the iterator to stop.

    Cells that have `begun` on the same engine and device go on.
    A pack that raises, or whose worker dies, ends as failed cells with the reason; the other packs go on.
    """
    if apart:
        yield from _in_workers(packs, spec, min(threads, len(packs)), n_predictions, jacobian_rank, begun)
        return
    engine = make_engine(spec, threads)
    if engine.threaded:
        for pack in packs:
            yield from train_guarded(engine, pack, n_predictions, jacobian_rank, begun)
        return
    work = sum(budget_flops(cell) for pack in packs for cell in pack.cells)
    useful = min(len(packs), math.ceil(work / FLOPS_WORTH_A_WORKER))
    workers = min(threads, useful)
    if workers > 1:
        yield from _in_workers(packs, spec, workers, n_predictions, jacobian_rank, begun)
    else:
        yield from _in_process(packs, engine, n_predictions, jacobian_rank, begun)


def train_guarded(
    engine: Engine, pack: Pack, n_predictions: int, jacobian_rank: bool, begun: Mapping[Cell, Checkpoint]
) -> Iterator[TrainReport]:
    """`engine.train`, with an error turned into the status of the cells it cost."""
    unfinished = dict.fromkeys(pack.cells)
    try:
        for report in engine.train(pack, n_predictions=n_predictions, jacobian_rank=jacobian_rank, begun=begun):
            for outcome in report.outcomes:
                del unfinished[outcome.cell]
            yield report
    except (
        Exception
    ) as error:  # The border where an error becomes a status: recorded with its reason, tried again on the next run.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        yield failed(unfinished, reason)


def failed(cells: Sequence[Cell] | dict[Cell, None], reason: str) -> TrainReport:
    return TrainReport([Outcome(cell, Status.FAILED, reason=reason) for cell in cells], 0.0, error=reason)


def _in_process(
    packs: Sequence[Pack], engine: Engine, n_predictions: int, jacobian_rank: bool, begun: Mapping[Cell, Checkpoint]
) -> Iterator[TrainReport]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for pack in packs:
            yield from train_guarded(engine, pack, n_predictions, jacobian_rank, begun)
    finally:
        torch.set_num_threads(threads)


class _Worker:
    """A child process, the parent's end of its pipe, and the cells it is working on."""

    def __init__(self, spec: EngineSpec, n_predictions: int, jacobian_rank: bool):
        self.pipe, theirs = Pipe()
        self.process = start("bench.runs.executors.worker", str(theirs.fileno()), pass_fds=[theirs.fileno()])
        theirs.close()
        self.pipe.send((spec, n_predictions, jacobian_rank))
        self.unfinished: dict[Cell, None] = {}

    def give(self, pack: Pack, begun: Mapping[Cell, Checkpoint]) -> None:
        self.unfinished = dict.fromkeys(pack.cells)
        # A worker that has died since is noticed when its pipe is read.
        with contextlib.suppress(BrokenPipeError):
            self.pipe.send((pack, {cell: begun[cell] for cell in pack.cells if cell in begun}))

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.pipe.close()


class PackDone(NamedTuple):
    """What a worker sends after the last report of a pack."""


def _in_workers(
    packs: Sequence[Pack],
    spec: EngineSpec,
    count: int,
    n_predictions: int,
    jacobian_rank: bool,
    begun: Mapping[Cell, Checkpoint],
) -> Iterator[TrainReport]:
    waiting = deque(packs)
    workers: dict[Connection, _Worker] = {}
    try:
        while waiting or workers:
            while waiting and len(workers) < count:
                worker = _Worker(spec, n_predictions, jacobian_rank)
                worker.give(waiting.popleft(), begun)
                workers[worker.pipe] = worker
            ready = set(wait(list(workers)))
            for pipe, worker in [(pipe, worker) for pipe, worker in workers.items() if pipe in ready]:
                try:
                    message = pipe.recv()
                except (EOFError, OSError):
                    del workers[pipe]
                    worker.stop()
                    yield failed(worker.unfinished, f"the worker process ended with exit status {worker.process.returncode}")
                    continue
                if not isinstance(message, PackDone):
                    for outcome in message.outcomes:
                        del worker.unfinished[outcome.cell]
                    yield message
                elif waiting:
                    worker.give(waiting.popleft(), begun)
                else:
                    del workers[pipe]
                    worker.stop()
    finally:
        for worker in workers.values():
            worker.stop()
