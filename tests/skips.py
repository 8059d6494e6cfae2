"""A skip needs a reason that CI accepts: `--no-skips` makes any other a failure."""

from __future__ import annotations

import pytest

SKIPPED: list[str] = []


def pytest_addoption(parser):
    parser.addoption("--no-skips", action="store_true", help="fail if a test is skipped, except for want of a GPU")


def pytest_runtest_logreport(report):
    if report.skipped and "gpu" not in report.keywords:
        SKIPPED.append(report.nodeid)


def pytest_sessionfinish(session):
    if session.config.getoption("--no-skips") and SKIPPED:
        print("\nskipped, though --no-skips was asked for:", *SKIPPED, sep="\n  ")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
