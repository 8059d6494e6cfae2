"""Draws made inside training kernels: dropout masks, input noise and batch order, each a pure function of where it is used.

The specification, for every engine and language. All words are unsigned 32-bit integers.

*Generator.* Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011, doi 10.1145/2063384.2063405; multipliers D2511F53 and
CD9E8D57, Weyl increments 9E3779B9 and BB67AE85, ten rounds): four counter words and two key words in, four words out.
The key is `streams.kernel_key(cell, purpose, ("init_seed",))` for the purposes "dropout", "input noise" and "batch order".
Known answers of the authors' Random123 library (tests/protocol/test_randomness.py repeats them), counter and key to output:

    00000000 00000000 00000000 00000000, 00000000 00000000 -> 6627e8d5 e169c58d bc57ac4c 9b00dbd8
    ffffffff ffffffff ffffffff ffffffff, ffffffff ffffffff -> 408f276d 41c83b0e a20bc7c6 6d5451fd
    243f6a88 85a308d3 13198a2e 03707344, a4093822 299f31d0 -> d16cfe09 94fdcceb 5001e420 24126ea1

*Counter.* (step, layer, unit // units per call, sample): `step` counts the optimizer steps of the cell from 0, `layer` the
hidden layers from 0 (0 for inputs), `sample` the place in the training set, whatever the batch.

*Dropout.* One 16-bit half-word decides one unit of one sample, 8 units per call: unit u uses the half u % 8 of the output,
halves in little-endian order (word 0 low, word 0 high, word 1 low, ...). The unit is dropped when the half-word is below
T = floor(65536 p + 1/2), else multiplied by 65536 / (65536 - T): exactly unbiased, p held to 2**-16.

*Normals.* 4 per call: feature f uses normal f % 4. Words a, b make uniforms u = ((a >> 9) + 1/2) / 2**23 and v likewise
(exact in float32, never 0 or 1); r = sqrt(-2 ln u); the pair is r cos(2 pi v), r sin(2 pi v). Words 0 and 1 make
normals 0 and 1; words 2 and 3 make normals 2 and 3. (Box and Muller 1958.)

*Batch order.* The order of epoch e is the bijection of 0..n-1 that `permutation` computes: a balanced Feistel network of 8
rounds on 2k bits, k the smallest number with 4**k >= n, walked until it lands below n. Round i maps (left, right) to
(right, left XOR (F(right XOR key_i) mod 2**k)), F the 32-bit finalizer of MurmurHash3; the 8 round keys are the outputs of
Philox at counters (e, 0, 0, 0) and (e, 0, 1, 0).

Everything here is written with * >> & ^ + on 64-bit integers, so that numpy arrays and torch tensors give the same bits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

WORD = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
UNITS_PER_CALL = 8
NORMALS_PER_CALL = 4
HALF_WORDS = 1 << 16
# After this many rounds every word has the full broadcast shape and may be updated in place.
BROADCAST_ROUNDS = 4


def philox4x32(counter: tuple[Any, Any, Any, Any], key: tuple[Any, Any]) -> tuple[Any, Any, Any, Any]:
    """Philox4x32-10 on int64 arrays or tensors that hold 32-bit words and broadcast together; numpy and torch alike."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for i in range(ROUNDS):
        # The products need 64 bits; as signed integers they wrap, and the mask after the shift drops the copied sign.
        low_0, low_2 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c2 = low_2 >> 32, low_0 >> 32
        round_0, round_1 = (k0 + i * WEYL[0]) & WORD, (k1 + i * WEYL[1]) & WORD
        if i < BROADCAST_ROUNDS:
            c0, c2 = (c0 & WORD) ^ c1 ^ round_0, (c2 & WORD) ^ c3 ^ round_1
        else:
            c0 &= WORD
            c0 ^= c1
            c0 ^= round_0
            c2 &= WORD
            c2 ^= c3
            c2 ^= round_1
        low_0 &= WORD
        low_2 &= WORD
        c1, c3 = low_2, low_0
    return c0, c1, c2, c3


