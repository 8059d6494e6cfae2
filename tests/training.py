"""Shared by tests: train cells as packs of an engine, and compare outcomes."""

from __future__ import annotations

import dataclasses

import pytest

from bench.cells import Cell, Outcome
from bench.engines import native_is_built
from bench.engines.api import Engine
from bench.engines.torch_engine import TorchEngine
from bench.packs import plan

# Every engine, and every build of the native one, by the names that the conformance suite is repeated for. "block" is the form
# that a block of GPU threads runs, with one thread.
ENGINES = ("torch", "native avx512", "native avx2", "native portable", "native block")


def best_instruction_set() -> str:
    """The build of the native engine that `auto` takes here; where there is none, the name of the portable one."""
    if not native_is_built():
        return "portable"
    from bench.engines import _native

    return _native.instruction_sets()[0]


def engine_named(name: str, threads: int = 2) -> Engine:
    """An engine of ENGINES; skips the test where it cannot run here."""
    if name == "torch":
        return TorchEngine("cpu")
    if not native_is_built():
        pytest.skip("the native engine is not built here (make sets it up where there is a C++ compiler)")
    from bench.engines import _native
    from bench.engines.native_engine import NativeEngine

    _, instruction_set = name.split()
    if instruction_set not in (*_native.instruction_sets(), "block"):
        pytest.skip(f"this processor has no {instruction_set}")
    return NativeEngine(threads, instruction_set)


def train(
    cells: list[Cell],
    *,
    slots: int | None = None,
    workers: int = 1,
    n_predictions: int = 0,
    device: str = "cpu",
    engine: Engine | None = None,
) -> dict[Cell, Outcome]:
    """Outcomes by cell; of the torch engine if no other is given."""
    engine = engine or TorchEngine(device)
    packs = plan(cells, kind=engine.kind, slots=engine.slots if slots is None else lambda cell: slots, workers=workers)
    return {
        outcome.cell: outcome
        for pack in packs
        for report in engine.train(pack, n_predictions=n_predictions)
        for outcome in report.outcomes
    }


def untimed(outcome: Outcome) -> str:
    """Every bit of an outcome but the time it took (repr spells floats exactly and NaN as itself)."""
    return repr(dataclasses.replace(outcome, train_time_s=None))
