"""Compile all kernels for the GPU here, on all cores, and print what each takes: python -m tests.engines.gpu.compiled [--first COUNT]."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed

from bench.engines.cuda import compiler
from bench.engines.cuda.tiles import KERNELS, Kernel
from bench.machine.cores import available_cores


def main(kernels: list[Kernel], arch: str) -> int:
    """Exit status 1 where one is refused; its error is printed whole."""
    started, logs, refused = time.perf_counter(), {}, 0
    compile_kernel = compiler.compile_kernel

    def noting(kernel: Kernel, arch: str) -> compiler.Compiled:
        done = compile_kernel(kernel, arch)
        logs[kernel] = done.log
        return done

    # The kernels are kept where the engine looks for them; only the compiler's log is not.
    compiler.compile_kernel = noting
    # Imports cuda-core, which threads that did so at once would find half done.
    compiler.fingerprint()
    with ThreadPoolExecutor(available_cores()) as pool:
        waiting = {pool.submit(compiler.cached_kernel, kernel, arch): kernel for kernel in kernels}
        for done in as_completed(waiting):
            kernel = waiting[done]
            said = f"{time.perf_counter() - started:6.1f} s  {kernel.name:24}"
            try:
                size = len(done.result())
            except Exception:  # Whatever a compiler raises: the others are still worth having.
                refused += 1
                print(f"{said} refused\n{traceback.format_exc()}", flush=True)
                continue
            if kernel in logs:
                used = compiler.resources(logs[kernel])
                said += f" {used.registers:4} registers {used.spilled_bytes:6} bytes spilled {used.static_shared_bytes:6} bytes static"
            else:
                said += " kept from before"
            print(f"{said} {size:8} bytes of code", flush=True)
    print(
        f"{len(kernels) - refused} of {len(kernels)} kernels for {arch} in {time.perf_counter() - started:.1f} s on {available_cores()} cores"
    )
    return int(refused > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--first", type=int, default=len(KERNELS))
    parser.add_argument("--device", default="cuda:0")
    asked = parser.parse_args()
    from bench.engines.cuda.gpu import gpus

    sys.exit(main(list(KERNELS[: asked.first]), gpus(asked.device)[0].arch))
