"""A cell -> the variants to train beside it, in stages, to find out what held it back."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from bench.protocol.cells import DEFAULTS, MOST_ITERATIONS, NO_TAU, ORTHOGONAL, SECOND_ORDER, STRENGTHS, Cell, Dtype
from bench.protocol.networks import samples_at_ceiling, width_for
from bench.statistics.evidence import LEVER_FIELDS, MOST_EQUATIONS, Lever, batch_in_proportion, equations, pulled_by
from bench.statistics.settings import OF_TRAINING

# A rate at which each optimizer usually trains such networks. By muon all 20 of depths 2 and 3, width 16, on 64 and 96 samples
# memorize in 3000 epochs at any of 0.001, 0.003, 0.01 and 0.03.
USUAL_RATES = {"sgd": 0.01, "adam": 0.003, "adamw": 0.003, "muon": 0.003}

# Around the asked learning rate. Where it is wrong by more than ten, the usual rate of the optimizer is tried too.
RATE_FACTORS = (0.1, 0.3, 3.0, 10.0)

# Of Adam, whatever the asked optimizer.
ADAM_RATES = (USUAL_RATES["adam"], 0.001, 0.01)

MOMENTUM = 0.9
# Samples of a step.
SMALL_BATCHES = (32, 8)

# From the least precise on.
PRECISIONS: tuple[Dtype, ...] = ("tf32", "float32", "float64")

# Enough to see whether what is left still falls (`bench.statistics.evidence.HALVED`); and once more where it does.
MORE_EPOCHS = 4
# No verdict on less than this many optimizer steps.
LEAST_STEPS = 2000

# Networks wider by these factors, and of one layer, wider by the last.
WIDER = (2, 4)

# Fewer samples in steps of four, at least three of them, and on until the network has twice the dimensions it needs. They
# train for as many presentations of samples as the asked cell, and at most MORE_EPOCHS times its epochs.
FEWER, LEAST_FEWER = 4, 3
# One sample is memorized by the output bias alone.
LEAST_SAMPLES = 2

# A task of so many times the inputs.
MORE_INPUTS = 4

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


def singles(asked: Cell) -> list[Cell]:
    """One lever at a time, at several strengths: initialisation, rate, optimizer, momentum, batch, regularization, precision
    and epochs.
    """
    return _unique(asked, [*_tuned(asked), *_longer(asked)])


def pairs(asked: Cell) -> list[Cell]:
    """Two levers at a time, all others as asked; then, where neither is sound as asked, initialisation and regularization
    together, and these with a third.
    """
    sound, plain, longer = _sound(asked), _unregularized(asked), _longer(asked)
    made = [change for first in _different(asked, [sound, plain]) for change in _tuned(first)]
    made += [change for cell in longer for change in (*_rates(cell, LONGER_FACTORS), *_adams(cell), *_momentum(cell))]
    made += [change for cell in longer for change in (*_batches(cell), _sound(cell), _unregularized(cell))]
    made += [change for cell in (*_momentum(asked), *_batches(asked)) for change in _rates(cell, PAIRED_FACTORS)]
    repaired = _unregularized(sound)
    if len(_different(asked, [sound, plain])) == 2:
        made += [repaired, *_rates(repaired, RATE_FACTORS), *_adams(repaired)]
    if repaired != asked:
        made += [change for cell in _longer(repaired) for change in (cell, *_rates(cell, PAIRED_FACTORS), *_adams(cell))]
    return _unique(asked, made)


def solved(asked: Cell) -> list[Cell]:
    """The network by optimizer=lm, which tells what its training leaves behind: on all its samples, without regularization.

    None where its linear system is large (`bench.statistics.evidence.MOST_EQUATIONS`), or where there is no exact fit to find.
    """
    beyond = asked.target not in ("rademacher", "labels") and asked.n_samples * (1 - asked.tau) > samples_at_ceiling(asked)
    if asked.optimizer == SECOND_ORDER or beyond or equations(asked) > MOST_EQUATIONS:
        return []
    plain = {name: DEFAULTS[name] for name in OF_TRAINING}
    of_lm = {"optimizer": SECOND_ORDER, "dtype": "float64", "max_epochs": MOST_ITERATIONS}
    return [replace(_unregularized(asked), **plain | of_lm)]


def longest(asked: Cell, closest: Cell) -> list[Cell]:
    """More epochs still, of the network as asked and of the change that left the least."""
    return _unique(asked, [longer for cell in (*_longer(asked), closest) for longer in _longer(cell)])


def other_networks(asked: Cell, closest: Cell) -> list[Cell]:
    """Other networks, other sample counts and another task: as asked, and with the tuning that left the least."""
    made = []
    for cell in dict.fromkeys((asked, closest)):
        made += [*_wider(cell), *_other_depths(cell), replace(cell, trainable="all"), *_other_activations(cell), *_fewer(cell)]
        made.append(replace(cell, d_in=MORE_INPUTS * cell.d_in))
    return _unique(asked, made)


def past_tau(asked: Cell) -> Cell:
    """The cell, trained on past its threshold to the end of its budget."""
    return replace(asked, tau=NO_TAU)


def calmer(asked: Cell) -> list[Cell]:
    """What may keep what was memorized: the cell past its threshold, with a rate that falls to 0, and with lower ones."""
    past = past_tau(asked)
    return _unique(past, [replace(past, lr_schedule="cosine"), *_rates(past, CALMER_FACTORS)])


# The factors under which more epochs, and momentum or batches, are tried.
LONGER_FACTORS, PAIRED_FACTORS, CALMER_FACTORS = (0.1, 0.3, 3.0, 10.0, 30.0), (0.1, 0.3, 3.0), (0.1, 0.3)


def without(lever: Lever, cell: Cell, asked: Cell) -> Cell:
    """The cell with this lever as asked: what takes the lever away from a remedy.

    A batch and epochs in proportion go with the samples, and a rate with the optimizer that it is a rate of.
    """
    fields = list(LEVER_FIELDS[lever])
    pulled = pulled_by(cell, asked)
    if lever == Lever.SAMPLES:
        fields += ["batch_size"] * (Lever.BATCH_SIZE not in pulled) + ["max_epochs"] * (Lever.BUDGET not in pulled)
    if lever == Lever.OPTIMIZER and cell.optimizer != asked.optimizer:
        fields.append("learning_rate")
    restored = replace(cell, **{name: getattr(asked, name) for name in fields})
    if lever == Lever.REGULARIZATION:
        restored = replace(restored, regularization=asked.regularization)
    return restored


def _unique(asked: Cell, cells: Iterable[Cell]) -> list[Cell]:
    return [cell for cell in dict.fromkeys(cells) if cell != asked]


def _different(asked: Cell, cells: Iterable[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell != asked]


def _tuned(cell: Cell) -> list[Cell]:
    """The cell, and with one lever of its training at a time, but for the epochs."""
    made = [cell, *_inits(cell), *_rates(cell, RATE_FACTORS), *_schedule(cell), *_adams(cell), *_momentum(cell)]
    return [*made, *_batches(cell), *_regularizations(cell), *_preciser(cell)]


def _inits(cell: Cell) -> list[Cell]:
    others = [own for own in SOUND[cell.activation][:2] if not _is_init(cell, *own)]
    return [replace(cell, init=init, init_scale=scale) for init, scale in (others if not _is_sound(cell) else others[:1])]


def _sound(cell: Cell) -> Cell:
    init, scale = SOUND[cell.activation][0]
    return cell if _is_sound(cell) else replace(cell, init=init, init_scale=scale)


def _is_init(cell: Cell, init: str, scale: float) -> bool:
    return cell.init == init and math.isclose(cell.init_scale, scale, rel_tol=SAME_SCALE)


def _is_sound(cell: Cell) -> bool:
    return any(_is_init(cell, init, scale) for init, scale in SOUND[cell.activation])


def _rates(cell: Cell, factors: tuple[float, ...]) -> list[Cell]:
    # 0.1 * 0.003 is 0.0003 to whoever reads the table.
    rates = [float(f"{factor * cell.learning_rate:.12g}") for factor in factors]
    rates += [] if _is_near_usual(cell) else [USUAL_RATES[cell.optimizer]]
    return [replace(cell, learning_rate=rate) for rate in rates if 0 < rate < math.inf]


def _is_near_usual(cell: Cell) -> bool:
    """Whether the factors around the rate of a cell reach the usual one of its optimizer anyway."""
    return RATE_FACTORS[0] <= USUAL_RATES[cell.optimizer] / cell.learning_rate <= RATE_FACTORS[-1]


def _schedule(cell: Cell) -> list[Cell]:
    return [replace(cell, lr_schedule="constant")] if cell.lr_schedule != "constant" else []


def _adams(cell: Cell) -> list[Cell]:
    """The cell under Adam as it comes, at each of its rates."""
    plain = replace(cell, **{name: DEFAULTS[name] for name in LEVER_FIELDS[Lever.OPTIMIZER]})
    # Of Adam with settings of its own, the rates are tried anyway.
    rates = ADAM_RATES if cell.optimizer == "sgd" else ADAM_RATES[:1]
    return [*([] if cell.optimizer == "sgd" else [plain]), *(replace(plain, learning_rate=rate) for rate in rates)]


def _momentum(cell: Cell) -> list[Cell]:
    return [replace(cell, momentum=MOMENTUM)] if cell.optimizer == "sgd" and cell.momentum < MOMENTUM else []


def _unregularized(cell: Cell) -> Cell:
    return replace(cell, regularization="none", **{name: DEFAULTS[name] for name in STRENGTHS})


def _regularizations(cell: Cell) -> list[Cell]:
    """Without any, and where several act without each alone."""
    acting = [name for name in STRENGTHS if getattr(cell, name) != DEFAULTS[name]]
    labelled = [(name, "+".join(other for other in acting if other != name)) for name in acting] if len(acting) > 1 else []
    return [_unregularized(cell), *(replace(cell, regularization=left, **{name: DEFAULTS[name]}) for name, left in labelled)]


def _batches(cell: Cell) -> list[Cell]:
    """Smaller batches in a new order each epoch, the same batches so, and all samples at once."""
    now = cell.n_samples if cell.batch_size is None else min(cell.batch_size, cell.n_samples)
    made = [replace(cell, batch_size=size, shuffle=True) for size in SMALL_BATCHES if 2 * size <= now]
    if cell.steps_per_epoch > 1:
        made += [replace(cell, shuffle=True), replace(cell, batch_size=None, shuffle=False)]
    return made


def _preciser(cell: Cell) -> list[Cell]:
    return [replace(cell, dtype=dtype) for dtype in PRECISIONS[PRECISIONS.index(cell.dtype) + 1 :]]


def _longer(cell: Cell) -> list[Cell]:
    return [replace(cell, max_epochs=max(MORE_EPOCHS * cell.max_epochs, math.ceil(LEAST_STEPS / cell.steps_per_epoch)))]


def _wider(cell: Cell) -> list[Cell]:
    """Wider by factors; and where the samples are beyond half of the dimensions, as wide as it takes for twice the samples."""
    enough = width_for(cell, 2.0 * cell.n_samples) if 2 * cell.n_samples > samples_at_ceiling(cell) else None
    widths = [factor * cell.width for factor in WIDER] if cell.depth else []
    return [replace(cell, width=width) for width in dict.fromkeys([*widths, *([enough] if enough else [])])]


def _other_depths(cell: Cell) -> list[Cell]:
    """Deeper; half as deep, and one layer that is wider."""
    deeper = replace(cell, depth=max(1, 2 * cell.depth))
    shallower = [replace(cell, depth=cell.depth // 2), replace(cell, depth=1, width=WIDER[-1] * cell.width)]
    made = [deeper, *(shallower if cell.depth > 1 else [])]
    # One hidden layer has no matrix that optimizer=muon is for.
    return [other for other in made if other.optimizer != ORTHOGONAL or other.depth > 1]


def _other_activations(cell: Cell) -> list[Cell]:
    """ReLU for what saturates, with an initialisation that suits it."""
    if cell.activation not in ("sigmoid", "tanh") or not cell.depth:
        return []
    return [replace(cell, activation="relu"), _sound(replace(cell, activation="relu"))]


def _fewer(cell: Cell) -> list[Cell]:
    steps = max(LEAST_FEWER, math.ceil(math.log(2 * cell.n_samples / samples_at_ceiling(cell), FEWER)))
    sizes = [cell.n_samples // FEWER**k for k in range(1, steps + 1)]
    return [_shrunk(cell, size) for size in sizes if size >= LEAST_SAMPLES]


def _shrunk(cell: Cell, n_samples: int) -> Cell:
    """Fewer samples, in about as many steps an epoch (batches are whole), presented as often in all."""
    longer = min(MORE_EPOCHS, cell.n_samples // n_samples)
    batch = batch_in_proportion(cell, n_samples)
    return replace(cell, n_samples=n_samples, batch_size=batch, max_epochs=longer * cell.max_epochs)
