"""The nearest orthogonal matrix, roughly, by the iteration of Newton and Schulz: what Muon makes of a step.

Numbers as in torch.optim.Muon (torch/optim/_muon.py): a quintic polynomial whose slope at zero is large. Five iterations leave
singular values near 1 and not at it. There the iteration computes in bfloat16, here in the type of the numbers: a cell's
`dtype` says what its arithmetic rounds to, and nothing else does.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

LINEAR, CUBIC, QUINTIC = 3.4445, -4.7750, 2.0315
ITERATIONS = 5
# The least norm that a matrix is divided by.
LEAST = 1e-7


def orthogonalised(steps: Float[Tensor, "cell width width"]) -> Float[Tensor, "cell width width"]:
    """For each matrix U S V' about U V'. Rows and columns of zeros stay zero, so padding does."""
    # By the norm of all its numbers, which no singular value exceeds.
    steps = steps / torch.linalg.vector_norm(steps, dim=(1, 2), keepdim=True).clamp_min(LEAST)
    for _ in range(ITERATIONS):
        gram = torch.bmm(steps, steps.transpose(1, 2))
        polynomial = torch.baddbmm(gram, gram, gram, beta=CUBIC, alpha=QUINTIC)
        steps = torch.baddbmm(steps, polynomial, steps, beta=LINEAR)
    return steps
