"""The tasks of an array job: submitted by submitit, watched, cancelled."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any, Protocol

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from bench.machine.child import EXCEPTION, environment
from bench.runs.executors.api import ClusterError
from bench.runs.executors.options import Slurm
from bench.runs.executors.submitted import CommandLine
from bench.store.atomic import write_atomically

# Of squeue(1), "JOB STATE CODES": those in which a task has ended for good, unless it is queued again.
ENDED = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "SPECIAL_EXIT", "TIMEOUT"),
)
DONE = ("COMPLETED", "FINISHED")

# What squeue says of a job that ended so long ago that SLURM has forgotten it.
FORGOTTEN = "Invalid job id"

# A controller that is started again is away for so long at most.
AWAY_S = 600.0

# In the folder of a cut: submitit's own, and which job was submitted.
_JOBS, _ID = "jobs", "job.json"

_SAYS = re.compile(rf"^memcap: .*|{EXCEPTION.pattern}.*", re.MULTILINE)


class Jobs(Protocol):
    """The tasks of one array job, one for each shard of a cut."""

    # As a user may call it, for scancel.
    id: str

    def states(self) -> dict[int, str]:
        """The state of each task, by its shard; those that ended long ago may be absent."""
        ...

    def stop(self) -> str | None:
        """What becomes of the tasks when nobody waits for them any more, in words, if they go on."""
        ...

    def cancel(self) -> bool:
        """End the tasks, which keep what had ended; whether that was taken."""
        ...


def submit(cut: Path, shards: int, how: Slurm) -> Jobs:
    """An array job with a task for each shard of a cut.

    Raises:
        ClusterError: it was refused.
    """
    folder = cut / _JOBS
    folder.mkdir(mode=0o700)
    lines = [CommandLine(["shard", str(cut.resolve()), str(number)]) for number in range(shards)]
    # submitit prints what sbatch has said; here it is told in one line.
    with _importable(), redirect_stderr(StringIO()):
        if how.cluster == "local":
            executor: Any = submitit.LocalExecutor(folder, max_num_timeout=how.requeues)
            executor.update_parameters(timeout_min=how.time_min, signal_delay_s=how.signal_s)
            return _LocalJobs(executor.submit_array(lines))
        executor = submitit.SlurmExecutor(folder, max_num_timeout=how.requeues)
        executor.update_parameters(**_parameters(how))
        try:
            jobs = executor.submit_array(lines) if shards > 1 else [executor.submit(lines[0])]
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            raise ClusterError(f"SLURM refused the job: {_refusal(str(error))}") from error
    own = jobs[0].job_id.partition("_")[0]
    write_atomically(cut / _ID, lambda partial: partial.write_text(json.dumps({"job": own})))
    return _SlurmJobs(own)


def submitted(cut: Path) -> Jobs | None:
    """The SLURM job that works on a cut, if it has not ended."""
    try:
        jobs = _SlurmJobs(json.loads((cut / _ID).read_text())["job"])
    except (OSError, ValueError, LookupError):
        return None
    return jobs if alive(jobs.states()) else None


def alive(states: dict[int, str]) -> bool:
    """Whether any of the tasks may still train."""
    return any(state not in (*ENDED, "FINISHED", "INTERRUPTED") for state in states.values())


def said(cut: Path, shard: int, shards: int) -> str | None:
    """What a shard that failed said last, in a line; `shards`: of how many."""
    # A job of one task has no array in its name.
    logs = sorted((cut / _JOBS).glob(f"*_{shard}_0_log.err" if shards > 1 else "*_log.err"))
    found = _SAYS.findall(logs[-1].read_text(errors="replace")) if logs else []
    return found[-1].removeprefix("memcap: ") if found else None


class _SlurmJobs:
    def __init__(self, own: str):
        self.id = own
        self._answered = time.monotonic()

    def states(self) -> dict[int, str]:
        command = ["squeue", "--noheader", "--states=all", "--array", f"--jobs={self.id}", "--format=%K %T"]
        asked = subprocess.run(command, capture_output=True, text=True)
        if asked.returncode and FORGOTTEN not in asked.stderr:
            if time.monotonic() - self._answered > AWAY_S:
                raise ClusterError(f"SLURM has not answered for {AWAY_S / 60:g} minutes: {_refusal(asked.stderr)}")
            return {0: "UNKNOWN"}
        self._answered = time.monotonic()
        words = [line.split() for line in asked.stdout.splitlines() if line.strip()]
        return {int(shard) if shard.isdecimal() else 0: state for shard, state in words}

    def stop(self) -> str | None:
        return f"SLURM job {self.id} goes on; the same command waits for it again, scancel {self.id} ends it"

    def cancel(self) -> bool:
        asked = subprocess.run(["scancel", self.id], capture_output=True, text=True)
        if asked.returncode:
            print(f"memcap: SLURM job {self.id} goes on, since scancel failed: {_refusal(asked.stderr)}", flush=True)
        return not asked.returncode


class _LocalJobs:
    id: str = "local"

    def __init__(self, jobs: Sequence[Any]):
        self._jobs = jobs

    def states(self) -> dict[int, str]:
        return {shard: job.state for shard, job in enumerate(self._jobs)}

    def stop(self) -> str | None:
        self.cancel()

    def cancel(self) -> bool:
        for job in self._jobs:
            job.cancel()
        return True


def _parameters(how: Slurm) -> dict[str, Any]:
    """As submitit calls them."""
    given = {name: getattr(how, name) for name in ("partition", "gres", "constraint", "qos", "account")}
    given["mem"] = None if how.mem_gb is None else f"{round(how.mem_gb * 1024)}M"
    return {
        "job_name": "memcap",
        "time": how.time_min,
        "signal_delay_s": how.signal_s,
        "cpus_per_task": how.cpus_per_task,
        "array_parallelism": how.array_parallelism,
        **{name: value for name, value in given.items() if value is not None},
    }


def _refusal(text: str) -> str:
    """What SLURM's commands say, in a line."""
    lines = [line.partition("error: ")[2] or line for line in text.splitlines() if "error: " in line] or text.splitlines()
    return "; ".join(dict.fromkeys(line.strip() for line in lines if line.strip())) or "nothing was said"


@contextmanager
def _importable() -> Iterator[None]:
    """What is started meanwhile finds this package, and no module in the working directory."""
    names = {"PYTHONPATH": environment()["PYTHONPATH"], "PYTHONSAFEPATH": "1"}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
