"""Without a browser the tests of the page are skipped with one reason, or a browser is installed where that is wanted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.report.chrome import INSTALL

SCRIPT = ROOT / "tests" / "install.sh"


@pytest.mark.parametrize(("flags", "status"), [([], 0), (["--no-skips"], 1)], ids=["green", "no skips"])
def test_without_a_browser_its_tests_are_skipped_with_one_reason_and_fail_where_skips_are_not_allowed(flags, status, tmp_path):
    # All of tests/conftest.py that bears on skips, so that the program need not be imported, nor what other tests need.
    alone = ["--noconftest", "-p", "tests.skips", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-q", "-rs", *alone, "tests/report/test_browser.py", *flags]
    hidden = {name: value for name, value in os.environ.items() if name != "CHROMEWEBDRIVER" and "XDIST" not in name}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=hidden | {"PATH": str(tmp_path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stdout
    skipped = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert {line.partition(": ")[2] for line in skipped} == {INSTALL}
    assert ("skipped, though --no-skips was asked for:" in done.stdout) == bool(flags)


def install(folder: Path, setup: str, *, user: int, debian: bool, apt_status: int = 0) -> tuple[str, list[str]]:
    """What the script prints, and the commands that it gives to apt-get."""
    stubs = {
        "apt-get": f'echo "$*" >> {folder}/calls; exit {apt_status}',
        "id": f"echo {user}",
        "sudo": 'exec "$@"',
    }
    for name, line in stubs.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    (folder / "debian_version").write_text("12.0\n")
    marker = folder / ("debian_version" if debian else "missing")
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "DEBIAN_VERSION_FILE": str(marker)}
    done = subprocess.run(
        ["sh", SCRIPT, setup, "tests of the page", "chromium", "chromium-driver"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    calls = folder / "calls"
    return done.stdout, calls.read_text().splitlines() if calls.exists() else []


BOTH = ["update -qq", "install -y -qq chromium chromium-driver"]


@pytest.mark.parametrize(
    ("setup", "user", "debian", "calls"),
    [
        ("auto", 0, True, BOTH),
        ("auto", 1000, True, []),
        ("auto", 0, False, []),
        ("apt", 1000, False, BOTH),
        ("none", 0, True, []),
    ],
)
def test_debians_browser_is_installed_for_root_on_debian_or_where_it_is_asked_for(setup, user, debian, calls, tmp_path):
    assert install(tmp_path, setup, user=user, debian=debian)[1] == calls


def test_a_browser_that_cannot_be_installed_is_said_and_stops_nothing(tmp_path):
    printed, calls = install(tmp_path, "apt", user=0, debian=True, apt_status=100)
    assert calls == BOTH[:1]
    assert printed.endswith("memcap: they could not be installed; the tests of the page are skipped\n")


def test_the_tests_look_for_a_browser_before_they_run():
    printed = subprocess.run(["make", "-n", "test", "VENV=", "SETUP=apt"], cwd=ROOT, capture_output=True, text=True, check=True)
    looked, run = printed.stdout.index('tests/install.sh apt "tests of the page"'), printed.stdout.index("-m pytest")
    assert looked < run
