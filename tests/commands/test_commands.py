"""What a user types: one command, what it says of itself, and its exit statuses."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys

import pytest
import yaml
from omegaconf import OmegaConf

import bench
from bench.commands import help as help_texts
from bench.commands.config import dump
from bench.commands.line import compose
from bench.commands.main import COMMANDS
from bench.protocol import grid
from bench.protocol.cells import DEFAULTS, FIELDS, Cell
from bench.protocol.columns import TABLES
from bench.store import provenance
from tests.conftest import ROOT

# What the examples of some fields need beside them.
LABELS = {"target": "labels", "loss": "cross_entropy"}
PARTNERS = {
    "patience": {"n_val": 1},
    "loss": {"target": "rademacher"},
    "n_classes": LABELS,
    "criterion": LABELS | {"n_classes": 3},
}


def test_without_a_command_a_grid_is_trained_as_by_run(memcap, tmp_path):
    settings = ("grid=smoke", "max_epochs=5", "run_dir=mine")
    assert memcap(*settings)[0] == 0
    assert memcap("run", *settings)[0] == 0
    assert [run["cells_trained"] for run in provenance.read(tmp_path / "mine")] == [32, 0]


def test_the_module_is_the_same_command():
    done = subprocess.run([sys.executable, "-m", "bench", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"memcap {bench.__version__}\n")


def test_the_version_is_that_of_the_package(memcap):
    for arguments in (["--version"], ["-V"], ["run", "--version"], ["diagnose", "depth=1", "--version"]):
        assert memcap(*arguments) == (0, f"memcap {bench.__version__}\n", "")
    assert importlib.metadata.version("memcap") == bench.__version__


def test_help_names_every_command_on_a_line(memcap):
    status, out, err = memcap("--help")
    assert (status, err) == (0, "")
    for name, about in COMMANDS.items():
        assert f"  {name:<12}{about}\n" in out
    assert max(map(len, out.splitlines())) <= 120


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_does_with_an_example_and_does_nothing(command, memcap, tmp_path):
    for flag in ("--help", "-h"):
        status, out, err = memcap(command, flag)
        assert (status, err) == (0, "")
        assert out.startswith(f"usage: memcap {'[run]' if command == 'run' else command}")
        assert "example" in out and max(map(len, out.splitlines())) <= 120
    assert list(tmp_path.iterdir()) == []


def test_help_tells_the_default_and_an_example_of_every_field(memcap):
    _, out, _ = memcap("run", "--help")
    words = " ".join(out.split())
    for topic in help_texts.fields("config").values():
        for setting in topic:
            assert f"{setting.name}={setting.example}" in words
            assert setting.default == help_texts._spelled(DEFAULTS[setting.name])
            assert f"{setting.meaning} (default {setting.default})" in words
            value = OmegaConf.create(f"value: {setting.example}").value
            assert grid.check([Cell(**{setting.name: value}, **PARTNERS.get(setting.name, {}))])
    named = [setting.name for topic in help_texts.fields("config").values() for setting in topic]
    assert named == [name for name in FIELDS if name != "regularization"]


def test_help_tells_the_defaults_of_a_diagnosis_where_they_are_others(memcap):
    words = " ".join(memcap("diagnose", "--help")[1].split())
    assert "max_epochs=1000 the budget: training passes over the training set (default 1000)" in words
    assert "(default 60)" in words


def test_the_examples_of_settings_are_settings(memcap, tmp_path):
    """All at once, on a grid that takes seconds."""
    settings = {setting.name: setting.example for setting in help_texts.execution("config")}
    assert set(settings) == {"run_dir", "device", "threads", "fresh", "n_predictions", "jacobian_rank", "engine", "executor"}
    status, _, err = memcap("grid=smoke", "max_epochs=2", *(f"{name}={value}" for name, value in settings.items()))
    assert (status, err.count("memcap:")) == (0, 0)
    assert (tmp_path / settings["run_dir"] / "report.html").exists()


@pytest.mark.parametrize(
    ("command", "remedy"),
    [
        ("diganose", "did you mean diagnose?"),
        ("reports", "did you mean report?"),
        ("smoke", "did you mean grid=smoke?"),
        ("xyzzy", "memcap --help lists the commands; a setting is name=value, as in grid=smoke"),
    ],
)
def test_an_unknown_command_is_one_line_with_the_nearest(command, remedy, memcap):
    assert memcap(command) == (2, "", f"memcap: {command}: is not a command; {remedy}\n")


def test_a_word_too_long_for_the_name_of_a_file_is_no_command(memcap):
    status, out, err = memcap(300 * "9")
    assert (status, out, err.count("\n")) == (2, "", 1) and len(err.rstrip()) <= 400


@pytest.mark.parametrize(
    ("setting", "remedy"),
    [
        ("lr=0.1", "did you mean learning_rate?"),
        ("seeds=5", "did you mean grid.seed?"),
        ("hiden=5", "did you mean width?"),
        ("fail_under=1", "memcap COMMAND --help lists the settings"),
    ],
)
def test_an_unknown_setting_names_what_was_meant_or_where_they_are_listed(setting, remedy, memcap):
    assert memcap(setting) == (2, "", f"memcap: {setting.split('=')[0]}: is not a setting; {remedy}\n")


def test_an_unknown_choice_names_what_was_meant():
    with pytest.raises(bench.GridError, match=r"dtype=fp32: must be one of .*; did you mean float32\?$"):
        bench.expand(dtype="fp32")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["diagnose", "--fale"], "--fale: is not an option of this command; did you mean --fail?"),
        (["grid=smoke", "--fail"], "--fail: is not an option of this command; memcap COMMAND --help lists them"),
        (["run", "--depth=2"], "--depth=2: is not an option of this command; settings have no dashes, write depth=..."),
        (
            ["report", "results/nope"],
            "results/nope: there is no such folder; name that of a run, as in memcap report results/default",
        ),
        (["compare", "-x"], "-x: is not an option of this command; memcap COMMAND --help lists them"),
        (["compare", "grid=smoke"], "grid: cannot be chosen in this command; memcap COMMAND --help lists the settings"),
    ],
)
def test_an_unknown_option_is_one_line(arguments, message, memcap):
    assert memcap(*arguments) == (2, "", f"memcap: {message}\n")


@pytest.mark.parametrize(("name", "meant"), [("lr", "learning_rate"), ("seeds", "seed"), ("epochs", "max_epochs")])
def test_an_unknown_field_names_what_was_meant(name, meant):
    with pytest.raises(bench.GridError) as raised:
        bench.expand(**{name: 1})
    assert str(raised.value) == f"{name}=...: is not a field of a cell; did you mean {meant}?"


def test_a_diagnosis_ends_with_status_1_where_the_answer_is_no_and_that_is_asked_for(memcap):
    """A linear model of 4 inputs fits any 5 samples, and leaves 87.5 % of 40."""
    small = ("diagnose", "depth=0", "d_in=4", "max_epochs=60", "grid.seed=[3]", "learning_rate=0.1")
    assert memcap(*small, "n_samples=40")[0] == 0
    assert memcap(*small, "n_samples=40", "--fail")[0] == 1
    assert memcap("diagnose", "--fail", *small[1:], "n_samples=1", "fresh=true")[0] == 0


def test_a_diagnosis_that_fails_asks_for_the_verdict_yes_and_not_for_one_training_that_reached_tau_once(memcap):
    """Memorized and lost by all; and memorized by two of four draws, of which none is most."""
    lost = ("diagnose", "--fail", "depth=0", "d_in=300", "n_samples=20", "learning_rate=0.01", "tau=1.0e-9", "max_epochs=2000")
    assert memcap(*lost, "grid.seed=[0]")[0] == 0
    status, out, _ = memcap(*lost, "grid.seed=[0]", "past_tau=true", "fresh=true")
    assert (status, "Memorized and then lost" in out) == (1, True)
    xor = ("depth=1", "width=2", "d_in=2", "n_samples=4", "target=rademacher", "max_epochs=2000", "learning_rate=0.01")
    status, out, _ = memcap("diagnose", "--fail", *xor, "budget_s=1", "run_dir=results/xor")
    assert (status, "As asked, the draw decides" in out) == (1, True)


def test_a_report_is_of_a_folder_whatever_its_name(memcap, tmp_path):
    message = "memcap: grid=smoke: is not a folder; a report has no such setting, write memcap report results/default\n"
    assert memcap("report", "grid=smoke") == (2, "", message)
    message = "memcap: --tables: is not an option of this command; did you mean --table?\n"
    assert memcap("report", "--tables") == (2, "", message)
    bench.run(bench.expand(n_samples=[4, 8], max_epochs=2), run_dir=tmp_path / "tau=1")
    assert memcap("report", "tau=1")[0] == 0


def test_a_configuration_is_the_same_as_text_and_as_values():
    """The run keeps the text, and its provenance the values."""
    for path in (ROOT / "conf/grid").glob("*.yaml"):
        (settings,) = compose("config", [f"grid={path.stem}"])
        assert yaml.safe_load(dump(settings.resolved)) == settings.resolved


def test_several_grids_run_in_one_command(memcap, tmp_path):
    assert memcap("-m", "grid=smoke", "tau=0.1,0.5", "max_epochs=5", "run_dir=results/tau-${tau}")[0] == 0
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["tau-0.1", "tau-0.5"]
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_columns_tells_each_columns_unit_and_meaning(memcap):
    _, tables, _ = memcap("columns")
    assert all(f"  {name} " in tables for name in TABLES)
    status, out, _ = memcap("columns", "capacity", "groups")
    assert status == 0
    for name in ("capacity", "groups"):
        for column in TABLES[name].columns:
            assert f"  {column.name} [{column.unit}]\n" in out
            assert column.meaning in " ".join(out.split())


def test_columns_tells_what_one_column_means_in_each_table_that_has_it(memcap):
    status, out, _ = memcap("columns", "sharpness", "setting")
    assert status == 0
    sharpness, setting = out.split("\n\n")
    (column,) = (column for column in TABLES["capacity"].columns if column.name == "sharpness")
    assert sharpness.startswith(f"sharpness [{column.unit}]\n") and sharpness.endswith("      in capacity.csv")
    assert column.meaning in " ".join(sharpness.split())
    having = {name for name, table in TABLES.items() if any(column.name == "setting" for column in table.columns)}
    assert set(re.findall(r"(\w+)\.csv", setting)) == having
    assert max(map(len, out.splitlines())) <= 120


@pytest.mark.parametrize(("name", "meant"), [("capacities", "capacity"), ("n50low", "n50_low")])
def test_an_unknown_table_or_column_is_one_line_with_the_nearest(name, meant, memcap):
    message = f"memcap: {name}: is neither a table nor a column; did you mean {meant}?\n"
    assert memcap("columns", name) == (2, "", message)


@pytest.mark.parametrize("arguments", ["columns cells groups", "run --help", "--help"])
def test_output_that_nobody_reads_to_its_end_is_no_error(arguments):
    command = f"{sys.executable} -m bench {arguments} | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, env=os.environ)
    assert done.returncode in (0, 141) and done.stderr == ""
