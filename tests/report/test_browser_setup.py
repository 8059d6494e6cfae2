"""Without a browser the tests of the page are skipped with one reason, or a browser is installed where that is wanted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.report.chrome import INSTALL

SCRIPT = ROOT / "tests" / "install.sh"


@pytest.mark.parametrize(("flags", "status"), [([], 0), (["--no-skips"], 1), (["--no-skips", "--without-packages"], 0)])
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
    assert ("skipped, though --no-skips was asked for:" in done.stdout) == bool(status)
    # Without -rs, too.
    told = [line for line in done.stdout.splitlines() if line.startswith("memcap: skipped")]
    assert len(told) == 1 and told[0].endswith(f" tests: {INSTALL}")


def install(folder: Path, setup: str, *, user: int, debian: bool, apt: int | None = 0, sudo: int = 0) -> tuple[str, list[str]]:
    """What the script prints, and the commands that it gives to apt-get; `apt`, `sudo`: their statuses, None where there is no apt-get."""
    stubs = {
        "apt-get": None if apt is None else f'echo "$*" >> {folder}/calls; exit {apt}',
        "id": f"echo {user}",
        "sudo": f'[ "$1" = -n ] && shift && [ {sudo} = 0 ] && exec "$@"',
        "true": "exit 0",
        "env": f'exec {shutil.which("env")} "$@"',
    }
    for name, line in stubs.items():
        if line is not None:
            (folder / name).write_text(f"#!/bin/sh\n{line}\n".replace("#!/bin/sh", f"#!{shutil.which('sh')}"))
            (folder / name).chmod(0o755)
    (folder / "debian_version").write_text("12.0\n")
    marker = folder / ("debian_version" if debian else "missing")
    environment = {"PATH": str(folder), "DEBIAN_VERSION_FILE": str(marker)}
    command = [str(shutil.which("sh")), str(SCRIPT), setup, "tests of the page", "chromium", "chromium-driver"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    calls = folder / "calls"
    return done.stdout, calls.read_text().splitlines() if calls.exists() else []


BOTH = ["update -qq", "install -y -qq chromium chromium-driver"]


@pytest.mark.parametrize(
    ("setup", "user", "debian", "others", "calls", "told"),
    [
        ("auto", 0, True, {}, BOTH, None),
        ("auto", 1000, True, {}, [], "only root may install; make test SETUP=apt installs chromium chromium-driver, with sudo"),
        ("auto", 0, False, {}, [], "this is not Debian; install what chromium chromium-driver are elsewhere"),
        ("auto", 0, True, {"apt": None}, [], "there is no apt-get here to install chromium chromium-driver"),
        ("auto", 0, True, {"apt": 100}, BOTH[:1], "chromium chromium-driver could not be installed"),
        ("apt", 1000, False, {}, BOTH, None),
        (
            *("apt", 1000, True, {"sudo": 1}, []),
            "apt-get needs root or sudo without a password to install chromium chromium-driver",
        ),
        ("apt", 0, True, {"apt": 100}, BOTH[:1], "chromium chromium-driver could not be installed"),
        ("none", 0, True, {}, [], "SETUP=none installs nothing; make test SETUP=apt installs chromium chromium-driver"),
    ],
)
def test_debians_packages_are_installed_where_they_can_be_or_a_line_says_why_their_tests_are_skipped(
    setup, user, debian, others, calls, told, tmp_path
):
    printed, given = install(tmp_path, setup, user=user, debian=debian, **others)
    assert given == calls
    first = ["memcap: installing chromium chromium-driver for the tests of the page"] if calls else []
    assert printed.splitlines() == [*first, *([f"memcap: the tests of the page are skipped: {told}"] if told else [])]


def test_the_tests_look_for_a_browser_and_slurm_before_they_run():
    printed = subprocess.run(["make", "-n", "test", "VENV=", "SETUP=apt"], cwd=ROOT, capture_output=True, text=True, check=True)
    for tests in ("tests of the page", "tests of executor=slurm"):
        assert printed.stdout.index(f'tests/install.sh apt "{tests}"') < printed.stdout.index("-m pytest")
