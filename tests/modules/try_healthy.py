"""How often a diagnosis names a false cause, where none is: python -m tests.modules.try_healthy

Networks that memorize their noise, and networks of far fewer dimensions than that has numbers, of several kinds, sizes, optimizers
and batch sizes. A plain loop of torch says which are the first: they memorize within half of their epochs. Of those a diagnosis may
say nothing, of the others capacity, or that it is undecided. Prints a table in Markdown. It takes nine minutes of a core.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator

import torch
from torch import nn

import bench
from bench.modules.batches import noise, shapes_of
from bench.statistics.evidence import Cause
from bench.statistics.survival import wilson_interval
from tests.modules.cases import mlp
from tests.modules.test_training import Block, Recurrent, convolution, normalized

# What may be said of each: of a network that memorizes, and of one that is too small.
RIGHT = {"memorizes": (Cause.NOTHING,), "too small": (Cause.CAPACITY, Cause.UNDECIDED)}

EPOCHS, TAU = 1000, 0.01

# Seconds for a diagnosis of a network that is too small: it tries its whole ladder.
BUDGET_S = 8.0


def asked() -> Iterator[tuple[str, Callable[[], nn.Module], tuple, dict]]:
    """The kind, a function that makes the network, shapes of noise, and settings."""
    wide = {
        "tanh": (lambda: mlp(4, 48, 1, activation=nn.Tanh), (4,)),
        "relu": (lambda: mlp(4, 64, 64, 1, activation=nn.ReLU), (4,)),
        "gelu": (lambda: mlp(4, 48, 48, 1, activation=nn.GELU), (4,)),
        "convolution": (convolution, (1, 6, 6)),
        "lstm": (Recurrent, (4, 3)),
        "transformer": (Block, (3, 8)),
        "batch normalization": (normalized, (3,)),
    }
    trained = [{"optimizer": ("adam", 0.01)}, {"optimizer": ("adamw", 0.01)}, {"optimizer": ("adam", 0.01), "batch_size": 4}]
    for (make, inputs), settings, count, seed in itertools.product(wide.values(), trained, (4, 6, 8), (0, 10)):
        yield "memorizes", make, ((count, *inputs), (count, 1)), settings | {"seeds": range(seed, seed + 3)}
    narrow = {
        "relu": lambda: mlp(2, 4, 1, activation=nn.ReLU),
        "tanh": lambda: mlp(2, 3, 1, activation=nn.Tanh),
        "deep": lambda: mlp(2, 3, 3, 1, activation=nn.Tanh),
    }
    for make, settings, count in itertools.product(narrow.values(), trained[:2], (80, 160, 320)):
        yield "too small", make, ((count, 2), (count, 1)), settings | {"budget_s": BUDGET_S}


def memorizes(make: Callable[[], nn.Module], shapes: tuple, settings: dict) -> bool:
    """Whether a plain loop with each of the seeds reaches tau within half of the epochs, in evaluation mode."""
    for seed in settings["seeds"]:
        batch, name = noise(shapes_of(shapes, samples=True), seed), settings["optimizer"][0]
        x, y = batch.inputs[0], batch.targets
        assert isinstance(y, torch.Tensor)
        torch.manual_seed(seed)
        network = make()
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
        optimizer = kind(network.parameters(), lr=settings["optimizer"][1])
        constant = float(y.var(correction=0))
        size, count = settings.get("batch_size", len(batch)), len(batch)
        for _ in range(EPOCHS // 2):
            for places in torch.randperm(count).split(size):
                optimizer.zero_grad()
                nn.functional.mse_loss(network(x[places]), y[places]).backward()
                optimizer.step()
            # As tau is measured: without dropout, and with running statistics.
            network.eval()
            with torch.no_grad():
                left = float(nn.functional.mse_loss(network(x), y))
            network.train()
            if left <= TAU * constant:
                break
        else:
            return False
    return True


def main() -> None:
    """Diagnose all, and print how often what was said of each kind."""
    said: dict[str, Counter[str]] = {kind: Counter() for kind in RIGHT}
    for kind, make, shapes, settings in asked():
        if kind == "memorizes" and not memorizes(make, shapes, settings):
            continue
        cause = bench.diagnose(make, shapes=shapes, max_epochs=EPOCHS, tau=TAU, **settings).verdict.cause
        said[kind][f"{cause}{'' if cause in RIGHT[kind] else ' (false)'}"] += 1
        if cause not in RIGHT[kind]:
            print(f"false: {kind}, {shapes}, {settings}: {cause}", flush=True)
    print("| network | diagnosed | a false cause | 95 % interval | what was said |\n| --- | --- | --- | --- | --- |")
    for kind, counts in said.items():
        false, count = sum(own for cause, own in counts.items() if cause.endswith("(false)")), counts.total()
        low, high = wilson_interval(false, count)
        told = ", ".join(f"{cause} {own}" for cause, own in counts.most_common())
        print(f"| {kind} | {count} | {false} | {100 * low:.0f} to {100 * high:.0f} % | {told} |")


if __name__ == "__main__":
    main()
