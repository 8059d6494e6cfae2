"""The colours of maps, and which text can be read on them. No plotting library is imported: the page needs none."""

from __future__ import annotations

import math
from collections.abc import Sequence

# matplotlib's viridis in 32 steps from its light end: perceptually uniform, monotone in luminance, told apart by all readers.
EPOCHS = (
    *("#fde725", "#eae51a", "#d5e21a", "#c0df25", "#a8db34", "#93d741", "#7fd34e", "#6ccd5a"),
    *("#58c765", "#48c16e", "#3aba76", "#2eb37c", "#25ab82", "#20a386", "#1e9c89", "#1f948c"),
    *("#228c8d", "#25848e", "#287d8e", "#2b758e", "#2e6d8e", "#32658e", "#365d8d", "#3a548c"),
    *("#3e4a89", "#424186", "#453882", "#472e7c", "#482374", "#48186a", "#470d60", "#440154"),
)

# Times the baseline's epochs, and from which on each colour stands: ColorBrewer's PuOr, for colour-blind readers too.
DELAYS = ("#2d004b", "#8073ac", "#d8daeb", "#f7f7f7", "#fee0b6", "#fdb863", "#e08214", "#7f3b08")
DELAY_STEPS = (1 / 4, 1 / 1.5, 1 / 1.1, 1.1, 1.5, 4, 16)

DARK, LIGHT = "#000000", "#ffffff"


def epoch_step(epoch: float, ends: tuple[float, float]) -> int:
    """Which of EPOCHS an epoch has, on a log scale between two.

    >>> epoch_step(1, (1, 100)), epoch_step(10, (1, 100)), epoch_step(1000, (1, 100))
    (0, 16, 31)
    """
    low, high = ends
    share = math.log(max(epoch, low) / low) / math.log(high / low)
    return min(int(share * len(EPOCHS)), len(EPOCHS) - 1)


def delay_step(delay: float) -> int:
    """Which of DELAYS a number of times the epochs has.

    >>> [delay_step(delay) for delay in (0.1, 1, 1.2, 100)]
    [0, 3, 4, 7]
    """
    return sum(delay >= step for step in DELAY_STEPS)


def text_on(face: str) -> str:
    """Black or white, whichever is the easier to read on a colour."""
    return max((DARK, LIGHT), key=lambda text: contrast(text, face))


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, 1 to 21 (WCAG 2.2, success criterion 1.4.3).

    >>> round(contrast("#000000", "#ffffff"))
    21
    """
    low, high = sorted(luminance(_channels(colour)) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def luminance(channels: Sequence[float]) -> float:
    """Relative luminance of sRGB channels of 0 to 1: 0 black, 1 white (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _channels(colour: str) -> list[float]:
    return [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
