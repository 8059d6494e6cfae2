"""The gate of what is learned: planted faults are found and named, and where only rounding differs it does not cry wolf."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

import bench
from bench.commands.check_capacity import reference_dir
from bench.commands.line import compose
from bench.engines.torch_engine import TorchEngine
from bench.gates import capacity
from bench.gates.capacity import FALSE_ALARMS, LEVEL, NotComparable, judge, same_bytes
from bench.gates.check import Verdict
from bench.gates.learned import FIRST_EPOCHS, USUAL, Learned, of_folder, of_reference, write
from bench.gates.train import by_engine, by_reference_build
from bench.protocol.cells import ORTHOGONAL, SECOND_ORDER, Activation, Cell, Dtype, Init, LrSchedule, Optimizer
from tests.gates import faults


@pytest.fixture(scope="module")
def reference() -> Learned:
    return of_reference(reference_dir())


@pytest.fixture(scope="module")
def cells() -> tuple[Cell, ...]:
    (chosen,) = compose("config", ["grid=check"])
    return chosen.cells


def part(learned: Learned, kept: pd.Series) -> Learned:
    """Some of the cells."""
    own = learned.cells[kept].reset_index(drop=True)
    return learned._replace(cells=own, curves=learned.curves[learned.curves["cell_id"].isin(own["cell_id"])])


def verdicts(base: Learned, head: Learned) -> dict[str, Verdict]:
    return {finding.test: finding.verdict for finding in judge(base, head).findings}


def test_the_grid_has_every_choice_and_the_reference_its_cells(cells, reference):
    """But for lm and muon, which the build that made the reference does not have: tests/engines/test_lm.py, test_muon.py."""
    for name, kind in (
        ("activation", Activation),
        ("init", Init),
        ("optimizer", Optimizer),
        ("lr_schedule", LrSchedule),
        ("dtype", Dtype),
    ):
        assert {getattr(cell, name) for cell in cells} == set(kind.__args__) - {SECOND_ORDER, ORTHOGONAL}
    assert {cell.regularization for cell in cells} >= {
        *("none", "weight_decay", "decoupled_weight_decay", "l1", "dropout", "input_noise", "max_norm", "early_stopping")
    }
    assert 200 <= len(cells) <= 280
    assert list(reference.cells["cell_id"]) == [cell.cell_id for cell in cells]
    assert reference.curves["epoch"].max() == FIRST_EPOCHS


def test_the_reference_is_what_the_build_learns_that_made_it(cells, reference):
    made = by_reference_build(cells, threads=2)
    if isinstance(made, str):
        pytest.skip(made)
    finding = same_bytes(reference, made)
    assert finding.verdict is Verdict.PASSED, finding.said
    assert finding.said.startswith(f"all {len(cells)} cells are the same to the last bit")


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.exhaustive)])
def test_another_engine_passes(every, cells, reference):
    """PyTorch, of every setting (or of every fourth) one seed at the fewest samples."""
    few = ~reference.cells.duplicated("setting")
    few &= few.cumsum() % every == 0
    head = by_engine(TorchEngine("cpu"), [cell for cell, kept in zip(cells, few, strict=True) if kept])
    found = judge(part(reference, few), head)
    # One sample count has no N50.
    assert [finding.verdict for finding in found.findings] == [Verdict.PASSED] * 4 + [Verdict.SKIPPED]
    assert found.settings["largest_difference"].max() < 1e-3


# Of each fault: settings that it moves, and settings that it leaves as they are.
ADAM = (USUAL, "width=16", "activation=tanh")
FAULTS = {
    "none": ((), (USUAL, "activation=tanh", "dropout", "dtype=float64")),
    "no_bias_correction": (ADAM, ("optimizer=sgd, learning_rate=0.05", "amsgrad=True")),
    "eps_inside_the_root": (("beta1=0.8, beta2=0.9, eps=0.001", "dtype=float64"), (USUAL,)),
    "dropout_in_evaluation": (("dropout",), (USUAL, "input_noise")),
    "new_targets_each_epoch": ((*ADAM, "optimizer=sgd, learning_rate=0.05"), ()),
    "last_partial_batch_dropped": (("batch_size=12", "batch_size=12, shuffle=True"), (USUAL,)),
    "tau_from_a_running_mean": ((*ADAM, "dropout", "dtype=float64"), ()),
    "weight_decay_without_biases": (
        ("dtype=float64, weight_decay", "optimizer=adamw, dtype=float64, decoupled_weight_decay, weight_decay=0.1"),
        (USUAL, "dtype=float64"),
    ),
    "one_order_for_all_epochs": (("batch_size=12, shuffle=True",), ("batch_size=12",)),
    "a_bias_that_is_not_trained": (ADAM, ("dtype=tf32",)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_and_its_settings_are_named(fault, cells, reference, monkeypatch):
    """The plain loop, with a mistake or without one, in place of an engine: the first epochs of two cells of each setting."""
    moved, still = FAULTS[fault]
    kept = reference.cells["setting"].isin((*moved, *still)) & (reference.cells.groupby("setting").cumcount() < 2)
    base = part(reference, kept)
    getattr(faults, fault)(monkeypatch)
    found = judge(base, faults.by_witness((cell for cell, taken in zip(cells, kept, strict=True) if taken), base))
    assert set(found.settings.loc[found.settings["moved"], "setting"]) == set(moved)
    first = next(finding for finding in found.findings if finding.test == "first epochs")
    assert first.verdict is (Verdict.FAILED if moved else Verdict.PASSED)
    if moved:
        order = list(found.settings["setting"])
        said = f"the losses of {len(moved)} of {len(order)} settings differ in the first 20 epochs: "
        others = 0 < len(still) < len(moved)
        named = sorted(still if others else moved, key=order.index)
        assert first.said == said + "all but " * others + capacity._listed(named)


def world(
    rng: np.random.Generator, *, slower: float = 1.0, noise: float = 0.02, share: float = 0.3, n_cells: int = 246
) -> tuple:
    """Epochs to tau of base and head: a share of the cells parts by rounding, as the trials of `memcap check capacity` show;
    the head takes `slower` times as many epochs. Cells are censored at 600."""
    middle = np.exp(rng.normal(np.log(350), 0.7, n_cells))
    parts = rng.random(n_cells) < share
    base, head = (middle * np.exp(noise * parts * rng.normal(size=n_cells)) for _ in range(2))
    sides = [np.round(base), np.round(slower * head)]
    return tuple(np.where(side <= 600, side, np.nan) for side in sides)


def learned(epochs: np.ndarray, reference: Learned) -> Learned:
    """As if the cells of the reference had ended so."""
    cells = reference.cells.iloc[: len(epochs)].assign(
        epoch_to_tau=pd.array(epochs, dtype="Float64").astype("Int64"),
        status=np.where(np.isnan(epochs), "censored", "memorized"),
    )
    return Learned(cells, reference.curves[reference.curves["cell_id"].isin(cells["cell_id"])], "a world")


@pytest.mark.parametrize("worlds", [20, pytest.param(400, marks=pytest.mark.exhaustive)])
def test_where_only_rounding_differs_it_does_not_cry_wolf(worlds, reference, monkeypatch):
    """At a level of 1 in 20 in place of 1 in 3000, so that alarms can be counted: no more than that and three standard errors."""
    monkeypatch.setattr(capacity, "LEVEL", 0.05)
    monkeypatch.setattr("bench.statistics.paired.EXCHANGES", 2000)
    rng, alarms = np.random.default_rng(worlds), np.zeros(3)
    for _ in range(worlds):
        base, head = (learned(side, reference) for side in world(rng))
        found = judge(base, head).findings[-3:]
        alarms += [finding.verdict is Verdict.FAILED for finding in found]
    assert (alarms <= worlds * 0.05 + 3 * np.sqrt(worlds * 0.05 * 0.95)).all()


@pytest.mark.parametrize("worlds", [8, pytest.param(60, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize(("slower", "least"), [(1.01, 0.95), (1.1, 1.0)])
def test_training_that_takes_longer_is_found(slower, least, worlds, reference, monkeypatch):
    """The stated power: 1 % more epochs are found in 19 of 20 checks, 10 % always, and the sentence tells how many more."""
    monkeypatch.setattr("bench.statistics.paired.EXCHANGES", 20_000)
    rng, found = np.random.default_rng(5), []
    for _ in range(worlds):
        base, head = (learned(side, reference) for side in world(rng, slower=slower))
        finding = judge(base, head).findings[2]
        found.append(finding.verdict is Verdict.FAILED)
        assert finding.said.startswith(f"the head takes {slower:.3g} times") or slower < 1.05
    assert np.mean(found) >= least


def test_a_head_that_memorizes_less_fails_by_its_share_and_its_n50(reference):
    rng = np.random.default_rng(2)
    base, _ = world(rng, noise=0.0, n_cells=len(reference.cells))
    head = np.where(rng.random(len(base)) < 0.3, np.nan, base)
    found = judge(learned(base, reference), learned(head, reference)).findings
    assert found[3].verdict is Verdict.FAILED
    assert found[3].said.startswith(
        f"{np.isfinite(head).sum()} of {len(base)} cells memorize in the head, {np.isfinite(base).sum()} in"
    )
    ladder = reference.cells["setting"].isin([USUAL, "width=16"]).to_numpy()
    only = np.where(ladder, np.nan, base)
    found = judge(learned(np.where(ladder, 100.0, base), reference), learned(only, reference)).findings
    assert found[4].verdict is Verdict.FAILED
    assert found[4].said.startswith("N50 of 2 networks is ")


def test_cells_that_failed_fail_the_check_and_no_number_is_made_of_them(reference):
    head = reference._replace(cells=reference.cells.assign(status="failed", epoch_to_tau=pd.NA))
    found = judge(reference, head).findings
    assert found[0].verdict is Verdict.FAILED
    assert found[0].said == f"{len(reference.cells)} cells failed in the head; the column reason of their tables says why"
    assert found[2].said == "no cell memorized on both sides; 0 of 0 cells differ (p 1)"


def test_sides_of_other_cells_cannot_be_compared(reference):
    with pytest.raises(NotComparable, match=r"^3 cells are in only one of base and head$"):
        judge(reference, part(reference, pd.Series(range(len(reference.cells))) >= 3))


def test_a_bit_that_differs_is_named(reference):
    curves = reference.curves.copy()
    curves.loc[5, "tau"] = np.nextafter(curves.loc[5, "tau"], 2)
    finding = same_bytes(reference, reference._replace(curves=curves))
    assert finding.verdict is Verdict.FAILED
    assert finding.said == f"1 of {len(reference.cells)} cells differ, by {reference.engine}: usual"
    assert verdicts(reference, reference._replace(curves=curves))["first epochs"] is Verdict.PASSED


def test_a_reference_comes_back_to_the_last_digit(tmp_path):
    table = bench.run(
        bench.expand(width=[4, 8], n_samples=[8, 16], max_epochs=40, regularization=["none", "dropout"]),
        run_dir=tmp_path / "run",
    )
    made = of_folder(tmp_path / "run")
    assert len(made.cells) == len(table) == 8
    assert set(made.cells["setting"]) == {"usual", "width=8", "dropout", "width=8, dropout"}
    write(tmp_path / "reference", made)
    read = of_reference(tmp_path / "reference")
    pd.testing.assert_frame_equal(read.cells, made.cells, check_dtype=False)
    pd.testing.assert_frame_equal(read.curves, made.curves, check_exact=True)
    assert same_bytes(read, made).verdict is Verdict.PASSED
    assert read.engine == made.engine
    (tmp_path / "reference" / "learned_curves.csv").write_text("cell_id,epoch\n")
    with pytest.raises(ValueError, match=r"learned_curves\.csv has other columns than this program writes$"):
        of_reference(tmp_path / "reference")


def test_the_level_of_the_check_is_shared_by_its_tests():
    assert LEVEL * len(capacity.TESTS) == FALSE_ALARMS == 0.001


def test_two_runs_of_any_grid_are_compared(tmp_path):
    grid = bench.expand(width=[4, 8], n_samples=[8, 16, 24], seed=range(2), max_epochs=60)
    sides = []
    for engine in ("torch", "auto"):
        bench.run(grid, run_dir=tmp_path / engine, engine=engine)
        sides.append(of_folder(tmp_path / engine))
    assert {finding.verdict for finding in judge(*sides).findings} == {Verdict.PASSED}
    worse = [dataclasses.replace(cell, learning_rate=0.0031) for cell in grid]
    bench.run(worse, run_dir=tmp_path / "worse")
    renamed = dict(zip([cell.cell_id for cell in worse], [cell.cell_id for cell in grid], strict=True))
    other = of_folder(tmp_path / "worse")
    head = Learned(*(table.assign(cell_id=table["cell_id"].map(renamed)) for table in other[:2]), other.engine)
    assert verdicts(sides[0], head)["first epochs"] is Verdict.FAILED
