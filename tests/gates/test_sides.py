"""Two commits of a checkout beside each other: which is the base, what is built, and what cannot be is a line."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bench.gates import sides
from bench.gates.sides import CannotBuild, commit_of, of_commit, of_working_tree, usual_base


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with three commits on main, and what pip is asked to install; its install copies the sources."""
    root = tmp_path / "checkout"
    root.mkdir()

    def git(*arguments: str) -> str:
        own = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, env=os.environ | own, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "-q", "-b", "main")
    (root / ".gitignore").write_text("left out\n")
    commits = []
    for number in range(3):
        (root / "program.py").write_text(f"NUMBER = {number}\n")
        git("add", "-A")
        git("commit", "-q", "-m", str(number))
        commits.append(git("rev-parse", "HEAD"))
    installed: list[str] = []

    def install(python, sources, site, what):
        installed.append(what)
        site.mkdir(parents=True)
        for path in sources.iterdir():
            (site / path.name).write_bytes(path.read_bytes())

    monkeypatch.setattr(sides, "install", install)
    return root, git, commits, installed


def test_on_main_the_base_is_the_commit_before_and_on_a_branch_where_it_left_main(checkout):
    root, git, commits, _ = checkout
    assert usual_base(root) == commits[1]
    git("checkout", "-q", "-b", "branch", commits[1])
    (root / "program.py").write_text("NUMBER = 9\n")
    git("commit", "-q", "-a", "-m", "branch")
    (root / "program.py").write_text("NUMBER = 10\n")
    git("commit", "-q", "-a", "-m", "branch again")
    assert usual_base(root) == commits[1]


def test_an_older_branch_of_the_server_does_not_move_the_base_on_main(checkout):
    root, git, commits, _ = checkout
    git("update-ref", "refs/remotes/origin/main", commits[0])
    assert usual_base(root) == commits[1]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            'version = "x.y"',
            r"ConfigurationError: Field \"project.version\" is an invalid PEP 440 version string \(got 'x.y'\)",
        ),
        ('version = "1"\nrequires-python = ">=3.30"', r"requires a different Python: \S+ not in '>=3.30'"),
    ],
)
def test_of_what_pip_prints_the_reason_is_told(changed, said, tmp_path):
    project = '[build-system]\nrequires = []\nbuild-backend = "scikit_build_core.build"\n[project]\nname = "memcap"\n'
    (tmp_path / "pyproject.toml").write_text(project + changed)
    with pytest.raises(CannotBuild, match=rf"^it cannot be built: .*{said}$"):
        sides.install(sys.executable, tmp_path, tmp_path / "site", "it")


def test_a_cache_that_cannot_be_written_to_is_a_line(tmp_path):
    (tmp_path / "kept").write_text("a file")
    with pytest.raises(CannotBuild, match=rf"^it cannot be kept in {tmp_path}/kept \(File exists\)$"):
        sides.install(sys.executable, tmp_path, tmp_path / "kept" / "site", "it")


def test_a_commit_is_built_once_and_kept(checkout, tmp_path):
    root, _, commits, installed = checkout
    side = of_commit(root, commits[0], tmp_path / "kept")
    assert (side.site / "program.py").read_text() == "NUMBER = 0\n"
    assert side.what == f"commit {commits[0][:12]}"
    assert of_commit(root, commits[0], tmp_path / "kept") == side
    assert installed == [commits[0][:12]]


def test_a_clean_tree_is_its_commit_and_what_is_not_committed_is_built_and_named(checkout, tmp_path):
    root, _, commits, _ = checkout
    assert of_working_tree(root, tmp_path / "kept") == of_commit(root, commits[2], tmp_path / "kept")
    (root / "program.py").write_text("NUMBER = 7\n")
    (root / "new.py").write_text("")
    (root / "left out").write_text("")
    side = of_working_tree(root, tmp_path / "kept")
    assert side.what == f"the working tree, commit {commits[2][:12]} with changes"
    assert (side.site / "program.py").read_text() == "NUMBER = 7\n"
    assert (side.site / "new.py").exists()
    assert not (side.site / "left out").exists()
    (root / "program.py").write_text("NUMBER = 8\n")
    assert of_working_tree(root, tmp_path / "kept").site != side.site


def test_what_cannot_be_built_is_a_line(checkout, tmp_path, monkeypatch):
    root, _, commits, _ = checkout
    with pytest.raises(CannotBuild, match=rf"^nowhere is no commit of {root}$"):
        commit_of(root, "nowhere")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    with pytest.raises(CannotBuild, match=r"^HEAD is no commit of \S+ \(fatal: not a git repository.*\)$"):
        usual_base(tmp_path / "elsewhere")
    with pytest.raises(CannotBuild, match=r"^/no/python is no Python that runs$"):
        of_commit(root, commits[0], tmp_path / "kept", "/no/python")
    monkeypatch.undo()
    # There is nothing that pip could install.
    with pytest.raises(CannotBuild, match=rf"^{commits[0][:12]} cannot be built: \S.*$"):
        of_commit(root, commits[0], tmp_path / "other", sys.executable)
    assert not list((tmp_path / "other").iterdir())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotBuild, match=r"^git is not installed$"):
        commit_of(root, "HEAD")
