"""A cell and its variants: what each variant changes, and what came of it. Groups of seeds in, one row for each change out."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from bench.engines.packs import FLOPS_PER_MAC, system_flops
from bench.protocol.cells import FIELDS, NO_TAU, SECOND_ORDER, SEEDS, Cell, Status
from bench.protocol.columns import columns_of
from bench.protocol.networks import n_out, n_trained
from bench.statistics.confirmation import Answer, memorizable
from bench.statistics.dimensions import samples_at_ceiling
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


class Cause(StrEnum):
    """What held a cell back, where it is not one lever."""

    NOTHING = "memorizable as it is"
    LOST = "memorized and then lost"
    LUCK = "luck of the draw"
    DEPTH = "depth"
    # The network holds its samples by optimizer=lm, and no other change of its training is known to get there.
    OPTIMIZER = "optimizer-limited"
    CAPACITY = "capacity"
    UNDECIDED = "undecided"


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
    Lever.TASK: ("d_in", "target", "n_classes", "n_outputs", "target_scaling", "loss", "criterion", "tau"),
}
LEVER_OF = {name: lever for lever, names in LEVER_FIELDS.items() for name in names}

# What goes with optimizer=lm: it has no schedule and no batches, computes in float64, and its epochs are iterations.
OF_LM = ("lr_schedule", "batch_size", "shuffle", "dtype", "max_epochs")

# Change nothing of the training: what is watched, a name for strengths that are fields themselves, and which noise is drawn.
WATCHED = ("n_val", "regularization", "data_seed", "init_seed")

# Of larger systems, of N or P equations, whichever are fewer, optimizer=lm is no variant: each of its iterations factors one
# several times, and at this size a network of 500 iterations takes minutes of a core.
MOST_EQUATIONS = 2000

# Training that a change takes to this share of what was left had not ended.
HALVED = 0.5

# Where fewer seeds than this memorize for sure, the draw is no cause.
LUCK = 0.1

COLUMNS = list(columns_of("evidence"))
OWN_FIELDS = [name for name in FIELDS if name in COLUMNS]


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
    cells = once(cells)
    number = cells.groupby(list(GROUP_FIELDS), sort=False, dropna=False).ngroup().to_numpy()
    measured = {**_fresh(groups, cells, number), **_kept(groups, cells, number)}
    return groups.assign(levers=levers, cost=cost, **measured)[COLUMNS].reset_index(drop=True)


def _kept(groups: pd.DataFrame, cells: pd.DataFrame, number: Int[np.ndarray, " cell"]) -> dict[str, Any]:
    """Of each group the seeds that reached the asked tau at some epoch, those of these that end above it, the lowest tau."""
    asked = groups.iloc[0]
    # As the cell's own arithmetic compares them.
    tau = float(np.float64(asked["tau"]) if asked["dtype"] == "float64" else np.float32(asked["tau"]))
    best, final = (cells[name].astype(float).to_numpy() for name in ("best_tau", "final_tau"))
    reached = best <= tau
    table = pd.DataFrame({"n_reached": reached, "n_lost": reached & ~(final <= tau), "median_best_tau": best})
    by_group = table.groupby(number)
    counts = by_group[["n_reached", "n_lost"]].sum().reindex(groups.index, fill_value=0).astype(int)
    return {**counts, "median_best_tau": by_group["median_best_tau"].median().reindex(groups.index)}


def _fresh(groups: pd.DataFrame, cells: pd.DataFrame, number: Int[np.ndarray, " cell"]) -> dict[str, Any]:
    """What came of each group on fresh seeds, and of the asked cell on the same; `number`: the group of each cell."""
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
    another optimizer, its rate, since rates of different optimizers cannot be compared; with lm, all that it alone has.
    """
    size = None if pd.isna(asked["batch_size"]) else int(asked["batch_size"])
    in_proportion = same(row["batch_size"], _in_proportion(size, int(asked["n_samples"]), int(row["n_samples"])))
    no_more = bool(row["n_samples"] * row["max_epochs"] <= asked["n_samples"] * asked["max_epochs"])
    solved = SECOND_ORDER in (row["optimizer"], asked["optimizer"])
    return _pulled(set(changed_fields(row, asked)), in_proportion=in_proportion, no_more=no_more, solved=solved)


def pulled_by(cell: Cell, asked: Cell) -> list[Lever]:
    """The levers between two cells."""
    changed = {name for name in GROUP_FIELDS if getattr(cell, name) != getattr(asked, name)}
    in_proportion = cell.batch_size == batch_in_proportion(asked, cell.n_samples)
    no_more = cell.n_samples * cell.max_epochs <= asked.n_samples * asked.max_epochs
    solved = SECOND_ORDER in (cell.optimizer, asked.optimizer)
    return _pulled(changed, in_proportion=in_proportion, no_more=no_more, solved=solved)


