"""A cell -> the variants to train beside it, to find out what held it back."""

from __future__ import annotations

import dataclasses
import math

from bench.cells import DEFAULTS, SEEDS, STRENGTHS, Cell
from bench.networks import functional_dim

# Around the asked learning rate, the likely remedies first. A rate that is wrong by more than ten is rare among optimizers that
# scale their steps.
RATE_FACTORS = (0.1, 0.3, 3.0, 10.0)

# The rates that combinations try.
COMBINED_FACTORS = (1.0, 0.1, 3.0)

MORE_EPOCHS = 4
# No verdict on less than this many optimizer steps.
LEAST_STEPS = 2000

WIDER = 2

# Fewer samples in steps of four, at least three of them, and on until the network has twice the dimensions it needs. They
# train for as many presentations of samples as the asked cell, and at most MORE_EPOCHS times its epochs.
FEWER, LEAST_FEWER = 4, 3
# One sample is memorized by the output bias alone.
LEAST_SAMPLES = 2

# Initialisations (init, init_scale) that pass signals on about as strong as they came, the first the one to change to. Half
# of a centred signal passes relu, which a variance of 2 / fan_in makes up for (He et al. 2015, arXiv 1502.01852).
_FOR_RELU = (("he_normal", 1.0), ("orthogonal", math.sqrt(2)), ("he_uniform", 1.0))
_FOR_TANH = (("xavier_uniform", 1.0), ("orthogonal", 1.0))
# The slope of the sigmoid at 0 is 1/4, which a gain of 4 makes up for.
_FOR_SIGMOID = (("xavier_uniform", 4.0), ("orthogonal", 4.0))
SOUND = dict.fromkeys(("relu", "leaky_relu", "gelu", "silu"), _FOR_RELU) | {"tanh": _FOR_TANH, "sigmoid": _FOR_SIGMOID}


def ladder(asked: Cell) -> list[Cell]:
    """The asked cell and its variants, without duplicates, the asked one first.

    One change at a time: the initialisation, the learning rate, no regularization, the full batch, float64, more epochs, a
    wider, deeper or shallower network, all weights trained, fewer samples. Then the cell with what costs nothing repaired (a
    sound initialisation, no regularization), under each rate, and with more epochs, twice the width, and fewer samples.
    """
    sound = SOUND[asked.activation]
    first, second = (_replace(asked, init=init, init_scale=scale) for init, scale in sound[:2])
    is_sound = (asked.init, asked.init_scale) in sound
    repaired = _unregularized(asked if is_sound else first)
    variants = [asked, second if asked == first else first, *_rates(asked, RATE_FACTORS), _unregularized(asked)]
    variants += [_full_batch(asked), _replace(asked, dtype="float64"), _longer(asked)]
    variants += [_wider(asked), *_other_depths(asked), _replace(asked, trainable="all"), *_fewer(asked)]
    variants += [repaired, *_rates(repaired, RATE_FACTORS)]
    for change in (lambda cell: [_longer(cell)], lambda cell: [_wider(cell)], _fewer):
        variants += [cell for rate in _rates(repaired, COMBINED_FACTORS) for cell in change(rate)]
    return list(dict.fromkeys(variants))


def with_seeds(cells: list[Cell], seeds: list[int]) -> list[Cell]:
    """Every cell once for each seed, of its data and of its initial weights, the seeds fastest."""
    return [_replace(cell, **dict.fromkeys(SEEDS, seed)) for cell in cells for seed in seeds]


def _rates(cell: Cell, factors: tuple[float, ...]) -> list[Cell]:
    # 0.1 * 0.003 is 0.0003 to whoever reads the table.
    return [_replace(cell, learning_rate=float(f"{factor * cell.learning_rate:.12g}")) for factor in factors]


def _unregularized(cell: Cell) -> Cell:
    return _replace(cell, regularization="none", **{name: DEFAULTS[name] for name in STRENGTHS})


def _full_batch(cell: Cell) -> Cell:
    return _replace(cell, batch_size=None, shuffle=False) if cell.steps_per_epoch > 1 else cell


def _longer(cell: Cell) -> Cell:
    return _replace(cell, max_epochs=max(MORE_EPOCHS * cell.max_epochs, math.ceil(LEAST_STEPS / cell.steps_per_epoch)))


def _wider(cell: Cell) -> Cell:
    return _replace(cell, width=WIDER * cell.width) if cell.depth else cell


def _other_depths(cell: Cell) -> list[Cell]:
    deeper = _replace(cell, depth=max(1, 2 * cell.depth))
    return [deeper, _replace(cell, depth=cell.depth // 2)] if cell.depth > 1 else [deeper]


def _fewer(cell: Cell) -> list[Cell]:
    steps = max(LEAST_FEWER, math.ceil(math.log(2 * cell.n_samples / functional_dim(cell), FEWER)))
    sizes = [cell.n_samples // FEWER**k for k in range(1, steps + 1)]
    return [_shrunk(cell, size) for size in sizes if size >= LEAST_SAMPLES]


def _shrunk(cell: Cell, n_samples: int) -> Cell:
    """Fewer samples, in as many steps an epoch, presented as often in all."""
    longer = min(MORE_EPOCHS, cell.n_samples // n_samples)
    batch = cell.batch_size and max(1, cell.batch_size * n_samples // cell.n_samples)
    return _replace(cell, n_samples=n_samples, batch_size=batch, max_epochs=longer * cell.max_epochs)


def _replace(cell: Cell, **changes) -> Cell:
    return dataclasses.replace(cell, **changes)
