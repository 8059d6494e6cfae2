"""A skip is told with its reason, and needs one that CI accepts: `--no-skips` makes any other a failure."""

from __future__ import annotations

import pytest

from tests.report import chrome
from tests.runs import slurmd

# Marks of tests that need a GPU, which CI has not: of the CUDA engine, and of engine=torch there.
NEED_GPU = ("gpu", "gpu_torch")

# Why tests are skipped that need a package of the system's.
NEED_PACKAGES = (chrome.INSTALL, slurmd.INSTALL)

# Tests that were skipped, by the reason.
SKIPPED: dict[str, list[str]] = {}


def pytest_addoption(parser):
    parser.addoption("--no-skips", action="store_true", help="fail if a test is skipped, except for want of a GPU")
    parser.addoption("--without-packages", action="store_true", help="with --no-skips: or of a browser or SLURM")


def pytest_runtest_logreport(report):
    if report.skipped and not any(name in report.keywords for name in NEED_GPU):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        SKIPPED.setdefault(reason.removeprefix("Skipped: "), []).append(report.nodeid)


def pytest_terminal_summary(terminalreporter):
    for reason, tests in SKIPPED.items():
        terminalreporter.write_line(f"memcap: skipped {len(tests)} tests: {reason}")


def pytest_sessionfinish(session):
    if not session.config.getoption("--no-skips"):
        return
    accepted = NEED_PACKAGES if session.config.getoption("--without-packages") else ()
    if refused := [test for reason, tests in SKIPPED.items() if reason not in accepted for test in tests]:
        print("\nskipped, though --no-skips was asked for:", *refused, sep="\n  ")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
