"""Products have the precision that a cell asks for: of the engines' three ways to round to TF32 tests/engines/test_conformance.py has the rest."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import bench
from bench.engines.precision import full_precision, to_tf32
from bench.engines.torch_chunk import Chunk
from bench.protocol.cells import Cell
from tests.engines.witness import nearest_tf32


def test_rounding_is_that_of_mantissas_and_exponents():
    bits = np.random.Generator(np.random.Philox(7)).integers(0, 2**32, 100_000, dtype=np.uint32)
    ties = bits & np.uint32(0xFFFFE000) | np.uint32(0x1000)
    x = torch.from_numpy(np.concatenate([bits, ties]).view(np.float32))
    x = x[x.isfinite() & (x.abs() >= torch.finfo(torch.float32).tiny) & (x.abs() < 3e38)]
    assert len(x) > 190_000
    assert torch.equal(to_tf32(x), nearest_tf32(x))


@pytest.mark.parametrize("bits", [0x7F800000, 0xFF800000, 0x7FC00000, 0x7FFFFFFF, 0xFFFFFFFF, 0])
def test_what_is_no_number_stays_what_it_is(bits):
    """0x7FFFFFFF is the NaN that a GPU makes."""
    x = torch.from_numpy(np.array([bits], dtype=np.uint32).view(np.float32))
    np.testing.assert_array_equal(to_tf32(x).numpy(), x.numpy())


def allowed() -> tuple[str, ...]:
    """What products of float32 may take fewer bits of, by all of torch's settings; the older ones refuse where one was set alone."""
    try:
        older = torch.get_float32_matmul_precision(), str(torch.backends.cuda.matmul.allow_tf32)
    except RuntimeError:
        older = "refuses", ""
    return *older, torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision


def as_it_comes():
    pass


def by_the_older_interface():
    torch.set_float32_matmul_precision("medium")


def by_the_newer_interface():
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"


@pytest.fixture
def _given_back():
    """What a test allows is allowed to no other."""
    settings = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    before = [setting.fp32_precision for setting in settings]
    yield
    torch.set_float32_matmul_precision("highest")
    for setting, value in zip(settings, before, strict=True):
        setting.fp32_precision = value


@pytest.mark.usefixtures("_given_back")
@pytest.mark.parametrize("allow", [as_it_comes, by_the_older_interface, by_the_newer_interface])
def test_what_a_process_allows_does_not_enter_into_training_and_is_given_back(allow, monkeypatch):
    seen = {}
    for name in ("run", "predict"):
        work = getattr(Chunk, name)

        def watched(self, argument, name=name, work=work):
            seen[name] = allowed()
            return work(self, argument)

        monkeypatch.setattr(Chunk, name, watched)
    allow()
    before = allowed()
    bench.run([Cell(max_epochs=3)], engine="torch", n_predictions=1)
    assert seen.keys() == {"run", "predict"}
    for older, on_cuda, cuda, mkldnn in seen.values():
        assert (older, on_cuda) == ("highest", "False")
        assert {cuda, mkldnn} <= {"ieee", "none"}
    assert allowed() == before


def test_an_environment_that_allows_tf32_does_not_either():
    """torch reads the variable once: in a process of its own."""
    code = """
import torch
from bench.engines.precision import full_precision
def show(): print(torch.get_float32_matmul_precision(), torch.backends.cuda.matmul.allow_tf32)
show()
with full_precision(): show()
show()"""
    environment = os.environ | {"TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["high True", "highest False", "high True"]


def test_precision_is_given_back_after_an_error():
    def fail():
        raise ZeroDivisionError

    before = allowed()
    with pytest.raises(ZeroDivisionError), full_precision():
        fail()
    assert allowed() == before
