"""The list of executors: what each setting stands for. What a cluster needs is imported only where one is asked for."""

from __future__ import annotations

from pathlib import Path

from bench.runs.executors.api import Executor, Wanted
from bench.runs.executors.here import Here
from bench.runs.executors.options import Options, Ray, Slurm


def make_executor(where: Options, wanted: Wanted, run_dir: Path | None) -> Executor:
    """Who trains the cells of a run.

    Raises:
        GridError: an engine or device that is not here; a cluster that cannot be reached from here, or that does not share the
            run's folder.
    """
    if isinstance(where, Slurm):
        from bench.runs.executors.slurm import OnSlurm

        return OnSlurm(where, wanted, run_dir)
    if isinstance(where, Ray):
        from bench.runs.executors.ray import OnRay

        return OnRay(where, wanted)
    return Here(wanted)
