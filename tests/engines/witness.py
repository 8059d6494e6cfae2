"""The independent witness: one network at a time, nn.Module, autograd and torch.optim, written for clarity and not for speed.

It shares with the engines what the protocol fixes (data, initial weights, the draws of `bench.protocol.philox`) and none of their arithmetic.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
from torch import nn

from bench.protocol.cells import Cell, Outcome
from bench.protocol.networks import initial_layers
from bench.protocol.noise import training_data, validation_data
from bench.protocol.philox import dropout_masks, normals, permutation
from bench.protocol.streams import kernel_key

ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "sigmoid": nn.Sigmoid,
}


def nearest_tf32(x):
    """Eleven significant bits, by the number's mantissa and exponent; of two as near, the one away from zero."""
    mantissa, exponent = np.frexp(x.detach().double().numpy())
    whole = np.copysign(np.floor(np.abs(mantissa) * 2**11 + 0.5), mantissa)
    return torch.from_numpy(np.ldexp(whole, exponent - 11)).float()


class Tf32Product(torch.autograd.Function):
    """x W', with factors rounded to TF32 here and in both products of its derivative."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return nearest_tf32(x) @ nearest_tf32(weight).T

    @staticmethod
    def backward(ctx, *grads):
        x, weight = ctx.saved_tensors
        grad = nearest_tf32(grads[0])
        return grad @ nearest_tf32(weight), grad.T @ nearest_tf32(x)


class Network(nn.Module):
    """A multilayer perceptron with the cell's initial weights; `masks` [layer, unit, sample] multiply the hidden activations."""

    def __init__(self, cell: Cell):
        super().__init__()
        self.affine = nn.ModuleList()
        for layer in initial_layers(cell):
            linear = nn.Linear(layer.weight.shape[1], layer.weight.shape[0], dtype=getattr(torch, cell.storage))
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(layer.weight))
                linear.bias.copy_(torch.from_numpy(layer.bias))
            self.affine.append(linear)
        self.rounds = cell.dtype == "tf32"
        self.activation = ACTIVATIONS[cell.activation]()
        if cell.trainable == "readout":
            self.affine[:-1].requires_grad_(False)

    def forward(self, x, masks=None):
        for i, linear in enumerate(self.affine[:-1]):
            x = self.activation(self.apply_layer(linear, x))
            if masks is not None:
                x = x * masks[i].T
        return self.apply_layer(self.affine[-1], x).squeeze(1)

    def apply_layer(self, linear, x):
        return Tf32Product.apply(x, linear.weight) + linear.bias if self.rounds else linear(x)


class Muon(torch.optim.Muon):
    """torch's, that may compute in the type of its parameters: its own casts to bfloat16."""

    def __init__(self, params, casts=False, **settings):
        super().__init__(params, **settings)
        self.casts = casts

    def step(self, closure=None):
        kept = torch.Tensor.bfloat16
        # In place of the cast a copy, since what it gives is divided in place.
        torch.Tensor.bfloat16 = kept if self.casts else torch.Tensor.clone
        try:
            return super().step(closure)
        finally:
            torch.Tensor.bfloat16 = kept


class Both:
    """Two optimizers, each of its own parameters, as one."""

    def __init__(self, *parts):
        self.parts = parts

    def zero_grad(self):
        for part in self.parts:
            part.zero_grad()

    def step(self):
        for part in self.parts:
            part.step()


# Whether Muon rounds to bfloat16 as torch's does.
CASTS = False


def make_optimizer(cell: Cell, params):
    """`params`: the trained weights and biases, layer by layer."""
    if cell.optimizer == "muon":
        between = params[2:-2:2]
        rest = [p for p in params if all(p is not weight for weight in between)]
        decay = {"lr": cell.learning_rate, "weight_decay": cell.weight_decay}
        muon = Muon(between, casts=CASTS, momentum=cell.momentum, adjust_lr_fn="match_rms_adamw", **decay)
        adam = torch.optim.AdamW(rest, betas=(cell.beta1, cell.beta2), eps=cell.eps, amsgrad=cell.amsgrad, **decay)
        return Both(muon, adam)
    match cell.optimizer:
        case "sgd":
            return torch.optim.SGD(params, lr=cell.learning_rate, momentum=cell.momentum, weight_decay=cell.weight_decay)
        case "adam":
            kind = torch.optim.Adam
        case "adamw":
            kind = torch.optim.AdamW
    return kind(
        params,
        lr=cell.learning_rate,
        betas=(cell.beta1, cell.beta2),
        eps=cell.eps,
        weight_decay=cell.weight_decay,
        amsgrad=cell.amsgrad,
    )


def make_schedule(cell: Cell, optimizer):
    match cell.lr_schedule:
        case "constant":
            return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
        case "cosine":
            return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=cell.max_epochs)
        case "step":
            return torch.optim.lr_scheduler.StepLR(optimizer, step_size=math.ceil(cell.max_epochs / 3), gamma=0.1)


def mean_loss(cell: Cell, outputs, targets):
    """The quadratic hinge as Geiger et al. 2019 write it, torch's cross-entropy of labels, or the mean squared error."""
    if cell.loss == "cross_entropy":
        return nn.functional.cross_entropy(outputs, targets.long())
    if cell.loss == "hinge":
        return torch.relu(1 - targets * outputs).square().mean()
    return ((outputs - targets) ** 2).mean()


