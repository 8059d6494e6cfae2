"""The workflows: what they run can be run, what a check found is in the summary, and its page and JUnit XML in the artifact."""

from __future__ import annotations

import fnmatch
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bench.commands.config import config_dir
from bench.gates.folder import CONTENTS
from tests.conftest import ROOT
from tests.test_pages import TARGETS

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
CHECKS = {"capacity-check": "check_capacity", "perf-check": "check_speed"}


def jobs() -> list[tuple[str, list[dict]]]:
    """Each job with its steps."""
    read = [(path.stem, yaml.safe_load(path.read_text())) for path in WORKFLOWS]
    return [(f"{stem} {name}", job["steps"]) for stem, workflow in read for name, job in workflow["jobs"].items()]


def folders(steps: list[dict]) -> list[str]:
    """Where the checks of a job leave what they found."""
    found = []
    for step in steps:
        for target, config in CHECKS.items():
            if f"make {target}" in step.get("run", ""):
                asked = re.search(r"run_dir=([\w/]+)", step["run"])
                default = yaml.safe_load((config_dir() / f"{config}.yaml").read_text())["run_dir"]
                found.append(asked[1] if asked else default)
    return found


def test_every_target_that_a_workflow_makes_is_there():
    made = [target for _, steps in jobs() for step in steps for target in re.findall(r"make ([a-z-]+)", step.get("run", ""))]
    assert {"perf-check", "capacity-check", "test", "lint", "test-exhaustive"} <= set(made) <= TARGETS


def test_a_pull_request_is_held_against_the_branch_that_it_goes_into():
    workflow = yaml.safe_load((GITHUB / "workflows" / "ci.yml").read_text())
    job = workflow["jobs"]["speed"]
    # YAML reads the word on as true.
    assert "pull_request" in workflow[True]
    assert job["if"] == "github.event_name == 'pull_request'"
    checkout = next(step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout"))
    assert checkout["with"]["fetch-depth"] == 2
    assert "make perf-check BASE=HEAD^1" in [step.get("run") for step in job["steps"]]


@pytest.mark.parametrize(
    ("name", "steps"), [job for job in jobs() if folders(job[1])], ids=lambda own: own if isinstance(own, str) else ""
)
def test_every_check_is_in_the_summary_and_its_page_in_the_artifact_however_it_ends(name, steps):
    late = [step for step in steps if step.get("if") == "always()"]
    summary = next(step["run"] for step in late if "GITHUB_STEP_SUMMARY" in step.get("run", ""))
    (artifact,) = [step["with"]["path"].split() for step in late if "upload-artifact" in step.get("uses", "")]
    for folder in folders(steps):
        assert f"{folder}/check.md" in summary
        for kept in ("report.html", "check.xml", "check.json"):
            assert any(fnmatch.fnmatch(f"{folder}/{kept}", path if path[-1] != "/" else f"{path}*") for path in artifact), kept
    assert {"report.html", "check.xml", "check.json", "check.md"} <= set(CONTENTS)


def test_the_action_keeps_the_page_too():
    action = yaml.safe_load((GITHUB / "actions" / "capacity-check" / "action.yml").read_text())
    upload = action["runs"]["steps"][-1]
    assert upload["if"].startswith("always()")
    assert "${{ steps.check.outputs.folder }}/report.html" in upload["with"]["path"].splitlines()
    script = (GITHUB / "actions" / "capacity-check" / "check.sh").read_text()
    given = set(re.findall(r"\$\{\{ inputs\.(\w+) \}\}", str(action["runs"])))
    assert given == set(action["inputs"])
    assert all(f"${name}" in script for name in action["runs"]["steps"][0]["env"])


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", WORKFLOWS),
        ("vendor.github-actions", sorted((GITHUB / "actions").glob("*/action.yml"))),
    ],
)
def test_github_would_take_them(schema: str, files: list[Path]):
    """By GitHub's own schema, as make lint asks."""
    assert files
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
