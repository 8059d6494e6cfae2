"""What is found of each way to make products on the GPUs here: asked of what is kept, else by a trial in a process for each."""

from __future__ import annotations

import contextlib

import torch

from bench.engines.cuda.compiler import compile_ahead, fingerprint
from bench.engines.cuda.gpu import Gpu, driver_version, gpus
from bench.engines.cuda.tiles import KERNELS
from bench.engines.cuda.trust import Finding, findings, tried
from bench.engines.cuda.ways import Way
from bench.machine.child import command

# The module whose process trains the trial.
TRIAL = "bench.engines.cuda.trial"


def trials(device: str) -> list[tuple[Gpu, dict[Way, Finding]]]:
    """What is found of each way on each of these devices, by training a few cells, once."""
    results = []
    for gpu in gpus(device):
        # Here and on all cores, so that the trials do not compile against one another. Whatever a compiler raises, the trial of
        # that way meets it again, and says it.
        with contextlib.suppress(Exception):
            compile_ahead(KERNELS, gpu.arch)
        versions = f"torch {torch.__version__}, driver {driver_version()}, kernels {fingerprint()}"

        def check(way: Way, gpu: Gpu = gpu) -> Finding:
            return tried(command(TRIAL, str(gpu.torch_device), way), f"{gpu.name}-{way}")

        results.append((gpu, findings(gpu.name, versions, check)))
    return results


def verdicts(device: str) -> dict[Way, str]:
    """What speaks against each way that the CUDA engine gets wrong on one of these devices."""
    return {
        way: f"on {gpu.name} {finding.reason}"
        for gpu, found in trials(device)
        for way, finding in found.items()
        if finding.reason is not None
    }
