"""The torch loop as a Hydra application, one job for each network by Hydra's own multirun (`-m cell=0,1,...`).

In this process, so that Python's start and torch's import do not count against it.
"""

from __future__ import annotations

import sys
import tempfile

import hydra
import numpy as np
from hydra.core.config_store import ConfigStore
from jaxtyping import Float32
from omegaconf import DictConfig

from bench.peers.problem import Problem
from bench.peers.torch_loop import train as train_one_by_one


def train(problem: Problem, device: str) -> Float32[np.ndarray, "cell epoch"]:
    """The loss of every network before each of its epochs."""
    losses = {}

    def job(config: DictConfig) -> None:
        losses[config.cell] = train_one_by_one(problem.part(config.cell, config.cell + 1), device)[0]

    ConfigStore.instance().store(name="cell", node={"cell": 0})
    arguments = sys.argv
    with tempfile.TemporaryDirectory(prefix="memcap-") as folder:
        cells = ",".join(map(str, range(len(problem))))
        quiet = ["hydra/job_logging=none", "hydra/hydra_logging=none"]
        sys.argv = ["multirun", "-m", f"cell={cells}", f"hydra.sweep.dir={folder}", *quiet]
        try:
            hydra.main(version_base="1.3", config_path=None, config_name="cell")(job)()
        finally:
            sys.argv = arguments
    return np.stack([losses[i] for i in range(len(problem))])
