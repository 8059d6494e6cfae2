"""Shapes in signatures are checked here and nowhere else; a skip needs a reason that CI accepts; some tests run alone."""

from __future__ import annotations

import importlib
import os
from contextlib import nullcontext
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

import tests.shapes
from tests.turns import ALONE, turn

ROOT = Path(__file__).resolve().parents[1]

# What the program imports of others. Whatever is first imported while the hook is in place is compiled from its source each time.
OTHERS = ("torch", "numpy", "pandas", "scipy.optimize", "scipy.stats", "matplotlib.figure", "seaborn", "pyarrow.parquet", "jax")


def pytest_addoption(parser):
    parser.addoption("--no-skips", action="store_true", help="fail if a test is skipped, except for want of a GPU")


def pytest_collection(session):
    """Import the program with the shapes in its signatures checked, before any test does; the process that only deals tests out does not."""
    deals = session.config.getoption("numprocesses", None) and "PYTEST_XDIST_WORKER" not in os.environ
    if not deals:
        # Benchmarks time the code as it ships, unchecked.
        checked = not session.config.getoption("benchmark_only", False)
        for name in OTHERS:
            importlib.import_module(name)
        with install_import_hook("bench", f"{tests.shapes.__name__}.check") if checked else nullcontext():
            for name in ("engines.torch_engine", "report.build", "runs.run"):
                importlib.import_module(f"bench.{name}")


def pytest_collection_modifyitems(items):
    import torch

    if not torch.cuda.is_available():
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU here"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    with turn(alone=any(item.get_closest_marker(name) for name in ALONE)):
        return (yield)


def pytest_runtest_logreport(report):
    if report.skipped and "gpu" not in report.keywords:
        SKIPPED.append(report.nodeid)


SKIPPED: list[str] = []


def pytest_sessionfinish(session):
    if session.config.getoption("--no-skips") and SKIPPED:
        print("\nskipped, though --no-skips was asked for:", *SKIPPED, sep="\n  ")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def _one_thread():
    """As the engine runs its packs."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
