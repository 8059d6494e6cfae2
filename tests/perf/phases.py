"""Where the instructions of the native kernel go, by phase, for narrow networks: python -m tests.perf.phases [MODULE]

Prints a table in Markdown. It counts under valgrind's callgrind, as make perf-check does, instructions of the build for AVX2: not
what they wait for, nor what runs at once. An instruction belongs to the phase of the innermost function that it was inlined from.
The debug lines that tell are those of a build that is made for this alone, in minutes, or of MODULE, such a build that is there.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path

import pandas as pd

from bench.engines.packs import epoch_flops
from bench.gates.counts import KERNEL
from bench.gates.launch import command, environment
from bench.gates.sides import Side
from bench.machine.cores import available_cores
from bench.protocol.cells import Cell
from tests.perf.one_kernel import trained_apart

ROOT = Path(__file__).parents[2]

WIDTHS, SAMPLES = (4, 8, 16, 32), (32, 128, 512)
KINDS = {"plain": {}, "weight decay": {"weight_decay": 0.001}, "input noise": {"input_noise": 0.1}, "dropout": {"dropout": 0.1}}

# Useful FLOPs of each case, about; but epochs enough that setting up does not show.
FLOPS, LEAST_EPOCHS = 5e7, 30

# By functions of bench/engines/fused; what is called from several phases, as loads are, belongs to its caller's.
PHASES = {
    "forward products": ("affine", "AffineOf"),
    "backward products": ("back", "BackOf"),
    "gradients over samples": ("outer", "clear_gradient", "OuterOf", "LanesOf", "Biases"),
    "turning and sums over lanes": ("turn_samples", "turn", "sums", "add_lanes", "complete"),
    "activations and dropping": ("activate_layer", "each_activation", "slope_layer", "each_slope", "drop"),
    "draws": ("draw", "draw_kept", "draw_order", "shake", "normals"),
    "updates": ("update", "adam", "constrain"),
}
REST = "measuring and the rest"
PHASE_OF = {name: phase for phase, names in PHASES.items() for name in names}

# Of the instructions of a case this part may be of no function that is known.
MOST_UNKNOWN = 0.01

# The functions that an instruction is in, the innermost first.
Chain = Sequence[str]


def cases() -> Iterator[tuple[str, Cell]]:
    """The kind of each case, and its cell, which trains for all its epochs."""
    for (kind, fields), width, n_samples in product(KINDS.items(), WIDTHS, SAMPLES):
        cell = Cell(d_in=8, depth=2, width=width, n_samples=n_samples, tau=1e-30, **fields)
        yield kind, dataclasses.replace(cell, max_epochs=max(LEAST_EPOCHS, round(FLOPS / epoch_flops(cell))))


def phase(chain: Chain) -> str:
    """The phase of an instruction, by the functions that it is in, the innermost first."""
    for function in chain:
        # Its own name, and those of the structs that it is made for.
        names = [name_of(function), *re.findall(r"\b[A-Z]\w*", function)]
        found = next((PHASE_OF[name] for name in names if name in PHASE_OF), None)
        if found:
            return found
    return REST


def name_of(function: str) -> str:
    """A function's own name, of one that is spelled with its class, its types and what it takes.

    >>> name_of("void fused::Tiles<float, 8>::turn<1>(float __vector(8) (&) [8])")
    'turn'
    """
    while (shorter := re.sub(r"<[^<>]*>", "", function)) != function:
        function = shorter
    return function.partition("(")[0].rpartition("::")[2].rpartition(" ")[2]


def costs_in(profile: Iterable[str], library: str) -> Counter[str]:
    """Instructions by their addresses in a library, of a profile of callgrind with addresses and lines, uncompressed."""
    found: Counter[str] = Counter()
    own = of_a_call = False
    for line in profile:
        if line.startswith("ob="):
            own = line.rstrip().endswith(library)
        elif line.startswith("calls="):
            of_a_call = True
        elif line.startswith("0x"):
            address, _, cost = line.split()
            if own and not of_a_call:
                found[address] += int(cost)
            of_a_call = False
    return found


def chains(module: Path, addresses: Iterable[str]) -> dict[str, Chain]:
    """The functions that each address was inlined from, by binutils' addr2line."""
    options = ["-a", "-i", "-f", "-C", "-e", str(module)]
    asked = "\n".join(addresses)
    return chains_in(subprocess.run(["addr2line", *options], input=asked, capture_output=True, text=True, check=True).stdout)


