"""What cannot be is said in one line, before any training: the setting, its value, the rule, the remedy; exit status 2."""

from __future__ import annotations

import dataclasses
import re
import time

import pytest

import bench
from bench.machine.usage import peak_memory_mb
from tests.protocol.test_grid import compose

CASES = [
    ("grid.width=[0]", "grid.width=0: must be at least 1; give 1 or more"),
    ("grid.width=[-3,8]", "grid.width=-3: must be at least 1; give 1 or more"),
    ("grid.width=[wide]", "grid.width=wide: must be a whole number; give a number, for example 64"),
    ("grid.width=[8.5]", "grid.width=8.5: must be a whole number; give a number, for example 64"),
    ("grid.depth=[true]", "grid.depth=true: must be a whole number; give a number, for example 4"),
    ("grid.depth=[-1]", "grid.depth=-1: must be at least 0; give 0 or more"),
    ("grid.n_samples=[]", "grid.n_samples=[]: is empty, so the grid has no cells; give at least one value"),
    (
        "grid.learning_rate={from:1}",
        "grid.learning_rate={'from': 1}: is not a list of values; write [1, 2, 3] or range(start, stop, step)",
    ),
    (
        "optimizer=lm",
        "dropout=0.1: is not for optimizer=lm, which lowers the loss on all samples and nothing else; leave dropout out, or use optimizer=adam",
    ),
    (
        "grid.optimizer=[lm,adam]",
        "dropout=0.1: is not for optimizer=lm, which lowers the loss on all samples and nothing else; leave dropout out, or use optimizer=adam",
    ),
    ("grid.seed='range(a)'", "grid.seed=range(a): must be a whole number; give a number, for example 1"),
    ("grid.seed='range(0)'", "grid.seed=[]: is empty, so the grid has no cells; give at least one value"),
    ("grid.seed=[-1]", "grid.seed=-1: must be in 0..4294967295; give a seed in that range"),
    ("grid.data_seed=[0]", "grid.seed=range(2): sets data_seed, which is swept too; sweep seed, or data_seed and init_seed"),
    ("grid.load=[0]", "grid.load=0: must be a positive number, n_samples / n_params; give for example 0.5"),
    ("width=64", "width=64: is swept by this grid, so one value has no effect; set grid.width=[64]"),
    ("width=[16,32]", "width=[16,32]: is swept by this grid, so one value has no effect; set grid.width=[16,32]"),
    ("d_in=[2,4]", "d_in=[2, 4]: is a list, and this is one value; sweep it as grid.d_in"),
    ("lr=0.01", "lr: is not a setting; did you mean learning_rate?"),
    ("seed=3", "seed: is not a setting; did you mean grid.seed?"),
    (
        "grid.seed=range(5)",
        "a list of the grid is in brackets, grid.width=[16,32]; a range is text, \"grid.seed='range(5)'\"; several runs need -m",
    ),
    ("run_dir=/dev/null", "run_dir=/dev/null: cannot be written to (File exists); name a folder that you can write to"),
    (
        "grid.regularization=[nosuch]",
        "grid.regularization=nosuch: is not a known regularization; choose from: dropout, early_stopping, input_noise, l1, max_norm, none, weight_decay",
    ),
    (
        "grid.dropout=[0.1]",
        "grid.dropout=[0.1]: is set by the names in grid.regularization; set regularization.<name>.dropout instead, or grid.regularization=null to sweep strengths directly",
    ),
    (
        "weight_decay=0.1",
        "weight_decay=0.1: is set by the names in grid.regularization; set regularization.<name>.weight_decay instead, or grid.regularization=null to sweep strengths directly",
    ),
    (
        "regularization.dropout.dropout=1.0",
        "regularization.dropout.dropout=1.0: must be in [0, 1); give a fraction such as 0.1; 0 is off",
    ),
    (
        "+regularization.dropout.width=3",
        "regularization.dropout.width=3: is not a strength; choose from: weight_decay, l1, dropout, input_noise, max_norm, patience",
    ),
    ("past_tau=true", "past_tau=true: has no effect on a run; it is a setting of memcap diagnose"),
    ("budget_s=60", "budget_s=60: has no effect on a run; it is a setting of memcap diagnose"),
    ("learning_rate=0", "learning_rate=0: must be positive; give a positive number"),
    ("learning_rate=.inf", "learning_rate=.inf: must be a number; give a number, for example 0.01"),
    ("learning_rate=inf", "learning_rate=inf: must be finite; give a finite number"),
    ("tau=1.5", "tau=1.5: must be in (0, 1), a fraction of the target variance; give for example 0.01"),
    ("d_in=two", "d_in=two: must be a whole number; give a number, for example 2"),
    ("max_epochs=1e3", "max_epochs=1000.0: must be a whole number; write 1000"),
    ("grid.width=[8,16.0]", "grid.width=16.0: must be a whole number; write 16"),
    ("tau=null", "tau=null: must be a number; give a number, for example 0.1"),
    ("batch_size=0", "batch_size=0: must be at least 1; give a count, or null for the full batch"),
    ("activation=rellu", "activation=rellu: must be one of relu, leaky_relu, tanh, gelu, silu, sigmoid; did you mean relu?"),
    (
        "init=he",
        "init=he: must be one of he_normal, he_uniform, xavier_uniform, orthogonal, torch_default, uniform; did you mean he_normal?",
    ),
    ("dtype=float16", "dtype=float16: must be one of float32, float64, tf32; did you mean float64?"),
    ("amsgrad=1", "amsgrad=1: must be true or false; memcap run --help lists the fields"),
    ("momentum=0.9", "momentum=0.9: has no effect without optimizer=sgd or muon; set that too, or leave momentum out"),
    ("shuffle=true", "shuffle=true: has no effect without batch_size below n_samples; set that too, or leave shuffle out"),
    ("grid.variants=[3]", "grid.variants=[3]: must be a list of mappings from fields to values; write [{}, {init: he_normal}]"),
    ("grid.variants=[{widht:3}]", "variants.widht=...: is not a field of a cell; did you mean width?"),
    (
        "grid.variants=[{n_samples:1,target_scaling:minmax}]",
        "target_scaling=minmax: needs two samples or more; raise n_samples or use target_scaling=none",
    ),
    (
        "loss=hinge",
        "loss=hinge: needs targets of -1 and 1; set target=rademacher and target_scaling=none, or use loss=mse",
    ),
    (
        "grid.variants=[{loss:hinge,target:rademacher,target_scaling:minmax}]",
        "loss=hinge: needs targets of -1 and 1; set target=rademacher and target_scaling=none, or use loss=mse",
    ),
    (
        "grid.width=[9000000000000000000]",
        "grid.width=9000000000000000000: must be at most 9007199254740992; give a smaller number",
    ),
    ("grid.seed='range(1000000000)'", "grid.seed=range(0, 1000000000, 1): has more than 4,000,000 values; give fewer"),
    ("grid.seed='range(1,2,0)'", "grid.seed=range(1,2,0): is no range; write range(start, stop, step), as in range(0, 10, 2)"),
    (
        "grid.learning_rate='range(1,200001)'",
        "grid=...: has 6,400,000 cells, and at most 4,000,000 are trained at once; sweep fewer values, or train parts of it in folders of their own",
    ),
    ("+regularization.mine=3", "regularization.mine=3: must be a mapping of strengths; write {dropout: 0.1}"),
    ("=1", "=1: is not a setting; write setting=value, as in grid=smoke"),
    ("~tau", "~tau: a setting cannot be taken away; leave it out, or set it to null"),
    ("engine=null", "engine=null: chooses nothing; choose from: auto, cuda, native, torch"),
    ("--shell-completion", "--shell-completion: is not an option of this command; memcap COMMAND --help lists them"),
    ("--cfg=all", "--cfg all: shows nothing; write --cfg job"),
    ("hydra.run.dir=elsewhere", "hydra.run.dir: is not a setting; memcap COMMAND --help lists the settings"),
    ("tau=${nope}", "${...}: interpolation key 'nope' not found; ${name} stands for the value of another setting"),
    ("tau=${oc.env:HOME}", "${oc.env:HOME}: is of the environment, and results would keep it; --allow-env allows that"),
    ("loss=mae", "loss=mae: must be one of mse, hinge, cross_entropy; did you mean mse?"),
    ("widht=3", "widht: is not a setting; did you mean width?"),
    ("grid.widht=[3]", "grid.widht: is not a setting; did you mean grid.width?"),
    ("fresh=maybe", "fresh=maybe: must be true or false; memcap run --help lists the settings"),
    ("threads=0", "threads=0: must be a whole number of at least 1; give 1 or more"),
    ("n_predictions=-1", "n_predictions=-1: must be a whole number of at least 0; give 0 or more"),
    ("jacobian_rank=1", "jacobian_rank=1: must be true or false; memcap run --help lists the settings"),
    ("run_dir=", "run_dir=: names no folder; give a folder"),
    ("device=gpu", "device=gpu: is not a device; choose auto, cpu, cuda or cuda:<index>"),
    ("engine.name=fast", "engine=fast: is not an engine; choose from: auto, native, cuda, torch"),
    ("executor.name=moon", "executor=moon: is not an executor; choose from: local, slurm, ray"),
    ("+executor.slurm.shards=3", "executor.slurm={'shards': 3}: is no setting of executor=local; choose executor=slurm too"),
    ("smoke", "smoke: is not a setting; write setting=value, as in grid=smoke"),
    ("engine=fast", "engine=fast: is not in conf/engine; choose from: auto, cuda, native, torch"),
    (
        "grid.width=[8",
        'grid.width=[8: cannot be read; a list is in brackets, what a shell would read itself in quotes: "grid.width=[16,32]"',
    ),
    ("engine.name=null", "engine.name=null: must be a name; choose one by name, engine=auto"),
]


