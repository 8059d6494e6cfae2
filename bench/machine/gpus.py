"""The NVIDIA GPUs that PyTorch can train on here, and why it cannot on the others."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import NamedTuple

# Where Linux lists what is plugged in. NVIDIA's number there, and how the classes of graphics and compute devices begin.
PCI = Path("/sys/bus/pci/devices")
NVIDIA, DISPLAY = "0x10de", "0x03"

# A run takes up to a gigabyte for its records and buffers before it holds a single network.
LEAST_FREE_BYTES = 1 << 31

# The variable by which a user hides GPUs from CUDA.
HIDES = "CUDA_VISIBLE_DEVICES"

# Launches that are to run beside one another need a hardware queue each. CUDA makes 8 unless this, read when it starts, says
# otherwise; 32 is the most (CUDA C++ Programming Guide, "CUDA Environment Variables").
QUEUES = {"CUDA_DEVICE_MAX_CONNECTIONS": "32"}


class Gpus(NamedTuple):
    """What was found: how many devices CUDA has, those of them that can be used, and what speaks against each of the others.

    Where CUDA has none, `why_none` says why if there is a GPU all the same, in one line.
    """

    count: int
    usable: tuple[int, ...]
    troubles: dict[int, str]
    why_none: str | None = None


def ask_for_queues() -> None:
    """Before CUDA starts in this process; afterwards it has no effect."""
    for name, value in QUEUES.items():
        os.environ.setdefault(name, value)


def find(only: int | None = None) -> Gpus:
    """Ask PyTorch, and have each device add two numbers: one that is too old for it, full or taken fails there.

    With `only`, that device alone is asked, since asking takes some of its memory: the others count, and are not usable.
    """
    import torch

    ask_for_queues()
    # What PyTorch has to say of a driver comes as a warning.
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        asked = [index for index in range(count) if only in (None, index)]
        troubles = {index: trouble for index in asked if (trouble := _trouble(index))}
    if not count:
        return Gpus(0, (), {}, _why_none(said))
    return Gpus(count, tuple(index for index in asked if index not in troubles), troubles)


def _trouble(index: int) -> str | None:
    """Why this device cannot train, or None."""
    import torch

    try:
        free, _ = torch.cuda.mem_get_info(index)
        if free < LEAST_FREE_BYTES:
            return f"it has {free >> 20} MiB of memory free, of {LEAST_FREE_BYTES >> 20} that a run needs"
        (torch.ones(1, device=f"cuda:{index}") + 1).item()
    except Exception as error:
        # Any error: drivers refuse in ways of their own. The first line says what, the others how to find errors in kernels.
        return _first_line(error)
    return None


def _why_none(said: list[warnings.WarningMessage]) -> str | None:
    """Why CUDA has no device, though one is plugged in and nobody hid it; None where there is none."""
    import torch

    if not _plugged_in() or os.environ.get(HIDES, "0") in ("", "-1"):
        return None
    if torch.version.cuda is None:
        return f"PyTorch {torch.__version__} is built without CUDA"
    return _first_line(said[-1].message) if said else "its driver is not installed or does not answer (see nvidia-smi)"


def _plugged_in() -> bool:
    """Whether the machine has an NVIDIA GPU, with or without a driver; false where that cannot be seen."""
    try:
        return any(
            (device / "vendor").read_text().strip() == NVIDIA and (device / "class").read_text().startswith(DISPLAY)
            for device in PCI.iterdir()
        )
    except OSError:
        return False


def _first_line(error: BaseException | Warning | str) -> str:
    return next((line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()), type(error).__name__)
