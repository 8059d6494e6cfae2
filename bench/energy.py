"""Energy, where the machine tells: the RAPL counters of the processor packages."""

from __future__ import annotations

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


def joules() -> float:
    """The counters' sum, which only differences of mean something; NaN where there are none that this process may read."""
    try:
        # intel-rapl:0 is a package, intel-rapl:0:1 a part of one; AMD's counters have the same names.
        packages = [path for path in POWERCAP.glob("intel-rapl:*") if path.name.count(":") == 1]
        values = [int((path / "energy_uj").read_text()) for path in packages]
    except OSError:
        return float("nan")
    return sum(values) / 1e6 if values else float("nan")
