"""The method of Levenberg and Marquardt for networks of one shape, all samples at once, in float64.

Of residuals r with the Jacobian J a step d solves (J'J + mu I) d = -J'r: with little damping mu it is that of Gauss and
Newton, with much a short one down the gradient. Where there are fewer samples than parameters the same step is
d = -J' z with (J J' + mu I) z = r. An iteration takes one Jacobian, and damps its step until the loss falls
(Hagan and Menhaj 1994, doi 10.1109/72.329697).

The damping follows the gain ratio, by how much the loss falls over what the linear model promised: Nielsen 1999, "Damping
parameter in Marquardt's method", IMM-REP-1999-05; Madsen, Nielsen and Tingleff 2004, "Methods for non-linear least squares
problems", algorithm 3.16, whose start (`START`) is used.

Residuals and totals are those of `bench.engines.squares`; of labels J stands for what weighs it there, and the step is that of
the generalized Gauss-Newton matrix.

Of relu and leaky relu the slopes in J are smoothed, less in each iteration and at last not at all (`WIDEST`). The loss that a
step has to lower is always that of the network as it is.
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bench.engines.derivatives import Jacobian, Shape, outputs
from bench.engines.squares import residuals, total, weights

# The first damping over the largest element on the diagonal of J'J. Madsen et al. take 1e-6 near a minimum, else up to 1.
START = 1e-3

# No damping is less than this times that element: below it float64 does not see it.
LEAST = 2.0**-52

# Dampings that an iteration tries. The last is 2**45 times the first, and its step as much shorter. A network that has just
# found none tries the first of them alone, until its slopes are exact: of two thousand such iterations 40 found a step at all,
# 33 of these by the fourth, and each try is a factorization.
MOST_TRIES, FEW_TRIES = 10, 4

# Slopes with a jump are smoothed over this times the root mean square of a layer's pre-activations at first, then over
# NARROWING times as much in each iteration, and not at all once the factor is below NARROWEST. Unsmoothed from the start, of
# ten networks of 16 units on 116 samples none memorizes, and with these ten do: where linear pieces meet, no piece knows of
# the next, and a loss that may only fall ends in a crease.
WIDEST, NARROWING, NARROWEST = 1.0, 0.97, 1e-6

# What Nielsen multiplies the damping by after a step that was taken, at most 1 - (2 gain - 1)**3 and at least this.
MOST_RELIEF = 1 / 3

# And after the first that was not; after each more of them by twice as much as before.
FIRST_STRAIN = 2.0


@dataclasses.dataclass
class Networks:
    """Networks of one shape in training. `damping` is NaN before the first iteration, `stuck` is 1 where the last iteration
    found no step, and `still` says who cannot move any more.

    `outputs` are those of the parameters there are: a loss is measured once, so that what was compared is what is told.
    """

    flat: Float[Tensor, "network param"]
    inputs: Float[Tensor, "network sample feature"]
    targets: Float[Tensor, "network target"]
    variance: Float[Tensor, " network"]
    val_inputs: Float[Tensor, "network val_sample feature"]
    val_targets: Float[Tensor, "network val_target"]
    outputs: Float[Tensor, "network output"]
    damping: Float[Tensor, " network"]
    smoothing: Float[Tensor, " network"]
    stuck: Float[Tensor, " network"]
    still: Bool[Tensor, " network"]

    def of(self, which: Tensor) -> Networks:
        """Some of the networks, copied."""
        return Networks(*(getattr(self, field.name)[which] for field in dataclasses.fields(self)))

    def joined(self, *others: Networks) -> Networks:
        """The networks of all, these first."""
        every = (self, *others)
        return Networks(*(torch.cat([getattr(one, f.name) for one in every]) for f in dataclasses.fields(self)))


def solve(
    jacobian: Jacobian, system: Tensor, residual: Tensor, gradient: Tensor, damping: Tensor, *, by_samples: bool
) -> tuple[Float[Tensor, "network param"], Bool[Tensor, " network"]]:
    """(the damped step of each network, whether its system could be solved).

    Args:
        system: J J' where `by_samples`, else J' J.
        gradient: J' r.
        damping: mu.
    """
    damped = system.clone()
    damped.diagonal(dim1=1, dim2=2).add_(damping.unsqueeze(1))
    factor, failed = torch.linalg.cholesky_ex(damped)
    right = (residual if by_samples else gradient).neg().unsqueeze(2)
    solution = torch.cholesky_solve(right, factor)[:, :, 0]
    return (jacobian.transposed_times(solution) if by_samples else solution), failed == 0


def iterate(networks: Networks, shape: Shape) -> None:
    """One iteration of each network: a step is taken only if it lowers the loss.

    A network that finds none is `still`, if its slopes were exact.
    """
    residual = residuals(networks.outputs, networks.targets, shape)
    weighs = weights(networks.outputs, networks.targets, shape)
    jacobian = Jacobian(networks.flat, networks.inputs, weighs, networks.smoothing, shape)
    by_samples = shape.n_residuals <= shape.n_trained
    if by_samples:
        system, gradient = jacobian.gram(), jacobian.transposed_times(residual)
    else:
        full = jacobian.full()
        system, gradient = full.mT @ full, (full.mT @ residual.unsqueeze(2))[:, :, 0]
    largest = jacobian.squares().amax(1)
    before = torch.where(networks.damping.isnan(), START * largest, networks.damping).maximum(LEAST * largest)
    damping, strain = before.clone(), FIRST_STRAIN
    lowered = total(networks.outputs, networks.targets, shape)
    first = networks.flat.shape[1] - shape.n_trained
    going = torch.arange(len(damping), device=damping.device)
    stuck, tries_few = torch.ones_like(networks.stuck), (networks.stuck > 0) & (networks.smoothing > 0)
    for attempt in range(MOST_TRIES):
        if attempt == FEW_TRIES:
            going = going[~tries_few[going]]
        if not len(going):
            break
        everyone = len(going) == len(damping)
        own, matrix = (jacobian, system) if everyone else (jacobian.of(going), system[going])
        step, solved = solve(own, matrix, residual[going], gradient[going], damping[going], by_samples=by_samples)
        trial = networks.flat[going]
        trial[:, first:] += step
        said = outputs(trial, networks.inputs[going], shape)
        after = total(said, networks.targets[going], shape)
        # Neither is true of NaN.
        better = solved & (after < lowered[going])
        promised = (step * (damping[going].unsqueeze(1) * step - gradient[going])).sum(1)
        gain = (lowered[going] - after) / promised
        relief = (1 - (2 * gain - 1) ** 3).clamp(min=MOST_RELIEF)
        damping[going] *= torch.where(better, relief, strain)
        strain *= 2
        taken = going[better]
        networks.flat[taken], networks.outputs[taken] = trial[better], said[better]
        stuck[taken] = 0
        going = going[~better]
    networks.damping = torch.where(stuck > 0, before, damping)
    networks.still |= (stuck > 0) & (networks.smoothing == 0)
    networks.stuck = stuck
    narrower = NARROWING * networks.smoothing
    networks.smoothing = torch.where(narrower < NARROWEST, 0, narrower)
