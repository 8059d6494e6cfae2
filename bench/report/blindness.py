"""Why untrained networks are dead or blind to their inputs, in sentences."""

from __future__ import annotations

import math

import pandas as pd

from bench.protocol.signal import uniform_gain
from bench.statistics.settings import AS_ASKED, acts


def dead(asked: pd.Series, signal: pd.DataFrame) -> list[str]:
    """How often a layer of the untrained network as asked passes nothing on."""
    own = signal[signal["setting"] == AS_ASKED] if len(signal) else signal
    dead = own[(own["dead_draws"] > 0).fillna(False)] if len(own) else own
    if dead.empty:
        return []
    last = dead.iloc[-1]
    half = dead[2 * dead["dead_draws"] >= last["dead_draws"]].iloc[0]
    told = "No gradient reaches what lies below, so that this network can do no more than predict a constant"
    text = (
        f"Dead before training, in {last['dead_draws']:.0f} of {last['n_draws']:.0f} draws: all units of a hidden layer answer"
        f" the same to all inputs, from layer {half['layer']:.0f} on in at least half of these."
    )
    return [f"{text} {told}." if asked["activation"] == "relu" and not acts(asked["input_noise"]) else text]


def blind(groups: pd.DataFrame, signal: pd.DataFrame) -> list[str]:
    """Why uniform initialisations get stuck, where they do."""
    sentences = []
    stuck = groups[
        (groups["init"] == "uniform")
        & (groups["activation"] == "relu")
        & (groups["median_final_tau"] > 0.9)
        & (groups["depth"] > 1)
    ]
    for width, scale, depth in stuck[["width", "init_scale", "depth"]].drop_duplicates().itertuples(index=False):
        gain = uniform_gain(width, scale)
        if gain >= 0.5:
            continue
        own = signal[(signal["width"] == width) & (signal["init_scale"] == scale) & (signal["depth"] == depth)]
        own = own[own["init"] == "uniform"]
        first, last = (own.loc[own["layer"] == layer, "variance_across_inputs"].median() for layer in (1, depth))
        if not math.isfinite(first + last):
            continue
        sentences.append(
            f"Why such networks are stuck: weights U(-{scale:g}, {scale:g}) at width {width} multiply the second moment by"
            f" {gain:.2f} in each layer (1 would keep it). Across inputs the variance of what a layer passes on falls from"
            f" {first:.2g} in the first hidden layer to {last:.2g} in layer {depth}, so the untrained network is blind to its"
            " input, the gradient says only how to predict the mean, and training ends there."
        )
    return sentences
