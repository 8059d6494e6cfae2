"""The wheel in an empty folder: what pip installs runs by itself, with a compiler and without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import bench
from tests.conftest import ROOT

NO_COMPILER = {"CXX": "/bin/false", "CC": "/bin/false"}


def install(target: Path, *options: str, **environment: str) -> Path:
    """The package as pip installs it from a built wheel, without its dependencies, which this environment has."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    own = ["--no-deps", "--no-build-isolation", *options, "--target", str(target), str(ROOT)]
    done = subprocess.run([*pip, *own], env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def memcap(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The installed command, run in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    # This environment may have the compiled module from elsewhere, by way of an editable installation.
    hide = "" if list((site / "bench/engines").glob("_native*.so")) else "sys.modules['bench.engines._native'] = None; "
    code = f"import sys; {hide}from bench.commands.main import main; main()"
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def without_a_compiler(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    return install(folder / "site", f"--config-settings=build-dir={folder / 'build'}", **NO_COMPILER)


def test_the_installed_program_runs_from_an_empty_folder_without_a_compiler(without_a_compiler, tmp_path):
    assert not list((without_a_compiler / "bench/engines").glob("_native*.so"))
    done = memcap(without_a_compiler, tmp_path, "grid=smoke", "max_epochs=5")
    assert done.returncode == 0, done.stderr
    assert f"memcap: 32 cells, results in {Path('results/smoke')}" in done.stdout
    assert "memcap: the native engine is not built" in done.stdout
    assert (tmp_path / "results/smoke/report.html").exists()
    assert (tmp_path / "results/smoke/config.yaml").read_text().startswith("n_samples: 128")
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_the_wheel_brings_its_own_conf_the_sources_of_the_kernels_and_one_command(without_a_compiler, tmp_path):
    assert (without_a_compiler / "bench/conf/config.yaml").exists()
    reference = ROOT / "results" / "reference" / "check" / "tables" / "learned_cells.csv"
    assert (without_a_compiler / "bench/reference/check/tables/learned_cells.csv").read_bytes() == reference.read_bytes()
    assert (without_a_compiler / "bench/engines/fused/kernels.cu").exists()
    assert [path.name for path in (without_a_compiler / "bin").iterdir()] == ["memcap"]
    script = [sys.executable, str(without_a_compiler / "bin" / "memcap"), "--version"]
    environment = {**os.environ, "PYTHONPATH": str(without_a_compiler)}
    done = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"memcap {bench.__version__}\n")
    (metadata,) = without_a_compiler.glob("memcap-*.dist-info")
    assert metadata.name == f"memcap-{bench.__version__}.dist-info"


@pytest.mark.exhaustive
def test_the_wheel_brings_the_native_engine_where_there_is_a_compiler(tmp_path):
    """Compiles the whole core."""
    site = install(tmp_path / "site", f"--config-settings=build-dir={tmp_path / 'build'}")
    assert list((site / "bench/engines").glob("_native*.so"))
    done = memcap(site, tmp_path, "grid=smoke", "max_epochs=5", "engine=native", "run_dir=mine")
    assert done.returncode == 0, done.stderr
    done = memcap(site, tmp_path, "check", "capacity", "engine=native")
    assert done.returncode == 0, done.stdout + done.stderr
