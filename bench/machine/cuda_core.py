"""cuda-core, which compiles and launches kernels: whether it is here and new enough."""

from __future__ import annotations

import importlib.util
import re

from bench.machine.child import one_line

# The first cuda-core whose kernels can be had by their handle, which their attributes are set by.
LEAST_CUDA_CORE = (0, 6)


def why_no_cuda_core() -> str | None:
    """Why there is nothing that compiles and launches kernels, in one line, or None."""
    if not all(importlib.util.find_spec(name) is not None for name in ("cuda", "cuda.core", "cuda.bindings")):
        return "cuda-core is not installed (pip install 'memcap[cuda]')"
    try:
        from cuda import core
    except (
        Exception
    ) as error:  # It refuses bindings that are older than it: with an ImportError, or an error of the bindings' own.
        return f"cuda-core cannot be imported: {one_line(error)} (pip install --upgrade 'memcap[cuda]')"
    version = core.__version__
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < LEAST_CUDA_CORE:
        least = ".".join(map(str, LEAST_CUDA_CORE))
        return f"cuda-core {version} is too old, {least} is the least (pip install --upgrade 'memcap[cuda]')"
    return None
