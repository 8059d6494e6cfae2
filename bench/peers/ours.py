"""The engines of this program as sides of a comparison: they make data and weights themselves, in the time that counts."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
from jaxtyping import Float32

from bench.engines.choice import Engine, EngineSpec, for_the_rest, make_engine
from bench.engines.cuda.ways import Products
from bench.engines.packs import plan
from bench.machine.cores import available_cores
from bench.peers.problem import Problem
from bench.protocol.cells import NO_TAU


def native(problem: Problem, device: str) -> Float32[np.ndarray, "cell epoch"]:
    """The loss of every network before each epoch, NaN where the learning curve has no point; a network on each core."""
    return _train(problem, _made("native", device))


def cuda(problem: Problem, device: str) -> Float32[np.ndarray, "cell epoch"]:
    """The same of the CUDA engine, on all GPUs that `device` names, by multiply-adds."""
    return _train(problem, _on_gpus(device, "fma"))


def cuda_3xtf32(problem: Problem, device: str) -> Float32[np.ndarray, "cell epoch"]:
    """The same with products of float32 on tensor cores, three for one."""
    return _train(problem, _on_gpus(device, "3xtf32"))


def torch(problem: Problem, device: str) -> Float32[np.ndarray, "cell epoch"]:
    """The same of the torch engine, as one of its worker processes trains: on a CPU on one thread, elsewhere on the device."""
    import torch

    torch.set_num_threads(1)
    return _train(problem, make_engine(for_the_rest(EngineSpec("torch", device))))


@functools.cache
def _on_gpus(device: str, products: Products) -> Engine:
    """Made in the first call, which counts for nothing, with its kernels compiled."""
    from bench.engines.cuda.on_gpus import engine_on

    return engine_on(device, products=products)


def _made(name: str, device: str) -> Engine:
    return make_engine(EngineSpec(name, device), available_cores())


def _train(problem: Problem, engine: Engine) -> Float32[np.ndarray, "cell epoch"]:
    cells = [dataclasses.replace(cell, max_epochs=problem.epochs, tau=NO_TAU) for cell in problem.cells]
    row = {cell: i for i, cell in enumerate(cells)}
    losses = np.full((len(cells), problem.epochs + 1), np.nan, dtype=np.float32)
    for pack in plan(cells, kind=engine.kind, slots=engine.slots, workers=1):
        for outcome in (outcome for report in engine.train(pack) for outcome in report.outcomes):
            if outcome.epochs_run != problem.epochs:
                raise RuntimeError(
                    f"{outcome.cell} ended as {outcome.status} after {outcome.epochs_run} epochs: {outcome.reason}"
                )
            variance = outcome.target_variance or math.nan
            for point in outcome.curve:
                losses[row[outcome.cell], point.epoch] = point.tau * variance
    return losses[:, :-1]