def plain_loop(cell: Cell, epochs: int | None = None):
    """tau(e), validation MSE(e), and how many labels are right, for e = 0, 1, ..., until the cell ends or `epochs` epochs are
    measured."""
    dtype = getattr(torch, cell.storage)
    data, val = training_data(cell), validation_data(cell)
    x, y = torch.from_numpy(data.inputs).to(dtype), torch.from_numpy(data.targets).to(dtype)
    val_x, val_y = torch.from_numpy(val.inputs).to(dtype), torch.from_numpy(val.targets).to(dtype)
    network = Network(cell)
    params = [p for p in network.parameters() if p.requires_grad]
    optimizer = make_optimizer(cell, params)
    schedules = [make_schedule(cell, part) for part in getattr(optimizer, "parts", [optimizer])]
    batch = min(cell.batch_size or cell.n_samples, cell.n_samples)
    dropout_key, noise_key = (torch.tensor([kernel_key(cell, p, ("init_seed",))]) for p in ("dropout", "input noise"))
    taus, vals, rights, step, best, best_epoch = [], [], [], 0, math.inf, 0
    for epoch in range(cell.max_epochs + 1):
        with torch.no_grad():
            said = network(x)
            taus.append(float(mean_loss(cell, said, y)) / data.target_variance)
            rights.append(int((said.argmax(1) == y).sum()) if cell.has_labels else 0)
            if cell.n_val:
                vals.append(float(mean_loss(cell, network(val_x), val_y)))
                if vals[-1] < best:
                    best, best_epoch = vals[-1], epoch
        impatient = cell.patience is not None and epoch - best_epoch >= cell.patience
        met = rights[-1] == cell.n_samples if cell.criterion == "recall" else taus[-1] <= cell.tau
        if met or not math.isfinite(taus[-1]) or impatient or epoch == cell.max_epochs or len(taus) == epochs:
            break
        order = np.arange(cell.n_samples)
        if cell.shuffle and cell.batch_size:
            order = permutation(kernel_key(cell, "batch order", ("init_seed",)), epoch, cell.n_samples)
        for start in range(0, cell.n_samples, batch):
            places = torch.from_numpy(order[start : start + batch])
            inputs, masks, steps = x[places], None, torch.tensor([[step]])
            if cell.input_noise:
                inputs = inputs + cell.input_noise * normals(noise_key, steps, cell.d_in, places[None], dtype)[0, 0].T
            if cell.dropout and cell.depth:
                masks = dropout_masks(
                    dropout_key, torch.tensor([cell.dropout], dtype=dtype), steps, cell.depth, cell.width, places[None]
                )[0, :, 0]
            optimizer.zero_grad()
            loss = mean_loss(cell, network(inputs, masks), y[places])
            if cell.l1:
                loss = loss + cell.l1 * sum(p.abs().sum() for p in params)
            loss.backward()
            optimizer.step()
            if cell.max_norm is not None:
                with torch.no_grad():
                    for linear in network.affine:
                        if linear.weight.requires_grad:
                            norm = linear.weight.norm(dim=1, keepdim=True)
                            linear.weight.mul_(torch.clamp(cell.max_norm / norm, max=1.0))
            step += 1
        for schedule in schedules:
            schedule.step()
    return np.array(taus), np.array(vals), np.array(rights)


# The witness is slow, and the same for every engine.
_plain = functools.cache(plain_loop)


def plain(cell: Cell, epochs: int | None = None):
    """The losses of `plain_loop`, on the training and the validation set."""
    return _plain(cell, epochs)[:2]


def labels_right(cell: Cell, epochs: int | None = None):
    """How many labels were right."""
    return _plain(cell, epochs)[2]


def assert_same_curve(cell: Cell, outcome: Outcome, tolerance: float, epochs: int | None = None) -> None:
    tau, val_mse = plain(cell, epochs)
    if epochs is None:
        assert outcome.epochs_run == len(tau) - 1
        assert outcome.final_tau == pytest.approx(tau[-1], rel=tolerance)
        if cell.has_labels:
            right = labels_right(cell)
            assert outcome.recalled == right[-1]
            assert outcome.epoch_to_recall == next((e for e, own in enumerate(right) if own == cell.n_samples), None)
            assert outcome.epoch_to_recall_99 == next((e for e, own in enumerate(right) if own >= 0.99 * cell.n_samples), None)
    compared = 0
    for point in outcome.curve:
        if point.epoch < len(tau):
            assert point.tau == pytest.approx(tau[point.epoch], rel=tolerance)
            if cell.n_val:
                assert point.val_mse == pytest.approx(val_mse[point.epoch], rel=tolerance)
            compared += 1
    assert compared >= min(14, len(tau))


def median_difference(outcomes: dict[Cell, Outcome], epochs: int) -> float:
    """Over all cells: the largest relative difference from the plain loop's losses up to this epoch."""
    largest = []
    for cell, outcome in outcomes.items():
        tau, _ = plain(cell, epochs)
        largest.append(max(abs(point.tau / tau[point.epoch] - 1) for point in outcome.curve if point.epoch < len(tau)))
    return float(np.median(largest))
