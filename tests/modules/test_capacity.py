"""N50 of anybody's network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import bench
from bench.machine import bar
from bench.modules.batches import noise, shapes_of
from bench.protocol.cells import Cell
from bench.protocol.networks import functional_dim
from tests.modules.cases import mlp


@pytest.mark.exhaustive
def test_our_own_network_as_a_module_holds_as_many_samples_as_its_cells_do():
    """The same search, on the same law of noise: intervals meet, and the rank is nearly the functional dimension."""
    cell = Cell(depth=1, width=8, d_in=4, init="torch_default", tau=0.1, learning_rate=0.01, max_epochs=1000)
    found = bench.capacity(
        lambda: mlp(4, 8, 1, activation=nn.ReLU),
        ((4,), (1,)),
        optimizer=("adam", 0.01),
        max_epochs=1000,
        tau=0.1,
        search=bench.Search(most_cells=60),
    )
    # A draw has a unit or two that are active on all samples, or on none.
    assert found.n_params == 49 and functional_dim(cell) - 3 <= found.rank <= functional_dim(cell) == 41
    counts = [round(found.n50 * factor) for factor in (0.6, 0.8, 1.0, 1.25, 1.6)]
    cells = bench.run(bench.expand(**{name: getattr(cell, name) for name in ("depth", "width", "d_in", "init", "tau")},
                                   learning_rate=0.01, max_epochs=1000, n_samples=counts, seed=range(12)))  # fmt: skip
    (known,) = bench.capacities(cells).to_dict("records")
    assert max(found.low, known["n50_low"]) < min(found.high, known["n50_high"])


def test_noise_of_two_inputs_is_drawn_for_each_of_them(memcap, tmp_path):
    """By Python and by the command: N50 of a network with two inputs, and shapes that are none of two."""
    given = (((3,), (2,)), (1,))
    shapes = shapes_of(given, samples=False).of(4)
    own, other = noise(shapes, 0), noise(shapes, 1)
    drawn = (*own.inputs, own.targets, *other.inputs)
    assert [tuple(one.shape) for one in drawn] == [(4, 3), (4, 2), (4, 1), (4, 3), (4, 2)]
    assert len({float(one[0, 0]) for one in drawn}) == 5
    # The first is drawn as if it were the only one.
    assert torch.equal(own.inputs[0], noise(shapes_of(((4, 3), (4, 1)), samples=True), 0).inputs[0])
    found = bench.capacity(Both, given, optimizer=("adam", 0.1), max_epochs=60, search=bench.Search(most_cells=4))
    assert found.rank == 3 + 2 + 1 and found.asked["shapes"] == [[[3], [2]], [1]]
    assert bench.assert_memorizes(Both, shapes=shapes, optimizer=("adam", 0.1)).startswith("memorized")
    (tmp_path / "own_both.py").write_text("from tests.modules.test_capacity import Both as make\n")
    words = ("shapes=[[[3],[2]],[1]]", "grid.n_samples=[2]", "grid.seed=[0]", "max_epochs=3", "run_dir=both")
    done = memcap("run", "model=own_both:make", *words)
    assert done.status == 0 and "inputs (3,) and (2,), its targets (1,)" in (tmp_path / "both" / "report.html").read_text(), (
        done.err
    )
    for wrong in ((((3,), "a"), (1,)), ((), (1,), (1,)), (((3,), (0,)), (1,)), 3):
        with pytest.raises(bench.GridError, match=r"must be the shapes of one sample's inputs and targets"):
            bench.capacity(Both, wrong)  # pyright: ignore[reportArgumentType]


class Both(nn.Module):
    """A linear function of two inputs."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(3, 1), nn.Linear(2, 1, bias=False)

    def forward(self, x, z):
        return self.one(x) + self.other(z)


def test_how_far_it_is_is_told_where_that_is_asked_for(monkeypatch, capsys):
    monkeypatch.setattr(bar, "LINE_EVERY_S", 0.0)
    for progress in (True, False):
        bench.capacity(nn.Linear(2, 1), ((2,), (1,)), max_epochs=3, search=bench.Search(most_cells=4), progress=progress)
        bench.diagnose(nn.Linear(2, 1), shapes=((2, 2), (2, 1)), optimizer=("sgd", 0.2), progress=progress)
        told = capsys.readouterr().err
        assert ("round 1, 2/2 trainings" in told and "3 trained; 3 memorized" in told) == progress == bool(told), told


@pytest.mark.exhaustive
def test_more_noise_than_a_linear_layer_has_weights_is_not_memorized():
    found = bench.capacity(nn.Linear(4, 1), ((4,), (1,)), optimizer=("adam", 0.1), search=bench.Search(most_cells=24))
    assert found.rank == 5 and found.n_params == 5
    trained = found.trained
    assert (trained.loc[trained["n_samples"] <= 5, "status"] == "memorized").all()
    assert not (trained.loc[trained["n_samples"] >= 8, "status"] == "memorized").any()
    assert str(found).startswith("N50 is ") and len(np.unique(trained["seed"])) == len(trained)
