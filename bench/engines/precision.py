"""How torch multiplies matrices of float32: in full, or, where a cell asks for it, numbers of TF32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float32
from torch import Tensor

# The bits of a float32 below the eleven significant ones of TF32, and half of what they amount to.
REST, HALF = 0x1FFF, 0x1000

# torch's names for arithmetic that takes and keeps all bits of a float32: of its older interface, and of the newer one, where
# "none" is a setting that nobody has made.
FULL, FULL_EACH = "highest", {"none", "ieee"}


def to_tf32(x: Float32[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
    """The nearest numbers of TF32, of two those away from zero. NaN stays NaN: rounding up the bits of a GPU's would give zero.

    >>> to_tf32(torch.tensor([1 + 2**-11, 1 + 2**-12, -3.0])).tolist()
    [1.0009765625, 1.0, -3.0]
    """
    nearest = x.view(torch.int32).add(HALF).bitwise_and_(~REST).view(torch.float32)
    return torch.where(x.isnan(), x, nearest)


@contextmanager
def full_precision() -> Iterator[None]:
    """Products of float32 in full, whatever the process or its environment allows; afterwards as it was.

    Where they are in full anyway nothing is touched. Else a setting that had what it inherits keeps that as its own afterwards.

    `torch.set_float32_matmul_precision`, and TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1 in some containers, let torch take fewer bits
    of the factors: TF32 on CUDA, bfloat16 on some CPUs.
    """
    mkldnn = torch.backends.mkldnn.matmul  # pyright: ignore[reportAttributeAccessIssue]: set when it is imported
    settings = torch.backends.cuda.matmul, mkldnn
    before = [setting.fp32_precision for setting in settings]
    try:
        of_all = torch.get_float32_matmul_precision()
    except RuntimeError:
        # One of the settings was changed alone, of which this older interface refuses to speak: it is as it was at first.
        of_all = FULL
    if of_all == FULL and set(before) <= FULL_EACH:
        yield
        return
    # The older interface sets the others too; torch refuses to multiply where the two contradict one another.
    torch.set_float32_matmul_precision(FULL)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(of_all)
        for setting, value in zip(settings, before, strict=True):
            setting.fp32_precision = value
