"""Times in the form of pytest-benchmark: its own statistics, its own reader, its own comparison."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from pytest_benchmark.stats import Stats
from pytest_benchmark.storage.file import FileStorage

from bench.gates.benchmarks import as_pytest_benchmark, benchmarks
from bench.protocol.columns import columns_of
from tests.gates.test_speed import simulated

RUN = {
    "commit": "a" * 40,
    "dirty": True,
    "python": "3.12.1",
    "system": "Linux x86_64",
    "cpu": {"model": "EPYC", "features": ["avx2"]},
    "started_at": "2026-11-26T10:00:00+00:00",
}


@pytest.mark.parametrize("n_rounds", [1, 2, 5, 6, 7, 9, 16])
def test_the_statistics_are_those_of_pytest_benchmark(n_rounds):
    times = simulated(np.random.default_rng(n_rounds), n_rounds, busy=0.3)
    for side in ("base", "head"):
        for one in as_pytest_benchmark(times, side, RUN)["benchmarks"]:
            own = times[(times["side"] == side) & (times["benchmark"] == one["name"])]
            witness = Stats()
            for time_s in own["time_s"]:
                witness.update(time_s)
            expected = witness.as_dict()
            made = {name: one["stats"][name] for name in expected}
            assert made.pop("outliers") == expected.pop("outliers")
            assert made == pytest.approx(expected)
            assert one["stats"]["data"] == witness.data


def test_pytest_benchmark_reads_and_compares_both_files(tmp_path):
    times = simulated(np.random.default_rng(1), 6, slower=1.5)
    for side in ("base", "head"):
        (tmp_path / f"benchmark_{side}.json").write_text(json.dumps(as_pytest_benchmark(times, side, RUN)))

    class Complains:
        def warning(self, text):
            raise AssertionError(text)

    files = [str(tmp_path / f"benchmark_{side}.json") for side in ("base", "head")]
    read = list(FileStorage(tmp_path / "store", Complains()).load_benchmarks(*files))
    assert len(read) == 2 * 16
    assert {one["group"] for one in read} == {f"group {k}" for k in range(8)}
    code = "import sys; from pytest_benchmark.cli import main; sys.argv[0] = 'pytest-benchmark'; main()"
    command = [sys.executable, "-c", code, "compare", "--columns=median", "--group-by=fullname", *files]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("(1.0)") == 16
    assert "tests/perf/gated.py::group 0 1" in done.stdout


def test_the_form_is_that_of_a_file_that_pytest_benchmark_wrote(tmp_path):
    """The same names at each level, and what github-action-benchmark reads: fullname, stats.ops, stats.stddev, stats.rounds."""
    (tmp_path / "test_it.py").write_text("def test_it(benchmark):\n    benchmark.pedantic(sum, args=[[1]], rounds=3)\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--benchmark-json=made.json", "test_it.py"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    theirs = json.loads((tmp_path / "made.json").read_text())
    ours = as_pytest_benchmark(simulated(np.random.default_rng(1), 3), "head", RUN)
    assert set(ours) == set(theirs)
    assert set(ours["benchmarks"][0]) == set(theirs["benchmarks"][0])
    assert set(ours["benchmarks"][0]["stats"]) == set(theirs["benchmarks"][0]["stats"])
    assert set(ours["machine_info"]) <= set(theirs["machine_info"])
    assert set(ours["commit_info"]) <= set(theirs["commit_info"])
    assert ours["commit_info"] == {"id": "a" * 40, "dirty": True, "project": "memcap"}
    assert (ours["machine_info"]["system"], ours["machine_info"]["machine"]) == ("Linux", "x86_64")


def test_the_table_has_each_benchmark_with_the_median_of_both_sides():
    rows = [
        (r, 0, side, "g", "b", t)
        for r, (a, b) in enumerate([(1.0, 2.0), (2.0, 4.0), (9.0, 18.0)])
        for side, t in (("base", a), ("head", b))
    ]
    table = benchmarks(pd.DataFrame(rows, columns=["round", "turn", "side", "group", "benchmark", "time_s"]))
    assert list(table) == list(columns_of("check_benchmarks"))
    assert table.to_numpy().tolist() == [["g", "b", 3, 2.0, 4.0, pytest.approx(2.0)]]
