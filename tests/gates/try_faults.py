"""Faults planted one at a time, and what the gates say of each: python -m tests.gates.try_faults [NAME ...]

Of speed: the working tree is the base; first it is held against itself, so often. Counts are taken each time, and rounds of times
where counts see nothing. Of learning: the faults of tests/gates/faults.py, in the witness, against the committed reference.
Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from bench.commands.check_capacity import reference_dir
from bench.commands.line import compose
from bench.engines.cuda.compiler import cache_folder
from bench.gates import capacity, counts, speed
from bench.gates.check import Finding, Verdict
from bench.gates.learned import of_reference
from bench.gates.rounds import rounds
from bench.gates.sides import Side, install, of_working_tree
from tests.gates import faults

ROOT = Path(__file__).parents[2]
NOT_SOURCES = (".git", ".venv", "build", "results", "__pycache__")

# Seconds of rounds, where times are asked.
LIMIT_S = 300.0


class Fault(NamedTuple):
    """What is put in place of what, in which file, what has to be named, and whether times have to tell it."""

    file: str
    old: str
    new: str
    named: str
    timed: bool = False


AFFINE = "    each_vectors<AffineOf<RELU>>(n, O, Affine{out, weight, row, bias, in, in_row, I});\n"

# A third of the multiply-adds of a step are the forward pass's.
FAULTS = {
    "the kernel 1.1 times as slow": Fault(
        "bench/engines/fused/cpu_tiles.h", AFFINE, AFFINE + AFFINE.replace("(n,", "(n / 3,"), counts.INSTRUCTIONS
    ),
    "the kernel 1.3 times as slow": Fault("bench/engines/fused/cpu_tiles.h", AFFINE, 2 * AFFINE, counts.INSTRUCTIONS),
    "a slow Python loop for each cell": Fault(
        "bench/engines/record.py",
        "            self.cells[row] = cell\n",
        "            self.cells[row] = cell\n            sum(abs(k) for k in range(100))\n",
        "Python calls for each cell",
    ),
    "twice the padding": Fault(
        "bench/engines/torch_state.py",
        "room=padded(batch_size or cell.n_samples, SAMPLE_GRANULE, steps)",
        "room=2 * padded(batch_size or cell.n_samples, SAMPLE_GRANULE, steps)",
        "activations with padding",
    ),
    "a wait more in each slice": Fault(
        "bench/engines/cuda/lane.py",
        "        self.device.wait()\n        time_s",
        "        self.device.wait()\n        self.device.wait()\n        time_s",
        "waits of the host",
    ),
    "a pause in each write": Fault(
        "bench/store/parts.py",
        "        ids = [outcome",
        "        __import__('time').sleep(0.02)\n        ids = [outcome",
        "store",
        timed=True,
    ),
}

# Of learning: in words, and the function that plants each.
LEARNING = {
    "nothing, in the plain loop": faults.none,
    "Adam without bias correction": faults.no_bias_correction,
    "eps inside the root": faults.eps_inside_the_root,
    "dropout in evaluation": faults.dropout_in_evaluation,
    "targets drawn anew each epoch": faults.new_targets_each_epoch,
    "the last partial batch dropped": faults.last_partial_batch_dropped,
    "tau from a running mean": faults.tau_from_a_running_mean,
    "a weight decay that skips biases": faults.weight_decay_without_biases,
    "shuffling in one order": faults.one_order_for_all_epochs,
    "a bias that is not trained": faults.a_bias_that_is_not_trained,
}


def main(names: list[str], unchanged: int) -> int:
    """Exit status 1 where a fault is not found, or anything is found where there is none."""
    print("| planted | found | as |\n| --- | --- | --- |", flush=True)
    wrong = 0
    for name in names:
        if name in LEARNING:
            found = mislearned(name)
            right = [finding.test for finding in found] == ["first epochs"] * (LEARNING[name] is not faults.none)
            wrong += not right
            print(_row(name, right, found), flush=True)
    base = of_working_tree(ROOT, cache_folder() / "sides")
    for number in range(unchanged):
        found = failed(base, base, timed=False)
        wrong += bool(found)
        print(_row(f"nothing, {number + 1}", not found, found), flush=True)
    for name in names:
        if name in FAULTS:
            with tempfile.TemporaryDirectory(prefix="memcap-") as folder:
                found = failed(base, planted(base, FAULTS[name], Path(folder)), timed=FAULTS[name].timed)
            # What follows from a fault may be found beside it.
            right = bool(found) and FAULTS[name].named in found[0].test
            wrong += not right
            print(_row(name, right, found), flush=True)
    return int(wrong > 0)


def mislearned(name: str) -> list[Finding]:
    """What the check of capacity finds: the first epochs of so many cells of every setting as it takes to call one moved."""
    reference = of_reference(reference_dir())
    first = reference.cells.groupby("setting").cumcount() < capacity.LEAST_CELLS
    rows = reference.cells[first].reset_index(drop=True)
    base = reference._replace(cells=rows, curves=reference.curves[reference.curves["cell_id"].isin(rows["cell_id"])])
    (grid,) = compose("config", ["grid=check"])
    with pytest.MonkeyPatch.context() as patch:
        LEARNING[name](patch)
        head = faults.by_witness((cell for cell, taken in zip(grid.cells, first, strict=True) if taken), base)
    found = capacity.judge(base, head).findings
    return [finding for finding in found if finding.verdict is Verdict.FAILED]


def planted(base: Side, fault: Fault, folder: Path) -> Side:
    """The base's program with a fault in it, built anew where that is in the core."""
    site = folder / "site"
    if fault.file.endswith((".h", ".cpp")):
        sources = folder / "sources"
        shutil.copytree(ROOT, sources, ignore=shutil.ignore_patterns(*NOT_SOURCES))
        plant(sources / fault.file, fault)
        install(base.python, sources, site, "the fault")
    else:
        shutil.copytree(base.site, site)
        plant(site / fault.file, fault)
    return Side("the fault", base.python, site)


def plant(path: Path, fault: Fault) -> None:
    text = path.read_text()
    if text.count(fault.old) != 1:
        raise SystemExit(f"{path} has {text.count(fault.old)} times: {fault.old}")
    path.write_text(text.replace(fault.old, fault.new))


def failed(base: Side, head: Side, *, timed: bool) -> list[Finding]:
    """What a check finds that fails it."""
    before, now = counts.counted(ROOT, [base, head])
    found = counts.findings(counts.judged(before, now))
    if timed:
        times = rounds(ROOT, base, head, margin=speed.MARGIN, limit_s=LIMIT_S, said=lambda line: None)
        found += speed.findings(speed.judged(speed.log_ratios(times)))
    return [finding for finding in found if finding.verdict is Verdict.FAILED]


def _row(name: str, right: bool, found: list[Finding]) -> str:
    said = "<br>".join(f"{finding.test}: {finding.said}" for finding in found) or "no change"
    return f"| {name} | {'as it should be' if right else '**wrong**'} | {said} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=[*LEARNING, *FAULTS])
    parser.add_argument("--unchanged", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    sys.exit(main(asked.names, asked.unchanged))
