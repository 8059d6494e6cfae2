"""What theory says of the sample counts that a network can fit: lines over a capacity map, each with its source.

Apart: what is known to exist, what is impossible for generic data, and what a number of bits would give. What training
reaches is measured. Constructions with fewer parameters than samples need weights of a precision that no training run has, and
are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import pandas as pd

from bench.protocol.cells import Cell
from bench.protocol.networks import HOMOGENEOUS, n_out, n_params, samples_at_ceiling

# The fields of a cell that lines depend on.
NETWORK = ["target", "n_classes", "n_outputs", "d_in", "depth", "width", "activation", "trainable", "loss"]

Kind = Literal["always fits", "exists", "exists for binary labels", "ceiling", "worst case", "reference", "information"]

# Bits for each parameter that were reported, and by whom.
BITS_PER_PARAM = {
    2.0: "Allen-Zhu and Li, ICLR 2025: language models, knowledge",
    3.6: "Morris et al. 2025, arXiv 2505.24832: language models",
    5.0: "Collins, Sohl-Dickstein and Sussillo, ICLR 2017, arXiv 1611.09913: recurrent networks",
}

GRIGSBY = "Grigsby, Lindsey, Meyerhoff and Wu 2022, arXiv 2209.04036"
SMOOTH = "Sard 1942: a smooth map of as many parameters reaches almost none of the targets of more samples"
BAUM = "Baum 1988, as Bubeck et al. 2020 state it: ceil(N / d_in) threshold units, binary labels, general position"
BUBECK = "Bubeck, Eldan, Lee and Mikulincer, NeurIPS 2020: relu, real labels"
MADDEN = "Madden and Thrampoulidis 2023, arXiv 2308.02001: one hidden layer, smooth activations, general data"
COVER = "Cover 1965: half of all labellings of so many points in general position are linearly separable"
BELKIN = "Belkin, Hsu, Ma and Mandal, PNAS 2019: as many samples times classes as parameters"
YUN = "Yun, Sra and Jadbabaie, NeurIPS 2019: two hidden layers"


# What the functional dimension of networks is called that have no formula in common.
ANY_DIMENSION = "functional dimension"


class Line(NamedTuple):
    """A sample count that theory names for a network: up to it a fit exists, beyond it none does, or neither (`kind`).

    `tau` is that of a line that depends on it, NaN of others.
    """

    line: str
    kind: Kind
    n_samples: float
    source: str
    tau: float = math.nan


def lines(cell: Cell, taus: Iterable[float]) -> list[Line]:
    """The lines that apply to the network of a cell, for thresholds `taus`; a trained readout has those of linear models alone.

    Args:
        cell: its fields of NETWORK count.
        taus: fractions of variance left unexplained, each in (0, 1), at which to draw the information lines.

    >>> [(line.line, line.n_samples) for line in lines(Cell(d_in=8, depth=1, width=16), [])][:3]
    [('linear floor', 9), ('functional dimension', 145.0), ('parameters', 161.0)]
    """
    if cell.has_labels:
        return _of_labels(cell)
    d, h, parameters = cell.d_in, cell.width, n_params(cell)
    if cell.depth == 0:
        return [
            Line(
                "linear floor",
                "ceiling" if cell.loss == "mse" else "reference",
                d + 1,
                "linear algebra: as many generic samples as parameters",
            )
        ]
    if cell.trainable == "readout":
        return [
            Line(
                "readout threshold",
                "ceiling" if cell.loss == "mse" else "reference",
                h + 1,
                "linear algebra: as many generic samples as parameters",
            )
        ]
    found = [
        Line("linear floor", "always fits", d + 1, "linear algebra: as many generic samples as inputs and a bias"),
        # A bound on equalities with generic targets; under the hinge, which asks for inequalities, no bound at all.
        Line(
            "functional dimension",
            "ceiling" if cell.loss == "mse" else "reference",
            samples_at_ceiling(cell),
            GRIGSBY if cell.activation in HOMOGENEOUS else SMOOTH,
        ),
        Line("parameters", "reference", parameters / cell.n_outputs, "one equation for each parameter"),
    ]
    # Theirs are for one output.
    if cell.n_outputs == 1:
        found += _constructions(cell)
    # Of other targets than Gaussian ones a sample has other bits.
    for tau in taus if cell.target == "normal" else ():
        bits_per_sample = cell.n_outputs * math.log2(1 / tau) / 2
        for bits, source in BITS_PER_PARAM.items():
            name = f"{bits:g} bits for each parameter"
            found.append(Line(name, "information", bits * parameters / bits_per_sample, source, tau))
    return found


def _of_labels(cell: Cell) -> list[Line]:
    """Of random labels: what a linear network separates, and what a number of bits or of constraints would give."""
    classes, parameters = n_out(cell), n_params(cell)
    found = []
    if cell.depth == 0 and classes == 2:
        found.append(Line("Cover", "reference", 2 * (cell.d_in + 1), COVER))
    found.append(Line("constraints", "reference", parameters / classes, BELKIN))
    for bits, source in BITS_PER_PARAM.items():
        found.append(Line(f"{bits:g} bits for each parameter", "information", bits * parameters / math.log2(classes), source))
    return found


def _constructions(cell: Cell) -> list[Line]:
    """What is known to exist, and the worst case, of networks of one output."""
    d, h = cell.d_in, cell.width
    found = []
    if cell.depth == 1:
        found.append(Line("Baum", "exists for binary labels", d * h, BAUM))
        if cell.activation == "relu":
            found.append(Line("Bubeck et al.", "exists", d * (h // 4), BUBECK))
        # Their theorem asks a high degree of an activation that is a polynomial somewhere, which leaves out relu; and it counts
        # pairs of units.
        if cell.activation not in HOMOGENEOUS:
            found.append(Line("Madden and Thrampoulidis, lower", "exists", d * (h // 2), MADDEN))
            found.append(Line("Madden and Thrampoulidis, upper", "worst case", h * (d + 2), MADDEN))
    if cell.depth == 2 and cell.activation == "relu":
        found.append(Line("Yun et al., lower", "exists", h * h // 4, YUN))
        found.append(Line("Yun et al., upper", "worst case", 2 * h * h + h + 2, YUN))
    return found


def table(groups: pd.DataFrame) -> pd.DataFrame:
    """A row for each network of the groups and each line that applies to it at their thresholds.

    Args:
        groups: a table with the fields of NETWORK and `tau`.

    Returns:
        The columns of `theory` (`bench.protocol.columns`).
    """
    rows = []
    for key, own in groups.groupby(NETWORK, sort=False, dropna=False):
        fields = {
            name: None if pd.isna(value) else value for name, value in zip(NETWORK, cast("tuple[Any, ...]", key), strict=True)
        }
        network = Cell(**cast("dict[str, Any]", fields))
        taus = [float(tau) for tau in np.unique(own["tau"])]
        rows += [{name: getattr(network, name) for name in NETWORK} | line._asdict() for line in lines(network, taus)]
    return pd.DataFrame(rows, columns=[*NETWORK, *Line._fields])


def dimension_name(table: pd.DataFrame) -> str:
    """What the functional dimension of these networks is called, over targets of a sample: a formula where one holds for all.

    >>> dimension_name(pd.DataFrame({"trainable": ["all"], "depth": [2], "activation": ["relu"]}))
    'P - depth*width'
    """
    several = "n_outputs" in table and bool((table["n_outputs"] > 1).any())
    trained = table[(table["trainable"] == "all") | (table["depth"] == 0)]
    # A sample of several targets has as many equations; of a readout, as many more parameters.
    if trained.empty:
        return "width + 1"
    homogeneous = trained["activation"].isin(HOMOGENEOUS) | (trained["depth"] == 0)
    if len(trained) < len(table) or not (homogeneous.all() or (~homogeneous).all()):
        return f"{ANY_DIMENSION} / n_outputs" if several else ANY_DIMENSION
    if homogeneous.all():
        return "(P - depth*width) / n_outputs" if several else "P - depth*width"
    return "P / n_outputs" if several else "P"


def in_words(groups: pd.DataFrame) -> str:
    """What the line at the functional dimension bounds, and how many samples a fit to the loosest threshold is worth.

    Args:
        groups: a table with the fields of NETWORK and `tau`.

    >>> groups = pd.DataFrame({"trainable": ["all"], "depth": [1], "activation": ["tanh"], "loss": ["mse"], "tau": [0.1]})
    >>> in_words(groups.assign(target="rademacher"))[:69]
    'The red line, N = P, bounds exact fits of generic targets. A fit to t'
    """
    name, tau = dimension_name(groups), float(groups["tau"].max())
    which = " (P - depth*width for relu and leaky_relu, P for smooth activations)" if name.startswith(ANY_DIMENSION) else ""
    if (groups["loss"] == "cross_entropy").any():
        return f"The red line, N = {name}{which}, bounds no recall of labels, each of which asks for inequalities alone."
    if (groups["loss"] != "mse").any():
        return f"The red line, N = {name}{which}, bounds no fit under the hinge loss, which asks for inequalities alone."
    text = (
        f"The red line, N = {name}{which}, bounds exact fits of generic targets. A fit to tau {tau:g} is not exact, and may"
        f" pass it: a linear model of as many dimensions leaves {tau:g} of the variance of {1 / (1 - tau):.3g} times as many"
        " samples"
    )
    if (groups["target"] != "normal").any():
        return f"{text}."
    bits = math.log2(1 / tau) / 2
    *few, most = (f"{value:g}" for value in BITS_PER_PARAM)
    *less, more = (f"{value / bits:.2g}" for value in BITS_PER_PARAM)
    return (
        f"{text}; and by the rate-distortion of a Gaussian, {bits:.3g} bits for each sample, {', '.join(few)} and {most} bits"
        f" for each parameter are {', '.join(less)} and {more} samples for each."
    )