def _pulled(changed: set[str], *, in_proportion: bool, no_more: bool, solved: bool) -> list[Lever]:
    """The levers of changed fields; whether the batch is in proportion, no more samples are presented in all, and it is lm."""
    changed = changed - set(WATCHED)
    if "n_samples" in changed:
        changed -= ({"batch_size"} if in_proportion else set()) | ({"max_epochs"} if no_more else set())
    if "optimizer" in changed:
        changed -= {"learning_rate", *(OF_LM if solved else ())}
    found = {LEVER_OF[name] for name in changed}
    return [lever for lever in Lever if lever in found]


def batch_in_proportion(cell: Cell, n_samples: int) -> int | None:
    """The batch size that makes about as many steps of an epoch of so many samples."""
    return _in_proportion(cell.batch_size, cell.n_samples, n_samples)


def _in_proportion(batch_size: int | None, of: int, n_samples: int) -> int | None:
    return batch_size and max(1, min(batch_size, of) * n_samples // of)


def _epoch_macs(groups):
    """Multiply-accumulates of one forward pass over the training set: one for each weight and sample. To those of optimizer=lm
    its linear system is added, as many as an epoch of its FLOPs has.
    """
    macs = groups["n_samples"] * (groups["n_params"] - groups["depth"] * groups["width"] - _n_out(groups))
    if isinstance(groups, pd.DataFrame) and (solved := groups["optimizer"] == SECOND_ORDER).any():
        systems = [system_flops(network_of(row)) / FLOPS_PER_MAC for _, row in groups[solved].iterrows()]
        macs = macs.astype(float)
        macs[solved] += systems
    return macs


def _n_out(groups):
    """Outputs of the last layer, each with a bias (`bench.protocol.networks.n_out`), of each row of a table, or of a row."""
    classes, outputs = groups["n_classes"], groups["n_outputs"]
    if isinstance(groups, pd.DataFrame):
        return classes.where(classes.notna(), outputs).astype(int)
    return outputs if pd.isna(classes) else classes


def network_of(row: pd.Series) -> Cell:
    """A cell of the row's network and samples; the rest of it is at the defaults."""
    fields = ("n_samples", "d_in", "depth", "width", "activation", "trainable")
    known = {name: row[name].item() if hasattr(row[name], "item") else row[name] for name in fields}
    return Cell(**known, n_outputs=int(_n_out(row)))


def equations(cell: Cell) -> int:
    """Those of the system that optimizer=lm solves in each iteration: of all outputs or parameters, whichever are fewer."""
    return min(cell.n_samples * n_out(cell), n_trained(cell))


def by_second_order(evidence: pd.DataFrame) -> pd.Series | None:
    """The row of the asked network and samples by optimizer=lm, if it was tried and the asked one is by another."""
    if evidence["optimizer"].iloc[0] == SECOND_ORDER:
        return None
    own = {Lever.OPTIMIZER, Lever.REGULARIZATION}
    rows = [row for row in same_network(evidence) if row["optimizer"] == SECOND_ORDER and own.issuperset(levers_of(row))]
    return rows[0] if rows else None


def levers_of(row: pd.Series) -> list[Lever]:
    """The levers that a row pulls, the smallest change first."""
    return [Lever(name) for name in row["levers"].split(" + ") if name]


def counts_of(row: pd.Series) -> tuple[int, int]:
    """Successes and trials: on fresh seeds, where there are any."""
    fresh = row["n_fresh"] > 0
    return int(row["n_fresh_memorized" if fresh else "n_memorized"]), int(row["n_fresh" if fresh else "n_seeds"])


def share_of(row: pd.Series) -> float:
    """The share of all seeds that memorized."""
    return float(row["n_memorized"] / row["n_seeds"])


def draw_decides(asked: pd.Series) -> bool:
    """Whether the asked cell surely memorizes now and then."""
    return wilson_interval(int(asked["n_memorized"]), int(asked["n_seeds"]))[0] >= LUCK


def beyond_dimension(asked: pd.Series) -> bool:
    """Whether the samples are more than the dimensions: as with linear models, a share 1 - tau of them must fit."""
    if asked["target"] in ("rademacher", "labels"):
        return False
    return bool(asked["n_samples"] * (1 - asked["tau"]) > samples_at_ceiling(asked))


def same_network(evidence: pd.DataFrame) -> list[pd.Series]:
    """The rows of the asked network on all its samples that have a final tau."""
    other = (Lever.NETWORK, Lever.ACTIVATION, Lever.SAMPLES, Lever.TASK)
    rows = [row for _, row in evidence.iterrows() if row["n_seeds"] and not any(lever in levers_of(row) for lever in other)]
    return [row for row in rows if math.isfinite(row["median_final_tau"])]


def halving(evidence: pd.DataFrame) -> pd.Series | None:
    """The row of the most epochs that do to what is left what fresh seeds confirm: they halve it at least."""
    for row in sorted(same_network(evidence), key=lambda row: -row["max_epochs"]):
        hits, trials = int(row["n_fresh_halved"]), int(row["n_fresh"])
        if row["levers"] == Lever.BUDGET and trials and memorizable(hits, trials) is Answer.YES:
            return row
    return None


def past_tau(evidence: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows that stop at a tau, and those that train on past the asked one."""
    past = (evidence["tau"] == NO_TAU) & (evidence["tau"] != evidence["tau"].iloc[0])
    return evidence[~past], evidence[past]
