"""A skip needs a reason that CI accepts: `--no-skips` makes any other a failure."""

from __future__ import annotations

import pytest

# Marks of tests that need a GPU, which CI has not: of the CUDA engine, and of engine=torch there.
NEED_GPU = ("gpu", "gpu_torch")

SKIPPED: list[str] = []


def pytest_addoption(parser):
    parser.addoption("--no-skips", action="store_true", help="fail if a test is skipped, except for want of a GPU")


def pytest_runtest_logreport(report):
    if report.skipped and not any(name in report.keywords for name in NEED_GPU):
        SKIPPED.append(report.nodeid)


def pytest_sessionfinish(session):
    if session.config.getoption("--no-skips") and SKIPPED:
        print("\nskipped, though --no-skips was asked for:", *SKIPPED, sep="\n  ")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
