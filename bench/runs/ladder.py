"""A cell -> the variants to train beside it, to find out what held it back."""

from __future__ import annotations

import math
from dataclasses import replace

from bench.protocol.cells import DEFAULT_RATES, DEFAULTS, STRENGTHS, Cell, Dtype
from bench.protocol.networks import functional_dim
from bench.statistics.evidence import LEVER_FIELDS, Lever

# Around the asked learning rate. Where it is wrong by more than ten, the default rate of the optimizer is tried too.
RATE_FACTORS = (0.1, 0.3, 3.0, 10.0)

# The rates under which more epochs, more width and fewer samples are tried: further apart, since each costs a training.
COMBINED_FACTORS = (0.1, 1.0, 10.0)

# From the least precise on.
PRECISIONS: tuple[Dtype, ...] = ("tf32", "float32", "float64")

# Enough to see whether what is left still falls (`bench.statistics.verdict.STILL_FALLING`); not more, since no change costs
# more.
MORE_EPOCHS = 4
# No verdict on less than this many optimizer steps.
LEAST_STEPS = 2000

WIDER = 2

# Fewer samples in steps of four, at least three of them, and on until the network has twice the dimensions it needs. They
# train for as many presentations of samples as the asked cell, and at most MORE_EPOCHS times its epochs.
FEWER, LEAST_FEWER = 4, 3
# One sample is memorized by the output bias alone.
LEAST_SAMPLES = 2

# Initialisations (init, init_scale) whose signal still tells inputs apart in the eighth layer of width 64, by at least a tenth
# of the variance in the first (measured by `bench.protocol.signal`; a test repeats it). The first is the one to change to.
SOUND = {
    "relu": (("he_normal", 1.0), ("orthogonal", math.sqrt(2)), ("he_uniform", 1.0)),
    "gelu": (("he_normal", 1.0), ("he_uniform", 1.0)),
    "silu": (("he_normal", 1.1), ("he_uniform", 1.1)),
    "tanh": (("xavier_uniform", 1.0), ("orthogonal", 1.0)),
}
SOUND["leaky_relu"] = SOUND["relu"]
# No initialisation keeps signals through eight layers of sigmoids, whose mean is not 0. The slope at 0 is 1/4: a gain of 4
# loses least, a thousand times less than He's.
SOUND["sigmoid"] = (("xavier_uniform", 4.0), ("orthogonal", 4.0))

# Scales as near as this are the same: whoever asks for the root of two writes 1.41421.
SAME_SCALE = 1e-3


def ladder(asked: Cell) -> list[Cell]:
    """The asked cell and its variants, without duplicates, the asked one first.

    One change at a time: the initialisation, the learning rate, plain Adam, no regularization, the full batch, more precision,
    more epochs, a wider, deeper or shallower network, all weights trained, fewer samples. Then what costs nothing together: a
    sound initialisation, no regularization, and both, under each rate; and with both, more epochs, twice the width, fewer
    samples.
    """
    first, second = (replace(asked, init=init, init_scale=scale) for init, scale in SOUND[asked.activation][:2])
    sound = asked if _is_sound(asked) else first
    plain, repaired = _unregularized(asked), _unregularized(sound)
    other = second if _is_init(asked, first.init, first.init_scale) else first
    variants = [asked, other, *_rates(asked, RATE_FACTORS), _plain_adam(asked), plain, _full_batch(asked)]
    variants += _preciser(asked)
    variants += [_longer(asked), _wider(asked), *_other_depths(asked), replace(asked, trainable="all"), *_fewer(asked)]
    for free in (sound, plain, repaired):
        variants += [free, *_rates(free, RATE_FACTORS), _plain_adam(free)]
    for change in (lambda cell: [_longer(cell)], lambda cell: [_wider(cell)], _fewer):
        variants += [cell for rate in _rates(repaired, COMBINED_FACTORS) for cell in change(rate)]
    return list(dict.fromkeys(variants))


def _is_init(cell: Cell, init: str, scale: float) -> bool:
    return cell.init == init and math.isclose(cell.init_scale, scale, rel_tol=SAME_SCALE)


def _is_sound(cell: Cell) -> bool:
    return any(_is_init(cell, init, scale) for init, scale in SOUND[cell.activation])


def _rates(cell: Cell, factors: tuple[float, ...]) -> list[Cell]:
    # 0.1 * 0.003 is 0.0003 to whoever reads the table.
    rates = [float(f"{factor * cell.learning_rate:.12g}") for factor in factors]
    rates += [DEFAULT_RATES[cell.optimizer]] if not _is_near_default(cell) else []
    return [replace(cell, learning_rate=rate) for rate in rates if 0 < rate < math.inf]


def _is_near_default(cell: Cell) -> bool:
    """Whether the factors around the rate of a cell reach the default of its optimizer anyway."""
    return RATE_FACTORS[0] <= DEFAULT_RATES[cell.optimizer] / cell.learning_rate <= RATE_FACTORS[-1]


def _plain_adam(cell: Cell) -> Cell:
    """The cell under Adam as it comes."""
    return replace(
        cell, learning_rate=DEFAULT_RATES["adam"], **{name: DEFAULTS[name] for name in LEVER_FIELDS[Lever.OPTIMIZER]}
    )


def _unregularized(cell: Cell) -> Cell:
    return replace(cell, regularization="none", **{name: DEFAULTS[name] for name in STRENGTHS})


def _full_batch(cell: Cell) -> Cell:
    return replace(cell, batch_size=None, shuffle=False) if cell.steps_per_epoch > 1 else cell


def _preciser(cell: Cell) -> list[Cell]:
    return [replace(cell, dtype=dtype) for dtype in PRECISIONS[PRECISIONS.index(cell.dtype) + 1 :]]


def _longer(cell: Cell) -> Cell:
    return replace(cell, max_epochs=max(MORE_EPOCHS * cell.max_epochs, math.ceil(LEAST_STEPS / cell.steps_per_epoch)))


def _wider(cell: Cell) -> Cell:
    return replace(cell, width=WIDER * cell.width) if cell.depth else cell


def _other_depths(cell: Cell) -> list[Cell]:
    deeper = replace(cell, depth=max(1, 2 * cell.depth))
    return [deeper, replace(cell, depth=cell.depth // 2)] if cell.depth > 1 else [deeper]


def _fewer(cell: Cell) -> list[Cell]:
    steps = max(LEAST_FEWER, math.ceil(math.log(2 * cell.n_samples / functional_dim(cell), FEWER)))
    sizes = [cell.n_samples // FEWER**k for k in range(1, steps + 1)]
    return [_shrunk(cell, size) for size in sizes if size >= LEAST_SAMPLES]


def _shrunk(cell: Cell, n_samples: int) -> Cell:
    """Fewer samples, in about as many steps an epoch (batches are whole), presented as often in all."""
    longer = min(MORE_EPOCHS, cell.n_samples // n_samples)
    batch = cell.batch_size and max(1, cell.batch_size * n_samples // cell.n_samples)
    return replace(cell, n_samples=n_samples, batch_size=batch, max_epochs=longer * cell.max_epochs)