@pytest.mark.parametrize(("override", "message"), CASES, ids=[case[0] for case in CASES])
def test_a_wrong_config_is_one_line_and_exit_status_2(override, message, memcap, tmp_path):
    assert memcap("grid=smoke", override) == (2, "", f"memcap: {message}\n")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("split", "written"),
    [
        (["grid.depth=[1,", "2]"], "grid.depth=[1, 2]: was split at a space by the shell; write 'grid.depth=[1,2]'"),
        (
            ["grid.depth=[", "1,", "-2", "]"],
            "grid.depth=[ 1, -2 ]: was split at a space by the shell; write 'grid.depth=[1,-2]'",
        ),
        (
            ["grid.variants=[{},", "{init:", "orthogonal}]", "tau=0.1"],
            "grid.variants=[{}, {init: orthogonal}]: was split at a space by the shell; write 'grid.variants=[{},{init:orthogonal}]'",
        ),
    ],
)
def test_a_list_that_the_shell_split_is_told_so(split, written, memcap):
    for command in (["grid=smoke"], ["diagnose"], ["check", "capacity"]):
        assert memcap(*command, *split) == (2, "", f"memcap: {written}\n")


def test_an_unknown_grid_is_named_with_those_there_are(memcap):
    known = "check, default, frontier, labels, labels_wide, learning_rate, lm, precision, published, question, regularization, smoke"
    assert memcap("grid=huge") == (2, "", f"memcap: grid=huge: is not in conf/grid; choose from: {known}\n")


