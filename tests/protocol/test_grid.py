"""Cells and grids: identity, order, coherence."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

import bench
from bench.commands.config import config_dir, register_schema, settings, shipped_regularizations
from bench.protocol.cells import DEFAULTS, FIELDS, PROTOCOL_VERSION, Cell, field_choices, field_types
from bench.protocol.networks import functional_dim, initial_layers, n_params
from bench.protocol.signal import propagation, uniform_gain


def test_equal_cells_have_equal_ids_and_any_changed_field_changes_the_id(monkeypatch):
    base = Cell()
    assert Cell(tau=0.01).cell_id == base.cell_id
    assert Cell(input_noise=1).cell_id == Cell(input_noise=1.0).cell_id
    other = {int: 77, float: 0.077, str: "other", bool: True}
    values = {name: field_choices()[name][-1] if name in field_choices() else other[field_types()[name][0]] for name in FIELDS}
    values["optimizer"] = "sgd"
    assert all(value != DEFAULTS[name] for name, value in values.items())
    changed = {dataclasses.replace(base, **{name: value}).cell_id for name, value in values.items()}
    assert len(changed | {base.cell_id}) == len(FIELDS) + 1
    before = base.cell_id
    monkeypatch.setattr("bench.protocol.cells.PROTOCOL_VERSION", PROTOCOL_VERSION + 1)
    assert base.cell_id != before


def test_an_id_is_the_same_in_every_process():
    code = "from bench.protocol.cells import Cell; print(Cell(width=7, tau=0.05).cell_id)"
    printed = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        for _ in range(2)
    }
    assert printed == {Cell(width=7, tau=0.05).cell_id}


def test_a_grid_is_the_product_in_the_order_of_the_fields_with_seeds_fastest():
    cells = bench.expand(seed=range(2), width=[4, 8], depth=[1, 2], n_samples=[16])
    assert [(c.depth, c.width, c.data_seed, c.init_seed) for c in cells] == [
        (d, w, s, s) for d in (1, 2) for w in (4, 8) for s in (0, 1)
    ]


def test_a_grid_has_no_duplicates():
    assert len(bench.expand(width=[4, 4, 8], seed=[0, 0])) == 2


def test_seeds_of_data_and_initialisation_are_swept_apart_or_together():
    assert len(bench.expand(data_seed=[0, 1], init_seed=[0, 1, 2])) == 6
    assert [(c.data_seed, c.init_seed) for c in bench.expand(seed=[3, 5])] == [(3, 3), (5, 5)]


def test_load_stands_in_for_n_samples():
    cells = bench.expand(load=[0.25, 1, 2], depth=1, width=[8, 16])
    assert [c.n_samples for c in cells] == [
        round(load * n_params(c)) for c, load in zip(cells, [0.25, 0.25, 1, 1, 2, 2], strict=True)
    ]


def test_ranges_are_those_of_python():
    assert [c.data_seed for c in bench.expand(seed="range(2, 8, 3)")] == [2, 5]
    assert [c.data_seed for c in bench.expand(seed=range(2))] == [0, 1]


def test_a_named_regularization_sets_its_strengths_and_turns_the_others_off():
    cells = bench.expand(regularization=["none", "weight_decay", "dropout", "input_noise"])
    shipped = shipped_regularizations()
    assert [(c.regularization, c.weight_decay, c.dropout, c.input_noise) for c in cells] == [
        ("none", 0.0, 0.0, 0.0),
        ("weight_decay", shipped["weight_decay"]["weight_decay"], 0.0, 0.0),
        ("dropout", 0.0, shipped["dropout"]["dropout"], 0.0),
        ("input_noise", 0.0, 0.0, shipped["input_noise"]["input_noise"]),
    ]


def test_strengths_of_a_name_are_swept_by_lists():
    cells = bench.expand(regularization={"none": {}, "mine": {"dropout": [0.1, 0.2], "weight_decay": [1e-4, 1e-3]}})
    assert [(c.regularization, c.dropout, c.weight_decay) for c in cells] == [
        ("none", 0, 0),
        ("mine", 0.1, 1e-4),
        ("mine", 0.1, 1e-3),
        ("mine", 0.2, 1e-4),
        ("mine", 0.2, 1e-3),
    ]


def test_a_regularization_given_by_strengths_is_named_after_them():
    assert [c.regularization for c in bench.expand(dropout=[0, 0.1], weight_decay=[0, 0.01])] == [
        "none",
        "dropout",
        "weight_decay",
        "weight_decay+dropout",
    ]


def test_variants_replace_what_the_grid_says():
    cells = bench.expand(depth=3, width=[4, 8], seed=range(2), variants=[{}, {"width": 16}, {"depth": 1, "init": "orthogonal"}])
    assert [(c.depth, c.width, c.init) for c in cells if c.data_seed == 0] == [
        (3, 4, "he_normal"),
        (3, 8, "he_normal"),
        (3, 16, "he_normal"),
        (1, 4, "orthogonal"),
        (1, 8, "orthogonal"),
    ]


def test_settings_without_effect_take_their_defaults_so_that_equal_runs_are_equal_cells():
    cells = bench.expand(optimizer=["sgd", "adam"], momentum=[0.0, 0.9], amsgrad=[False, True], depth=1)
    assert [(c.optimizer, c.momentum, c.amsgrad) for c in cells] == [
        ("sgd", 0.0, False),
        ("sgd", 0.9, False),
        ("adam", 0.0, False),
        ("adam", 0.0, True),
    ]
    assert {c.dropout for c in bench.expand(depth=[0, 1], dropout=0.3) if c.depth == 0} == {0.0}


def test_a_regularization_that_a_cell_cannot_have_is_none():
    cells = bench.expand(depth=[0, 1], regularization=["none", "dropout"])
    assert [(c.depth, c.regularization, c.dropout) for c in cells] == [(0, "none", 0.0), (1, "none", 0.0), (1, "dropout", 0.1)]


def test_numbers_of_numpy_are_numbers():
    assert [c.width for c in bench.expand(width=np.array([4, 8]))] == [4, 8]
    assert [c.learning_rate for c in bench.expand(learning_rate=np.logspace(-3, -2, 2))] == [0.001, 0.01]


def test_equal_cells_have_equal_initial_weights_however_their_numbers_are_spelled():
    for one, other in zip(initial_layers(Cell(init_scale=1)), initial_layers(Cell(init_scale=1.0)), strict=True):
        assert np.array_equal(one.weight, other.weight)


def test_a_trained_readout_has_one_dimension_for_each_feature_and_the_bias():
    assert functional_dim(Cell(width=6, depth=1, trainable="readout")) == 7


def compose(*overrides: str):
    GlobalHydra.instance().clear()
    register_schema()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return settings(hydra_compose("config", overrides=[*overrides, "run_dir=unused"]), overrides)


def test_a_chosen_optimizer_is_the_one_that_trains():
    for grid in ("smoke", "default", "question"):
        assert {cell.optimizer for cell in compose(f"grid={grid}", "optimizer=adamw").cells} == {"adamw"}


def test_an_optimizer_brings_nothing_that_its_name_does_not_say():
    """The rate is that of `Cell`, as from Python."""
    for name, momentum in (("sgd", 0.0), ("sgd_momentum", 0.9)):
        chosen = compose("grid=default", f"optimizer={name}")
        assert {(c.optimizer, c.learning_rate, c.momentum) for c in chosen.cells} == {
            ("sgd", DEFAULTS["learning_rate"], momentum)
        }


# A hash over the ids of all cells of each shipped grid, but for those of optimizer=lm beside others.
SHIPPED = {
    "check": "8ff7d520b9447cac",
    "default": "536822246ac75bf2",
    "frontier": "541d3cebba701485",
    "learning_rate": "fe636665138c8e55",
    "precision": "ff919183d88b8201",
    "published": "d875edf4bfb106fb",
    "question": "9b4ca1559d120bef",
    "regularization": "1b48069b03ff0849",
    "smoke": "c1e5b5a2cef8a76a",
}


def test_no_cell_of_a_shipped_grid_has_moved():
    """Results that were trained stay those of their cells."""
    for grid, expected in SHIPPED.items():
        ids = "".join(cell.cell_id for cell in compose(f"grid={grid}").cells if cell.optimizer != "lm")
        assert hashlib.sha256(ids.encode()).hexdigest()[:16] == expected, grid


def test_published_and_frontier_have_networks_of_theirs_by_lm_too():
    """The same networks on the same tasks, in float64: what Adam leaves behind is told beside what it reaches."""
    for grid, count in (("published", 5), ("frontier", 8)):
        cells = compose(f"grid={grid}").cells
        networks = {
            solved: {
                tuple(getattr(cell, name) for name in ("depth", "width", "d_in", "loss", "target", "init", "tau"))
                for cell in cells
                if (cell.optimizer == "lm") is solved and cell.regularization == "none"
            }
            for solved in (False, True)
        }
        assert len(networks[True]) == count and networks[True] < networks[False]
        assert {(c.dtype, c.max_epochs, c.regularization) for c in cells if c.optimizer == "lm"} == {("float64", 500, "none")}


def test_load_on_the_command_line_replaces_the_sample_counts_of_the_grid():
    chosen = compose("grid=smoke", "grid.load=[0.25,0.5]")
    assert {cell.n_samples for cell in chosen.cells} == {
        round(load * n_params(cell)) for cell in chosen.cells for load in (0.25, 0.5)
    }


def test_the_network_of_the_question_has_6601_parameters():
    cell = Cell(d_in=2, depth=11, width=25)
    assert n_params(cell) == 6601
    assert functional_dim(cell) == 6601 - 11 * 25
    assert functional_dim(dataclasses.replace(cell, activation="tanh")) == 6601


@pytest.mark.parametrize(("half_width", "init"), [(0.1, "uniform"), (0.25, "uniform"), (1.0, "he_normal")])
def test_the_second_moment_grows_by_its_known_factor_in_each_layer(half_width, init):
    """width * a**2 / 6 for U(-a, a), 1 for he_normal."""
    cells = [Cell(init=init, init_scale=half_width, depth=4, width=500, d_in=500, n_samples=200, init_seed=s) for s in range(3)]
    signal = propagation(cells)
    hidden = signal[(signal["layer"] > 1) & (signal["layer"] <= 4)]
    assert hidden["gain"].mean() == pytest.approx(uniform_gain(500, half_width) if init == "uniform" else 1, rel=0.1)


def test_a_dead_layer_is_counted_as_dead():
    signal = propagation([Cell(init="uniform", init_scale=0.02, depth=12, width=6, d_in=1, n_samples=50)])
    assert signal["variance_across_inputs"].iloc[-1] < 1e-20
    cell = Cell(init="uniform", init_scale=0.02, depth=1, width=6, d_in=1, n_samples=1)
    assert propagation([cell])["dead_units"].tolist()[0] == 1  # one sample: nothing varies
    varied = propagation([dataclasses.replace(cell, n_samples=200)])["dead_units"].tolist()[0]
    assert varied == 0  # one input, no bias: each unit is on for one sign of it
    assert signal["dead_units"].isna().iloc[-1]


def test_every_default_is_a_valid_value():
    assert bench.expand(**{name: value for name, value in DEFAULTS.items() if name != "regularization"}) == [Cell()]


def test_lm_takes_its_own_defaults_and_no_setting_that_has_no_effect_on_it():
    (cell,) = bench.expand(optimizer="lm")
    assert (cell.dtype, cell.max_epochs) == ("float64", 500)
    (own,) = bench.expand(optimizer="lm", dtype="float64", max_epochs=80)
    assert own.max_epochs == 80
    both = bench.expand(optimizer=["adam", "lm"], learning_rate=[0.001, 0.01], max_epochs=5000)
    assert [(c.optimizer, c.learning_rate, c.max_epochs, c.dtype) for c in both] == [
        ("adam", 0.001, 5000, "float32"),
        ("adam", 0.01, 5000, "float32"),
        ("lm", DEFAULTS["learning_rate"], 500, "float64"),
    ]
    for name, value in (("learning_rate", 0.01), ("lr_schedule", "cosine"), ("beta1", 0.8), ("momentum", 0.9)):
        with pytest.raises(bench.GridError, match=f"^{name}={value}: has no effect without optimizer="):
            bench.expand(optimizer="lm", **{name: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 8}, "batch_size=8: is not for optimizer=lm, which lowers the loss on all samples and nothing else; leave batch_size out, or use optimizer=adam"),
        ({"weight_decay": 0.1}, "weight_decay=0.1: is not for optimizer=lm, which lowers the loss on all samples and nothing else; leave weight_decay out, or use optimizer=adam"),
        ({"patience": 5, "n_val": 9}, "patience=5: is not for optimizer=lm, which lowers the loss on all samples and nothing else; leave patience out, or use optimizer=adam"),
        ({"dtype": "tf32"}, "dtype=tf32: is not for optimizer=lm, which computes in float64; set dtype=float64"),
        ({"max_epochs": 501}, "max_epochs=501: is more than the 500 iterations that optimizer=lm takes at most; give 500 or less"),
    ],
)  # fmt: skip
def test_what_lm_does_not_take_is_refused_in_one_line(changes, message):
    with pytest.raises(bench.GridError) as told:
        bench.expand(optimizer="lm", **changes)
    assert str(told.value) == message


def test_a_cell_of_lm_that_is_given_whole_has_to_say_what_it_is():
    with pytest.raises(bench.GridError, match=r"^dtype=float32: is not for optimizer=lm, which computes in float64; set "):
        bench.run(Cell(optimizer="lm", max_epochs=100))


def test_muon_has_a_momentum_of_its_own_where_none_is_given():
    both = bench.expand(optimizer=["adam", "sgd", "muon"])
    assert [(c.optimizer, c.momentum) for c in both] == [("adam", 0.0), ("sgd", 0.0), ("muon", 0.95)]
    assert [c.momentum for c in bench.expand(optimizer="muon", momentum=[0.5, 0.9])] == [0.5, 0.9]
    (cell,) = {dataclasses.replace(cell, data_seed=0, init_seed=0, n_samples=1) for cell in compose("grid=smoke", "optimizer=muon", "grid.depth=[2]", "grid.width=[8]", "grid.regularization=[none]").cells}  # fmt: skip
    assert cell.momentum == 0.95
    fields = {"amsgrad": True, "beta1": 0.8, "eps": 1e-6, "weight_decay": 0.1, "l1": 0.1, "dropout": 0.1, "lr_schedule": "step"}
    (own,) = bench.expand(optimizer="muon", **fields)
    assert all(getattr(own, name) == value for name, value in fields.items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 1}, "depth=1: is not for optimizer=muon, which is for the matrices between hidden layers and finds none; give 2 or more, or use optimizer=adam"),
        ({"depth": [3, 0]}, "depth=0: is not for optimizer=muon, which is for the matrices between hidden layers and finds none; give 2 or more, or use optimizer=adam"),
        ({"trainable": "readout"}, "trainable=readout: is not for optimizer=muon, which is for the matrices between hidden layers and trains none; set trainable=all, or use optimizer=adam"),
        ({"momentum": 0.0}, "momentum=0.0: is not for optimizer=muon, whose steps follow the mean of many gradients; set momentum=0.95, for which a grid may leave it out"),
    ],
)  # fmt: skip
def test_what_muon_does_not_take_is_refused_in_one_line(changes, message):
    with pytest.raises(bench.GridError) as told:
        bench.expand(optimizer="muon", **changes)
    assert str(told.value) == message


def test_a_cell_of_muon_that_is_given_whole_has_to_say_its_momentum():
    with pytest.raises(bench.GridError, match=r"^momentum=0.0: is not for optimizer=muon, whose steps "):
        bench.run(Cell(optimizer="muon"))


def test_cells_of_the_other_optimizers_keep_their_ids():
    assert Cell().cell_id == "443e69320b4a3e85"
    assert Cell(optimizer="sgd", momentum=0.9).cell_id == "7e54a66c2c38ebab"
