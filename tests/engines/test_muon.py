"""optimizer=muon against torch.optim.Muon, in company, after a checkpoint, and on engines that do not have it."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

import bench
from bench.engines import api, orthogonal
from bench.engines.choice import native_is_built
from bench.engines.cuda.engine import CudaEngine
from bench.engines.native_engine import NativeEngine
from bench.engines.orthogonal import orthogonalised
from bench.engines.packs import ORTHOGONAL_PRODUCTS, epoch_flops
from bench.engines.torch_engine import TorchEngine
from bench.protocol.cells import Cell
from tests.engines import witness
from tests.engines.host_device import HostDevice
from tests.engines.protocols import BASE, LABELS, REGULARIZERS
from tests.engines.test_checkpoints import reports, saved_often
from tests.engines.training import train, untimed
from tests.engines.witness import assert_same_curve, plain_loop

MUON = dataclasses.replace(BASE, optimizer="muon", momentum=0.95)
CASES = {
    **REGULARIZERS,
    "two layers": {"depth": 2},
    "one unit": {"width": 1, "depth": 2, "activation": "tanh"},
    "padded units": {"width": 10, "activation": "sigmoid"},
    "batches shuffled": {"batch_size": 10, "shuffle": True},
    "step": {"lr_schedule": "step"},
    "other momentum": {"momentum": 0.5},
    "Adam's settings": {"beta1": 0.8, "beta2": 0.9, "eps": 1e-3, "amsgrad": True},
    "labels": LABELS,
    "three outputs": {"n_outputs": 3},
}
CELLS = {name: dataclasses.replace(MUON, **changes) for name, changes in CASES.items()}


@pytest.fixture(scope="module")
def outcomes():
    return train(list(CELLS.values()))


@pytest.mark.parametrize("name", CELLS)
def test_float64_losses_are_those_of_torch_without_its_rounding_to_bfloat16(name, outcomes):
    assert_same_curve(CELLS[name], outcomes[CELLS[name]], tolerance=1e-8)


@pytest.mark.gpu_torch
def test_losses_on_cuda_are_those_of_torch_too():
    on_cuda = train(list(CELLS.values()), device="cuda")
    for cell in CELLS.values():
        assert_same_curve(cell, on_cuda[cell], tolerance=1e-8)


def test_float32_losses_are_those_of_torch_without_its_rounding_for_twenty_epochs():
    cells = [dataclasses.replace(cell, dtype="float32", max_epochs=20) for cell in CELLS.values()]
    for cell, outcome in train(cells).items():
        assert_same_curve(cell, outcome, tolerance=1e-3, epochs=21)


def test_torch_as_it_comes_agrees_for_five_epochs_but_for_bfloat16(monkeypatch):
    """Eight bits of every number: the largest difference was 4.0e-4 with two layers, the median over the cases 1.2e-4."""
    own = {name: plain_loop(cell, 6)[0] for name, cell in CELLS.items()}
    monkeypatch.setattr(witness, "CASTS", True)
    largest = [float(np.abs(plain_loop(cell, 6)[0] / own[name] - 1).max()) for name, cell in CELLS.items()]
    assert max(largest) < 1e-3 and float(np.median(largest)) > 1e-5


def test_singular_values_go_where_the_polynomial_takes_them_and_singular_vectors_stay():
    """The published iteration on each singular value alone. Of random matrices 95 % of the values end above 0.3, and none above 1.3."""
    random = np.random.default_rng(0)
    matrices = random.normal(size=(20, 24, 24))
    left, values, right = np.linalg.svd(matrices)
    values /= np.sqrt((matrices**2).sum((1, 2)))[:, None]
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    made = orthogonalised(torch.from_numpy(matrices)).numpy()
    np.testing.assert_allclose(made, left * values[:, None] @ right, atol=1e-9)
    assert np.quantile(values, 0.05) > 0.3 and values.max() < 1.3


def test_padding_stays_zero_and_a_matrix_of_zeros_too():
    steps = torch.zeros(2, 8, 8, dtype=torch.float64)
    steps[0, :5, :5] = torch.from_numpy(np.random.default_rng(1).normal(size=(5, 5)))
    made = orthogonalised(steps)
    assert not made[0, 5:].any() and not made[0, :, 5:].any() and not made[1].any()
    torch.testing.assert_close(made[0, :5, :5], orthogonalised(steps[:1, :5, :5])[0], rtol=1e-12, atol=1e-12)


def test_a_cell_in_company_is_the_cell_alone():
    """Of one kind, with other widths, rates, momenta and strengths beside it; byte for byte, as all cells of this engine."""
    cells = [
        dataclasses.replace(MUON, dtype=dtype, width=width, init_seed=seed, momentum=momentum, learning_rate=rate, l1=l1)
        for dtype in ("float32", "float64", "tf32")
        for seed, (width, momentum, rate, l1) in enumerate([(13, 0.95, 0.01, 0), (16, 0.5, 0.003, 1e-3), (15, 0.9, 0.1, 0)])
    ]
    together = train(cells, slots=8)
    for cell in cells:
        assert untimed(together[cell]) == untimed(train([cell])[cell])


def test_a_cell_that_goes_on_from_a_checkpoint_ends_as_if_it_had_not_stopped(monkeypatch):
    cells = [CELLS["none"], CELLS["batches shuffled"], CELLS["all at once"]]
    expected = {cell: untimed(outcome) for cell, outcome in train(cells).items()}
    monkeypatch.setattr(api, "CHECKPOINT_S", 0.0)
    _, saved = saved_often(TorchEngine("cpu"), cells)
    for cell in cells:
        begun = {cell: next(one for one in saved if one.cell == cell and one.epoch > 5)}
        (outcome,) = [outcome for report in reports(TorchEngine("cpu"), [cell], begun) for outcome in report.outcomes]
        assert untimed(outcome) == expected[cell]


def test_its_products_count_as_work():
    assert ORTHOGONAL_PRODUCTS == 3 * orthogonal.ITERATIONS
    batched = dataclasses.replace(MUON, batch_size=10)
    more = epoch_flops(batched) - epoch_flops(dataclasses.replace(batched, optimizer="adam"))
    assert more == 4 * 2 * 15 * 2 * 13**3  # steps, matrices, products, two for each multiply-accumulate


def test_other_engines_leave_it_to_torch_and_a_line_says_why(tmp_path, capsys):
    assert TorchEngine("cpu").supports(MUON)
    if not native_is_built():
        pytest.skip("the native engine is not built here (make sets it up where there is a C++ compiler)")
    assert not NativeEngine().supports(MUON)
    assert not CudaEngine([HostDevice(epochs=(5,))], products="fma").supports(MUON)
    cells = bench.expand(optimizer=["adam", "muon"], width=6, n_samples=20, seed=range(2), max_epochs=20)
    table = bench.run([*cells, Cell(n_samples=9, n_outputs=2, max_epochs=5)], device="cpu", run_dir=tmp_path)
    assert list(table["engine"] == "torch") == list(table["optimizer"] == "muon")
    said = capsys.readouterr().out
    assert "memcap: 2 cells are of optimizer=muon, which engine=native does not have; engine=torch trains them\n" in said
    assert "too large" not in said and "widest" not in said
    (entry,) = json.loads((tmp_path / "provenance.json").read_text())["runs"]
    assert entry["cells_left_to_torch"] == 2
