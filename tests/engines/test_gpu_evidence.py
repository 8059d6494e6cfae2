"""Evidence of a GPU: every stage ends in time, what was printed is kept, and all but the kernels is rehearsed without one."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from bench.commands.line import compose
from bench.engines.choice import native_is_built
from bench.engines.cuda.ways import WAYS
from bench.protocol.cells import Cell
from tests.conftest import ROOT
from tests.engines.gpu import evidence, kernels, smoke
from tests.engines.gpu.evidence import GRACE_S, MOST_BYTES, STAGES, Evidence, Step, archive, run, site_of, steps
from tests.engines.gpu.fake_device import FakeDevice
from tests.engines.gpu.ways import fits_of, kernels_of
from tests.engines.training import NOT_BUILT

SCRIPT = ROOT / "tests/engines/gpu/evidence.py"

# Starts a process that outlives it, and ends.
LEAVES = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
print("child", subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid, flush=True)
"""

# Likewise, and hangs; both must be killed.
HANGS = f"""{LEAVES}
signal.signal(signal.SIGINT, lambda *_: print("interrupted", flush=True))
while True:
    time.sleep(600)
"""


def python(name: str, code: str, limit_s: float = 20) -> Step:
    return Step("A", name, limit_s, 5, (sys.executable, "-u", "-c", code))


def lives(pid: int) -> bool:
    """Whether a process runs; one that has ended and is nobody's child any more may wait for its entry to go."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ended_within(pid: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while lives(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not lives(pid)


def packed(path: Path) -> dict[str, str]:
    with tarfile.open(path) as tar:
        return {name: file.read().decode() for name in tar.getnames() if (file := tar.extractfile(name))}


@pytest.mark.parametrize("stage", STAGES)
def test_the_steps_of_a_stage_fit_into_it(stage, tmp_path):
    own = [step for step in steps(tmp_path) if step.stage == stage]
    assert own and len({step.name for step in own}) == len(own)
    assert sum(step.limit_s + GRACE_S for step in own) <= STAGES[stage]


def test_what_the_steps_run_is_there_and_takes_what_they_say(tmp_path):
    for step in steps(tmp_path):
        words = list(step.command)
        at = words.index("-m")
        module, arguments = words[at + 1], words[at + 2 :]
        assert importlib.util.find_spec(module), module
        assert all((ROOT / word).exists() for word in words if word.startswith("tests/"))
        if module == "bench":
            name, settings = ("compare", arguments[1:]) if arguments[0] == "compare" else ("config", arguments)
            if name == "compare":
                assert {word.partition("=")[0].partition(".")[0] for word in settings} <= {
                    *("peers", "rounds", "networks", "epochs", "flops", "device", "run_dir", "shapes")
                }
            else:
                assert compose(name, settings)


def test_a_step_that_hangs_or_fails_or_is_missing_does_not_end_the_rest_and_what_it_printed_is_kept(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(evidence, "GRACE_S", 0.5)
    table = [
        python("hangs", HANGS, limit_s=1.5),
        python("leaves", LEAVES),
        python("fails", "print('to the end'); raise SystemExit(3)"),
        Step("A", "missing", 5, 5, ("no-such-tool", "--at-all")),
        python("fine", "import os; print(os.environ['GIVEN'])")._replace(environment={"GIVEN": "a variable"}),
    ]
    kept = Evidence(tmp_path / "out", "A", tmp_path / "work", "some GPU")
    (kept.results / "table.csv").write_text("a,b\n")
    assert run(table, kept, dict(os.environ), 60) == 1
    assert [done.status for done in kept.done] == ["stopped", "0", "3", "not found", "0"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["evidence-A.txt", "logs-A.tgz", "results-A.tgz"]
    logs = packed(tmp_path / "out/logs-A.tgz")
    assert list(logs) == [f"logs-A/A-{name}.txt" for name in ("fails", "fine", "hangs", "leaves", "missing")]
    assert "interrupted" in logs["logs-A/A-hangs.txt"] and logs["logs-A/A-fails.txt"] == "to the end\n"
    assert packed(tmp_path / "out/results-A.tgz") == {"results-A/table.csv": "a,b\n"}
    children = [int(pid) for text in logs.values() for pid in re.findall(r"child (\d+)", text)]
    assert len(children) == 2 and all(ended_within(child, 5) for child in children)
    told = (tmp_path / "out/evidence-A.txt").read_text()
    assert told.startswith("some GPU\nA hangs ") and "interrupted" in told and "a variable" in told
    assert "A fails        status 3" in capsys.readouterr().out


def test_all_that_ended_is_kept_after_every_step_and_what_runs_beside_it(tmp_path):
    folder = tmp_path / "out"
    kept = Evidence(folder, "A", tmp_path / "work", "some GPU")
    looks = f"import os; print(sorted(os.listdir({str(folder)!r})))"
    assert run([python("first", "print(1)"), python("second", looks)], kept, dict(os.environ), 60) == 0
    assert kept.done[1].printed == "['evidence-A.txt', 'logs-A.tgz', 'running-A.txt']\n"


def test_a_stage_ends_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(evidence, "GRACE_S", 0.2)
    kept = Evidence(tmp_path / "out", "A", tmp_path / "work", "some GPU")
    began = time.monotonic()
    assert run([python("long", "import time; time.sleep(60)"), python("late", "print(1)")], kept, dict(os.environ), 1.0) == 1
    assert time.monotonic() - began < 5
    assert [done.status for done in kept.done] == ["stopped", "no time left"]


def test_who_ends_the_evidence_ends_its_steps_and_finds_what_they_printed(tmp_path):
    code = f"""
