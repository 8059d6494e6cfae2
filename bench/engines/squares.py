"""Losses as sums of squares, for the method of Levenberg and Marquardt: residuals, what the outputs add to them, and totals.

A sample has a residual for each output, sample behind sample. Of cross-entropy with probabilities p, and y the label's
indicator, the second derivatives by the outputs are B B' with B = diag(sqrt p) - p (sqrt p)', and the first ones, p - y, are
B r for r = (p - y) / sqrt p: so B'J and r stand where J and residuals do, and a step is that of the generalized Gauss-Newton
matrix (Schraudolph 2002, doi 10.1162/08997660260028683).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bench.engines.derivatives import Shape

# No root of a probability is less: one below it counts for nothing, and its residual stays a number.
LEAST_ROOT = 1e-150


def residuals(
    said: Float[Tensor, "network output"], targets: Float[Tensor, "network target"], shape: Shape
) -> Float[Tensor, "network output"]:
    """Errors f - y; under the hinge 0 where y f is 1 or more, for targets of -1 and 1; of labels (p - y) / sqrt p."""
    if shape.loss == "cross_entropy":
        roots, losses = _roots_and_losses(said, targets, shape)
        label = targets.long().unsqueeze(2)
        return roots.scatter(2, label, torch.expm1(-losses).unsqueeze(2) / roots.gather(2, label)).flatten(1)
    errors = said - targets
    # NaN stays.
    return errors.masked_fill(errors * targets >= 0, 0) if shape.loss == "hinge" else errors


def weights(
    said: Float[Tensor, "network output"], targets: Float[Tensor, "network target"], shape: Shape
) -> Float[Tensor, "network output out"]:
    """What each output of its sample adds to a residual, for each residual; its derivatives by the outputs, up to the sign."""
    if shape.loss == "cross_entropy":
        roots, losses = _roots_and_losses(said, targets, shape)
        label = targets.long().unsqueeze(2)
        own = torch.diag_embed(1 - roots.square().scatter(2, label, torch.exp(-losses).unsqueeze(2)))
        # 1 - p of the label keeps its digits where p is nearly 1.
        own.diagonal(dim1=2, dim2=3).scatter_(2, label, -torch.expm1(-losses).unsqueeze(2))
        others = ~torch.eye(shape.n_out, dtype=torch.bool, device=said.device)
        return (roots.unsqueeze(3) * (own - others * roots.square().unsqueeze(2))).flatten(1, 2)
    if shape.n_out == 1:
        counts = torch.ones_like(said) if shape.loss == "mse" else (residuals(said, targets, shape) != 0).to(said.dtype)
        return counts.unsqueeze(2)
    return torch.eye(shape.n_out, dtype=said.dtype, device=said.device).repeat(len(said), shape.n_samples, 1)


def total(
    said: Float[Tensor, "network output"], targets: Float[Tensor, "network target"], shape: Shape
) -> Float[Tensor, " network"]:
    """What a step has to lower: the sum of squares; of labels twice the sum of cross-entropies, in nats."""
    if shape.loss == "cross_entropy":
        return 2 * _roots_and_losses(said, targets, shape)[1].sum(1)
    return residuals(said, targets, shape).square().sum(1)


def mean_loss(
    said: Float[Tensor, "network output"], targets: Float[Tensor, "network target"], shape: Shape
) -> Float[Tensor, " network"]:
    """The loss: a mean over samples and outputs, of labels over samples."""
    if shape.loss == "cross_entropy":
        return _roots_and_losses(said, targets, shape)[1].mean(1)
    return residuals(said, targets, shape).square().mean(1)


def labels_right(
    said: Float[Tensor, "network output"], targets: Float[Tensor, "network target"], shape: Shape
) -> Int[Tensor, " network"]:
    """How many labels have the largest output, the first of equals; none whose loss is no finite number."""
    first = said.unflatten(1, (-1, shape.n_out)).argmax(2)
    finite = torch.isfinite(_roots_and_losses(said, targets, shape)[1])
    return ((first == targets.long()) & finite).sum(1)


def _roots_and_losses(
    said: Float[Tensor, "network output"], targets: Float[Tensor, "network target"], shape: Shape
) -> tuple[Float[Tensor, "network target out"], Float[Tensor, "network target"]]:
    """(the root of each probability, the cross-entropy of each sample, which keeps its digits where a label is known)."""
    each, label = said.unflatten(1, (-1, shape.n_out)), targets.long().unsqueeze(2)
    most = each.amax(2, keepdim=True)
    powers = (each - most).exp()
    mine, rest = powers.gather(2, label), powers.scatter(2, label, 0).sum(2, keepdim=True)
    logs = torch.log1p(rest + (mine - 1))
    losses = logs + (most - each.gather(2, label))
    return ((each - most - logs) / 2).exp().clamp(min=LEAST_ROOT), losses[:, :, 0]
