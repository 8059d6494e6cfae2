"""The fields of a cell in words: what each one means, in which unit, and an example."""

from __future__ import annotations

from typing import NamedTuple


class Field(NamedTuple):
    """A field of `bench.Cell`: its name, the topic it belongs to, its unit, its meaning, and a value that somebody may want."""

    name: str
    topic: str
    unit: str
    meaning: str
    example: str


DATA, NETWORK, OPTIMISATION = "data", "network", "optimisation"
REGULARIZATION, CRITERION = "regularization", "criterion and budget"

FIELD_LIST = (
    Field("n_samples", DATA, "samples", "size of the training set", "200"),
    Field("d_in", DATA, "inputs", "number of inputs; each is drawn from N(0, 1)", "2"),
    Field(
        "target",
        DATA,
        "name",
        "distribution of the targets, which are independent of the inputs; labels: one of n_classes, all as likely",
        "rademacher",
    ),
    Field("n_classes", DATA, "classes", "of target=labels, each an output of the network; null: targets are numbers", "10"),
    Field("n_outputs", DATA, "outputs", "targets of each sample, independent of each other, and outputs of the network", "4"),
    Field(
        "target_scaling",
        DATA,
        "name",
        "how the targets are scaled: standardize to mean 0 and variance 1, minmax to 0..1",
        "minmax",
    ),
    Field("data_seed", DATA, "seed", "draws inputs and targets; a larger n_samples begins with the same samples", "1"),
    Field("n_val", DATA, "samples", "fresh noise samples for a validation error; 0: none", "256"),
    Field("depth", NETWORK, "layers", "number of hidden layers; 0 is linear regression", "4"),
    Field("width", NETWORK, "units", "units of each hidden layer", "64"),
    Field("activation", NETWORK, "name", "activation function of the hidden layers", "tanh"),
    Field("init", NETWORK, "name", "how the initial weights are drawn", "orthogonal"),
    Field("init_scale", NETWORK, "1", "half-width of init=uniform; a factor on what the others draw", "0.25"),
    Field("init_seed", NETWORK, "seed", "draws the initial weights, and what training draws (dropout, noise, shuffling)", "1"),
    Field("trainable", NETWORK, "name", "which weights train: all of them, or the last layer only", "readout"),
    Field(
        "loss",
        OPTIMISATION,
        "name",
        "what training lowers: the mean squared error; the mean of max(0, 1 - y f)^2 for targets y of -1 and 1; for labels the"
        " softmax's cross-entropy, in nats",
        "hinge",
    ),
    Field(
        "optimizer",
        OPTIMISATION,
        "name",
        "the optimizer of torch.optim; lm: Levenberg and Marquardt's method in float64, whose epochs are iterations; muon:"
        " matrices between hidden layers by Muon, in the cell's own dtype, all else by Adam",
        "sgd",
    ),
    Field(
        "amsgrad",
        OPTIMISATION,
        "true or false",
        "the AMSGrad variant of adam and adamw, and of what muon leaves to Adam",
        "true",
    ),
    Field("learning_rate", OPTIMISATION, "1", "step size of the optimizer", "0.01"),
    Field(
        "lr_schedule",
        OPTIMISATION,
        "name",
        "cosine: falls to 0 over the budget; step: a tenth of itself after each third of the budget",
        "cosine",
    ),
    Field("momentum", OPTIMISATION, "1", "momentum of sgd; and of muon, where it is 0.95 if it is not given", "0.9"),
    Field("beta1", OPTIMISATION, "1", "decay of the mean of gradients in adam, adamw and the Adam of muon", "0.8"),
    Field("beta2", OPTIMISATION, "1", "decay of the mean of squared gradients in adam, adamw and the Adam of muon", "0.99"),
    Field("eps", OPTIMISATION, "1", "added to the denominator of adam, adamw and the Adam of muon", "1e-7"),
    Field("batch_size", OPTIMISATION, "samples", "samples of one optimizer step; null: all of them", "32"),
    Field("shuffle", OPTIMISATION, "true or false", "a new order of the samples in every epoch", "true"),
    Field(
        "dtype",
        OPTIMISATION,
        "name",
        "type of the numbers; tf32 is float32 with the factors of matrix products rounded to TF32",
        "float64",
    ),
    Field(
        "regularization",
        REGULARIZATION,
        "name",
        "the name of what is switched on; it follows from the strengths below",
        "dropout",
    ),
    Field(
        "weight_decay",
        REGULARIZATION,
        "1",
        "this times each parameter is added to the gradient (L2); adamw and muon take it off the parameters; 0: off",
        "0.001",
    ),
    Field("l1", REGULARIZATION, "1", "this times the sign of each parameter is added to the gradient (L1); 0: off", "0.0001"),
    Field(
        "dropout", REGULARIZATION, "fraction", "probability that a hidden unit is set to 0 in a training step; 0: off", "0.1"
    ),
    Field("input_noise", REGULARIZATION, "inputs' std", "std of fresh noise added to the inputs in each step; 0: off", "0.1"),
    Field("max_norm", REGULARIZATION, "1", "largest norm of the weights into a unit; null: off", "2.0"),
    Field(
        "patience",
        REGULARIZATION,
        "epochs",
        "stop after so many epochs without a better validation MSE (needs n_val); null: off",
        "50",
    ),
    Field(
        "criterion",
        CRITERION,
        "name",
        "what memorized means: tau: that the loss is low enough; recall: that every label is right (the rule for labels)",
        "recall",
    ),
    Field(
        "tau", CRITERION, "of the variance", "memorized where training loss / variance of the targets is at most this", "0.1"
    ),
    Field("max_epochs", CRITERION, "epochs", "the budget: training passes over the training set", "1000"),
)
