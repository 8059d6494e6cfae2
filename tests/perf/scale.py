"""What a run costs beside training, for a thousand cells to a million: python -m tests.perf.scale [CELLS ...]

Cells of one epoch, which take less than a microsecond of training each: what is left is planning, passing on, writing and the
report. Prints a table in Markdown; each row is of two processes of its own, one that trains and one that reports.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.engines.native_engine import instruction_sets
from bench.machine.child import environment
from bench.machine.cores import available_cores

CELLS = (1_000, 10_000, 100_000, 1_000_000)

# Prints the seconds that expanding took, and those of the run until its first report and altogether.
TRAIN = """
import sys, time
import bench
from bench.runs import training
started = time.perf_counter()
cells = bench.expand(depth=1, width=4, n_samples=8, seed=range(int(sys.argv[1])), max_epochs=1)
expanded = time.perf_counter()
first = []
update = training.Progress.update
training.Progress.update = lambda *told: (first.append(time.perf_counter()), update(*told))[1]
bench.run(cells, run_dir=sys.argv[2], device="cpu")
print(expanded - started, first[0] - expanded, time.perf_counter() - expanded)
"""

COLUMNS = {
    "cells": "cells",
    "expand": "expand, s",
    "plan": "to the first result, s",
    "run": "run, s",
    "each": "of the run for each cell, us",
    "train_memory": "its memory, GB",
    "parts": "files of parts",
    "size": "results, MB",
    "report": "report, s",
    "report_memory": "its memory, GB",
    "page": "page, MB",
}


def measured(command: list[str]) -> tuple[list[str], float, float]:
    """What a process prints, in words; its wall time in seconds and its memory at most, in GB."""
    with tempfile.TemporaryFile("w+") as out:
        child = subprocess.Popen(command, env=environment(), stdout=out, stderr=subprocess.DEVNULL)
        started = os.times().elapsed
        _, status, usage = os.wait4(child.pid, 0)
        wall = os.times().elapsed - started
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        said = out.read()
    if child.returncode:
        raise SystemExit(f"{command} ended with {child.returncode}: {said}")
    return said.split(), wall, usage.ru_maxrss / 1e6


def row(count: int) -> dict[str, str]:
    """One row of the table."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "run"
        said, _, train_memory = measured([sys.executable, "-c", TRAIN, str(count), str(folder)])
        expand, plan, run = map(float, said[-3:])
        parts = list(folder.rglob("part-*.parquet"))
        size = sum(path.stat().st_size for path in parts)
        _, report, report_memory = measured([sys.executable, "-m", "bench", "report", str(folder)])
        page = (folder / "report.html").stat().st_size
    return {
        "cells": f"{count:,}",
        "expand": f"{expand:.2f}",
        "plan": f"{plan:.1f}",
        "run": f"{run:.1f}",
        "each": f"{1e6 * run / count:.0f}",
        "train_memory": f"{train_memory:.2f}",
        "parts": f"{len(parts)}",
        "size": f"{size / 1e6:.1f}",
        "report": f"{report:.1f}",
        "report_memory": f"{report_memory:.2f}",
        "page": f"{page / 1e6:.2f}",
    }


def main() -> None:
    print(f"`python -m tests.perf.scale`, {available_cores()} cores, {instruction_sets()[0]}:\n")
    print("|", " | ".join(COLUMNS.values()), "|")
    print("|", " | ".join("---:" for _ in COLUMNS), "|")
    for count in map(int, sys.argv[1:] or CELLS):
        own = row(count)
        print("|", " | ".join(own[name] for name in COLUMNS), "|", flush=True)


if __name__ == "__main__":
    main()
