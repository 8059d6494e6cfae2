"""The kernels compile for every chip that is meant, within what a block may take; no GPU is needed."""

from __future__ import annotations

import functools
import re
import threading

import numpy as np
import pytest

pytest.importorskip("cuda.core", reason="cuda-core is not installed (NVIDIA has none for macOS)", exc_type=ImportError)

from bench.engines.cuda import compiler
from bench.engines.cuda.compiler import Resources, cached_kernel, compile_ahead, compile_kernel, resources
from bench.engines.cuda.gpu import STATIC_BYTES
from bench.engines.cuda.occupancy import BARRIER, CHIPS, L2, SHUFFLE, Chip, Phase, Step, bound_of, main, peak_cycles, phases
from bench.engines.cuda.tiles import KERNELS, WARP, Kernel, Sizes
from bench.protocol.cells import Cell
from bench.protocol.networks import n_params
from tests.engines.gpu.compiled import expected_products, tensor_products

REGISTER_FILE = 1 << 16


# It takes seconds.
compiled_kernel = functools.cache(compile_kernel)

# Of each way to make products a kernel that leaves few registers free: of float32 in narrow and in wide tiles, of float64, and on
# tensor cores.
TIGHT = {("sm_90", name) for name in ("float32-64-4", "float32-64-8", "float64-64-4", "float32-64-16-tensor")}


def ways() -> list:
    """Every kernel on every chip; all but the tight ones are for `make test-all`."""
    every = [(chip.arch, kernel) for chip in CHIPS for kernel in KERNELS]
    assert {(arch, kernel.name) for arch, kernel in every} >= TIGHT
    left = [() if (arch, kernel.name) in TIGHT else pytest.mark.exhaustive for arch, kernel in every]
    return [pytest.param(*way, marks=marks, id=f"{way[0]}-{way[1].name}") for way, marks in zip(every, left, strict=True)]


# Where a cell's time goes; around them narrow tiles may spill what lives across the calls.
PRODUCTS = r"affine|back|outer|single|forward|update|slope_layer|activate_layer|draw_kept|draw_order"


@pytest.mark.parametrize(("arch", "kernel"), ways())
def test_a_kernel_spills_nothing_among_its_products_and_fits(arch, kernel):
    compiled = compiled_kernel(kernel, arch)
    used = resources(compiled.log)
    assert compiled.code[:4].tobytes() == b"\x7fELF"
    spilled = re.findall(r"properties for (\S+)\s.*?(\d+) bytes spill stores", compiled.log, re.DOTALL)
    products = {name: int(stored) for name, stored in spilled if re.search(PRODUCTS, name)}
    assert len(products) >= 8
    assert set(products.values()) == {0}
    assert kernel.shares_registers or used.spilled_bytes == 0
    assert used.registers * kernel.resident_threads <= REGISTER_FILE
    assert kernel.threads <= kernel.resident_threads
    assert 0 < used.static_shared_bytes <= STATIC_BYTES


@pytest.mark.parametrize(("arch", "kernel"), ways())
def test_no_product_on_tensor_cores_is_left_out(arch, kernel):
    assert tensor_products(compiled_kernel(kernel, arch).code) == expected_products(kernel)


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


# A multiprocessor that is easy to count with: a warp's multiply-add takes a quarter of a cycle, its product on tensor cores two.
CHIP = Chip("sm_90", 100, 228 << 10, 227 << 10, 28 << 10, 1 << 16, 2048, 32, 128, 512, 50 << 20, 10.0)
SIZES = Sizes(memory=0, scratch=30 << 10, shares=1)


def test_the_model_of_occupancy_is_that_of_a_hand_count():
    """Of 128 threads at 168 registers three blocks fit into 65536 registers; 30 KiB of scratch seven times into 228 KiB."""
    cell, kernel = Cell(width=32, depth=2, n_samples=64, d_in=8), Kernel("float32", 64, 4)
    bound = bound_of(cell, kernel, SIZES, Resources(168, 0, 512), CHIP)
    assert (bound.blocks, bound.limited_by, bound.warps) == (3, "registers", 12)
    roomy = bound_of(cell, kernel, SIZES, Resources(32, 0, 512), CHIP)
    assert (roomy.blocks, roomy.limited_by) == (7, "shared memory")
    assert sum(bound.cycles.values()) == bound.total_cycles > peak_cycles(cell, CHIP) == 3 * 64 * (8 * 32 + 32 * 32 + 32) / 128


