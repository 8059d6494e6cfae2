"""Every engine against the plain PyTorch loop on networks and data of any size."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bench.engines.packs import epoch_flops
from bench.protocol.cells import Cell
from tests.engines.protocols import ACTIVATIONS
from tests.engines.training import ENGINES, TENSOR_CORES_ON_HOST, engine_named, every, train
from tests.engines.witness import plain


def within(flops: float, **fields) -> Cell:
    """A cell with as many of the samples asked for as leave an epoch within these FLOPs: any size, but not all of them at once."""
    per_sample = epoch_flops(Cell(**fields | {"n_samples": 1, "batch_size": None}))
    return Cell(**fields | {"n_samples": max(1, min(fields["n_samples"], int(flops / per_sample)))})


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    width=st.integers(1, 300),
    depth=st.integers(0, 20),
    n_samples=st.integers(1, 3000),
    d_in=st.integers(1, 40),
    batch_size=st.none() | st.integers(50, 4000),
    activation=st.sampled_from(ACTIVATIONS),
    dtype=st.sampled_from(["float64", "float32"]),
)
@example(width=256, depth=2, n_samples=70, d_in=3, batch_size=None, activation="relu", dtype="float64")
@example(width=300, depth=2, n_samples=70, d_in=3, batch_size=None, activation="relu", dtype="float64")
@example(width=300, depth=2, n_samples=70, d_in=3, batch_size=None, activation="relu", dtype="float32")
@example(width=5, depth=1, n_samples=3000, d_in=40, batch_size=999, activation="gelu", dtype="float64")
@pytest.mark.parametrize("name", every(*ENGINES))
def test_any_shape_trains_like_the_plain_loop(name, width, depth, n_samples, d_in, batch_size, activation, dtype):
    """In float32 one full-batch update: deep networks are chaotic, and rounding alone leads them apart after a few."""
    double = dtype == "float64"
    cell = within(
        1e8,
        width=width,
        depth=depth,
        n_samples=n_samples,
        d_in=d_in,
        batch_size=batch_size if double else None,
        activation=activation,
        dtype=dtype,
        max_epochs=3 if double else 1,
        tau=1e-9,
        learning_rate=1e-3,
    )
    (outcome,) = train([cell], engine=engine_named(name)).values()
    tau, _ = plain(cell, None)
    assert outcome.epochs_run == len(tau) - 1
    assert [point.tau for point in outcome.curve] == pytest.approx(
        [tau[point.epoch] for point in outcome.curve], rel=1e-8 if double else 1e-3, abs=1e-12
    )


@pytest.mark.parametrize(("name", "dtype"), [*((name, "tf32") for name in ENGINES), (TENSOR_CORES_ON_HOST, "float32")])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    width=st.integers(1, 150),
    depth=st.integers(0, 4),
    n_samples=st.integers(1, 300),
    d_in=st.integers(1, 40),
    activation=st.sampled_from(ACTIVATIONS),
)
@example(width=63, depth=1, n_samples=1, d_in=1, activation="silu")
@example(width=65, depth=2, n_samples=33, d_in=9, activation="relu")
def test_any_shape_in_tf32_and_in_3xtf32_trains_like_the_plain_loop(name, dtype, width, depth, n_samples, d_in, activation):
    """Under SGD: Adam's first step takes the sign of a gradient, however small."""
    cell = within(
        3e7,
        width=width,
        depth=depth,
        n_samples=n_samples,
        d_in=d_in,
        activation=activation,
        dtype=dtype,
        optimizer="sgd",
        max_epochs=1,
        tau=1e-9,
        learning_rate=1e-3,
    )
    (outcome,) = train([cell], engine=engine_named(name)).values()
    tau, _ = plain(cell, None)
    tolerance = 1e-3 if dtype == "tf32" else 1e-5
    assert [point.tau for point in outcome.curve] == pytest.approx(
        [tau[point.epoch] for point in outcome.curve], rel=tolerance, abs=1e-6
    )
