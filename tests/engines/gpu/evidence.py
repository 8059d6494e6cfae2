"""All that a GPU has to show, in stages that each fit a short visit: python tests/engines/gpu/evidence.py [A|B|C|all] (`make gpu-evidence`).

A: versions, all kernels compiled, one cell of each against PyTorch, speeds of the kernels alone. Four minutes.
B: the trial as users meet it, bytes, sanitizers, a profile, the default grid, other libraries, conformance. Seven minutes.
C: what takes long: every test, the speeds of all shapes, the full comparison, a soak. An hour. `all` is A and B.

Every step has a limit, and what it printed is kept when it meets that. After each, all that is known so far lies in $OUT, or
results/reference/<device>: three files for a stage. The exit status is 1 if a step failed. Imports nothing but Python's own.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[3]

# Seconds of each stage, all of it.
STAGES = {"A": 240.0, "B": 420.0, "C": 3600.0}

# A quick rehearsal asks whether a step ends, not how soon: it has this many times as long.
PATIENCE = 8.0

# A step that meets its limit is interrupted, so that it can say how far it came, and killed this much later.
GRACE_S = 3.0

# No archive is larger: what is largest is left out.
MOST_BYTES = 15 << 20

# Where the profiler and the sanitizers are, if not on the path.
TOOLS = "/usr/local/cuda/bin"

# As many streams at once as CUDA allows, lines as they come, and Python compiled once for all steps.
ENVIRONMENT = {"CUDA_DEVICE_MAX_CONNECTIONS": "32", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": ""}

SECTIONS = (
    "SpeedOfLight",
    "ComputeWorkloadAnalysis",
    "MemoryWorkloadAnalysis",
    "SchedulerStats",
    "WarpStateStats",
    "Occupancy",
    "LaunchStats",
)
PYTEST = (
    sys.executable,
    "-m",
    "pytest",
    "-q",
    "-W",
    "default",
    "-p",
    "no:cacheprovider",
    "--durations=5",
    "-m",
    "gpu and not exhaustive",
)
SPEED = ("shapes=speed", "shapes.width=[16,32,64,128]", "shapes.depth=[1,2,4,8]", "shapes.n_samples=[256,1024,4096]")

# Of a small comparison, with a GPU and without one.
LARGE = (
    "shapes.variants=[{d_in:8,width:128,depth:4,n_samples:1024},{d_in:2,width:64,depth:3,n_samples:256}]",
    *("networks=1024", "rounds=2", "epochs=100", "flops=1e13"),
)
SMALL = ("shapes.variants=[{d_in:2,width:16,depth:3,n_samples:64}]", "networks=8", "rounds=1", "epochs=20", "flops=1e8")


class Step(NamedTuple):
    """A command of a stage, the seconds it may take, the lines of its end that are shown, and variables of its own."""

    stage: str
    name: str
    limit_s: float
    shown: int
    command: Sequence[str]
    environment: Mapping[str, str] = MappingProxyType({})


class Done(NamedTuple):
    """A step that is over: its exit status or what became of it, how long it took, and what it printed."""

    step: Step
    status: str
    time_s: float
    printed: str

    @property
    def line(self) -> str:
        return f"{self.step.name:12} status {self.status:18} {self.time_s:6.1f} of {self.step.limit_s:.0f} s"


def steps(results: Path, *, device: str = "cuda:0", quick: bool = False) -> list[Step]:
    """The steps of all stages in their order, what is worth most first; `quick` ones do little, so that a test can run them."""

    def own(name: str, *arguments: str) -> tuple[str, ...]:
        return (sys.executable, "-m", f"tests.engines.gpu.{name}", *arguments)

    bench = (sys.executable, "-m", "bench")
    # cuda-core asks the driver for functions that an older one lacks, which is no error of ours.
    sanitizer = ("compute-sanitizer", "--error-exitcode", "3", "--report-api-errors", "no", "--tool")
    # Others' libraries cannot train on a stand-in, and this machine's cores are no GPU.
    theirs, sizes = ("cuda:0", LARGE) if device == "cuda:0" else ("cpu", SMALL)
    peers = "[cuda,torch]" if quick else "[cuda,cuda_3xtf32,torch,jax,vmap,loop]"
    shapes = ("16,1,64",) if quick else ()
    few = ("float32",) if quick else ("float32", "3xtf32")
    return [
        Step("A", "versions", 35, 20, own("versions")),
        Step("A", "compile", 70, 24, own("compiled", *(("--first", "1") if quick else ()))),
        Step("A", "smoke", 48, 60, own("smoke", *(("float32",) if quick else ()))),
        Step("A", "kernels", 75, 66, own("kernels", *shapes)),
        # On another machine than stage A, or another day.
        Step("B", "compile", 15, 1, own("compiled", *(("--first", "1") if quick else ()))),
        Step("B", "trial", 35, 6, (sys.executable, "-P", "-m", "bench.engines.cuda.trial", "cuda:0")),
        Step("B", "bytes", 25, 12, (*PYTEST, "-k", "byte or slices", "tests/engines/test_gpu.py")),
        Step("B", "grid", 40, 14, (*bench, *(("grid=smoke",) if quick else ()), "engine=cuda", "fresh=true", f"run_dir={results / 'default'}")),
        Step("B", "compare", 130, 40, (*bench, "compare", f"peers={peers}", f"device={theirs}", *sizes, f"run_dir={results / 'compare'}")),
        # torch's own allocator hands out pieces of one large piece, so that what is written beyond one is not seen.
        Step("B", "memcheck", 15, 12, (*sanitizer, "memcheck", *own("smoke", *few)), {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}),
        Step("B", "racecheck", 65, 12, (*sanitizer, "racecheck", *own("smoke", *few))),
        Step(
            *("B", "profile", 20, 60),
            (
                *("ncu", "--clock-control", "none", "--kernel-name", "train", "--launch-skip", "1", "--launch-count", "3"),
                *(word for section in SECTIONS for word in ("--section", section)),
                *own("kernels", *(shapes or ("128,4,1024",)), "--ways", "float32", "3xtf32", "--slices", "0.02", "0.02"),
            ),
        ),
        Step("B", "conformance", 40, 12, (*PYTEST, "-k", "tf32_losses" if quick else "plain_loop", "tests/engines/test_gpu.py")),
        Step("C", "tests", 900, 12, (*PYTEST[:-1], "gpu", "tests/engines/test_gpu.py")),
        Step("C", "memcheck", 300, 12, (*sanitizer, "memcheck", *own("smoke", "float64", "tf32")), {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}),
        Step("C", "synccheck", 300, 12, (*sanitizer, "synccheck", *own("smoke", *few))),
        Step(
            *("C", "speed", 1200, 60),
            (*bench, "compare", *SPEED, "peers=[cuda,cuda_3xtf32,torch]", "networks=4096", "rounds=3", "flops=1e13", f"run_dir={results / 'speed'}"),
        ),
        Step("C", "comparison", 500, 60, (*bench, "compare", "networks=2048", "rounds=3", "flops=1e12", f"run_dir={results / 'comparison'}")),
        Step("C", "soak", 660, 4, own("soak", "600")),
    ]  # fmt: skip


class Evidence:
    """What a stage has left so far, packed into a folder after every step."""

    def __init__(self, folder: Path, stage: str, work: Path, head: str):
        self._folder, self._stage, self._head = folder, stage, head
        self.logs, self.results = work / "logs", work / "results"
        for path in (folder, self.logs, self.results):
            path.mkdir(parents=True, exist_ok=True)
        # Beside the archives, in case nobody lives to pack it.
        self.running = folder / f"running-{stage}.txt"
        self.done: list[Done] = []

    def add(self, done: Done) -> None:
        """Keep a step's end, and say it."""
        self.done.append(done)
        self.running.replace(self.logs / f"{done.step.stage}-{done.step.name}.txt")
        left_out = [*archive(self.logs, self._file("logs", "tgz")), *archive(self.results, self._file("results", "tgz"))]
        parts = [
            self._head,
            self.summary(),
            *(f"left out, too large: {name}" for name in left_out),
            *map(self._told, self.done),
        ]
        write_whole(self._file("evidence", "txt"), "\n".join(parts).encode()[:MOST_BYTES])
        print(self._told(done), flush=True)

    def summary(self) -> str:
        """A line for each step."""
        return "\n".join(f"{self._stage} {done.line}" for done in self.done)

    def _told(self, done: Done) -> str:
        end = "\n".join(done.printed.rstrip().splitlines()[-done.step.shown :])
        return f"\n== {self._stage} {done.line}\n$ {' '.join(done.step.command)}\n{end}"

    def _file(self, name: str, suffix: str) -> Path:
        return self._folder / f"{name}-{self._stage}.{suffix}"


