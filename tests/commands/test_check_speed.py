"""`memcap check speed`: what it leaves and how it ends, on a small checkout; what cannot be checked is a line and never green."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import venv
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from bench.commands import check_speed
from bench.gates import counts, rounds, sides, speed
from tests.gates.checkouts import Checkout


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Three commits, the second and third of which pause as long as the first; pip's part is to copy the program."""
    made = Checkout(tmp_path / "checkout")
    made.commits = [made.commit(f"pause_s = 0.01  # {number}\n") for number in range(3)]
    monkeypatch.setattr(check_speed, "__file__", str(made.root / "bench" / "commands" / "check_speed.py"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made.pip = sides.install
    monkeypatch.setattr(
        sides, "install", lambda python, sources, site, what: shutil.copytree(sources / "bench", site / "bench")
    )
    # Instructions are for what has a kernel.
    monkeypatch.setattr(counts, "_instructions", lambda suite, side: {})
    for module in (rounds, speed):
        monkeypatch.setattr(module, "LOOKS", (3,))
    return made


def check(folder: Path, name: str = "speed") -> dict:
    """What a check says of itself in a folder, the same in every form."""
    found = json.loads((folder / "results" / "check_speed" / "check.json").read_text())
    suite = ElementTree.parse(folder / "results" / "check_speed" / "check.xml").getroot()
    assert found["check"] == suite.attrib["name"] == name
    assert found["passed"] == (suite.attrib["failures"] == suite.attrib["errors"] == "0")
    assert f" {name}: {found['outcome']}\n" in (folder / "results" / "check_speed" / "check.md").read_text()
    return found


def test_a_slower_head_fails_and_its_folder_holds_everything(memcap, tmp_path, checkout):
    checkout.write("pause_s = 0.03\n")
    status, out, err = memcap("check", "speed", "base=HEAD~1")
    assert (status, err) == (1, "")
    head = f"the working tree, commit {checkout.commits[2][:12]} with changes"
    assert f"memcap: {head} against commit {checkout.commits[1][:12]}\n" in out
    assert out.endswith("memcap: failed; what was found is in results/check_speed, for readers in report.html\n")
    found = check(tmp_path)
    assert (found["outcome"], found["head"], found["base"]) == ("failed", head, f"commit {checkout.commits[1][:12]}")
    assert [(one["test"], one["verdict"]) for one in found["findings"]] == [("calls", "passed"), ("pauses", "failed")]
    folder = tmp_path / "results" / "check_speed"
    assert sorted(path.name for path in folder.iterdir()) == [
        *("benchmark_base.json", "benchmark_head.json", "check.json", "check.md", "check.xml", "config.yaml", "figures"),
        *("provenance.json", "report.html", "tables"),
    ]
    times = pd.read_csv(folder / "tables" / "check_times.csv")
    made = json.loads((folder / "benchmark_head.json").read_text())
    assert made["benchmarks"][0]["stats"]["data"] == pytest.approx(times.loc[times["side"] == "head", "time_s"].tolist())
    assert made["commit_info"] == {"id": checkout.commits[2], "dirty": True, "project": "memcap"}
    assert json.loads((folder / "benchmark_base.json").read_text())["commit_info"]["id"] == checkout.commits[1]
    page = (folder / "report.html").read_text()
    assert head in page and "The head has changes that no commit holds." in page


def test_on_main_the_base_is_the_commit_before_and_what_is_undecided_is_not_green(memcap, tmp_path, checkout, monkeypatch):
    def measured(root, base, head, **how):
        rows = [(r, 0, side, "pauses", "p", 1.0 + r * (side == "head")) for r in range(3) for side in ("base", "head")]
        return pd.DataFrame(rows, columns=["round", "turn", "side", "group", "benchmark", "time_s"])

    monkeypatch.setattr(rounds, "rounds", measured)
    status, out, err = memcap("check", "speed")
    assert (status, err) == (2, "memcap: 1 of 1 groups are not known well enough; raise limit_s, or quiet the machine\n")
    assert f"commit {checkout.commits[2][:12]} against commit {checkout.commits[1][:12]}" in out
    assert "memcap: undecided; what was found is in" in out
    assert check(tmp_path)["outcome"] == "undecided"


def equal_times(root, base, head, **how):
    rows = [(r, 0, side, "pauses", "p", 1.0 + 1e-4 * r) for r in range(3) for side in ("base", "head")]
    return pd.DataFrame(rows, columns=["round", "turn", "side", "group", "benchmark", "time_s"])


def test_the_commit_that_made_a_count_grow_is_named(memcap, tmp_path, checkout, monkeypatch):
    monkeypatch.setattr(rounds, "rounds", equal_times)
    base = checkout.commit("pause_s = 0.01\ncalls = 100\n")
    checkout.commit("pause_s = 0.01\ncalls = 101\n")
    culprit = checkout.commit("pause_s = 0.01\ncalls = 103\n")
    checkout.commit("pause_s = 0.01\ncalls = 104\n")
    status, out, _ = memcap("check", "speed", f"base={base}", "bisect=true")
    assert status == 1
    assert f"104 calls, in the base 100: 1.0400 times, more by more than 2%; since commit {culprit[:12]}, another" in out
    checkout.write("pause_s = 0.01\ncalls = 110\n")
    status, out, _ = memcap("check", "speed", "base=HEAD", "bisect=true")
    assert status == 1
    assert "more by more than 2%; since what is not committed yet" in out


def test_what_cannot_be_counted_is_said_and_fails_where_nothing_may_be_skipped(memcap, checkout, monkeypatch):
    monkeypatch.setattr(rounds, "rounds", equal_times)
    monkeypatch.setattr(
        counts, "_instructions", lambda suite, side: {"instructions": counts.Count("", missing="has no valgrind here")}
    )
    status, out, _ = memcap("check", "speed")
    assert status == 0
    assert "not counted: base has no valgrind here; head has no valgrind here" in out
    assert memcap("check", "speed", "no_skips=true")[0] == 1


def test_another_environment_runs_the_code_that_is_here_and_is_named(memcap, tmp_path, checkout, monkeypatch):
    asked = []

    def measured(root, base, head, **how):
        asked.extend((base, head))
        rows = [(r, 0, side, "pauses", "p", 1.0 + 1e-4 * r) for r in range(3) for side in ("base", "head")]
        return pd.DataFrame(rows, columns=["round", "turn", "side", "group", "benchmark", "time_s"])

    monkeypatch.setattr(rounds, "rounds", measured)
    # A second way to the same interpreter.
    other = tmp_path / "other env" / "python"
    other.parent.mkdir()
    other.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)
    status, _, err = memcap("check", "speed", f"base_python={other}", "limit_s=5")
    assert (status, err) == (0, "")
    base, head = asked
    assert (base.python, head.python) == (str(other), sys.executable)
    assert base.what == f"commit {checkout.commits[2][:12]} by {other}"
    (run,) = json.loads((tmp_path / "results" / "check_speed" / "provenance.json").read_text())["runs"]
    assert run["base"]["commit"] == run["head"]["commit"] == checkout.commits[2]
    assert run["base"]["packages"]["numpy"] == run["head"]["packages"]["numpy"] is not None


def never_green(memcap, folder: Path, said: str, *arguments: str) -> None:
    """One line, exit status 2; and the folder says so too, whatever it held."""
    status, _, err = memcap("check", "speed", *arguments)
    assert (status, err) == (2, f"memcap: {said}\n")
    found = check(folder)
    assert (found["outcome"], found["passed"], found["findings"][0]["said"]) == ("undecided", False, said)
    assert not (folder / "results" / "check_speed" / "report.html").exists()


@pytest.mark.parametrize("ref", ["nowhere", "HEAD^{tree}", "--help", "HEAD~9", "7e12345", "it's"])
def test_a_base_that_is_no_commit(ref, memcap, tmp_path, checkout):
    rule = f"base={ref}: {ref} is no commit of {checkout.root}; name another base"
    status, _, err = memcap("check", "speed", f"base={ref}")
    assert (status, err[: len(rule) - 25]) == (2, f"memcap: {rule}"[: len(rule) - 25])
    assert err.count("\n") == 1 and err.endswith("; name another base\n")
    assert check(tmp_path)["outcome"] == "undecided"


def test_an_old_green_check_does_not_survive_one_that_could_not_be_held(memcap, tmp_path, checkout, monkeypatch):
    def measured(root, base, head, **how):
        rows = [(r, 0, side, "pauses", "p", 1.0 + 1e-4 * r) for r in range(3) for side in ("base", "head")]
        return pd.DataFrame(rows, columns=["round", "turn", "side", "group", "benchmark", "time_s"])

    monkeypatch.setattr(rounds, "rounds", measured)
    assert memcap("check", "speed")[0] == 0
    assert check(tmp_path)["passed"]
    said = f"base=nowhere: nowhere is no commit of {checkout.root}; name another base"
    never_green(memcap, tmp_path, said, "base=nowhere")


def test_the_first_commit_has_no_base(memcap, tmp_path, checkout):
    checkout.git("reset", "-q", "--hard", checkout.commits[0])
    never_green(memcap, tmp_path, f"base=null: HEAD~1 is no commit of {checkout.root}; name another base")


def test_a_clone_without_history_is_told_how_to_get_it(memcap, tmp_path, checkout, monkeypatch):
    shallow = tmp_path / "shallow"
    checkout.git("clone", "-q", "--depth=1", f"file://{checkout.root}", str(shallow))
    monkeypatch.setattr(check_speed, "__file__", str(shallow / "bench" / "commands" / "check_speed.py"))
    remedy = "a clone without its history; git fetch --unshallow brings that"
    never_green(memcap, tmp_path, f"base=null: HEAD~1 is no commit of {shallow}, {remedy}; name another base")


def test_without_git(memcap, tmp_path, checkout, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    never_green(memcap, tmp_path, "head=this checkout: git is not installed; install git, and commit something")


def test_a_folder_that_is_no_repository(memcap, tmp_path, checkout, monkeypatch):
    shutil.rmtree(checkout.root / ".git")
    rule = "needs the history of a checkout, to build another commit"
    remedy = "run it from a clone, by make perf-check, or name base_python alone"
    never_green(memcap, tmp_path, f"check=speed: {rule}; {remedy}")
    (checkout.root / ".git").mkdir()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    status, _, err = memcap("check", "speed")
    assert status == 2 and err.startswith(
        f"memcap: head=this checkout: HEAD is no commit of {checkout.root} (fatal: not a git repo"
    )
    assert check(tmp_path)["outcome"] == "undecided"


def test_an_installed_program_has_no_suite_to_run(memcap, tmp_path, checkout):
    shutil.rmtree(checkout.root / "tests")
    rule = "needs a checkout of memcap, with its tests; run it from a clone, by make perf-check"
    never_green(memcap, tmp_path, f"check=speed: {rule}")


def test_a_folder_without_history_compares_environments(memcap, tmp_path, checkout, monkeypatch):
    """As a workflow gets an action: an archive of a commit."""

    def measured(root, base, head, **how):
        rows = [(r, 0, side, "pauses", "p", 1.0 + 1e-4 * r) for r in range(3) for side in ("base", "head")]
        return pd.DataFrame(rows, columns=["round", "turn", "side", "group", "benchmark", "time_s"])

    monkeypatch.setattr(rounds, "rounds", measured)
    shutil.rmtree(checkout.root / ".git")
    status, out, err = memcap("check", "speed", f"base_python={sys.executable}")
    assert (status, err) == (0, "")
    assert "memcap: the files of a folder without history against the files of a folder without history\n" in out
    assert json.loads((tmp_path / "results/check_speed/benchmark_head.json").read_text())["commit_info"]["id"] == "unversioned"


def test_a_side_that_cannot_be_built_is_named(memcap, tmp_path, checkout, monkeypatch):
    monkeypatch.setattr(sides, "install", checkout.pip)
    project = checkout.root / "pyproject.toml"
    sound = project.read_text()
    project.write_text(sound.replace("scikit_build_core.build", "no_such_backend"))
    broken = checkout.commit("pause_s = 0.01\n")
    project.write_text(sound)
    checkout.commit("pause_s = 0.01\n")
    rule = f"{broken[:12]} cannot be built: ModuleNotFoundError: No module named 'no_such_backend'"
    never_green(memcap, tmp_path, f"base={broken}: {rule}; name another base", f"base={broken}")
    project.write_text(
        "[build-system]\nrequires = []\nbuild-backend = 'nothing'\n[project]\nname = 'memcap'\ndependencies = []\n"
    )
    status, _, err = memcap("check", "speed", "base=HEAD")
    assert status == 2 and err.count("\n") == 1
    assert err.startswith("memcap: head=this checkout: the working tree cannot be built: ") and err.endswith(
        "; mend it first\n"
    )
    assert check(tmp_path)["outcome"] == "undecided"


def test_a_side_that_does_not_run_the_suite_of_the_head_is_named(memcap, tmp_path, checkout):
    old = checkout.commit("raise OSError('no driver')\n")
    checkout.commit("pause_s = 0.01\n")
    rule = f"commit {old[:12]} does not run the suite of the head: E OSError: no driver"
    never_green(memcap, tmp_path, f"base=HEAD~1: {rule}; name another base", "base=HEAD~1")
    new = checkout.commit("raise OSError('no driver')\n")
    rule = f"commit {new[:12]} does not run the suite of the head: E OSError: no driver"
    never_green(memcap, tmp_path, f"head=this checkout: {rule}; mend it first", "base=HEAD~1")


@pytest.mark.parametrize("python", ["/no/python", "/bin/true", "/tmp"])
def test_a_base_python_that_is_none(python, memcap, tmp_path, checkout):
    remedy = "name the interpreter of another environment"
    said = f"base_python={python}: {python} is no Python that runs; {remedy}"
    never_green(memcap, tmp_path, said, f"base_python={python}")


def test_a_base_python_that_lacks_packages_is_told_which(memcap, tmp_path, checkout):
    # A path that is not too long to be told whole.
    bare = Path(tempfile.mkdtemp(prefix="memcap-"))
    venv.create(bare, with_pip=False)
    python = bare / "bin" / "python"
    lacks = ["scikit-build-core", "numpy", "hydra-core", "pip", "pytest", "pytest-benchmark", "beartype"]
    said = f"base_python={python}: lacks {', '.join(lacks)}; install them there"
    try:
        never_green(memcap, tmp_path, said, f"base_python={python}")
    finally:
        shutil.rmtree(bare)


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("margin=0", "margin=0: must be a positive number; memcap check --help lists the settings"),
        ("margin=true", "margin=true: must be a positive number; memcap check --help lists the settings"),
        ("limit_s=long", "limit_s=long: must be a positive number; memcap check --help lists the settings"),
        ("limit_s=.inf", "limit_s=.inf: must be a positive number; memcap check --help lists the settings"),
        ("base=''", "base=: must be a text, or null; memcap check --help lists the settings"),
        ("run_dir=null", "run_dir=null: must be a text; memcap check --help lists the settings"),
        ("bas=HEAD", "bas: is not a setting; did you mean base?"),
        ("base_pyton=python3", "base_pyton: is not a setting; did you mean base_python?"),
    ],
)
def test_a_wrong_setting_is_a_line_and_leaves_nothing(argument, said, memcap, tmp_path, checkout):
    assert memcap("check", "speed", argument) == (2, "", f"memcap: {said}\n")
    assert not (tmp_path / "results").exists()


def test_a_folder_of_something_else_is_left_alone(memcap, tmp_path, checkout):
    remedy = "name a new folder, or that of such a check"
    for held, said in [
        ({"plan.parquet": ""}, "holds plan.parquet, of a run"),
        ({"report.html": "mine", "config.yaml": ""}, "holds report.html, config.yaml, but no check that they belong to"),
        ({"check.json": '{"check": "capacity"}', "check.md": "mine"}, "holds a check of capacity"),
        ({"check.json": "mine"}, "holds a check.json that is no check's"),
        ({"check.json": "[]"}, "holds a check.json that is no check's"),
    ]:
        folder = tmp_path / "mine"
        folder.mkdir()
        for name, text in held.items():
            (folder / name).write_text(text)
        assert memcap("check", "speed", "run_dir=mine") == (2, "", f"memcap: run_dir=mine: {said}; {remedy}\n")
        assert {path.name: path.read_text() for path in folder.iterdir()} == held
        shutil.rmtree(folder)
    rule = "cannot be written to (File exists); name a folder that you can write to"
    assert memcap("check", "speed", "run_dir=/dev/null") == (2, "", f"memcap: run_dir=/dev/null: {rule}\n")
