"""A cell and its variants: what each variant changes, and what came of it. Groups of seeds in, one row for each change out."""

from __future__ import annotations

import math
from enum import StrEnum

import numpy as np
import pandas as pd

from bench.protocol.columns import columns_of
from bench.statistics.settings import changed_fields


class Lever(StrEnum):
    """What a variant pulls, from the smallest change to the largest."""

    INITIALISATION = "initialisation"
    LEARNING_RATE = "learning rate"
    OPTIMIZER = "optimizer"
    BATCH_SIZE = "batch size"
    REGULARIZATION = "regularization"
    PRECISION = "precision"
    BUDGET = "budget"
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
    Lever.NETWORK: ("depth", "width", "activation", "trainable"),
    Lever.SAMPLES: ("n_samples",),
    Lever.TASK: ("d_in", "target", "target_scaling", "loss", "tau"),
}
LEVER_OF = {name: lever for lever, names in LEVER_FIELDS.items() for name in names}

# Change nothing of the training: what is watched, a name for strengths that are fields themselves, and which noise is drawn.
WATCHED = ("n_val", "regularization", "data_seed", "init_seed")

# Batches are in proportion where an epoch has as many steps but for this factor: batches are whole.
SAME_STEPS = 1.5

COLUMNS = list(columns_of("evidence"))


def evidence(groups: pd.DataFrame) -> pd.DataFrame:
    """One row for the cell that was asked about, the first, and one for each variant.

    Args:
        groups: of `bench.statistics.survival.groups`, with `setting`; the first row is what the others vary.

    Returns:
        The columns of `evidence` (`bench.protocol.columns`).
    """
    asked = groups.iloc[0]
    epochs = groups["median_epoch_to_tau"].where(groups["median_epoch_to_tau"] < np.inf, groups["max_epochs"].astype(float))
    cost = epochs.where(groups["n_seeds"] > 0) * _epoch_macs(groups) / float(asked["max_epochs"] * _epoch_macs(asked))
    levers = [" + ".join(pulled(row, asked)) for _, row in groups.iterrows()]
    return groups.assign(levers=levers, cost=cost)[COLUMNS].reset_index(drop=True)


def pulled(row: pd.Series, asked: pd.Series) -> list[Lever]:
    """The levers between two groups, the smallest change first.

    With other n_samples, a batch in proportion and epochs that present no more samples in all belong to that change.
    """
    changed = set(changed_fields(row, asked)) - set(WATCHED)
    if "n_samples" in changed:
        steps = _steps(row) / _steps(asked)
        if 1 / SAME_STEPS <= steps <= SAME_STEPS:
            changed.discard("batch_size")
        if row["n_samples"] * row["max_epochs"] <= asked["n_samples"] * asked["max_epochs"]:
            changed.discard("max_epochs")
    found = {LEVER_OF[name] for name in changed}
    return [lever for lever in Lever if lever in found]


def _steps(row: pd.Series) -> float:
    """Optimizer steps of an epoch."""
    return 1.0 if pd.isna(row["batch_size"]) else math.ceil(row["n_samples"] / row["batch_size"])


def _epoch_macs(groups):
    """Multiply-accumulates of one forward pass over the training set: one for each weight and sample."""
    return groups["n_samples"] * (groups["n_params"] - groups["depth"] * groups["width"] - 1)