def chains_in(printed: str) -> dict[str, Chain]:
    """What addr2line printed: an address, and then a function and its place for each step outward."""
    found: dict[str, list[str]] = {}
    own: list[str] = []
    lines = iter(printed.splitlines())
    for line in lines:
        if line.startswith("0x"):
            own = found.setdefault(hex(int(line, 16)), [])
        else:
            own.append(line)
            next(lines)  # Its file and line.
    return found


def built(folder: Path) -> Path:
    """The native module with debug lines, otherwise as pip builds it."""
    source = ROOT / "bench" / "engines" / "fused"
    # Of a build of type Release nanobind strips the lines. What is counted has its own flags, of either.
    options = ["-DCMAKE_BUILD_TYPE=RelWithDebInfo", f"-DPython_EXECUTABLE={sys.executable}"]
    for step in (
        ["cmake", "-S", source, "-B", folder, *options],
        ["cmake", "--build", folder, "--parallel", str(available_cores())],
    ):
        done = subprocess.run(step, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(map(str, step))} fails:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    (module,) = folder.glob(f"{KERNEL}.*.so")
    return module


def counted(module: Path, folder: Path) -> pd.DataFrame:
    """A row for each case: its fields, instructions for each useful FLOP, and the share of each phase."""
    site = folder / "site"
    shutil.copytree(ROOT / "bench", site / "bench", ignore=shutil.ignore_patterns("__pycache__", f"{KERNEL}.*.so"))
    library = f"{KERNEL}{sysconfig.get_config_var('EXT_SUFFIX')}"
    shutil.copy2(module, site / "bench" / "engines" / library)
    options = ["--tool=callgrind", "-q", f"--callgrind-out-file={folder}/%p", "--dump-instr=yes"]
    options += ["--compress-strings=no", "--compress-pos=no"]
    side = Side("a build with debug lines", sys.executable, site)
    run = ["valgrind", *options, *command(side, "tests.perf.phases", "--train")]
    done = subprocess.run(run, cwd=ROOT, env=environment(PYTHONHASHSEED="0"), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"callgrind fails:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    costs = [costs_in((folder / process).read_text().splitlines(), library) for process in done.stdout.split()]
    known = chains(module, sorted({address for own in costs for address in own}))
    rows = []
    for (kind, cell), own in zip(cases(), costs, strict=True):
        unknown = sum(cost for address, cost in own.items() if known[address] == ["??"])
        if unknown > MOST_UNKNOWN * own.total():
            raise SystemExit(f"{module} tells no function of {unknown / own.total():.0%} of the instructions: build it with -g")
        by_phase: Counter[str] = Counter()
        for address, cost in own.items():
            by_phase[phase(known[address])] += cost
        per_flop = own.total() / (cell.max_epochs * epoch_flops(cell))
        shares = {name: by_phase[name] / own.total() for name in (*PHASES, REST)}
        rows.append({"kind": kind, "width": cell.width, "samples": cell.n_samples, "instructions / FLOP": per_flop, **shares})
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame) -> str:
    """The rows of `counted`, shares in per cent."""
    lines = [f"| {' | '.join(table.columns)} |", f"|{' --- |' * len(table.columns)}"]
    for row in table.itertuples(index=False):
        values = [*map(str, row[:3]), f"{row[3]:.2f}", *(f"{100 * share:.0f} %" for share in row[4:])]
        lines.append(f"| {' | '.join(values)} |")
    return "\n".join(lines)


def train_all() -> None:
    """Each case in a process of its own, whose number is printed."""
    for _, cell in cases():
        print(trained_apart(cell), flush=True)


def main(arguments: Sequence[str]) -> None:
    if list(arguments) == ["--train"]:
        return train_all()
    for tool in ("valgrind", "addr2line"):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is not installed")
    with tempfile.TemporaryDirectory(prefix="memcap-") as folder:
        module = Path(arguments[0]) if arguments else built(Path(folder) / "build")
        print(markdown(counted(module, Path(folder))))
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
