"""Each line of theory against a number worked out by hand."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from bench.protocol import theory
from bench.protocol.cells import Cell


def of(cell: Cell, *taus: float) -> dict[str, float]:
    return {line.line: line.n_samples for line in theory.lines(cell, taus)}


def test_one_hidden_layer():
    """8 inputs, 16 units: 8 * 16 + 16 + 16 + 1 = 161 parameters, less 16."""
    assert of(Cell(d_in=8, depth=1, width=16)) == {
        "linear floor": 9,
        "functional dimension": 145,
        "parameters": 161,
        "Baum": 128,
        "Bubeck et al.": 32,
    }


def test_one_hidden_layer_of_smooth_units():
    """The bound is of pairs of units: of 17 one has no partner."""
    found = of(Cell(d_in=8, depth=1, width=17, activation="tanh"))
    assert found["Madden and Thrampoulidis, lower"] == 64
    assert found["Madden and Thrampoulidis, upper"] == 170
    assert not any(line.startswith("Madden") for line in of(Cell(depth=1, activation="leaky_relu")))


def test_two_hidden_layers():
    """3 inputs, 10 units: 40 + 110 + 11 = 161 parameters, less 20."""
    assert of(Cell(d_in=3, depth=2, width=10)) == {
        "linear floor": 4,
        "functional dimension": 141,
        "parameters": 161,
        "Yun et al., lower": 25,
        "Yun et al., upper": 212,
    }


def test_an_activation_that_cannot_be_rescaled_keeps_all_its_dimensions_and_loses_the_bounds_for_relu():
    assert of(Cell(d_in=8, depth=1, width=16, activation="tanh"))["functional dimension"] == 161
    sources = {
        name: next(
            line.source for line in theory.lines(Cell(depth=1, activation=name), []) if line.line == "functional dimension"
        )
        for name in ("relu", "leaky_relu", "tanh", "gelu")
    }
    assert sources["relu"] == sources["leaky_relu"] and sources["relu"].startswith("Grigsby")
    assert sources["tanh"] == sources["gelu"] and sources["tanh"].startswith("Sard")
    assert "Bubeck et al." not in of(Cell(d_in=8, depth=1, width=16, activation="tanh"))
    assert "Yun et al., lower" not in of(Cell(depth=2, activation="tanh"))


def test_linear_models_have_one_line():
    assert of(Cell(d_in=5, depth=0)) == {"linear floor": 6}
    assert of(Cell(d_in=5, depth=3, width=20, trainable="readout")) == {"readout threshold": 21}


@pytest.mark.parametrize(("tau", "bits_per_sample"), [(0.1, 1.660964), (0.01, 3.321928), (0.001, 4.982892)])
def test_information(tau, bits_per_sample):
    """Half a bit for each halving of the variance that is left (rate-distortion of a Gaussian)."""
    found = of(Cell(d_in=8, depth=3, width=16), tau)
    parameters = 8 * 16 + 16 + 2 * (16 * 16 + 16) + 17
    for bits in (2, 3.6, 5):
        assert found[f"{bits:g} bits for each parameter"] == pytest.approx(bits * parameters / bits_per_sample, rel=1e-6)


def test_what_exists_lies_below_what_cannot():
    for d in (1, 2, 8, 30):
        for h in (1, 4, 16, 100):
            for depth in (1, 2):
                kinds: dict[str, list[float]] = {}
                # Where both kinds are known.
                activation = "tanh" if depth == 1 else "relu"
                for line in theory.lines(Cell(d_in=d, depth=depth, width=h, activation=activation), []):
                    kinds.setdefault(line.kind, []).append(line.n_samples)
                assert max(kinds["exists"]) <= min(kinds["worst case"])


def test_every_line_has_a_source():
    for line in theory.lines(Cell(depth=1), [0.1]) + theory.lines(Cell(depth=2), [0.1]):
        assert len(line.source) > 20
        assert math.isfinite(line.n_samples)


def test_the_table_has_each_network_once():
    groups = pd.DataFrame(
        {
            "d_in": 8,
            "depth": [1, 1, 2, 0],
            "width": 16,
            "activation": "relu",
            "trainable": "all",
            "target": "normal",
            "n_classes": None,
            "n_outputs": 1,
            "loss": "mse",
            "tau": [0.1, 0.1, 0.5, 0.01],
        }
    )
    table = theory.table(groups)
    assert len(table) == (5 + 3) + (5 + 3) + 1
    assert not table.duplicated().any()


def test_the_hinge_has_no_ceiling_and_only_gaussian_targets_have_their_bits():
    hinge = theory.lines(Cell(depth=2, loss="hinge", target="rademacher"), [0.1])
    assert {line.kind for line in hinge if line.line == "functional dimension"} == {"reference"}
    assert not [line for line in hinge if line.kind == "information"]


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, "P - depth*width"),
        ({"activation": "tanh"}, "P"),
        ({"trainable": "readout"}, "width + 1"),
        ({"depth": 0}, "P - depth*width"),
    ],
)
def test_the_line_is_called_what_holds_for_these_networks(fields, name):
    groups = pd.DataFrame([{name: getattr(Cell(**fields), name) for name in (*theory.NETWORK, "tau")}])
    assert theory.dimension_name(groups) == name
    mixed = pd.concat(
        [groups, groups.assign(activation="gelu", depth=3, trainable="all"), groups.assign(activation="relu", depth=3)]
    )
    assert theory.dimension_name(mixed) == "functional dimension"


def test_the_line_is_said_to_bound_exact_fits_with_the_counts_that_a_looser_threshold_allows():
    """At tau 0.1 a linear model of d dimensions leaves 1 - d / N = 0.1 of N = d / 0.9; a Gaussian sample is log2(10) / 2 bits."""
    relu = pd.DataFrame([{name: getattr(Cell(tau=0.1), name) for name in (*theory.NETWORK, "tau")}])
    assert theory.in_words(relu) == (
        "The red line, N = P - depth*width, bounds exact fits of generic targets. A fit to tau 0.1 is not exact, and may pass it:"
        " a linear model of as many dimensions leaves 0.1 of the variance of 1.11 times as many samples; and by the"
        " rate-distortion of a Gaussian, 1.66 bits for each sample, 2, 3.6 and 5 bits for each parameter are 1.2, 2.2 and 3"
        " samples for each."
    )
    assert "N = P, bounds exact fits" in theory.in_words(relu.assign(activation="tanh"))
    assert theory.in_words(relu.assign(target="rademacher")).endswith("1.11 times as many samples.")
    hinge = theory.in_words(relu.assign(loss="hinge", target="rademacher"))
    assert hinge == "The red line, N = P - depth*width, bounds no fit under the hinge loss, which asks for inequalities alone."


def test_what_is_known_for_binary_labels_is_told_from_what_is_known_for_real_ones():
    kinds = {line.line: line.kind for line in theory.lines(Cell(depth=1), [])}
    assert (kinds["Baum"], kinds["Bubeck et al."]) == ("exists for binary labels", "exists")
