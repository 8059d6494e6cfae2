"""Products have the precision that a cell asks for: of the engines' three ways to round to TF32 tests/test_conformance.py has the rest."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.cells import Cell
from bench.engines.precision import full_precision, to_tf32
from bench.engines.torch_chunk import Chunk
from tests.training import train
from tests.witness import nearest_tf32


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


def test_what_a_process_allows_does_not_enter_into_training(monkeypatch):
    seen = set()
    run = Chunk.run

    def watched(self, tables):
        seen.add((torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision))
        return run(self, tables)

    monkeypatch.setattr(Chunk, "run", watched)
    with full_precision():  # which puts back what this test changes
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
        train([Cell(max_epochs=3)])
        assert seen == {("ieee", "ieee")}
        assert (torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision) == ("tf32", "bf16")


def test_precision_is_given_back_after_an_error():
    def fail():
        raise ZeroDivisionError

    before = torch.backends.cuda.matmul.fp32_precision
    with pytest.raises(ZeroDivisionError), full_precision():
        fail()
    assert torch.backends.cuda.matmul.fp32_precision == before != "ieee"
