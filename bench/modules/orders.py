"""The order of samples in each epoch, a function of the seed and the epoch alone."""

from __future__ import annotations

import torch
from torch import Tensor


def batches(seed: int, epoch: int, n_samples: int, batch_size: int | None, *, shuffle: bool) -> list[Tensor | None]:
    """Places of the samples of each batch, int64; one None where a batch is all of them.

    >>> [len(own) for own in batches(0, 3, 10, 4, shuffle=True)], batches(0, 3, 10, None, shuffle=True)
    ([4, 4, 2], [None])
    """
    if batch_size is None or batch_size >= n_samples:
        return [None]
    if shuffle:
        order = torch.randperm(n_samples, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
    else:
        order = torch.arange(n_samples)
    return list(order.split(batch_size))