def dropout_masks(
    keys: Int[Tensor, "cell 2"],
    rates: Float[Tensor, " cell"],
    steps: Int[Tensor, "step cell"],
    layers: int,
    units: int,
    samples: Int[Tensor, "cell sample"],
) -> Float[Tensor, "step layer cell unit sample"]:
    """What to multiply each hidden unit's output by: 0 where it is dropped, else the inverse of the share kept.

    `steps` are each cell's optimizer steps, `samples` the places in its training set; the result has the dtype of `rates`.
    """
    calls = -(-units // UNITS_PER_CALL)
    layer = torch.arange(layers, device=rates.device).view(1, -1, 1, 1, 1)
    call = torch.arange(calls, device=rates.device).view(1, 1, 1, -1, 1)
    words = philox4x32(
        (steps.view(len(steps), 1, -1, 1, 1), layer, call, samples.view(1, 1, len(rates), 1, -1)),
        _key_words(keys, (1, 1, -1, 1, 1)),
    )
    dropped_below = torch.floor(rates.double() * HALF_WORDS + 0.5)
    scale = (HALF_WORDS / (HALF_WORDS - dropped_below)).to(rates.dtype).view(1, 1, -1, 1, 1)
    dropped_below = dropped_below.long().view(1, 1, -1, 1, 1)
    masks = rates.new_empty(len(steps), layers, len(rates), calls, UNITS_PER_CALL, samples.shape[1])
    for half in range(UNITS_PER_CALL):
        word = words[half // 2]
        kept = (word >> 16 if half % 2 else word & 0xFFFF) >= dropped_below
        torch.mul(kept, scale, out=masks[:, :, :, :, half])
    return masks.flatten(3, 4)[:, :, :, :units]


def normals(
    keys: Int[Tensor, "cell 2"],
    steps: Int[Tensor, "step cell"],
    features: int,
    samples: Int[Tensor, "cell sample"],
    dtype: torch.dtype,
) -> Float[Tensor, "step cell feature sample"]:
    """Standard normal draws for every feature of every sample at each cell's optimizer steps."""
    calls = -(-features // NORMALS_PER_CALL)
    call = torch.arange(calls, device=samples.device).view(1, 1, -1, 1)
    counter = (steps.view(len(steps), -1, 1, 1), torch.zeros_like(call), call, samples.view(1, len(keys), 1, -1))
    words = philox4x32(counter, _key_words(keys, (1, -1, 1, 1)))
    u0, v0, u1, v1 = (((word >> 9).to(dtype) + 0.5) * 2.0**-23 for word in words)
    r0, r1 = torch.sqrt(-2 * torch.log(u0)), torch.sqrt(-2 * torch.log(u1))
    draws = [
        r0 * torch.cos(2 * math.pi * v0),
        r0 * torch.sin(2 * math.pi * v0),
        r1 * torch.cos(2 * math.pi * v1),
        r1 * torch.sin(2 * math.pi * v1),
    ]
    return torch.stack(draws, dim=3).flatten(2, 3)[:, :, :features]


def _key_words(keys: Int[Tensor, "cell 2"], shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    return keys[:, 0].view(shape), keys[:, 1].view(shape)


def permutation(key: tuple[int, int], epoch: int, size: int) -> Int[np.ndarray, " sample"]:
    """The order in which an epoch visits the training set: a stateless bijection of 0..size-1.

    >>> sorted(permutation((1, 2), epoch=0, size=5).tolist())
    [0, 1, 2, 3, 4]
    """
    bits = next(k for k in range(1, 17) if 4**k >= size)
    mask = (1 << bits) - 1
    zeros = np.zeros(2, dtype=np.int64)
    round_keys = np.stack(
        philox4x32((zeros + epoch, zeros, np.arange(2), zeros), (np.int64(key[0]), np.int64(key[1]))), axis=1
    ).ravel()

    def feistel(places: Int[np.ndarray, " place"]) -> Int[np.ndarray, " place"]:
        left, right = places >> bits, places & mask
        for round_key in round_keys:
            left, right = right, left ^ (_murmur_finalizer(right ^ round_key) & mask)
        return (left << bits) | right

    order = feistel(np.arange(size, dtype=np.int64))
    while (outside := order >= size).any():
        order[outside] = feistel(order[outside])
    return order


def _murmur_finalizer(word: Int[np.ndarray, " place"]) -> Int[np.ndarray, " place"]:
    """fmix32 of MurmurHash3 (Appleby, public domain)."""
    word = ((word ^ (word >> 16)) * 0x85EBCA6B) & WORD
    word = ((word ^ (word >> 13)) * 0xC2B2AE35) & WORD
    return word ^ (word >> 16)
