"""The kernels compile for every chip that is meant, within what a block may take; no GPU is needed."""

from __future__ import annotations

import functools
import threading

import numpy as np
import pytest

pytest.importorskip("cuda.core", reason="cuda-core is not installed (NVIDIA has none for macOS)", exc_type=ImportError)

from bench.engines.cuda import compiler
from bench.engines.cuda.compiler import Resources, cached_kernel, compile_ahead, compile_kernel, resources
from bench.engines.cuda.gpu import STATIC_BYTES
from bench.engines.cuda.occupancy import CHIPS, Chip, bound_of, main
from bench.engines.cuda.tiles import KERNELS, Kernel, Sizes
from bench.protocol.cells import Cell

REGISTER_FILE = 1 << 16


# It takes seconds.
compiled_kernel = functools.cache(compile_kernel)

# Of each way to make products the kernel that leaves the fewest registers free: of float32, of float64, and on tensor cores.
TIGHT = {("sm_90", name) for name in ("float32-64-4", "float64-64-4", "float32-64-16-tensor")}


def ways() -> list:
    """Every kernel on every chip; all but the tight ones are for `make test-all`."""
    every = [(chip.arch, kernel) for chip in CHIPS for kernel in KERNELS]
    assert {(arch, kernel.name) for arch, kernel in every} >= TIGHT
    left = [() if (arch, kernel.name) in TIGHT else pytest.mark.exhaustive for arch, kernel in every]
    return [pytest.param(*way, marks=marks, id=f"{way[0]}-{way[1].name}") for way, marks in zip(every, left, strict=True)]


@pytest.mark.parametrize(("arch", "kernel"), ways())
def test_a_kernel_spills_nothing_and_fits(arch, kernel):
    compiled = compiled_kernel(kernel, arch)
    used = resources(compiled.log)
    assert compiled.code[:4].tobytes() == b"\x7fELF"
    assert used.spilled_bytes == 0
    assert used.registers * kernel.threads * kernel.resident <= REGISTER_FILE
    assert 0 < used.static_shared_bytes <= STATIC_BYTES


def test_the_log_is_read_entry_by_entry():
    log = """ptxas info    : Compiling entry function 'measure' for 'sm_90'
ptxas         .     0 bytes stack frame, 7 bytes spill stores, 7 bytes spill loads
ptxas info    : Used 32 registers, used 0 barriers
ptxas info    : Compiling entry function 'train' for 'sm_90'
ptxas         .     8 bytes stack frame, 4 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 168 registers, used 1 barriers, 320 bytes cumulative stack size, 432 bytes smem
ptxas info    : Function properties for _ZN5fused4CoreE
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 12 bytes spill loads
"""
    assert resources(log) == (168, 16, 432)
    with pytest.raises(ValueError, match=r"^the assembler's log says nothing of 'train'$"):
        resources(log.replace("'train'", "'other'"))


def test_a_compiled_kernel_is_kept_and_one_of_other_sources_is_not_taken_for_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compiler, "compile_kernel", compiled_kernel)
    code = cached_kernel(KERNELS[0], "sm_90")
    assert [path.read_bytes() for path in tmp_path.glob("memcap/*.cubin")] == [code.tobytes()]
    monkeypatch.setattr(compiler, "compile_kernel", lambda kernel, arch: compiler.Compiled(code[:9], ""))
    assert cached_kernel(KERNELS[0], "sm_90").tobytes() == code.tobytes()
    monkeypatch.setattr(compiler, "fingerprint", lambda: "other")
    assert cached_kernel(KERNELS[0], "sm_90").tobytes() == code[:9].tobytes()


def test_kernels_are_compiled_beside_one_another_and_kept(tmp_path, monkeypatch):
    """Here each waits for another."""
    together = threading.Barrier(2)

    def compiled(kernel, arch):
        together.wait(timeout=20)
        return compiler.Compiled(np.array([KERNELS.index(kernel)], dtype=np.uint8), "")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compiler, "available_cores", lambda: 2)
    monkeypatch.setattr(compiler, "compile_kernel", compiled)
    compile_ahead(KERNELS[:6], "sm_90")
    monkeypatch.setattr(compiler, "compile_kernel", lambda kernel, arch: pytest.fail("it was kept"))
    assert [cached_kernel(kernel, "sm_90").tolist() for kernel in KERNELS[:6]] == [[0], [1], [2], [3], [4], [5]]


def test_an_error_of_the_compiler_is_not_lost(tmp_path, monkeypatch):
    def refuse(kernel, arch):
        raise RuntimeError(f"no {arch}")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compiler, "compile_kernel", refuse)
    with pytest.raises(RuntimeError, match=r"^no sm_1$"):
        compile_ahead(KERNELS[:2], "sm_1")


def test_a_cache_that_cannot_be_written_to_costs_only_time(tmp_path, monkeypatch):
    (tmp_path / "memcap").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code = np.arange(9, dtype=np.uint8)
    monkeypatch.setattr(compiler, "compile_kernel", lambda kernel, arch: compiler.Compiled(code, ""))
    assert cached_kernel(KERNELS[0], "sm_90") is code


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("sm_1", "fma"), "occupancy: sm_1 is not a chip of the model; choose from: sm_80, sm_90, sm_100"),
        (("sm_90", "wgmma"), "occupancy: wgmma is not a way to make products; choose from: fma, 3xtf32, tf32"),
    ],
)
def test_an_unknown_chip_or_way_is_one_line(asked, said):
    with pytest.raises(SystemExit) as raised:
        main(*asked)
    assert raised.value.code == said


def test_the_model_of_occupancy_is_that_of_a_hand_count():
    """Of 128 threads at 168 registers three blocks fit into 65536 registers; 30 KiB of scratch seven times into 228 KiB."""
    chip = Chip("sm_90", 132, 228 << 10, 227 << 10, 1 << 16, 2048, 32, 128, 1024)
    cell, kernel = Cell(width=32, depth=2, n_samples=1000, d_in=8), Kernel("float32", 64, 4)
    sizes = Sizes(memory=0, scratch=30 << 10, shares=1)
    bound = bound_of(cell, kernel, sizes, Resources(168, 0, 512), chip)
    assert (bound.blocks, bound.limited_by, bound.warps) == (3, "registers", 12)
    roomy = bound_of(cell, kernel, sizes, Resources(32, 0, 512), chip)
    assert (roomy.blocks, roomy.limited_by) == (7, "shared memory")
    # 1312 multiply-accumulates forward, three times for 1000 samples, 128 in a cycle.
    assert bound.product_cycles == 3 * 1000 * 1312 / 128
    # A warp reads 2 rows of 4 weights and 16 groups of 4 samples, four bytes each, for 4 by 4 products of 32 lanes.
    assert bound.shared_cycles == 3 * 1000 * 1312 / 512 * 4 * (4 * 16 + 4 * 2) / 128
    assert bound.bound_by == "products"
    # On tensor cores a warp reads 16 weights and 32 samples for each of 16 by 32 products, and takes four instructions to split each.
    split = bound_of(cell, Kernel("float32", 64, 16, tensor_cores=True), sizes, Resources(168, 0, 512), chip)
    assert split.product_cycles == 3 * 3 * 1000 * 1312 / 1024
    assert split.splitting_cycles == 3 * 1000 * 1312 / (16 * 32) * (16 + 32) * 4 / 128
    assert split.shared_cycles == 3 * 1000 * 1312 / (16 * 32) * 4 * (16 + 32) / 128
    assert split.bound_by == "products"
