"""Shared by tests: train cells as packs of an engine, and compare outcomes."""

from __future__ import annotations

import pytest

from bench.engines.api import Engine
from bench.engines.choice import native_is_built
from bench.engines.packs import plan
from bench.engines.torch_engine import TorchEngine
from bench.protocol.cells import Cell, Outcome

NOT_BUILT = "the native engine is not built here (make sets it up where there is a C++ compiler)"


# The CUDA engine, its kernels compiled for this host: all of it but the GPU.
CUDA_ON_HOST = "cuda on the host"


def native_builds() -> tuple[str, ...]:
    """The builds of the native engine that this processor can run, the fastest first."""
    if not native_is_built():
        return ("native",)
    from bench.engines import _native

    return tuple(f"native {name}" for name in _native.instruction_sets())


# The same with the products of float32 as its tensor cores make them.
TENSOR_CORES_ON_HOST = f"{CUDA_ON_HOST}, 3xTF32"

# What conformance is shown for.
ENGINES = ("torch", *native_builds(), CUDA_ON_HOST)


def every(*engines: str) -> list:
    """Parameters of a test, an engine each; the builds that this processor would not take are for `make test-all`."""
    slower = native_builds()[1:]
    return [pytest.param(name, marks=pytest.mark.exhaustive) if name in slower else name for name in engines]


def engine_named(name: str, threads: int = 2) -> Engine:
    """An engine of ENGINES, or TENSOR_CORES_ON_HOST; skips the test where it is not built."""
    if name == "torch":
        return TorchEngine("cpu")
    if not native_is_built():
        pytest.skip(NOT_BUILT)
    if name in (CUDA_ON_HOST, TENSOR_CORES_ON_HOST):
        from bench.engines.cuda.engine import CudaEngine
        from tests.engines.host_device import HostDevice

        # Pauses every few epochs, so that what is tested is also that cells go on.
        return CudaEngine([HostDevice(epochs=(1, 9, 30))], products="3xtf32" if name == TENSOR_CORES_ON_HOST else "fma")
    from bench.engines.native_engine import NativeEngine

    return NativeEngine(threads, instruction_set=name.split()[1])


def train(
    cells: list[Cell],
    *,
    slots: int | None = None,
    workers: int = 1,
    n_predictions: int = 0,
    jacobian_rank: bool = False,
    device: str = "cpu",
    engine: Engine | None = None,
) -> dict[Cell, Outcome]:
    """Outcomes by cell; of the torch engine if no other is given."""
    engine = engine or TorchEngine(device)
    packs = plan(cells, kind=engine.kind, slots=engine.slots if slots is None else lambda cell: slots, workers=workers)
    return {
        outcome.cell: outcome
        for pack in packs
        for report in engine.train(pack, n_predictions=n_predictions, jacobian_rank=jacobian_rank)
        for outcome in report.outcomes
    }


def untimed(outcome: Outcome) -> str:
    """Every bit of an outcome but the time it took (repr spells floats exactly and NaN as itself)."""
    return repr(outcome._replace(train_time_s=None))