def run(stage: Sequence[Step], evidence: Evidence, environment: dict[str, str], limit_s: float) -> int:
    """Run the steps, each within its own limit and all within theirs; exit status 1 if any failed."""
    ends = time.monotonic() + limit_s
    for step in stage:
        began = time.monotonic()
        left_s = ends - began - GRACE_S
        with evidence.running.open("wb") as output:
            status = "no time left" if left_s <= 0 else ended(step, output, environment, min(step.limit_s, left_s))
        printed = evidence.running.read_text(errors="replace")
        evidence.add(Done(step, status, time.monotonic() - began, printed))
    print(f"\n{evidence.summary()}", flush=True)
    return int(any(done.status != "0" for done in evidence.done))


def ended(step: Step, output, environment: dict[str, str], limit_s: float) -> str:
    """Run a step in a process group of its own, all of which ends with it: its exit status, or why it has none."""
    try:
        process = subprocess.Popen(
            step.command, cwd=ROOT, env={**environment, **step.environment}, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        output.write(str(error).encode())
        return "not found" if isinstance(error, FileNotFoundError) else type(error).__name__
    try:
        return str(process.wait(limit_s))
    except subprocess.TimeoutExpired:
        send(process, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
        return "stopped"
    finally:
        # Also what a step has left behind, which would disturb the next.
        send(process, signal.SIGKILL)
        process.wait()


def send(process: subprocess.Popen, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def archive(folder: Path, path: Path) -> list[str]:
    """Pack a folder; the largest files stay out until the archive is no larger than MOST_BYTES. Returns their names."""
    files = sorted((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    left_out: list[str] = []
    partial = path.with_suffix(".part")
    while files or left_out:
        with tarfile.open(partial, "w:gz", compresslevel=3) as tar:
            for file in sorted(files):
                tar.add(file, f"{path.stem}/{file.relative_to(folder)}")
        if partial.stat().st_size <= MOST_BYTES:
            partial.replace(path)
            break
        left_out.append(str(files.pop().relative_to(folder)))
    return left_out


def write_whole(path: Path, content: bytes) -> None:
    partial = path.with_suffix(".part")
    partial.write_bytes(content)
    partial.replace(path)


def site_of(wheels: Path, site: Path, environment: dict[str, str]) -> str:
    """Unpack wheels into a folder on the path of modules; those for CUDA only where they work. Returns what was done, in words."""
    found = sorted(wheels.glob("*.whl"))
    for wheel in found:
        with zipfile.ZipFile(wheel) as archived:
            archived.extractall(site)
    said = f"{len(found)} wheels"
    if (site / "cuda").exists() and (reason := why_no_cuda(environment)):
        for path in site.glob("cuda*"):
            shutil.rmtree(path)
        said += f"; not those for CUDA, which do not work here:\n{reason}"
    return said


def why_no_cuda(environment: dict[str, str]) -> str | None:
    """What speaks against cuda-core and the compiler as they are on the path, or None."""
    asked = [sys.executable, "-c", "from cuda import core; from cuda.bindings import nvrtc; nvrtc.nvrtcVersion()"]
    try:
        subprocess.run(asked, env=environment, capture_output=True, text=True, timeout=60, check=True)
    except subprocess.TimeoutExpired as error:
        return str(error)
    except subprocess.CalledProcessError as error:
        return error.stderr
    return None


def stand_in(device: str, site: Path) -> dict[str, str]:
    """What has every Python process take another device for its GPU."""
    site.mkdir(parents=True, exist_ok=True)
    (site / "sitecustomize.py").write_text("from tests.engines.gpu.stand_in import install\n\ninstall()\n")
    return {"MEMCAP_DEVICE": device}


def name_of_gpu() -> str | None:
    """Of the first, as the driver has it, in letters, digits and dashes; None without one."""
    name = ctypes.create_string_buffer(100)
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    if driver.cuInit(0) or driver.cuDeviceGetName(name, len(name), 0):
        return None
    return re.sub(r"[^a-z0-9]+", "-", name.value.decode().lower()).strip("-")


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Signals end this process as an exception, so that it takes its steps with it; nor do these ignore one, as this process may."""
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, _: sys.exit(128 + number)) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", nargs="?", default="all", choices=[*STAGES, "all"])
    parser.add_argument(
        "--device", default="cuda:0", choices=["cuda:0", "fake", "host"], help="a stand-in rehearses without a GPU"
    )
    parser.add_argument("--wheels", type=Path, default=ROOT / ".whl", help="folder of wheels that this machine lacks")
    parser.add_argument("--quick", action="store_true", help="as little as can be of every step")
    asked = parser.parse_args(arguments)
    name = name_of_gpu() if asked.device == "cuda:0" else asked.device
    if name is None:
        print("gpu-evidence: no NVIDIA GPU here (the driver names none)", file=sys.stderr)
        return 2
    folder = Path(os.environ.get("OUT") or ROOT / "results/reference" / name).resolve()
    with tempfile.TemporaryDirectory(prefix="memcap-evidence-") as temporary, stoppable():
        work = Path(temporary)
        site = work / "site"
        paths = [str(site), str(ROOT), os.environ.get("PYTHONPATH", "")]
        environment = (
            os.environ
            | ENVIRONMENT
            | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PATH": f"{os.environ['PATH']}:{TOOLS}"}
        )
        head = f"{name}, {site_of(asked.wheels, site, environment)}"
        if asked.device != "cuda:0":
            environment |= stand_in(asked.device, site)
        print(head, flush=True)
        failed = 0
        for stage in ("A", "B") if asked.stage == "all" else asked.stage:
            evidence = Evidence(folder, stage, work / stage, head)
            table = [step for step in steps(evidence.results, device=asked.device, quick=asked.quick) if step.stage == stage]
            if asked.quick:
                table = [step._replace(limit_s=PATIENCE * step.limit_s) for step in table]
            failed += run(table, evidence, environment, STAGES[stage] * (PATIENCE if asked.quick else 1))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