def test_load_and_n_samples_given_together_are_refused(memcap):
    """Of a grid file's n_samples load takes the place; not of those that the command line gives beside it."""
    message = "memcap: grid.load=[0.5]: replaces n_samples, which is swept too; sweep one of them\n"
    assert memcap("grid=smoke", "grid.n_samples=[8]", "grid.load=[0.5]") == (2, "", message)
    with pytest.raises(bench.GridError, match="gives no sample at"):
        compose("grid=smoke", "grid.n_samples=null", "grid.load=[0.0001]")


def test_load_and_n_samples_swept_together_are_refused():
    with pytest.raises(bench.GridError, match=r"^load=\[0\.5\]: replaces n_samples, which is swept too; sweep one of them$"):
        bench.expand(load=[0.5], n_samples=[8])


def test_early_stopping_without_validation_samples_is_refused():
    with pytest.raises(
        bench.GridError, match=r"^patience=5: needs a validation error, and n_val is 0; set n_val, for example n_val=256$"
    ):
        bench.expand(patience=5)


def test_a_load_that_gives_no_sample_is_refused():
    with pytest.raises(bench.GridError, match=r"^load=0\.001: gives no sample at 81 parameters; give 0\.012 or more$"):
        bench.expand(load=0.001, depth=1, width=8, d_in=8)


