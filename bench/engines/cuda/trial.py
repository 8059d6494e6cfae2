"""A trial of the CUDA engine: `python -m bench.engines.cuda.trial cuda:0` prints what is found of each way to make products.

With a way after the device it is held in this process, which a faulty driver or kernel may end, and its last line is a finding
in JSON: so `verdicts.trials` runs it.
"""

from __future__ import annotations

import json
import sys

from bench.engines.cuda.compiler import compile_ahead
from bench.engines.cuda.engine import CudaEngine
from bench.engines.cuda.gpu import gpus
from bench.engines.cuda.tiles import kernels_for
from bench.engines.cuda.trust import Finding, compared, trial_cells
from bench.engines.cuda.verdicts import trials
from bench.engines.cuda.ways import WAYS, Way
from bench.engines.torch_engine import TorchEngine


def held(device: str, way: Way) -> Finding:
    """Train the trial's cells of a way on a device such as "cuda:0"; the judge trains on the CPU, where tests hold it to loops.

    Raises:
        Exception: whatever a driver or a compiler raises.
    """
    devices, cells, three = gpus(device), trial_cells(way), way == "3xtf32"
    for arch in {gpu.arch for gpu in devices}:
        compile_ahead({kernel for cell in cells for kernel in kernels_for(cell, tensor_cores=three)}, arch)
    return compared(CudaEngine(devices, products="3xtf32" if three else "fma"), TorchEngine("cpu"), cells, way)


def main(device: str, *way: str) -> int:
    """Print what was found; exit status 1 if something speaks against a way."""
    if way:
        asked: list[Way] = [each for each in WAYS if each in way]
        if len(asked) != len(way):
            sys.exit(f"trial: {' '.join(way)} is no way to make products; choose from: {', '.join(WAYS)}")
        finding = held(device, asked[0])
        print(json.dumps(finding._asdict()))
        return int(finding.reason is not None)
    failed = False
    for gpu, found in trials(device):
        for each, finding in found.items():
            median = "" if finding.median is None else f" (median difference {finding.median:.1e})"
            print(f"{gpu.name}: {each} {'is right' if finding.reason is None else f'is wrong: {finding.reason}'}{median}")
            failed |= finding.reason is not None
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
