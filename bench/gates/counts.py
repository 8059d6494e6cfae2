"""Counts of what a program does, which no busy machine moves: instructions, calls, bytes, packs, launches and waits.

The head's suite counts on both sides (tests/perf/counted.py, tests/perf/one_kernel.py). Instructions are those of the native
kernel by its build for AVX2, under valgrind's callgrind, wherever that is installed.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from bench.gates.check import Finding, Verdict
from bench.gates.launch import command, complaint, copy_suite, environment
from bench.gates.sides import Side
from bench.machine.child import essence
from bench.protocol.columns import columns_of

# A count may grow by this part, and no more.
MARGIN = 0.02

# What is counted of: the module of the program that holds the kernel.
KERNEL = "_native"

# Counts that cannot be had where there is no valgrind.
INSTRUCTIONS = "instructions of the native kernel"


class Count(NamedTuple):
    """What was counted, or why it could not be. Less is better."""

    unit: str
    value: float = math.nan
    missing: str | None = None


def counted(root: Path, sides: Sequence[Side]) -> list[dict[str, Count]]:
    """All counts of each side by their names; sides count at once, which changes no count.

    Args:
        root: the checkout whose suite counts, that of the head.
        sides: what is counted.
    """
    with tempfile.TemporaryDirectory(prefix="memcap-") as folder, ThreadPoolExecutor(len(sides)) as pool:
        suite = copy_suite(root, Path(folder))
        return list(pool.map(lambda side: {**_instructions(suite, side), **_others(suite, side)}, sides))


def judged(base: Mapping[str, Count], head: Mapping[str, Count]) -> pd.DataFrame:
    """The columns of `check_counts`: a row for each count of either side, those that grew most first, those not known last."""
    rows = []
    for name in dict.fromkeys([*head, *base]):
        own, before = (side.get(name, Count("", missing="is not counted")) for side in (head, base))
        # Of nothing there is no ratio; where there was nothing, anything is more.
        ratio = (
            own.value / before.value if before.value else (1.0 if own.value == 0 else math.inf if own.value > 0 else math.nan)
        )
        why = "; ".join(f"{what} {count.missing}" for what, count in (("base", before), ("head", own)) if count.missing)
        values = {"unit": own.unit or before.unit, "base": before.value, "head": own.value, "ratio": ratio}
        rows.append({"count": name, **values, "worse": ratio > 1 + MARGIN, "why_not": why})
    table = pd.DataFrame(rows, columns=list(columns_of("check_counts")))
    return table.sort_values("ratio", ascending=False, ignore_index=True, na_position="last")


def findings(counts: pd.DataFrame) -> list[Finding]:
    """A sentence for each row of `judged`."""
    return [_finding(row) for _, row in counts.iterrows()]


def _finding(row: pd.Series) -> Finding:
    name = str(row["count"])
    if row["why_not"]:
        return Finding(name, Verdict.SKIPPED, f"not counted: {row['why_not']}")
    unit = "" if row["unit"] == "1" else f" {row['unit']}"
    said = f"{row['head']:.6g}{unit}, in the base {row['base']:.6g}: {row['ratio']:.4f} times"
    if row["worse"]:
        return Finding(name, Verdict.FAILED, f"{said}, more by more than {MARGIN:.0%}")
    return Finding(name, Verdict.PASSED, said)


def _others(suite: Path, side: Side) -> dict[str, Count]:
    done = subprocess.run(
        command(side, "tests.perf.counted"),
        cwd=suite,
        env=environment(),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    counts = {}
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            found = json.loads(line)
            counts[found["name"]] = Count(found.get("unit", ""), found.get("value", math.nan), found.get("error"))
    if done.returncode:
        counts["counts"] = Count("", missing=_said(done))
    return counts


def _instructions(suite: Path, side: Side) -> dict[str, Count]:
    """Of each shape, for each useful FLOP."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        return {INSTRUCTIONS: Count("instructions / FLOP", missing="has no valgrind here")}
    out = Path(tempfile.mkdtemp(dir=suite))
    options = ["--tool=callgrind", "-q", f"--callgrind-out-file={out}/%p", "--compress-strings=no", "--compress-pos=no"]
    done = subprocess.run(
        [valgrind, *options, *command(side, "tests.perf.one_kernel")], cwd=suite, env=environment(PYTHONHASHSEED="0"),
        capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode:
        return {INSTRUCTIONS: Count("instructions / FLOP", missing=_said(done))}
    library = f"{KERNEL}{sysconfig.get_config_var('EXT_SUFFIX')}"
    counts = {}
    for line in done.stdout.splitlines():
        shape, flops, process = line.rsplit(maxsplit=2)
        cost = instructions_in((out / process).read_text().splitlines(), library)
        counts[f"{INSTRUCTIONS}, {shape}"] = Count("instructions / FLOP", cost / int(flops))
    return counts


def instructions_in(profile: Sequence[str], library: str) -> int:
    """Instructions of a library's own code, in a profile in the format of callgrind, uncompressed."""
    total, own, of_a_call = 0, False, False
    for line in profile:
        if line.startswith("ob="):
            own = line.endswith(library)
        elif line.startswith("calls="):
            # The next line is what a called function took, which is counted where it stands.
            of_a_call = True
        elif line[:1].isdigit():
            total += int(line.split()[1]) if own and not of_a_call else 0
            of_a_call = False
    return total


def _said(done: subprocess.CompletedProcess[str]) -> str:
    printed = done.stdout + done.stderr
    return f"fails: {complaint(printed) or essence(printed)}"
