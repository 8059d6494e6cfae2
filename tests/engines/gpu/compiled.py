"""Compile all kernels for the GPU here, on all cores, and print what each takes: python -m tests.engines.gpu.compiled [--first COUNT].

Nor may a compiler leave out what it holds to be never reached: the products on tensor cores are counted in the machine code.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy as np
from jaxtyping import UInt8

from bench.engines.cuda import compiler
from bench.engines.cuda.tiles import KERNELS, PASSES, SPAN, Kernel
from bench.machine.cores import available_cores

# The operation of an instruction of 16 bytes (compute capability 7.0 on) that multiplies on tensor cores, and the bits that hold it.
HMMA, OPERATION = 0x23C, 0xFFF

# A section of an ELF file: its header's size and fields, and the flag of one that holds instructions.
SECTION = np.dtype(
    [
        ("name", "<u4"),
        ("type", "<u4"),
        ("flags", "<u8"),
        ("address", "<u8"),
        ("offset", "<u8"),
        ("size", "<u8"),
        ("rest", "<u8", 3),
    ]
)
INSTRUCTIONS = 4


def tensor_products(code: UInt8[np.ndarray, " byte"]) -> int:
    """Instructions in a cubin that multiply on tensor cores."""
    start, count = int(code[0x28:0x30].view("<u8")[0]), int(code[0x3C:0x3E].view("<u2")[0])
    sections = code[start : start + count * SECTION.itemsize].view(SECTION)
    texts = (code[each["offset"] :][: each["size"]].view("<u8")[::2] for each in sections if each["flags"] & INSTRUCTIONS)
    return sum(int(((text & np.uint64(OPERATION)) == HMMA).sum()) for text in texts)


def expected_products(kernel: Kernel) -> int:
    """How many fused/tensor_tiles.h writes: forward and back with and without ReLU, each step of both, and two of the gradient's."""
    if not kernel.tensor_cores:
        return 0
    tile = kernel.rows // 16 * (min(SPAN, kernel.block) // 8)
    # Steps are written four times where the next one's weights are fetched ahead (fused/block_threads.h, `each_step`).
    return PASSES[kernel.dtype] * tile * (4 * (4 if kernel.ahead == 2 else 1) + 2)


def main(kernels: list[Kernel], arch: str) -> int:
    """Exit status 1 where one is refused, and its error is printed whole, or where code is left out."""
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
                code = done.result()
            except Exception:  # Whatever a compiler raises: the others are still worth having.
                refused += 1
                print(f"{said} refused\n{traceback.format_exc()}", flush=True)
                continue
            if kernel in logs:
                used = compiler.resources(logs[kernel])
                said += f" {used.registers:4} registers {used.spilled_bytes:6} bytes spilled {used.static_shared_bytes:6} bytes static"
            else:
                said += " kept from before"
            print(f"{said} {len(code):8} bytes of code", flush=True)
            if (found := tensor_products(code)) != (written := expected_products(kernel)):
                refused += 1
                print(f"{said} WRONG: {found} products on tensor cores in the code, {written} in its source", flush=True)
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
