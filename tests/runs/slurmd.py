"""A SLURM cluster of one node, this machine: munge, its controller and its daemon on the loopback interface, in one folder.

python tests/runs/slurmd.py fails where they are not installed.
"""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")

INSTALL = (
    "no SLURM here: make test SETUP=apt installs Debian's (or apt-get install --no-install-recommends slurm-wlm munge);"
    " submitit's local executor is tested instead"
)

# PERIODIC_TIMEOUT of slurmctld.
LIMITS_EVERY_S = 30.0

# Daemons are in folders that not every user's PATH has.
DAEMONS = "/usr/sbin:/usr/local/sbin:/sbin"

CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
MpiDefault=none
ReturnToService=2
KillWait=5
MailProg=/bin/true
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def found() -> bool:
    """Whether SLURM and munge are installed."""
    path = f"{os.environ.get('PATH', '')}:{DAEMONS}"
    return all(shutil.which(name, path=path) for name in PROGRAMS)


@contextmanager
def cluster(folder: Path) -> Iterator[Path]:
    """The configuration of a cluster that answers, for SLURM_CONF."""
    host = socket.gethostname().partition(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "munge.key").chmod(0o600)
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(host=host, user=getpass.getuser(), folder=folder, ports=_free_ports(2)))
    files = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "log", "pid", "seed")]
    environment = os.environ | {"SLURM_CONF": str(conf), "PATH": f"{os.environ['PATH']}:{DAEMONS}"}
    with ExitStack() as stack:
        for command in (
            ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *files],
            ["slurmctld", "-D", "-c"],
            ["slurmd", "-D", "-c"],
        ):
            log = stack.enter_context((folder / f"{command[0]}.out").open("w"))
            daemon = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
            stack.callback(_end, daemon)
            if command[0] == "munged":
                _wait(lambda: (folder / "munge.socket").exists(), folder)
        _wait(lambda: "idle" in _run(["sinfo", "--noheader", "--format=%T"], environment), folder)
        try:
            yield conf
        finally:
            _run(["scancel", "--full", f"--user={getpass.getuser()}"], environment)


def wait_before_limits(conf: Path, before_s: float) -> None:
    """Until the controller looks at time limits in `before_s`: it does so every LIMITS_EVERY_S since it has started."""
    since = time.time() - (conf.parent / "slurmctld.pid").stat().st_mtime
    time.sleep((-since - before_s) % LIMITS_EVERY_S)


def _end(daemon: subprocess.Popen) -> None:
    daemon.terminate()
    try:
        daemon.wait(10)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _run(command: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout


def _wait(ready, folder: Path) -> None:
    deadline = time.monotonic() + 30
    while not ready():
        assert time.monotonic() < deadline, "\n".join(path.read_text(errors="replace")[-2000:] for path in folder.glob("*.log"))
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


if __name__ == "__main__":
    sys.exit(0 if found() else INSTALL)
