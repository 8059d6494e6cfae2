"""The default grid, trained once by the native engine on every core: python -m tests.perf.default_grid

Minutes, on a quiet machine. Leaves results/reference/speed/default_grid.json and the first line of the README's table of speeds.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import NamedTuple

import bench
from bench.commands.line import compose
from bench.engines import packs
from bench.engines.peak import peak_gflops, peak_name
from bench.machine.cores import available_cores
from tests.engines.training import engine_named, native_builds

ROOT = Path(__file__).parents[2]
README, KEPT = ROOT / "README.md", ROOT / "results" / "reference" / "speed" / "default_grid.json"

# The head of the README's table of speeds, below which the grid's line stands, and how that line begins.
TABLE = "| --- | --- | --- |\n"
LINE = "| memcap, the default grid: "


class Measured(NamedTuple):
    """Training of a grid from its cells to their outcomes. `gflops` are useful, `of_peak` their share of the peak of all threads."""

    n_cells: int
    threads: int
    build: str
    time_s: float
    gflops: float
    peak: str
    peak_gflops: float
    of_peak: float

    def spelled(self) -> str:
        return f"{self.n_cells} networks in {self.time_s:.0f} s, {self.gflops:.3g} GFLOP/s"


def default_cells() -> list[bench.Cell]:
    (settings,) = compose("config", ["grid=default"])
    return settings.cells


def measured(cells: list[bench.Cell]) -> Measured:
    """Train the cells. The peak is the mean of one before and one after."""
    threads, build = available_cores(), native_builds()[0]
    engine = engine_named(build, threads)
    (pack,) = packs.plan(cells, kind=engine.kind, slots=engine.slots, workers=1)
    before = peak_gflops("cpu", threads)
    started = time.perf_counter()
    reports = list(engine.train(pack))
    time_s = time.perf_counter() - started
    peak = (before + peak_gflops("cpu", threads)) / 2
    outcomes = [outcome for report in reports for outcome in report.outcomes]
    if len(outcomes) != len(cells):
        raise RuntimeError(f"{len(outcomes)} of {len(cells)} cells have an outcome")
    gflops = sum(report.flops for report in reports) / time_s / 1e9
    return Measured(len(cells), threads, build.split()[-1], time_s, gflops, peak_name("cpu"), peak, gflops / peak)


def with_line(readme: str, done: Measured) -> str:
    """The README with the line of this measurement as the first of the table, in place of a former one."""
    without = re.sub(rf"^{re.escape(LINE)}.*\n", "", readme, flags=re.MULTILINE)
    head, table, rest = without.partition(TABLE)
    return f"{head}{table}{LINE}{done.spelled()} | {100 * done.of_peak:.0f} % | |\n{rest}"


def main() -> None:
    done = measured(default_cells())
    KEPT.write_text(json.dumps(done._asdict(), indent=2) + "\n", encoding="utf-8")
    README.write_text(with_line(README.read_text(encoding="utf-8"), done), encoding="utf-8")
    print(f"{done.spelled()}, {done.of_peak:.1%} of the {done.peak} peak of {done.threads} threads ({done.build})")


if __name__ == "__main__":
    main()
