"""The kernels, compiled by NVRTC for one architecture and kept; needs no GPU."""

# cuda-core fills its module when it is imported.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import ctypes
import functools
import hashlib
import io
import os
import re
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from bench.engines.cuda.tiles import KERNELS, Kernel
from bench.engines.task import Task
from bench.machine.cores import available_cores

SOURCES = Path(__file__).parents[1] / "fused"
ENTRY = "train"


class Compiled(NamedTuple):
    """Machine code, and what the assembler said of it."""

    code: UInt8[np.ndarray, " byte"]
    log: str


class Resources(NamedTuple):
    """What the `train` kernel takes: registers of a thread, bytes spilled (stored and loaded), static shared bytes."""

    registers: int
    spilled_bytes: int
    static_shared_bytes: int


def compile_kernel(kernel: Kernel, arch: str) -> Compiled:
    """Compile fused/kernels.cu for an architecture such as "sm_90".

    Raises:
        ImportError: no cuda-core (pip install 'memcap[cuda]').
        RuntimeError: NVRTC is missing or refuses.
    """
    from cuda.core import Program, ProgramOptions

    macros = [*kernel.macros.items(), ("MEMCAP_TASK_BYTES", str(ctypes.sizeof(Task)))]
    options = ProgramOptions(
        arch=arch, std="c++17", include_path=[str(SOURCES)], define_macro=macros, ptxas_options="-v", disable_warnings=True
    )
    log = io.StringIO()
    code = Program((SOURCES / "kernels.cu").read_text(), code_type="c++", options=options).compile("cubin", logs=log).code
    return Compiled(np.frombuffer(bytes(code), dtype=np.uint8), log.getvalue())


def cached_kernel(kernel: Kernel, arch: str) -> UInt8[np.ndarray, " byte"]:
    """The same from the user's cache, where it was compiled before from the same sources by the same NVRTC."""
    path = cache_folder() / f"{kernel.name}-{arch}-{fingerprint()}.cubin"
    try:
        return np.fromfile(path, dtype=np.uint8)
    except OSError:
        code = compile_kernel(kernel, arch).code
    write_cached(path, code.tobytes())
    return code


def compile_ahead(kernels: Iterable[Kernel], arch: str) -> None:
    """Compile those that are not kept yet, on all cores at once: one takes seconds.

    Raises:
        ImportError, RuntimeError: as `compile_kernel`.
    """
    # Imports cuda-core, which threads that did so at once would find half done.
    fingerprint()
    with ThreadPoolExecutor(available_cores()) as pool:
        deque(pool.map(lambda kernel: cached_kernel(kernel, arch), kernels), maxlen=0)


@functools.cache
def fingerprint() -> str:
    """Of the sources, of the code that drives them, and of what compiles them."""
    from cuda import core
    from cuda.bindings import nvrtc

    digest = hashlib.sha256(f"{core.__version__} {nvrtc.nvrtcVersion()} {ctypes.sizeof(Task)}".encode())
    digest.update(repr([kernel.macros for kernel in KERNELS]).encode())
    drivers = [*Path(__file__).parent.glob("*.py"), SOURCES.parent / "task.py"]
    for path in sorted([*SOURCES.glob("*.h"), *SOURCES.glob("*.cu"), *drivers]):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """Where compiled kernels, and what was found out about devices, are kept: $XDG_CACHE_HOME/memcap or ~/.cache/memcap."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "memcap"


def write_cached(path: Path, content: bytes) -> None:
    """Keep a file, whole or not at all; a folder that cannot be written to costs only the time to make it again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}")
        partial.write_bytes(content)
        partial.replace(path)
    except OSError:
        return


def resources(log: str) -> Resources:
    """What the assembler's log says of the `train` kernel and all that it calls.

    Raises:
        ValueError: the log does not speak of it.
    """
    _, found, rest = log.partition(f"Compiling entry function '{ENTRY}'")
    if not found:
        raise ValueError(f"the assembler's log says nothing of {ENTRY!r}")
    own = rest.partition("Compiling entry function")[0]
    registers = re.search(r"Used (\d+) registers", own)
    shared = re.search(r"(\d+) bytes smem", own)
    spilled = sum(int(count) for count in re.findall(r"(\d+) bytes spill (?:stores|loads)", own))
    if registers is None or shared is None:
        raise ValueError("the assembler's log does not say what registers and shared memory are used")
    return Resources(int(registers[1]), spilled, int(shared[1]))
