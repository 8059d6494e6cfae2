"""A cell and its variants: what each variant changes, and what came of it. Groups of seeds in, one row for each change out."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd

from bench.protocol.cells import SEEDS, Cell, Status
from bench.protocol.columns import columns_of
from bench.statistics.settings import changed_fields, same
from bench.statistics.survival import GROUP_FIELDS, once, wilson_interval
from bench.store.parts import PENDING


class Lever(StrEnum):
    """What a variant pulls, from the smallest change to the largest."""

    INITIALISATION = "initialisation"
    LEARNING_RATE = "learning rate"
    OPTIMIZER = "optimizer"
    BATCH_SIZE = "batch size"
    REGULARIZATION = "regularization"
    PRECISION = "precision"
    BUDGET = "budget"
    ACTIVATION = "activation"
    NETWORK = "network"
    SAMPLES = "samples"
    TASK = "task"


LEVER_FIELDS = {
    Lever.INITIALISATION: ("init", "init_scale"),
    Lever.LEARNING_RATE: ("learning_rate", "lr_schedule"),
    Lever.OPTIMIZER: ("optimizer", "amsgrad", "momentum", "beta1", "beta2", "eps"),
    Lever.BATCH_SIZE: ("batch_size", "shuffle"),
    Lever.REGULARIZATION: ("weight_decay", "l1", "dropout", "input_noise", "max_norm", "patience"),
    Lever.PRECISION: ("dtype",),
    Lever.BUDGET: ("max_epochs",),
    Lever.ACTIVATION: ("activation",),
    Lever.NETWORK: ("depth", "width", "trainable"),
    Lever.SAMPLES: ("n_samples",),
    Lever.TASK: ("d_in", "target", "target_scaling", "loss", "tau"),
}
LEVER_OF = {name: lever for lever, names in LEVER_FIELDS.items() for name in names}

# Change nothing of the training: what is watched, a name for strengths that are fields themselves, and which noise is drawn.
WATCHED = ("n_val", "regularization", "data_seed", "init_seed")

# Training that a change takes to this share of what was left had not ended.
HALVED = 0.5

COLUMNS = list(columns_of("evidence"))


def evidence(groups: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """One row for the cell that was asked about, the first, and one for each variant.

    The seeds with which the asked cell stands first in the plan are those of the ladder; what was planned behind the variants
    has fresh seeds (`bench.runs.inquiry`), which no change was chosen on.

    Args:
        groups: of `bench.statistics.survival.groups`, with `setting`; the first row is what the others vary.
        cells: the same cells, one by one; one that stands there twice counts once.

    Returns:
        The columns of `evidence` (`bench.protocol.columns`).
    """
    asked = groups.iloc[0]
    epochs = groups["median_epoch_to_tau"].where(groups["median_epoch_to_tau"] < np.inf, groups["max_epochs"].astype(float))
    cost = epochs.where(groups["n_seeds"] > 0) * _epoch_macs(groups) / float(asked["max_epochs"] * _epoch_macs(asked))
    levers = [" + ".join(pulled(row, asked)) for _, row in groups.iterrows()]
    return groups.assign(levers=levers, cost=cost, **_fresh(groups, once(cells)))[COLUMNS].reset_index(drop=True)


def _fresh(groups: pd.DataFrame, cells: pd.DataFrame) -> dict[str, Any]:
    """What came of each group on fresh seeds, and of the asked cell on the same."""
    number = cells.groupby(list(GROUP_FIELDS), sort=False, dropna=False).ngroup().to_numpy()
    own = cells.assign(
        group=number,
        seed=pd.Series(list(zip(*(cells[name] for name in SEEDS), strict=True)), index=cells.index),
        hit=cells["status"] == Status.MEMORIZED,
        # One that diverged has all left.
        left=cells["final_tau"].astype(float).fillna(np.inf),
    )
    screened = set(own["seed"].iloc[: int(np.argmax(number > 0)) if (number > 0).any() else len(own)])
    fresh = own[~own["seed"].isin(screened) & ~own["status"].isin([Status.FAILED, PENDING])]
    asked = fresh[fresh["group"] == 0].set_index("seed")[["hit", "left"]].add_prefix("asked_")
    both = fresh.join(asked, on="seed", how="inner")
    both["halved"] = both["left"] <= HALVED * both["asked_left"].where(both["asked_left"] < np.inf, 0)
    counts = both.groupby("group")[["hit", "asked_hit", "halved"]].sum().reindex(groups.index, fill_value=0).astype(int)
    n_fresh = both.groupby("group").size().reindex(groups.index, fill_value=0)
    ends = [wilson_interval(int(k), int(n)) for k, n in zip(counts["hit"], n_fresh, strict=True)]
    return {
        "n_fresh": n_fresh,
        "n_fresh_memorized": counts["hit"],
        "n_fresh_asked": counts["asked_hit"],
        "n_fresh_halved": counts["halved"],
        "fresh_low": [low for low, _ in ends],
        "fresh_high": [high for _, high in ends],
    }


def pulled(row: pd.Series, asked: pd.Series) -> list[Lever]:
    """The levers between two groups, the smallest change first.

    With other n_samples, a batch in proportion and epochs that present no more samples in all belong to that change; with
    another optimizer, its rate, since rates of different optimizers cannot be compared.
    """
    size = None if pd.isna(asked["batch_size"]) else int(asked["batch_size"])
    in_proportion = same(row["batch_size"], _in_proportion(size, int(asked["n_samples"]), int(row["n_samples"])))
    no_more = row["n_samples"] * row["max_epochs"] <= asked["n_samples"] * asked["max_epochs"]
    return _pulled(set(changed_fields(row, asked)), in_proportion=in_proportion, no_more=no_more)


def pulled_by(cell: Cell, asked: Cell) -> list[Lever]:
    """The levers between two cells."""
    changed = {name for name in GROUP_FIELDS if getattr(cell, name) != getattr(asked, name)}
    in_proportion = cell.batch_size == batch_in_proportion(asked, cell.n_samples)
    no_more = cell.n_samples * cell.max_epochs <= asked.n_samples * asked.max_epochs
    return _pulled(changed, in_proportion=in_proportion, no_more=no_more)


def _pulled(changed: set[str], *, in_proportion: bool, no_more: bool) -> list[Lever]:
    """The levers of changed fields; whether the batch is in proportion, and no more samples are presented in all."""
    changed = changed - set(WATCHED)
    if "n_samples" in changed:
        changed -= ({"batch_size"} if in_proportion else set()) | ({"max_epochs"} if no_more else set())
    if "optimizer" in changed:
        changed -= {"learning_rate"}
    found = {LEVER_OF[name] for name in changed}
    return [lever for lever in Lever if lever in found]


def batch_in_proportion(cell: Cell, n_samples: int) -> int | None:
    """The batch size that makes about as many steps of an epoch of so many samples."""
    return _in_proportion(cell.batch_size, cell.n_samples, n_samples)


def _in_proportion(batch_size: int | None, of: int, n_samples: int) -> int | None:
    return batch_size and max(1, min(batch_size, of) * n_samples // of)


def _epoch_macs(groups):
    """Multiply-accumulates of one forward pass over the training set: one for each weight and sample."""
    return groups["n_samples"] * (groups["n_params"] - groups["depth"] * groups["width"] - 1)