def layers_of(cell: Cell, kernel: Kernel, *names: str) -> dict[str, list[Phase]]:
    all_of_them = list(phases(cell, kernel, 64, CHIP, weights_at=L2, gradients_at=L2))
    return {name: [phase for phase in all_of_them if phase.name == name] for name in names}


def test_the_model_counts_products_and_wavefronts_as_a_hand_does():
    cell = Cell(width=32, depth=2, n_samples=64, d_in=8)
    wide = layers_of(cell, Kernel("float32", 64, 4), "affine", "back", "outer")
    for phase in (wide["affine"][1], wide["back"][0], wide["outer"][1]):
        # 32 by 32 by 64 multiply-adds, 128 in a cycle; eight tiles of four units by sixteen of four samples, all there is for 128 threads.
        assert phase.bounds(blocks=1)["products"] == 32 * 32 * 64 / 128
    # Each of four warps has eight steps of four units: four loads of samples, which threads share by two, and four of weights, which
    # sixteen share, at two cycles.
    assert wide["affine"][1].bounds(1)["shared memory"] == 4 * 8 * (4 * 2 + 4 * 2)
    # Of the first layer, 8 by 32 weights in 8 by 2 tiles, a thread has an eighth of the samples: two quads. 16 of its numbers are
    # left to eight lanes, two each, whose fetching it waits for once; the sums take a tree of three.
    first = wide["outer"][0]
    assert (first.tiles, first.count, first.start) == (16 * 8, 2, L2 + 3 * SHUFFLE)
    # On tensor cores: a warp has 16 units by 32 samples; a step of eight terms is four products of 16 by 8 by 8, three times.
    tensor = layers_of(cell, Kernel("float32", 64, 16, tensor_cores=True), "affine")["affine"][1]
    assert tensor.bounds(1)["products"] == 3 * 32 * 32 * 64 / 512
    # It reads its weights by two loads of eight bytes a thread, at two cycles, and its samples by two of sixteen, at four.
    assert tensor.bounds(1)["shared memory"] == 4 * 4 * (2 * 2 + 2 * 4)


def test_the_model_waits_for_what_is_not_fetched_ahead():
    """Two rounds of ten steps: each loads for 100 cycles and works for 16, as two of eight warps take turns of eight."""
    slow = Phase("any", tiles=512, places=256, per_warp=WARP, count=10, step=Step(8, 0, 0, latency=100), add_cycles=0.25)
    assert slow.bounds(1)["products"] == 16 * 10 * 8 / 4
    assert slow.bounds(1)["latency"] == 2 * 10 * (100 + 2 * 8) + BARRIER
    assert slow.bounds(2)["latency"] == slow.bounds(1)["latency"] / 2
    assert slow._replace(ahead=True).bounds(1)["latency"] == 2 * (100 + 10 * 100) + BARRIER


def test_the_model_takes_from_memory_what_the_cache_does_not_hold():
    """100 cells of 32577 parameters are 13 MB, with their gradients 26 MB: a cache of 13 MB lacks half of them."""
    cell, kernel = Cell(width=128, depth=2, n_samples=64, d_in=8), Kernel("float32", 64, 8)
    n_bytes = 4 * n_params(cell)
    used = Resources(255, 0, 512)
    roomy = bound_of(cell, kernel, SIZES, used, CHIP._replace(l2_bytes=100 << 20))
    assert (roomy.blocks, roomy.hbm_cycles) == (1, 0)
    tight = bound_of(cell, kernel, SIZES, used, CHIP._replace(l2_bytes=100 * n_bytes))
    # Of one block's weights twice and gradient to and fro a half, and of the update's eight arrays three quarters of four.
    assert tight.hbm_cycles == pytest.approx((4 * n_bytes / 2 + 8 * n_bytes * 3 / 4) / 10)
    starved = bound_of(cell, kernel, SIZES, used, CHIP._replace(l2_bytes=0, hbm_bytes=0.1))
    assert starved.bound_by == "HBM"
    assert starved.total_cycles == starved.hbm_cycles
