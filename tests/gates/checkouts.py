"""A small checkout of its own: a program by the name of this one, its history, and a suite of one benchmark and one count."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

PROJECT = """
[build-system]
requires = ["scikit-build-core>=0.10"]
build-backend = "scikit_build_core.build"
[project]
name = "memcap"
version = "0"
dependencies = ["numpy>=2.0", "hydra-core>=1.3.2"]
[tool.scikit-build]
wheel = { cmake = false, packages = ["bench"] }
[tool.pytest.ini_options]
"""

SUITE = """
import time
import pytest
from bench import pause_s

@pytest.mark.benchmark(group="pauses")
def test_pause(timed):
    timed(lambda: time.sleep(pause_s), 3)
"""

COUNTS = """
import json
import bench
print(json.dumps({"name": "calls", "unit": "calls", "value": getattr(bench, "calls", 1)}))
"""

# Timed calls in turn, as the program's own suite has them.
TURNS = Path(__file__).parents[1] / "perf" / "conftest.py"

AUTHOR = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}


class Checkout:
    """A repository on main; each commit has a program that pauses for so long."""

    def __init__(self, root: Path):
        self.root = root
        (root / "tests" / "perf").mkdir(parents=True)
        (root / "bench").mkdir()
        perf = root / "tests" / "perf"
        for package in (perf.parent, perf):
            (package / "__init__.py").touch()
        (perf / "gated.py").write_text(SUITE)
        (perf / "counted.py").write_text(COUNTS)
        shutil.copy(TURNS, perf)
        (root / "pyproject.toml").write_text(PROJECT)
        (root / ".gitignore").write_text("__pycache__/\nbuild/\n*.egg-info/\n")
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str) -> str:
        """What git says here."""
        command = ["git", "-C", str(self.root), *arguments]
        return subprocess.run(command, env=os.environ | AUTHOR, capture_output=True, text=True, check=True).stdout.strip()

    def write(self, program: str) -> None:
        """Another program, in the files alone."""
        (self.root / "bench" / "__init__.py").write_text(program)

    def commit(self, program: str) -> str:
        """A commit of this program."""
        self.write(program)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "another")
        return self.git("rev-parse", "HEAD")
