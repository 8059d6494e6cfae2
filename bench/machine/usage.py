"""Energy and memory, where the system tells: Linux' counters of the processor packages, and of this process."""

from __future__ import annotations

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
PROCESS = Path("/proc/self")


def joules() -> float:
    """The packages' counters summed, of which only differences mean something; NaN where this process may not read them."""
    try:
        zones = [path for path in POWERCAP.glob("intel-rapl:*") if (path / "name").read_text().startswith("package")]
        values = [int((path / "energy_uj").read_text()) for path in zones]
    except OSError:
        return float("nan")
    return sum(values) / 1e6 if values else float("nan")


def forget_peak_memory() -> None:
    """Begin to measure `peak_memory_mb` anew, where the system can."""
    try:
        # proc(5): 5 resets the peak of the resident set.
        (PROCESS / "clear_refs").write_text("5\n")
    except OSError:
        return


def peak_memory_mb() -> float:
    """Most resident memory of this process since then, libraries included, in 1e6 bytes; NaN where the system does not tell."""
    try:
        lines = (PROCESS / "status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:")), float("nan"))
