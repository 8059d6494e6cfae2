"""A trial of the CUDA engine in a process of its own, which a faulty driver or kernel may end. Run by `gpu.why_not`."""

from __future__ import annotations

import sys

from bench.engines.cuda.compiler import compile_ahead
from bench.engines.cuda.engine import CudaEngine
from bench.engines.cuda.gpu import gpus
from bench.engines.cuda.tiles import kernels_for
from bench.engines.cuda.trust import disagreement, trial_cells
from bench.engines.torch_engine import TorchEngine


def main(device: str) -> int:
    """Print what the engine does wrong on a device such as "cuda:0"; exit status 1 if anything."""
    # The judge trains on the CPU, where tests hold it against plain loops.
    devices, cells = gpus(device), trial_cells()
    for arch in {gpu.arch for gpu in devices}:
        compile_ahead({kernel for cell in cells for kernel in kernels_for(cell)}, arch)
    reason = disagreement(CudaEngine(devices), TorchEngine("cpu"), cells)
    print(reason or "right")
    return int(reason is not None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
