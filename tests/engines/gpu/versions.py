"""What is here that decides whether the CUDA engine can run, each in a line: python -m tests.engines.gpu.versions."""

# cuda-bindings brings its modules compiled.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
import traceback
from collections.abc import Callable

PACKAGES = (
    "numpy",
    "jax",
    "jaxlib",
    "optax",
    "pandas",
    "scipy",
    "pyarrow",
    "pytest",
    "hypothesis",
    "triton",
    "numba-cuda",
    "nvidia-cuda-nvrtc",
)


def packages() -> str:
    found = dict.fromkeys(PACKAGES, "none")
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(f"{name} {version}" for name, version in found.items())


def cuda_core() -> str:
    from cuda import core

    return f"{core.__version__} ({os.path.dirname(core.__file__)})"


def cuda_bindings() -> str:
    from cuda import bindings

    return f"{bindings.__version__} ({os.path.dirname(bindings.__file__)})"


def nvrtc() -> str:
    from cuda.bindings import nvrtc

    return "{1}.{2}".format(*nvrtc.nvrtcVersion())


def torch() -> str:
    import torch

    return f"{torch.__version__}, CUDA {torch.version.cuda}"


def native() -> str:
    from bench.engines.choice import native_is_built

    return "built" if native_is_built() else "not built"


def cuda_driver() -> str:
    from bench.engines.cuda.gpu import driver_version

    return driver_version()


def gpu() -> str:
    from bench.engines.cuda.gpu import gpus

    device = gpus("cuda:0")[0]
    return f"{device.name}, {device.scratch_bytes} bytes of scratch for a block, {device.free_bytes() / 1e9:.1f} GB free"


def nvidia_smi() -> str:
    fields = "name,driver_version,memory.total,clocks.sm,clocks.max.sm,power.limit,temperature.gpu"
    asked = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


# Those that the engine cannot do without come first.
NEEDED: dict[str, Callable[[], str]] = {
    "torch": torch,
    "cuda-core": cuda_core,
    "cuda-bindings": cuda_bindings,
    "NVRTC": nvrtc,
    "GPU": gpu,
}
OTHERS: dict[str, Callable[[], str]] = {
    "Python": lambda: f"{platform.python_version()} ({sys.executable})",
    "system": lambda: f"{platform.platform()}, {len(os.sched_getaffinity(0))} cores",
    "packages": packages,
    "native engine": native,
    "CUDA of the driver": cuda_driver,
    "nvidia-smi": nvidia_smi,
}


def main() -> int:
    """Exit status 1 where something is missing that the engine needs; its error is printed whole."""
    missing = []
    for name, ask in {**OTHERS, **NEEDED}.items():
        try:
            print(f"{name}: {ask()}", flush=True)
        except Exception as error:  # Whatever an import or a driver raises: the other lines are still worth having.
            print(f"{name}: none ({type(error).__name__}: {error})", flush=True)
            if name in NEEDED:
                traceback.print_exc()
                missing.append(name)
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main())
