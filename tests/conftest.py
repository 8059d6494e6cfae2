"""Shapes in signatures are checked here and nowhere else; some tests run alone; commands run in this process."""

from __future__ import annotations

import gc
import importlib.util
import os
from pathlib import Path
from typing import NamedTuple

import pytest
from jaxtyping import install_import_hook

import tests.shapes

# Hooks that pytest finds here by their names.
from tests.skips import (  # noqa: F401
    NEED_GPU,
    pytest_addoption,
    pytest_runtest_logreport,
    pytest_sessionfinish,
    pytest_terminal_summary,
)
from tests.turns import ALONE, turn

ROOT = Path(__file__).resolve().parents[1]

# What the program imports of others. Whatever is first imported while the hook is in place is compiled from its source each time.
OTHERS = ("torch", "numpy", "pandas", "scipy.optimize", "scipy.stats", "matplotlib.figure", "seaborn", "pyarrow.parquet", "jax")


def pytest_collection(session):
    """Import the program with the shapes in its signatures checked, before any test does; the process that only deals tests out does not."""
    deals = session.config.getoption("numprocesses", None) and "PYTEST_XDIST_WORKER" not in os.environ
    if not deals:
        for name in OTHERS:
            if importlib.util.find_spec(name.partition(".")[0]):
                importlib.import_module(name)
        # Benchmarks time the code as it ships, unchecked.
        checked = [] if session.config.getoption("benchmark_only", False) else with_shapes()
        with install_import_hook(checked, f"{tests.shapes.__name__}.check"):
            for name in ("engines.torch_engine", "report.build", "runs.run"):
                importlib.import_module(f"bench.{name}")


def pytest_collection_finish():
    """What was imported stays: the collector of garbage need not look through it again and again."""
    gc.collect()
    gc.freeze()


def with_shapes() -> list[str]:
    """The modules that write shapes; a check of every call slows the others down and finds nothing."""
    paths = [path for path in (ROOT / "bench").rglob("*.py") if "from jaxtyping import" in path.read_text()]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]


def pytest_collection_modifyitems(items):
    import torch

    # Workers take whole files in this order, and shall not be left with a long one at the end: last come the rooms' small ones.
    items.sort(key=lambda item: item.path.parent != ROOT / "tests")
    if not torch.cuda.is_available():
        for item in items:
            if any(name in item.keywords for name in NEED_GPU):
                item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU here"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    with turn(alone=any(item.get_closest_marker(name) for name in ALONE)):
        return (yield)


class Done(NamedTuple):
    """What a command left: its exit status, and what it printed."""

    status: int
    out: str
    err: str


@pytest.fixture
def memcap(monkeypatch, capsys, tmp_path):
    """Runs a command in this process, as from a shell in an empty folder."""
    from hydra.core.global_hydra import GlobalHydra

    from bench.commands.main import dispatch

    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Done:
        GlobalHydra.instance().clear()
        status = dispatch(arguments)
        return Done(status, *capsys.readouterr())

    return run


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """As the engine runs its packs; before any fixture trains."""
    import torch

    torch.set_num_threads(1)
