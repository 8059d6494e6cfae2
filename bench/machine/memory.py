"""How much memory this process may use."""

from __future__ import annotations

import os
from pathlib import Path

CGROUP_MEMORY_MAX = Path("/sys/fs/cgroup/memory.max")


def most_memory_bytes() -> int:
    """Bytes of this machine's memory, or of what the control group (v2) of this process may take, whichever is less."""
    most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if CGROUP_MEMORY_MAX.exists():
        limit = CGROUP_MEMORY_MAX.read_text().strip()
        if limit != "max":
            most = min(most, int(limit))
    return most
