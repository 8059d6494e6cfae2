"""Cells trained here, and what they learned: by the program as a user runs it, or by one build of an engine."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.engines.api import Engine
from bench.engines.packs import plan
from bench.gates.learned import Learned, of_folder
from bench.protocol.cells import Cell
from bench.runs.run import run
from bench.store.parts import Store

# The build of the native engine that the reference was trained by: every processor that has it comes to the same bits.
REFERENCE_BUILD = "avx2"


def trained(cells: Sequence[Cell], folder: Path, *, device: str, engine: str, threads: int | None) -> Learned:
    """What cells learn in a run into this folder, which is cleared first: results of another program count for nothing.

    Raises:
        bench.GridError: an engine, device or folder that cannot be.
    """
    run(cells, run_dir=folder, device=device, engine=engine, threads=threads, fresh=True)
    return of_folder(folder)


def by_reference_build(cells: Sequence[Cell], threads: int) -> Learned | str:
    """What cells learn by REFERENCE_BUILD, or why it cannot train here."""
    from bench.engines.choice import NOT_BUILT, native_is_built

    if not native_is_built():
        return NOT_BUILT
    from bench.engines._native import instruction_sets
    from bench.engines.native_engine import NativeEngine

    if REFERENCE_BUILD not in instruction_sets():
        return f"this processor does not run the {REFERENCE_BUILD} build, whose bytes the reference has"
    return by_engine(NativeEngine(threads, REFERENCE_BUILD), cells)


def by_engine(engine: Engine, cells: Sequence[Cell]) -> Learned:
    """What cells learn by an engine, whose results are kept nowhere."""
    with tempfile.TemporaryDirectory(prefix="memcap-") as folder:
        store = Store(Path(folder))
        store.write_plan(cells)
        for pack in plan(cells, kind=engine.kind, slots=engine.slots, workers=1):
            for report in engine.train(pack):
                store.write(report.outcomes)
        return of_folder(Path(folder))
