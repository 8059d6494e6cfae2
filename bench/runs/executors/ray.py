"""Cells on a Ray cluster: packs of them, each a task of its own. Its reports come back to this machine, which writes them."""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, cast

from bench.engines.api import TrainReport
from bench.machine.child import one_line
from bench.machine.cores import available_cores
from bench.protocol.cells import Cell, Checkpoint
from bench.protocol.grid import GridError
from bench.runs.executors.api import ClusterError, Facts, Wanted
from bench.runs.executors.deal import deal
from bench.runs.executors.here import Here
from bench.runs.executors.local import failed
from bench.runs.executors.options import Ray

# Packs for each task that the cluster can run at once: as one ends, the next begins, and a node that is lost costs less.
PACKS_PER_TASK = 4

# A pack has no more cells than this.
MOST_IN_A_PACK = 256

# How often what is left of a pack begins again whose node was lost, or whose process was killed.
RETRIES = 5

# How often a task reports.
REPORT_S = 1.0

# How often this process looks up from waiting, so that a signal is heard.
LOOK_EVERY_S = 0.5

# A cluster answers sooner.
ANSWERS_IN_S = 10.0

# What Ray is told before it starts: to report nothing to its makers, and to leave a task without GPUs those that it sees.
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


class OnRay:
    """Trains cells on the nodes of a cluster; see `bench.runs.executors.api.Executor`."""

    stores = False
    notice: str | None = None

    def __init__(self, how: Ray, wanted: Wanted):
        """Raises:
        GridError: Ray is not installed; a device by its number, which no cluster has.
        """
        if importlib.util.find_spec("ray") is None:
            raise GridError("executor", "ray", "needs Ray, which is not installed", "pip install 'memcap[ray]'")
        if wanted.device not in ("auto", "cpu", "cuda"):
            raise GridError("device", wanted.device, "names a GPU of one machine", "choose auto, cpu or cuda")
        self._how, self._wanted = how, wanted
        self._started = False

    def close(self) -> None:
        """Leave the cluster, or end it if it is this command's own."""
        if self._started:
            import ray

            self._started = False
            ray.shutdown()

    def give_up(self) -> None:
        """Nothing trains on once the iterator is closed."""

    def facts(self) -> Facts:
        """As asked: what trained is in the table of cells. A task has a thread for each of its CPUs."""
        return Facts(self._wanted.engine, self._wanted.device, self._how.num_cpus, {"executor": "ray"})

    def train(self, cells: Sequence[Cell], begun: Mapping[Cell, Checkpoint]) -> Generator[TrainReport]:
        """Train every cell to its end. What is left of a pack whose node is lost goes on elsewhere, from what it saved."""
        import ray
        from ray.exceptions import RayError

        self._start()
        pending: dict[Any, _Pack] = {}
        try:
            needs, wanted, at_once = self._resources()
            # Ray would begin a lost pack from its beginning.
            task = ray.remote(_train).options(max_retries=0, num_returns="streaming", **needs)
            number = max(PACKS_PER_TASK * at_once, -(-len(cells) // MOST_IN_A_PACK))
            waiting = [_Pack(dict.fromkeys(pack), {c: begun[c] for c in pack if c in begun}) for pack in deal(cells, number)]
            while waiting or pending:
                pending |= {task.remote(list(pack.left), wanted, pack.begun): pack for pack in waiting}
                waiting = []
                ready, _ = ray.wait(list(pending), timeout=LOOK_EVERY_S)
                for reports in cast("list[Any]", ready):
                    pack = pending[reports]
                    try:
                        # What a task reports is a reference to it; a task that was lost ends with a last one, to why.
                        yield pack.noted(cast("TrainReport", ray.get(next(reports))))
                        continue
                    except StopIteration:
                        del pending[reports]
                        if pack.left:
                            yield failed(pack.left, "its task ended without them")
                    except RayError as error:
                        del pending[reports]
                        if pack.may_go_on(error):
                            waiting.append(pack)
                        else:
                            yield failed(pack.left, _said(error))
        finally:
            for reports in pending:
                ray.cancel(reports, force=True)

    def _start(self) -> None:
        """Join the cluster, once; a program that has joined one already stays there."""
        import ray

        if ray.is_initialized():
            return
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        about: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self._how.address is None:
            cpus = max(self._how.num_cpus, self._wanted.threads or available_cores())
            about |= {"address": "local", "num_cpus": cpus, "include_dashboard": False}
        else:
            about["address"] = self._how.address
        try:
            _knock(self._how.address)
            ray.init(**about)
            self._started = True
        except (ConnectionError, OSError, RuntimeError, ValueError, TimeoutError) as error:
            raise ClusterError(f"Ray cannot be reached: {one_line(error)}") from error

    def _resources(self) -> tuple[dict[str, int], Wanted, int]:
        """What a task needs, how it is to train, and how many of them the cluster can run at once.

        Raises:
            ClusterError: no node has so much.
        """
        import ray

        how, wanted = self._how, self._wanted
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        on_gpus = wanted.device == "cuda" or (
            wanted.device == "auto" and any(node.get("GPU", 0) >= how.num_gpus for node in nodes)
        )
        needs = {"CPU": how.num_cpus, **({"GPU": how.num_gpus} if on_gpus else {})}
        at_once = sum(min(int(node.get(name, 0)) // amount for name, amount in needs.items()) for node in nodes)
        if not at_once:
            told = f"{how.num_cpus} CPUs" + f" and {how.num_gpus} GPUs" * on_gpus
            raise ClusterError(f"Ray: none of {len(nodes)} nodes has {told}, which a task is to take")
        # A task has as many CPUs as it is told of.
        asked = {"num_cpus": how.num_cpus, "num_gpus": how.num_gpus if on_gpus else 0}
        return asked, wanted._replace(device="cuda" if on_gpus else "cpu", threads=how.num_cpus), at_once


def _knock(address: str | None) -> None:
    """That something answers at an address: Ray itself would try for many minutes.

    Raises:
        OSError, ValueError: nothing does, or it is none.
    """
    host, colon, port = (address or "").rpartition(":")
    if colon:
        socket.create_connection((host, int(port)), timeout=ANSWERS_IN_S).close()


class _Pack:
    """The cells of a task that have not ended, where they have `begun`, and how often the task may still be lost."""

    def __init__(self, left: dict[Cell, None], begun: dict[Cell, Checkpoint]):
        self.left, self.begun = left, begun
        self._retries = RETRIES

    def noted(self, report: TrainReport) -> TrainReport:
        """What the task has reported."""
        self.begun |= {one.cell: one for one in report.checkpoints}
        for outcome in report.outcomes:
            del self.left[outcome.cell]
            self.begun.pop(outcome.cell, None)
        return report

    def may_go_on(self, error: Exception) -> bool:
        """Whether a task that ended with this error may go on elsewhere: it was lost, and not too often.

        Raises:
            GridError: what the task itself has refused.
        """
        from ray.exceptions import RayTaskError

        if isinstance(cause := getattr(error, "cause", None), GridError):
            raise cause from None
        self._retries -= 1
        return bool(self.left) and self._retries >= 0 and not isinstance(error, RayTaskError)


def _train(cells: list[Cell], wanted: Wanted, begun: Mapping[Cell, Checkpoint]) -> Iterator[TrainReport]:
    """On a node: what becomes of the cells, REPORT_S apart."""
    gathered = TrainReport([], 0.0)
    last = time.monotonic()
    for report in Here(wanted).train(cells, begun):
        gathered = gathered.joined(report)
        if time.monotonic() - last >= REPORT_S:
            yield gathered
            gathered, last = TrainReport([], 0.0), time.monotonic()
    yield gathered


def _said(error: Exception) -> str:
    """The first line of an error of Ray says what; the others are where."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
