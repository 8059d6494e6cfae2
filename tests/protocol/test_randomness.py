"""Named streams: known answers, an independent implementation in plain integers, and independence from everything unnamed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.protocol.cells import FIELDS, Cell, TargetScaling, canonical
from bench.protocol.networks import initial_layers
from bench.protocol.noise import training_data, validation_data
from bench.protocol.philox import dropout_masks, normals, permutation, philox4x32
from bench.protocol.streams import generator, kernel_key, stream_key

WORD = 2**32
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


def plain_philox(counter, key):
    """Philox4x32-10 in Python's integers, from the paper's definition."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        a, b = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (b // WORD) ^ c1 ^ k0, b % WORD, (a // WORD) ^ c3 ^ k1, a % WORD
        k0, k1 = (k0 + 0x9E3779B9) % WORD, (k1 + 0xBB67AE85) % WORD
    return [c0, c1, c2, c3]


@pytest.mark.parametrize(("counter", "key", "output"), KNOWN)
@pytest.mark.parametrize("array", [lambda v: np.array([v]), lambda v: torch.tensor([v])], ids=["numpy", "torch"])
def test_philox_gives_the_published_known_answers(counter, key, output, array):
    drawn = philox4x32(tuple(map(array, words(counter))), tuple(map(array, words(key))))
    assert [int(word[0]) for word in drawn] == words(output) == plain_philox(words(counter), words(key))


word = st.integers(0, WORD - 1)


@given(counter=st.tuples(word, word, word, word), key=st.tuples(word, word))
def test_philox_equals_its_definition_in_plain_integers(counter, key):
    drawn = philox4x32(tuple(torch.tensor([c]) for c in counter), tuple(torch.tensor([k]) for k in key))
    assert [int(w) for w in drawn] == plain_philox(counter, key)