import sys
from tests.engines.gpu import evidence
evidence.steps = lambda *_, **__: [evidence.Step("A", "hangs", 200, 5, (sys.executable, "-u", "-c", {HANGS!r}))]
sys.exit(evidence.main(["A", "--device", "fake"]))
"""
    out = tmp_path / "out"
    environment = os.environ | {"OUT": str(out), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as process:
        running, until = out / "running-A.txt", time.monotonic() + 20
        while not (running.exists() and "child" in running.read_text()) and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 143
    child = int(running.read_text().split()[1])
    assert ended_within(child, 5)


def test_an_archive_that_would_be_too_large_lacks_the_largest_files(tmp_path, monkeypatch):
    monkeypatch.setattr(evidence, "MOST_BYTES", 50_000)
    for name, size in (("large", 90_000), ("medium", 30_000), ("small", 10_000)):
        (tmp_path / name).write_bytes(os.urandom(size))
    path = tmp_path / "out.tgz"
    (folder := tmp_path / "folder").mkdir()
    for name in ("large", "medium", "small"):
        (tmp_path / name).rename(folder / name)
    assert archive(folder, path) == ["large"]
    assert path.stat().st_size <= 50_000
    with tarfile.open(path) as tar:
        assert tar.getnames() == ["out/medium", "out/small"]


def wheel(folder: Path, name: str, module: str, code: str) -> None:
    with zipfile.ZipFile(folder / f"{name}-1-py3-none-any.whl", "w") as archived:
        archived.writestr(module, code)


def test_wheels_are_on_the_path_and_those_for_cuda_only_where_they_work(tmp_path):
    wheel(tmp_path, "memcap_carried", "memcap_carried.py", "value = 7")
    wheel(tmp_path, "cuda_core", "cuda/core/__init__.py", "raise ImportError('another driver')")
    site = tmp_path / "site"
    environment = os.environ | {"PYTHONPATH": str(site)}
    said = site_of(tmp_path, site, environment)
    assert said.startswith("2 wheels; not those for CUDA") and "another driver" in said
    assert not (site / "cuda").exists()
    done = subprocess.run(
        [sys.executable, "-c", "import memcap_carried as m; print(m.value)"], env=environment, capture_output=True, text=True
    )
    assert done.stdout == "7\n"


def test_without_a_gpu_one_line_says_so(tmp_path):
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OUT": str(tmp_path / "out")}
    done = subprocess.run([sys.executable, str(SCRIPT), "A"], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "gpu-evidence: no NVIDIA GPU here (the driver names none)\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "way", ["float32", "float64", *(pytest.param(way, marks=pytest.mark.exhaustive) for way in ("3xtf32", "tf32"))]
)
def test_the_smoke_test_finds_every_kernel_right_that_is_and_a_device_wrong_that_trains_nothing(way, capsys):
    if not native_is_built():
        pytest.skip(NOT_BUILT)
    from tests.engines.host_device import HostDevice

    cells = 2 * len(kernels_of(way)) + 1
    assert smoke.wrong(way, HostDevice(epochs=(7,), places=8, team=8)) == 0
    printed = capsys.readouterr().out
    assert all(kernel.name in printed for kernel in kernels_of(way))
    assert "blocks 4" in printed and f"{way}: {cells} of {cells} right" in printed
    assert smoke.wrong(way, FakeDevice()) == cells


def test_the_smoke_test_goes_on_after_a_kernel_that_fails(capsys):
    class Breaks(FakeDevice):
        def start(self, tasks, launches, length_s):
            raise RuntimeError("an illegal memory access was encountered")

    assert smoke.wrong("float64", Breaks()) == 7
    assert capsys.readouterr().out.count("\nRuntimeError: an illegal memory access was encountered\n") == 7


def test_speeds_are_those_of_full_slices():
    cell = Cell(d_in=8, width=4, depth=1, n_samples=16, max_epochs=10**6, tau=1e-30)
    speed, host_s = kernels.measured(fits_of("float32", FakeDevice()), cell, 5, [0.1, 0.1])
    assert speed > 0 and host_s > 0


TOOL = """#!/bin/sh
# In place of a tool for GPUs: runs the command among its arguments.
while [ $# -gt 0 ] && ! { [ -f "$1" ] && [ -x "$1" ]; }; do shift; done
exec "$@"
"""

# Who judges finds out that a device trains nothing; all else ends well.
JUDGES = {"smoke", "trial", "memcheck", "racecheck", "compare", "conformance"}


@pytest.mark.exhaustive
@pytest.mark.parametrize("stage", ["A", "B"])
def test_every_step_runs_to_its_end_without_a_gpu(stage, tmp_path):
    for name in ("compute-sanitizer", "ncu"):
        (tmp_path / name).write_text(TOOL)
        (tmp_path / name).chmod(0o755)
    out = tmp_path / "out"
    # What the pytest around this one tells its children is not for those of a step: they would wait for their turn.
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment = own | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "OUT": str(out),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    command = [sys.executable, str(SCRIPT), stage, "--device", "fake", "--quick", "--wheels", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    status = dict(re.findall(rf"^{stage} (\w+) +status (.+?) +\d", done.stdout.rpartition("\n\n")[2], re.MULTILINE))
    expected = {step.name: "01"[step.name in JUDGES] for step in steps(tmp_path) if step.stage == stage}
    # They say what is wrong; nothing broke.
    assert status == expected and not re.search("Traceback|ImportError", done.stdout), done.stdout + done.stderr
    assert stage == "A" or all(f"{way} is wrong: " in done.stdout for way in WAYS), done.stdout
    assert done.returncode == 1
    files = [path for path in out.rglob("*") if path.is_file()]
    assert 2 <= len(files) <= 3 and all(path.stat().st_size <= MOST_BYTES for path in files)