def test_an_unknown_field_of_the_api_is_refused():
    with pytest.raises(bench.GridError, match=r"^n_sample=\.\.\.: is not a field of a cell; did you mean n_samples\?$"):
        bench.expand(n_sample=3)


def test_a_cell_made_by_hand_holds_one_value_a_field():
    cell = dataclasses.replace(bench.Cell())
    object.__setattr__(cell, "width", [4, 8])
    with pytest.raises(bench.GridError, match=r"^width=\[4, 8\]: is a list, and this is one value; sweep it as grid\.width$"):
        bench.run([cell])


def test_run_checks_cells_made_by_hand(tmp_path):
    with pytest.raises(
        bench.GridError, match=r"^tau=2\.0: must be in \(0, 1\), a fraction of the target variance; give for example 0\.01$"
    ):
        bench.run([bench.Cell(tau=2.0)], run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_gpu_that_is_not_here_is_named():
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    with pytest.raises(
        bench.GridError,
        match=rf"^device=cuda:99: is not on this machine: PyTorch sees {count} CUDA devices; use device=auto or device=cpu$",
    ):
        bench.run([bench.Cell()], device="cuda:99")


def test_reporting_on_a_folder_without_a_run_says_how_to_make_one(memcap, tmp_path):
    rule = "holds no plan.parquet that can be read; train into this folder first"
    assert memcap("report", str(tmp_path)) == (2, "", f"memcap: {tmp_path}: {rule} (memcap run_dir={tmp_path})\n")


@pytest.mark.parametrize(
    ("setting", "n_bytes"),
    [("grid.depth=[100000000]", 1.6e11), ("grid.n_samples=[5000000000]", 2e11), ("grid.width=[9000000000000000]", 8.6e17)],
)
def test_what_does_not_fit_into_memory_is_told_before_any_is_taken(setting, n_bytes, memcap, monkeypatch, tmp_path):
    monkeypatch.setattr("bench.runs.limits.most_memory_bytes", lambda: 10**10)
    before = peak_memory_mb()
    status, out, err = memcap("grid=smoke", setting, "lr_schedule=cosine")
    name, value = setting.removeprefix("grid.").replace("[", "").replace("]", "").split("=")
    told = re.fullmatch(
        rf"memcap: {name}={value}: takes at least (\S+) GB to train, and this machine has 10 GB of memory; .*\n", err
    )
    assert (status, out) == (2, "") and told is not None
    assert float(told[1]) * 1e9 == pytest.approx(n_bytes, rel=0.5)
    assert not peak_memory_mb() > before + 50
    assert list(tmp_path.iterdir()) == []


def test_a_value_of_any_length_is_told_in_a_short_line(memcap):
    for setting in ("init=" + "x" * 9000, "x" * 9000 + "=1", "tau=" + "x" * 100_000, "grid.seed=[" + "1," * 900 + "-1]"):
        began = time.process_time()
        status, out, err = memcap("grid=smoke", setting)
        assert (status, out, err.count("\n")) == (2, "", 1) and len(err) <= 401
        assert time.process_time() - began < 10


def test_values_may_name_variables_of_the_environment_where_that_is_allowed(memcap, monkeypatch):
    monkeypatch.setenv("MEMCAP_INIT", "he")
    assert memcap("grid=smoke", "init=${oc.env:MEMCAP_INIT}", "--allow-env").err.startswith("memcap: init=he: must be one of")
    status, out, _ = memcap("grid=smoke", "init=${oc.env:MEMCAP_INIT}", "--cfg=job")
    assert status == 0 and "init: ${oc.env:MEMCAP_INIT}" in out
