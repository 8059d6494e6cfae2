"""N50 by optimizer=lm beside N50 by another optimizer: which curves are compared, the ratio, the costs, the words."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from bench.statistics.by_lm import by_lm, in_words, spelled
from bench.statistics.capacity import capacities
from tests.statistics.tables import table

COUNTS = [40, 50, 60, 70, 80, 90, 100, 110, 120]
LM = {"optimizer": "lm", "dtype": "float64", "max_epochs": 500}


def curve(edges: list[float], epochs: int, first_seed: int = 0, **fields) -> list[dict]:
    """Cells of a network, each of whose seeds memorizes up to its own edge, after so many epochs."""
    return [
        {
            "depth": 1,
            "width": 16,
            "n_samples": n,
            "data_seed": first_seed + seed,
            "init_seed": first_seed + seed,
            "status": "memorized" if n <= edge else "censored",
            "epoch_to_tau": epochs if n <= edge else None,
            **fields,
        }
        for seed, edge in enumerate(edges)
        for n in COUNTS
    ]


ADAM = [62.0, 71.0, 64.0, 78.0, 55.0, 69.0]
MORE = [edge + 24 for edge in ADAM]


def compared(rows: list[dict]) -> pd.DataFrame:
    cells = table(*rows)
    return by_lm(capacities(cells), cells)


def test_a_network_is_compared_with_itself_on_the_same_task_alone():
    rows = curve(ADAM, 3000) + curve(MORE, 60, **LM)
    rows += curve(ADAM, 3000, activation="tanh") + curve(MORE, 60, tau=1e-4, **LM) + curve(ADAM, 9, weight_decay=0.1)
    (row,) = compared(rows).to_dict("records")
    assert (row["depth"], row["width"], row["optimizer"], row["activation"], row["tau"]) == (1, 16, "adam", "relu", 0.01)
    assert (row["max_epochs"], row["max_epochs_lm"]) == (5000, 500)
    assert compared(curve(MORE, 60, **LM)).empty and compared(curve(ADAM, 60)).empty


def test_the_ratio_of_shared_seeds_is_the_one_of_their_means_with_a_paired_interval():
    (row,) = compared(curve(ADAM, 3000) + curve(MORE, 60, **LM)).to_dict("records")
    assert row["ratio"] == pytest.approx(row["n50_lm"] / row["n50"]) and row["n_shared"] == len(ADAM)
    (apart,) = compared(curve(ADAM, 3000) + curve(MORE, 60, first_seed=100, **LM)).to_dict("records")
    assert apart["n_shared"] == 0 and apart["ratio"] == pytest.approx(row["ratio"])
    # What the seeds share makes the interval narrower.
    assert row["ratio_high"] / row["ratio_low"] < apart["ratio_high"] / apart["ratio_low"]
    assert row["ratio_low"] < np.mean(MORE) / np.mean(ADAM) < row["ratio_high"]


def test_costs_are_gradients_of_single_samples_at_a_count_that_both_memorize():
    (row,) = compared(curve(ADAM, 3000) + curve(MORE, 60, **LM)).to_dict("records")
    # At 60 samples five of six seeds of Adam memorize, at 70 two.
    assert (row["n_samples"], row["epochs"], row["iterations"]) == (60, 3000, 60)
    assert (row["gradients"], row["gradients_lm"]) == (180_000, 3600)


def test_of_labels_each_class_is_a_gradient_and_the_sentence_says_what_counts():
    labels = {"target": "labels", "n_classes": 10, "loss": "cross_entropy", "criterion": "recall", "d_in": 10}
    made = compared(curve(ADAM, 3000, **labels) + curve(MORE, 60, **labels, **LM))
    (row,) = made.to_dict("records")
    assert (row["gradients"], row["gradients_lm"], row["criterion"]) == (180_000, 36_000, "recall")
    assert "over that by Adam, to every label (95 %): " in in_words(made)[0]


def test_a_bound_has_no_ratio_and_is_told_as_one():
    (row,) = compared(curve(ADAM, 3000) + curve([999.0] * 6, 60, **LM)).to_dict("records")
    assert math.isnan(row["ratio"])
    assert spelled(row, "n50_lm") == "> 0.83" and spelled(row, "n50").startswith("0.4")
    assert in_words(compared(curve(ADAM, 3000) + curve([999.0] * 6, 60, **LM))) == []


def test_the_sentence_gives_ratio_and_interval_and_says_what_it_bounds():
    made = compared(curve(ADAM, 3000) + curve(MORE, 60, **LM))
    (row,) = made.to_dict("records")
    (sentence,) = in_words(made)
    assert sentence == (
        "By Levenberg and Marquardt's method N50 is, over that by Adam, to tau 0.01 (95 %): "
        f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f}) times at depth 1, width 16."
        " Where that is more than 1 it is a better lower bound of what the network can hold, never an upper one."
    )


def test_a_field_that_is_absent_is_a_value_of_its_own():
    """Of the full batch and of batches of 16 each counts by itself, and each is named."""
    (alone,) = compared(curve(ADAM, 3000) + curve(MORE, 60, **LM)).to_dict("records")
    made = compared(curve(ADAM, 3000) + curve(MORE, 100, batch_size=16) + curve(MORE, 60, **LM))
    whole, batches = sorted(made.to_dict("records"), key=lambda row: row["n50"])
    names = ("n50", "ratio", "ratio_low", "ratio_high", "n_shared", "n_samples", "epochs", "gradients")
    assert [whole[name] for name in names] == [alone[name] for name in names]
    assert batches["epochs"] == 100 and "batch_size=16" in batches["setting"]
    (sentence,) = in_words(made)
    assert "batch_size=null" in sentence and "batch_size=16" in sentence
