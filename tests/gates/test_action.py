"""The action that another repository uses: two environments, one verdict, in the words that a workflow reads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / ".github" / "actions" / "capacity-check" / "check.sh"

# Stands in for the interpreter of an environment: it trains a smaller grid, and counts who was asked.
INTERPRETER = """#!/bin/sh
echo "$0 $*" >> {asked}
{code}
exec {python} "$@"
"""


def environments(folder: Path, head: str) -> Path:
    """Both environments, made as an earlier step of a workflow might have; what the head's does first is `head`."""
    asked = folder / "asked"
    for name, code in (("base", ""), ("head", head)):
        python = folder / "capacity-check" / name / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(INTERPRETER.format(asked=asked, code=code, python=sys.executable))
        python.chmod(0o755)
    return asked


def ran(folder: Path) -> tuple[subprocess.CompletedProcess, str, str]:
    """The script's end, what it put out for later steps, and its summary."""
    files = {name: folder / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    asked = {"BASE": "", "HEAD": "", "ENGINE": "torch", "DEVICE": "cpu", "RUNNER_TEMP": str(folder)}
    environment = os.environ | asked | {name: str(path) for name, path in files.items()} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", SCRIPT], cwd=folder, env=environment, capture_output=True, text=True)
    out, summary = (path.read_text() if path.exists() else "" for path in files.values())
    return done, out, summary


@pytest.mark.exhaustive
def test_two_environments_that_are_alike_pass(tmp_path):
    asked = environments(tmp_path, head="")
    done, out, summary = ran(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert out == f"passed=true\nfolder={tmp_path}/capacity-check/found\n"
    assert summary.startswith("### capacity: passed\n")
    assert [line.split()[0].split("/")[-3] for line in asked.read_text().splitlines()] == ["base", "head"]


def test_a_head_that_cannot_be_checked_is_not_green(tmp_path):
    environments(tmp_path, head="exit 2")
    (tmp_path / "capacity-check" / "base" / "bin" / "python").write_text("#!/bin/sh\n")
    done, out, summary = ran(tmp_path)
    assert done.returncode == 2
    assert out.startswith("passed=false\n")
    assert summary == ""
