"""A part of the default grid that stands for it: python -m tests.perf.grid_part draws it from the published run and prints it.

What the grid's settings cost is known from results/reference/default: the epochs that its cells took, times the useful FLOPs of one.
Strata are the pairs of regularization and width. Each has its share of the part's FLOPs, and picks in proportion, at least one. Within
a stratum the settings, sorted by depth and samples, are laid end to end, each as long as its FLOPs; the picks are those in the middle
of equal pieces of that line, and each is trained for an equal part of the stratum's FLOPs.

Imports nothing that older programs lack.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

import bench
from bench.engines.packs import epoch_flops

# So many picks, more or less, and so many useful FLOPs for all of them: about a second on one thread.
PICKS, FLOPS = 48, 2.4e10

# What the names of the grid's regularizations set.
STRENGTHS = {
    "none": {},
    "weight_decay": {"weight_decay": 0.001},
    "dropout": {"dropout": 0.1},
    "input_noise": {"input_noise": 0.1},
}

# Below what float32 reaches, so that no cell ends before its epochs are spent.
NO_TAU = 1e-30


class Pick(NamedTuple):
    """A setting of the grid, and for how many useful GFLOP it is trained."""

    regularization: str
    width: int
    depth: int
    n_samples: int
    gflop: float

    def cell(self, seed: int = 0) -> bench.Cell:
        """With as many epochs as these are, and none of them left out."""
        fields = {"width": self.width, "depth": self.depth, "n_samples": self.n_samples, **STRENGTHS[self.regularization]}
        epochs = round(1e9 * self.gflop / epoch_flops(bench.Cell(d_in=8, **fields)))
        (cell,) = bench.expand(d_in=8, **fields, seed=[seed], tau=NO_TAU, max_epochs=epochs)
        return cell


# As printed.
PART = (
    Pick("dropout", 4, 4, 512, 0.291),
    Pick("dropout", 8, 4, 128, 0.45),
    Pick("dropout", 8, 8, 384, 0.45),
    Pick("dropout", 16, 2, 256, 0.512),
    Pick("dropout", 16, 4, 256, 0.512),
    Pick("dropout", 16, 4, 512, 0.512),
    Pick("dropout", 16, 8, 192, 0.512),
    Pick("dropout", 16, 8, 384, 0.512),
    Pick("dropout", 16, 8, 512, 0.512),
    Pick("dropout", 32, 1, 512, 0.495),
    Pick("dropout", 32, 2, 384, 0.495),
    Pick("dropout", 32, 2, 512, 0.495),
    Pick("dropout", 32, 4, 128, 0.495),
    Pick("dropout", 32, 4, 256, 0.495),
    Pick("dropout", 32, 4, 384, 0.495),
    Pick("dropout", 32, 4, 512, 0.495),
    Pick("dropout", 32, 4, 512, 0.495),
    Pick("dropout", 32, 8, 32, 0.495),
    Pick("dropout", 32, 8, 96, 0.495),
    Pick("dropout", 32, 8, 128, 0.495),
    Pick("dropout", 32, 8, 192, 0.495),
    Pick("dropout", 32, 8, 192, 0.495),
    Pick("dropout", 32, 8, 256, 0.495),
    Pick("dropout", 32, 8, 256, 0.495),
    Pick("dropout", 32, 8, 384, 0.495),
    Pick("dropout", 32, 8, 384, 0.495),
    Pick("dropout", 32, 8, 384, 0.495),
    Pick("dropout", 32, 8, 512, 0.495),
    Pick("dropout", 32, 8, 512, 0.495),
    Pick("dropout", 32, 8, 512, 0.495),
    Pick("dropout", 32, 8, 512, 0.495),
    Pick("input_noise", 4, 4, 512, 0.29),
    Pick("input_noise", 8, 4, 128, 0.415),
    Pick("input_noise", 8, 8, 384, 0.415),
    Pick("input_noise", 16, 2, 384, 0.49),
    Pick("input_noise", 16, 4, 512, 0.49),
    Pick("input_noise", 16, 8, 384, 0.49),
    Pick("input_noise", 16, 8, 512, 0.49),
    Pick("input_noise", 32, 2, 384, 0.618),
    Pick("input_noise", 32, 8, 384, 0.618),
    Pick("none", 4, 4, 512, 0.29),
    Pick("none", 8, 8, 64, 0.747),
    Pick("none", 16, 4, 48, 0.668),
    Pick("none", 32, 2, 512, 0.52),
    Pick("weight_decay", 4, 4, 512, 0.289),
    Pick("weight_decay", 8, 8, 96, 0.749),
    Pick("weight_decay", 16, 2, 512, 0.667),
    Pick("weight_decay", 32, 2, 512, 0.588),
)


def spent(groups: pd.DataFrame) -> pd.DataFrame:
    """The settings of a run: fields of `Pick`, and `flops`, the useful FLOPs of all their cells.

    Args:
        groups: the run's table of that name.
    """
    # Epochs in all over cells that memorized; where none did, each has spent its budget.
    epochs = (groups["expected_running_time"] * groups["n_memorized"]).where(
        groups["n_memorized"] > 0, groups["n_seeds"] * groups["max_epochs"]
    )
    table = groups[["regularization", "width", "depth", "n_samples"]].copy()
    cells = [bench.Cell(d_in=8, **fields) for fields in table[["width", "depth", "n_samples"]].to_dict("records")]
    table["flops"] = epochs * [epoch_flops(cell) for cell in cells]
    return table.sort_values([*table.columns[:4]], ignore_index=True)


def drawn(settings: pd.DataFrame, *, picks: int = PICKS, flops: float = FLOPS) -> tuple[Pick, ...]:
    """The part of the settings of `spent`: in each stratum a systematic sample by FLOPs. A setting found twice is there twice."""
    part, whole = [], settings["flops"].sum()
    for _, own in settings.groupby(["regularization", "width"]):
        share = own["flops"].sum() / whole
        count = max(1, round(share * picks))
        places = np.searchsorted(own["flops"].cumsum(), (np.arange(count) + 0.5) / count * own["flops"].sum())
        found = own.iloc[places][["regularization", "width", "depth", "n_samples"]]
        part += [Pick(*fields, gflop=round(share * flops / count / 1e9, 3)) for fields in found.itertuples(index=False)]
    return tuple(part)


def main() -> None:
    groups = pd.read_csv(Path(__file__).parents[2] / "results" / "reference" / "default" / "tables" / "groups.csv")
    for pick in drawn(spent(groups)):
        name, *numbers = pick
        print(f'    Pick("{name}", {", ".join(map(str, numbers))}),')


if __name__ == "__main__":
    main()
