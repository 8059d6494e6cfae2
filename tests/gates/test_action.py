"""The action that another repository uses: two environments, one verdict, in the words that a workflow reads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / ".github" / "actions" / "capacity-check" / "check.sh"

# Stands in for the Python that makes environments, whose own Pythons it makes: they note what pip is asked, and else run this one.
PYTHON = """#!/bin/sh
mkdir -p "$3/bin"
cat > "$3/bin/python" <<'END'
#!/bin/sh
case "$*" in
  "-m pip"*) echo "$0 $*" >> {asked}; exit 0;;
  *"bench check speed"*) echo "$PWD $0 $*" >> {asked}; mkdir -p "${{6#run_dir=}}"; echo "### speed" > "${{6#run_dir=}}/check.md"; exit {speed};;
  *"bench {broken}"*) exit 9;;
esac
exec {python} "$@"
END
chmod +x "$3/bin/python"
"""


def ran(folder: Path, broken: str, speed: int | None = None) -> tuple[int, list[str], list[str], str]:
    """The script's exit status, what pip was asked, what it put out for later steps, and its summary."""
    python = folder / "python"
    python.write_text(PYTHON.format(asked=folder / "asked", broken=broken, speed=speed, python=sys.executable))
    python.chmod(0o755)
    files = {name: folder / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    asked = {"BASE": "torch==2.9.*", "HEAD": "-r new.txt", "ENGINE": "torch", "DEVICE": "cpu", "RUNNER_TEMP": str(folder)}
    asked["SPEED"] = "false" if speed is None else "true"
    environment = os.environ | asked | {name: str(path) for name, path in files.items()}
    environment |= {"PYTHON": str(python), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", SCRIPT], cwd=folder, env=environment, capture_output=True, text=True)
    out, summary = (path.read_text() if path.exists() else "" for path in files.values())
    return done.returncode, (folder / "asked").read_text().splitlines(), out.splitlines(), summary


@pytest.mark.exhaustive
@pytest.mark.parametrize("speed", [0, 1, 2])
def test_where_speed_is_asked_for_too_the_first_that_is_not_0_is_told(speed, tmp_path):
    status, asked, out, summary = ran(tmp_path, broken="nothing", speed=speed)
    assert status == speed
    assert out[0] == f"passed={'true' if speed == 0 else 'false'}"
    assert asked[0].split("--quiet ")[1] == f"{ROOT}[suite] torch==2.9.*"
    work = Path(out[1].removeprefix("folder=")).parent
    command = f"-m bench check speed base_python={work}/base/bin/python run_dir={work}/found/speed"
    assert asked[2] == f"{ROOT} {work}/head/bin/python {command}"
    assert summary.startswith("### 🟢 capacity: passed\n") and summary.endswith("### speed\n")


@pytest.mark.exhaustive
def test_two_environments_that_are_alike_pass(tmp_path):
    status, asked, out, summary = ran(tmp_path, broken="nothing")
    assert status == 0
    assert [line.split("--quiet ")[1] for line in asked] == [f"{ROOT} torch==2.9.*", f"{ROOT} -r new.txt"]
    assert [line.split()[0].split("/")[-3] for line in asked] == ["base", "head"]
    assert out[0] == "passed=true"
    assert Path(out[1].removeprefix("folder=")).joinpath("check.json").exists()
    assert summary.startswith("### 🟢 capacity: passed\n")


def test_what_cannot_be_checked_is_not_green_and_later_steps_hear_of_it(tmp_path):
    status, _, out, summary = ran(tmp_path, broken="run")
    assert status == 2
    assert out[0] == "passed=false"
    assert summary == ""
