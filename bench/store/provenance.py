"""What ran where: code version, packages, device and settings of every run into a folder. No host names, no user names."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.store.atomic import write_atomically
from bench.store.schema import SCHEMA_VERSION

PACKAGES = ("memcap", "torch", "numpy", "pandas", "pyarrow", "hydra-core", "seaborn", "matplotlib")

# The CPU features that decide which arithmetic kernels run.
FEATURES = ("fma", "avx2", "avx512f", "avx512_bf16", "amx_tile", "neon", "asimd", "sve")


def collect(*, engine: str, device: str, threads: int | None, packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """The facts about this machine and program, with the versions of these packages (None where one is not installed)."""
    return {
        "commit": _git("rev-parse", "HEAD"),
        "dirty": None if (changes := _git("status", "--porcelain")) is None else bool(changes),
        "schema_version": SCHEMA_VERSION,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in packages},
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "engine": engine,
        "device": device,
        "threads": threads,
    }


def append(run_dir: Path, run: dict[str, Any]) -> None:
    """Add one run to `provenance.json`, keeping those before it; a file that is none of this program's is set aside."""
    path = run_dir / "provenance.json"
    set_aside(run_dir)
    text = json.dumps({"runs": [*read(run_dir), run]}, indent=2)
    write_atomically(path, lambda partial: partial.write_text(text + "\n"))


def read(run_dir: Path) -> list[dict[str, Any]]:
    """The runs into this folder, oldest first; none where the file is not this program's, or damaged."""
    path = run_dir / "provenance.json"
    return _runs(path.read_bytes()) or [] if path.exists() else []


def set_aside(run_dir: Path) -> Path | None:
    """Give `provenance.json` another name where it is damaged or none of this program's; that name, if so."""
    path = run_dir / "provenance.json"
    if not path.exists() or _runs(path.read_bytes()) is not None:
        return None
    taken = len(list(run_dir.glob("provenance.unreadable*.json")))
    aside = path.with_name(f"provenance.unreadable{f'-{taken + 1}' if taken else ''}.json")
    path.replace(aside)
    return aside


def _runs(text: bytes) -> list[dict[str, Any]] | None:
    """What a file says of runs; None where it is none of this program's."""
    try:
        runs = json.loads(text)["runs"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return runs if isinstance(runs, list) and all(isinstance(run, dict) for run in runs) else None


def _git(*args: str) -> str | None:
    """What git says of the checkout this package stands in; None for an installed package."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        return subprocess.run(["git", *args], cwd=root, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> dict[str, Any]:
    info = Path("/proc/cpuinfo")
    lines = [line.partition(":") for line in info.read_text().splitlines()] if info.exists() else []
    facts = {key.strip(): value.strip() for key, _, value in reversed(lines)}
    flags = facts.get("flags", facts.get("Features", "")).split()
    return {"model": facts.get("model name", platform.processor()), "features": [name for name in FEATURES if name in flags]}
