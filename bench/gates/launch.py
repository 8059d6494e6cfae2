"""A module of the head's suite, run on a side's program: the interpreter of the side, and its program before any other."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from bench.gates.sides import Side

# Of a checkout what the suite needs beside the program.
SUITE = ("tests", "pyproject.toml")

# An editable installation of the interpreter would bring its own program before any path. Where another than the side's is
# loaded all the same, nothing is measured.
# It ends with the process that started it: on Linux by prctl's PR_SET_PDEATHSIG.
LAUNCH = """
import ctypes, runpy, signal, sys
from pathlib import Path
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
site, module = Path(sys.argv[1]).resolve(), sys.argv[2]
del sys.argv[1:3]
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in type(finder).__module__]
sys.path[:0] = [str(site), "."]
status = 0
try:
    runpy.run_module(module, run_name="__main__", alter_sys=True)
except SystemExit as done:
    status = done.code
loaded = [Path(m.__file__) for n, m in list(sys.modules.items()) if n.split(".")[0] == "bench" and getattr(m, "__file__", None)]
others = [str(path) for path in loaded if not path.resolve().is_relative_to(site)]
sys.exit(f"ERROR {others[0]} was measured in place of {site}" if others else status)
"""


def command(side: Side, module: str, *arguments: str) -> list[str]:
    """What runs a module such as "pytest" on a side's program, in a folder that holds the suite."""
    return [side.python, "-c", LAUNCH, str(side.site), module, *arguments]


def environment(**own: str) -> dict[str, str]:
    """Variables of this process, but those by which a pytest around it tells its children what they are, and some more."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")} | own


def copy_suite(root: Path, folder: Path) -> Path:
    """The head's suite without its program, so that each side's is found; returns the folder."""
    for name in SUITE:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / name)
    return folder


def complaint(printed: str, *, but: Sequence[str] = ()) -> str | None:
    """The first line of a test's output that tells an error, unless it has one of `but` in it and others have not."""
    lines = [line for line in printed.splitlines() if line.startswith(("E  ", "ERROR", "FAILED"))]
    lines = [line for line in lines if not any(word in line for word in but)] or lines
    return " ".join(lines[0].split()) if lines else None