def test_dropout_masks_are_the_half_words_of_the_specification():
    keys, rates, steps = [(1, 2), (3, 4)], [0.1, 0.5], [[7, 9], [8, 10]]
    masks = dropout_masks(
        torch.tensor(keys), torch.tensor(rates), torch.tensor(steps), 2, 11, torch.tensor([[0, 5, 3], [2, 1, 9]])
    )
    assert masks.shape == (2, 2, 2, 11, 3)
    for s, layer, cell, unit, i in np.ndindex(*masks.shape):
        sample = [[0, 5, 3], [2, 1, 9]][cell][i]
        output = plain_philox([steps[s][cell], layer, unit // 8, sample], keys[cell])
        half = (output[unit % 8 // 2] >> 16 * (unit % 2)) & 0xFFFF
        threshold = math.floor(rates[cell] * 65536 + 0.5)
        assert masks[s, layer, cell, unit, i] == (np.float32(65536 / (65536 - threshold)) if half >= threshold else 0)


def test_normals_are_the_box_muller_pairs_of_the_specification():
    drawn = normals(torch.tensor([[5, 6]]), torch.tensor([[11]]), 6, torch.tensor([[4, 0]]), torch.float64)
    assert drawn.shape == (1, 1, 6, 2)
    for feature, i in np.ndindex(6, 2):
        output = plain_philox([11, 0, feature // 4, [4, 0][i]], [5, 6])
        u, v = (((w >> 9) + 0.5) / 2**23 for w in output[feature % 4 // 2 * 2 :][:2])
        angle = 2 * math.pi * v
        assert float(drawn[0, 0, feature, i]) == pytest.approx(
            math.sqrt(-2 * math.log(u)) * (math.sin if feature % 2 else math.cos)(angle), abs=1e-6
        )
    single = normals(torch.tensor([[5, 6]]), torch.tensor([[11]]), 6, torch.tensor([[4, 0]]), torch.float32)
    assert torch.allclose(single.double(), drawn, atol=1e-6)


def test_masks_and_normals_have_the_moments_they_should():
    places = torch.arange(4000)[None]
    masks = dropout_masks(torch.tensor([[1, 2]]), torch.tensor([0.3], dtype=torch.float64), torch.tensor([[0]]), 3, 16, places)
    error = math.sqrt(0.3 / 0.7 / masks.numel())
    assert abs(float(masks.mean()) - 1) < 4 * error
    assert float((masks == 0).double().mean()) == pytest.approx(0.3, abs=0.01)
    drawn = normals(torch.tensor([[1, 2]]), torch.tensor([[0], [1]]), 8, places, torch.float64).numpy().ravel()
    assert stats.kstest(drawn, "norm").pvalue > 0.01


def test_a_draw_does_not_depend_on_the_size_of_what_it_is_drawn_with():
    few = dropout_masks(torch.tensor([[1, 2]]), torch.tensor([0.3]), torch.tensor([[4]]), 1, 5, torch.arange(3)[None])
    many = dropout_masks(
        torch.tensor([[9, 9], [1, 2]]),
        torch.tensor([0.9, 0.3]),
        torch.tensor([[3, 3], [4, 4]]),
        2,
        30,
        torch.arange(50).repeat(2, 1),
    )
    assert torch.equal(few[0, 0, 0], many[1, 0, 1, :5, :3])


@given(size=st.integers(1, 3000), epoch=st.integers(0, 2**31), key=st.tuples(word, word))
def test_every_epoch_visits_every_sample_once(size, epoch, key):
    assert np.array_equal(np.sort(permutation(key, epoch, size)), np.arange(size))


@pytest.mark.parametrize("draws", [1000, pytest.param(3000, marks=pytest.mark.exhaustive)])
def test_all_orders_of_a_few_samples_are_equally_likely(draws):
    """24 orders, 40 draws of each and more: one that comes twice as often as it should would be found."""
    orders = [tuple(permutation((3, 4), epoch, 4)) for epoch in range(draws)]
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 0.01


def test_a_permutation_is_the_feistel_network_of_the_specification():
    def finalizer(x):
        x = ((x ^ x >> 16) * 0x85EBCA6B) % WORD
        x = ((x ^ x >> 13) * 0xC2B2AE35) % WORD
        return x ^ x >> 16

    def walk(place, size, bits, keys):
        while True:
            left, right = place >> bits, place % (1 << bits)
            for key in keys:
                left, right = right, left ^ finalizer(right ^ key) % (1 << bits)
            place = (left << bits) + right
            if place < size:
                return place

    keys = plain_philox([6, 0, 0, 0], [1, 2]) + plain_philox([6, 0, 1, 0], [1, 2])
    assert permutation((1, 2), 6, 37).tolist() == [walk(i, 37, 3, keys) for i in range(37)]


def test_data_sets_are_nested_in_n_samples():
    small, large = training_data(Cell(n_samples=20)), training_data(Cell(n_samples=300))
    assert np.array_equal(small.inputs, large.inputs[:20])
    assert np.array_equal(small.targets, large.targets[:20])


CHANGES = {
    "depth": 5,
    "width": 7,
    "init_seed": 9,
    "learning_rate": 0.1,
    "dropout": 0.2,
    "activation": "tanh",
    "n_val": 10,
    "max_epochs": 7,
}


@pytest.mark.parametrize("field", CHANGES)
def test_data_depend_on_no_field_of_network_or_training(field):
    changed = dataclasses.replace(Cell(), **{field: CHANGES[field]})
    assert np.array_equal(training_data(changed).inputs, training_data(Cell()).inputs)
    assert np.array_equal(training_data(changed).targets, training_data(Cell()).targets)


def test_streams_of_different_purpose_or_seed_differ():
    cell = Cell()
    keys = {stream_key(cell, purpose, fields) for purpose in ("a", "b") for fields in (("data_seed",), ("init_seed",))}
    keys |= {stream_key(dataclasses.replace(cell, data_seed=s), "a", ("data_seed",)) for s in (1, 2)}
    assert len(keys) == 6
    assert all(0 <= part < WORD for part in kernel_key(cell, "dropout", ("init_seed",)))


def test_a_stream_is_numpys_philox_under_its_key():
    key = stream_key(Cell(), "a", ("data_seed",))
    drawn = generator(Cell(), "a", ("data_seed",)).standard_normal(7)
    assert np.array_equal(drawn, np.random.Generator(np.random.Philox(key=key)).standard_normal(7))


def test_targets_are_independent_of_inputs_and_have_unit_variance():
    for target in ("normal", "uniform", "rademacher"):
        data = training_data(Cell(n_samples=20000, d_in=3, target=target))
        assert abs(data.targets.mean()) < 0.03
        assert abs(data.targets.var() - 1) < 0.05
        assert np.abs(np.corrcoef(data.inputs.T, data.targets)[-1, :-1]).max() < 0.03


def test_scaling_is_fitted_to_the_training_targets_and_applied_to_validation():
    base = Cell(n_samples=50, n_val=40)
    raw, raw_val = training_data(base).targets, validation_data(base).targets
    minmax = dataclasses.replace(base, target_scaling="minmax")
    assert training_data(minmax).targets.min() == 0
    assert training_data(minmax).targets.max() == 1
    assert validation_data(minmax).targets == pytest.approx((raw_val - raw.min()) / np.ptp(raw))
    standard = training_data(dataclasses.replace(base, target_scaling="standardize"))
    assert standard.targets.mean() == pytest.approx(0, abs=1e-12)
    assert standard.target_variance == pytest.approx(1)
    assert not set(raw) & set(raw_val)


def test_targets_that_do_not_vary_are_measured_by_the_variance_of_their_distribution():
    assert training_data(Cell(n_samples=1)).target_variance == 1
    alike = next(
        Cell(n_samples=2, target="rademacher", data_seed=s)
        for s in range(20)
        if np.ptp(training_data(Cell(n_samples=2, target="rademacher", data_seed=s)).targets) == 0
    )
    assert training_data(alike).target_variance == 1
    assert training_data(dataclasses.replace(alike, target_scaling="standardize")).targets.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("init", "spread"),
    [
        ("he_normal", lambda fan_in, out: math.sqrt(2 / fan_in)),
        ("he_uniform", lambda fan_in, out: math.sqrt(2 / fan_in)),
        ("xavier_uniform", lambda fan_in, out: math.sqrt(2 / (fan_in + out))),
        ("torch_default", lambda fan_in, out: math.sqrt(1 / (3 * fan_in))),
        ("uniform", lambda fan_in, out: 1 / math.sqrt(3)),
    ],
)
def test_initial_weights_have_the_spread_of_their_rule(init, spread):
    for layer in initial_layers(Cell(init=init, d_in=60, depth=2, width=90, init_scale=1.0))[:2]:
        out, fan_in = layer.weight.shape
        assert layer.weight.std() == pytest.approx(spread(fan_in, out), rel=0.05)
        assert layer.weight.mean() == pytest.approx(0, abs=5 * spread(fan_in, out) / math.sqrt(layer.weight.size))
        assert (layer.bias != 0).any() == (init == "torch_default")


@pytest.mark.parametrize("width", [4, 40])
def test_orthogonal_weights_are_orthonormal_up_to_their_gain(width):
    weight = initial_layers(Cell(init="orthogonal", init_scale=3.0, d_in=10, width=width, depth=1))[0].weight
    gram = weight @ weight.T if width < 10 else weight.T @ weight
    assert gram == pytest.approx(9 * np.eye(len(gram)), abs=1e-12)


@pytest.mark.parametrize("fields", [(), ("init_seed",), ("init_scale", "init", "max_norm", "batch_size", "shuffle"), FIELDS])
@pytest.mark.parametrize("changes", [{}, {"init_scale": 1, "max_norm": 2}, {"regularization": 'a"\u00e9\\', "shuffle": True}])
def test_a_stream_s_key_is_the_hash_of_its_purpose_and_fields_in_json(changes, fields):
    cell = Cell(**changes)
    named = ["inputs", *[[name, canonical(name, getattr(cell, name))] for name in fields]]
    digest = hashlib.sha256(json.dumps(named).encode()).digest()
    assert stream_key(cell, "inputs", fields) == int.from_bytes(digest[:16], "little")


@pytest.mark.parametrize("scaling", get_args(TargetScaling))
@pytest.mark.parametrize("n_samples", [1, 2, 7, 8, 129, 4097])
def test_the_variance_that_tau_divides_by_is_numpy_s_to_the_bit(n_samples, scaling):
    data = training_data(Cell(n_samples=n_samples, target_scaling=scaling, n_val=3))
    assert data.target_variance == (np.var(data.targets) or 1.0)
