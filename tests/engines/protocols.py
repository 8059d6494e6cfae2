"""The protocols that every engine is held to: every optimizer, regularizer and activation with every other, and all else one by one."""

from __future__ import annotations

import dataclasses

from bench.protocol.cells import Cell

BASE = Cell(n_samples=37, d_in=3, depth=3, width=13, tau=1e-6, max_epochs=50, dtype="float64", learning_rate=0.01)

REGULARIZERS = {
    "none": {},
    "weight_decay": {"weight_decay": 0.01},
    "l1": {"l1": 1e-3},
    "dropout": {"dropout": 0.2},
    "input_noise": {"input_noise": 0.1},
    "max_norm": {"max_norm": 1.0},
    "early_stopping": {"n_val": 20, "patience": 5},
    "all at once": {
        "weight_decay": 0.01,
        "l1": 1e-3,
        "dropout": 0.1,
        "input_noise": 0.1,
        "max_norm": 1.0,
        "n_val": 20,
        "patience": 40,
    },
}
OPTIMIZERS = {
    "sgd": {"optimizer": "sgd"},
    "momentum": {"optimizer": "sgd", "momentum": 0.9},
    "adam": {"optimizer": "adam"},
    "amsgrad": {"optimizer": "adam", "amsgrad": True},
    "adamw": {"optimizer": "adamw"},
}
ACTIVATIONS = ("relu", "leaky_relu", "tanh", "gelu", "silu", "sigmoid")
OTHERS = {
    "batches in order": {"batch_size": 10},
    "batches shuffled, with dropout and noise": {"batch_size": 10, "shuffle": True, "dropout": 0.1, "input_noise": 0.1},
    "batches in order, with noise": {"batch_size": 10, "input_noise": 0.1},
    "several blocks, with dropout and noise": {"n_samples": 150, "dropout": 0.1, "input_noise": 0.1},
    "dropout of half a call": {"width": 12, "dropout": 0.1},
    "readout": {"trainable": "readout"},
    "readout with everything": {
        "trainable": "readout",
        "batch_size": 10,
        "amsgrad": True,
        "max_norm": 0.5,
        "weight_decay": 0.01,
        "dropout": 0.1,
    },
    "cosine": {"lr_schedule": "cosine"},
    "step": {"lr_schedule": "step"},
    "linear": {"depth": 0},
    "linear with noise": {"depth": 0, "input_noise": 0.2},
    "one sample": {"n_samples": 1},
    "one unit": {"width": 1, "depth": 1, "d_in": 1},
    "eps and betas": {"eps": 1e-3, "beta1": 0.8, "beta2": 0.9},
    **{
        f"init {init}": {"init": init, "init_scale": 0.5}
        for init in ("he_normal", "he_uniform", "xavier_uniform", "orthogonal", "torch_default", "uniform")
    },
    **{
        f"{target} targets, {scaling}": {"target": target, "target_scaling": scaling, "n_val": 10}
        for target in ("normal", "uniform", "rademacher")
        for scaling in ("none", "standardize", "minmax")
    },
}
PRODUCT = {
    f"{o}, {r}, {a}": {**OPTIMIZERS[o], **REGULARIZERS[r], "activation": a}
    for o in OPTIMIZERS
    for r in REGULARIZERS
    for a in ACTIVATIONS
}
ONE_CHANGE = {**OPTIMIZERS, **REGULARIZERS, **{activation: {"activation": activation} for activation in ACTIVATIONS}}
HINGE = {"loss": "hinge", "target": "rademacher"}
UNDER_THE_HINGE = (*ONE_CHANGE, *(name for name in OTHERS if name.startswith(("batches", "readout", "linear"))))
HINGES = {f"hinge, {name}": (ONE_CHANGE | OTHERS)[name] | HINGE for name in UNDER_THE_HINGE}
LABELS = {"target": "labels", "n_classes": 5, "loss": "cross_entropy"}
ON_LABELS = {f"labels, {name}": (ONE_CHANGE | OTHERS)[name] | LABELS for name in UNDER_THE_HINGE}
SEVERAL = {
    f"three outputs, {name}": (ONE_CHANGE | OTHERS)[name] | {"n_outputs": 3}
    for name in UNDER_THE_HINGE
    if name not in ACTIVATIONS[1:]
}
BY_RECALL = {
    "labels by recall": {**LABELS, "criterion": "recall", "n_samples": 12},
    "labels by recall, in batches": {**LABELS, "criterion": "recall", "n_samples": 12, "batch_size": 5, "shuffle": True},
    "two classes by recall": {**LABELS, "n_classes": 2, "criterion": "recall", "n_samples": 9},
    "linear labels by recall": {**LABELS, "depth": 0, "criterion": "recall", "n_samples": 5},
    "one label by recall": {**LABELS, "criterion": "recall", "n_samples": 1},
}
OF_SEVERAL = ON_LABELS | SEVERAL | BY_RECALL
CASES = {name: dataclasses.replace(BASE, **changes) for name, changes in (PRODUCT | OTHERS | HINGES | OF_SEVERAL).items()}

# Of the product as few as hold every pair of optimizer, regularizer and activation: the losses in float64 are those of all,
# what is rounded is shown for these.
PAIRS = {
    f"{o}, {r}, {a}"
    for i, r in enumerate(REGULARIZERS)
    for j, a in enumerate(ACTIVATIONS)
    for k, o in enumerate(OPTIMIZERS)
    if k == (i + j) % len(OPTIMIZERS)
}
FEW = {name: cell for name, cell in CASES.items() if name in PAIRS or name not in PRODUCT}
