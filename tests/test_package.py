"""What a user types: the wheel in an empty folder, the commands of the README, the Python interface."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bench
from bench.protocol.cells import DEFAULTS
from bench.report.build import build
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The package as pip installs it from a built wheel, without its dependencies (which this environment has)."""
    target = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(target),
        str(ROOT),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return target


def test_the_installed_program_runs_from_an_empty_folder_with_its_own_conf(installed, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    script = installed / "bin" / "memcap"
    done = subprocess.run(
        [sys.executable, str(script), "grid=smoke", "max_epochs=50"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"memcap: 32 cells, results in {Path('results/smoke')}" in done.stdout
    assert (tmp_path / "results/smoke/report.html").exists()
    assert (tmp_path / "results/smoke/config.yaml").read_text().startswith("n_samples: 128")
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
    assert (installed / "bench/conf/config.yaml").exists()


def test_the_wheel_brings_the_native_engine_and_without_a_compiler_everything_else(installed, tmp_path):
    assert list((installed / "bench/engines").glob("_native*.so"))
    assert (installed / "bench/engines/fused/kernels.cu").exists()
    target = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(target)]
    broken = {**os.environ, "CXX": "/bin/false", "CC": "/bin/false"}
    options = ["--config-settings=build-dir=" + str(tmp_path / "build")]
    done = subprocess.run([*command, *options, str(ROOT)], env=broken, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list((target / "bench/engines").glob("_native*.so"))
    # This environment may have the module from elsewhere, by way of an editable installation.
    hidden = "import sys; sys.modules['bench.engines._native'] = None; from bench.commands.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", hidden, "grid=smoke", "max_epochs=5"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "memcap: the native engine is not built" in done.stdout


def test_several_grids_run_in_one_command(tmp_path):
    command = [sys.executable, "-m", "bench", "-m", "grid=smoke", "tau=0.1,0.5", "max_epochs=20", "run_dir=results/tau-${tau}"]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["tau-0.1", "tau-0.5"]


def test_make_help_lists_every_target_with_one_line():
    lines = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    targets = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    assert sorted(line.split()[0] for line in lines) == sorted(targets)
    assert all(len(line.split()) > 2 for line in lines)


def test_make_bench_with_the_interpreter_at_hand_installs_nothing(tmp_path):
    command = ["make", "bench", f"PYTHON={sys.executable}", "VENV=", "GRID=smoke", f"ARGS=max_epochs=20 run_dir={tmp_path}/run"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "pip" not in done.stdout
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize("example", re.findall(r"```python\n(.*?)```", README, re.DOTALL), ids=["grid", "search"])
def test_the_python_examples_of_the_readme_run(example, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_the_readme_names_every_column_of_every_table(tmp_path):
    """Those of two small runs and of the published results, each in the paragraph of its table; the ends of an interval once."""
    grid = {"width": [4, 8, 12], "n_samples": [8, 64], "seed": range(2), "tau": 0.1, "max_epochs": 50, "n_val": 16}
    cells = bench.expand(**grid, depth=[1, 2], regularization=["none", "dropout"], learning_rate=[0.003, 0.03])
    for name, cells_of_run, variants in (("product", cells, False), ("variants", cells[:2] + cells[-2:], True)):
        bench.run(cells_of_run, run_dir=tmp_path / name, n_predictions=4, variants=variants)
        build(tmp_path / name)
    section = README[README.index("## The columns") : README.index("## What to trust")]
    intro, *paragraphs = re.split(r"\*\*`(\w+)\.csv`\*\*", section)
    about = dict(zip(paragraphs[::2], paragraphs[1::2], strict=True))
    names = {name: set(re.findall(r"`([\w.]+)`", text)) for name, text in {"": intro, **about}.items()}
    common = set(DEFAULTS) | names[""] | {"cell_id", "n_params", "functional_dim"}
    published = (ROOT / "results" / "reference").glob("*/tables/*.csv")
    tables = [*tmp_path.glob("*/tables/*.csv"), *published]
    assert {path.stem for path in tables} == set(about)
    same_measures = {"thresholds": "groups", "learning_rates": "groups", "summary": "comparison"}
    for path in tables:
        own = names[path.stem] | common | names[same_measures.get(path.stem, path.stem)]
        columns = path.read_text().split("\n", 1)[0].split(",")
        if path.stem == "learning_rates":
            columns = [re.sub("^(best|default)_(?!at_edge)", "", name) for name in columns]
        assert [name for name in columns if not {name, re.sub(r"_(low|high)$", "", name)} & own] == [], path


def tree() -> list[str]:
    """The files that the README lists, in its order."""
    (listed,) = re.findall(r"```text\nbench/\n(.*?)```", README, re.DOTALL)
    return [line.split()[0] for line in listed.splitlines()]


def test_the_tree_of_the_readme_names_every_file_and_no_other():
    files = [
        path.relative_to(ROOT / "bench")
        for path in (ROOT / "bench").rglob("*")
        if path.suffix in (".py", ".html", ".pyi", ".h", ".cpp", ".cu", ".txt")
    ]
    assert sorted(tree()) == sorted(str(path) for path in files if "conf" not in path.parts)


def test_a_file_imports_only_from_those_above_it():
    """At the top of the module; what is imported inside a function is imported late on purpose."""
    above: set[str] = set()
    for name in tree():
        module = name.removesuffix(".pyi").removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        if name.endswith(".py") and name != "__init__.py":
            for node in ast.parse((ROOT / "bench" / name).read_text()).body:
                if isinstance(node, ast.ImportFrom) and node.module == "bench":
                    imported = {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bench."):
                    imported = {node.module.removeprefix("bench.")}
                else:
                    named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                    imported = {own.partition(".")[2] or "." for own in named if own.partition(".")[0] == "bench"}
                assert imported <= above, (name, imported - above)
        above.add(module)


def test_the_columns_of_the_readme_are_those_of_the_table():
    from bench.store.parts import SCHEMAS

    described = set(re.findall(r"`(\w[\w.]*)`", README[README.index("## Grids") :]))
    assert set(SCHEMAS["cells"].names) <= described


def test_what_left_of_the_border_is_imported_by_reading_results_is_not_torch():
    code = "import bench.report.build, sys; assert 'torch' not in sys.modules and 'hydra' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
