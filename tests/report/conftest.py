"""A finished run with its report, made once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

import bench
from bench.report.build import build


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory) -> Path:
    """A trained folder with maps, curves, predictions, a setting nobody memorized, and a cell that diverged."""
    folder = tmp_path_factory.mktemp("report") / "mine"
    cells = bench.expand(
        depth=[1, 2],
        width=[4, 8],
        n_samples=[8, 64],
        regularization=["none", "dropout"],
        seed=range(2),
        tau=0.1,
        max_epochs=300,
    )
    cells += bench.expand(
        depth=1, width=4, n_samples=8, seed=range(2), learning_rate=1e30, optimizer="sgd", tau=0.1, max_epochs=300
    )
    bench.run(cells, run_dir=folder, n_predictions=8)
    build(folder)
    return folder
