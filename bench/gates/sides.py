"""Base and head built beside each other, each into a folder of its own: two commits, or one for two interpreters."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.machine.child import essence

# Of branches that a head may have left, the first that there is.
MAIN = ("main", "origin/main", "master", "origin/master")

# What pip is told beside what to build: the environment has all that the build needs, and what the program needs.
PIP = ("install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--no-warn-conflicts")


# What a build depends on beside its sources.
ENVIRONMENT = """
import os, shutil, subprocess, sys
print(sys.implementation.cache_tag)
print(sys.prefix, os.environ.get("CXXFLAGS"))
compiler = shutil.which(os.environ.get("CXX", "c++"))
print(compiler and subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout)
"""

# Of an interpreter its version and those of packages, None of one that it lacks.
INSTALLED = """
import importlib.metadata, json, platform, sys
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
print(json.dumps({"python": platform.python_version(), "packages": {name: version(name) for name in sys.argv[1:]}}))
"""

# What pip draws around the output of a build, and how lines begin in which it speaks of itself.
FRAME, ITSELF = " |│+-", ("hint:", "note:", "error: ", "\u00d7", "╰─>", "[end of output]")

# What a build or an interpreter leaves among the sources.
MADE = ("build", "__pycache__")

# Beside what the program and its build need, what the suite of benchmarks does.
SUITE_NEEDS = ("pip", "pytest", "pytest-benchmark", "beartype")


class CannotBuild(Exception):
    """A side that there is not, or that cannot be built. The message is one line: what, and why."""


class Side(NamedTuple):
    """A program to be measured: what it is in words, who runs it, and the folder that it was installed into."""

    what: str
    python: str
    site: Path


def commit_of(root: Path, ref: str) -> str:
    """The commit that a name stands for.

    Raises:
        CannotBuild: there is no git, no checkout, or no such commit.
    """
    asked = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    try:
        return _git(root, *asked, reason=f"{ref} is no commit of {root}")
    except CannotBuild as error:
        if _is_shallow(root):
            raise CannotBuild(f"{error}, a clone without its history; git fetch --unshallow brings that") from error
        raise


def usual_base(root: Path) -> str:
    """The commit where the head left the main branch; on the main branch, and without one, the commit before the head.

    Raises:
        CannotBuild: there is none.
    """
    head = commit_of(root, "HEAD")
    for branch in MAIN:
        try:
            left = _git(root, "merge-base", "HEAD", branch, reason="")
        except CannotBuild:
            continue
        if left != head:
            return left
        break
    return commit_of(root, "HEAD~1")


def commits_since(root: Path, base: str) -> list[str]:
    """The commits after a base up to the head, oldest first; of a merge the branch that was merged into.

    Raises:
        CannotBuild: git does not list them.
    """
    listed = _git(root, "rev-list", "--reverse", "--first-parent", f"{base}..HEAD", reason="git lists no commits")
    return listed.split()


def subject_of(root: Path, commit: str) -> str:
    """The first line of a commit's message.

    Raises:
        CannotBuild: there is no such commit.
    """
    return _git(root, "log", "-1", "--format=%s", commit, reason=f"git shows no {commit}")


def of_commit(root: Path, commit: str, kept: Path, python: str = sys.executable) -> Side:
    """A commit, built once and kept.

    Raises:
        CannotBuild: pip refuses it.
    """
    site = kept / f"{commit[:16]}-{_tag(python)}"
    if not site.is_dir():
        with tempfile.TemporaryDirectory(prefix="memcap-") as folder:
            sources = Path(folder) / "sources"
            sources.mkdir()
            archive = Path(folder) / "sources.tar"
            _git(root, "archive", f"--output={archive}", commit, reason=f"{commit[:12]} cannot be read")
            shutil.unpack_archive(archive, sources, filter="data")
            install(python, sources, site, commit[:12])
    return Side(_named(f"commit {commit[:12]}", python), python, site)


def of_working_tree(root: Path, kept: Path, python: str = sys.executable) -> Side:
    """The files as they are, with what is not committed yet, if there is any; also those of a folder without history.

    Raises:
        CannotBuild: git does not say which those are, or pip refuses them.
    """
    if not has_history(root):
        paths = (path.relative_to(root) for path in sorted(root.rglob("*")) if path.is_file())
        files = [path for path in paths if not any(part in MADE or part.startswith(".") for part in path.parts)]
        return Side(_named("the files of a folder without history", python), python, _of_files(root, files, kept, python))
    commit = commit_of(root, "HEAD")
    if not is_dirty(root):
        return of_commit(root, commit, kept, python)
    names = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", reason="git lists no files").split("\0")
    files = [Path(name) for name in sorted(filter(None, names)) if (root / name).is_file()]
    site = _of_files(root, files, kept, python)
    return Side(_named(f"the working tree, commit {commit[:12]} with changes", python), python, site)


def has_history(root: Path) -> bool:
    """Whether a folder is a checkout; an archive of one has no commits."""
    return (root / ".git").exists()


def _of_files(root: Path, files: Sequence[Path], kept: Path, python: str) -> Path:
    """Where these files of a folder are built, once for all that have the same content."""
    digest = hashlib.sha256()
    for name in files:
        digest.update(str(name).encode() + (root / name).read_bytes())
    site = kept / f"dirty-{digest.hexdigest()[:16]}-{_tag(python)}"
    if not site.is_dir():
        with tempfile.TemporaryDirectory(prefix="memcap-") as folder:
            for name in files:
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / name, Path(folder) / name)
            install(python, Path(folder), site, "the working tree")
    return site


def is_dirty(root: Path) -> bool:
    """Whether files of a checkout are not as its commit has them.

    Raises:
        CannotBuild: git does not say.
    """
    return bool(_git(root, "status", "--porcelain", reason="git does not say what was changed"))


def environment_of(python: str, packages: Sequence[str]) -> dict[str, Any]:
    """The version of an interpreter, as `python`, and those of packages there, None of one that it lacks.

    Raises:
        CannotBuild: it is none.
    """
    try:
        done = subprocess.run([python, "-c", INSTALLED, *packages], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        raise CannotBuild(f"{python} is no Python that runs") from error


def lacking(root: Path, python: str) -> list[str]:
    """What an interpreter would need to build the checkout and to run its benchmarks, and has not.

    Raises:
        CannotBuild: it is no interpreter.
    """
    known = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    asked = [*known["build-system"]["requires"], *known["project"]["dependencies"]]
    names = [*(re.split(r"[^\w.-]", requirement)[0] for requirement in asked), *SUITE_NEEDS]
    return [name for name, version in environment_of(python, names)["packages"].items() if version is None]


def _named(what: str, python: str) -> str:
    """A side in words, with its interpreter if that is not the one of this process."""
    return what if python == sys.executable else f"{what} by {python}"


def _is_shallow(root: Path) -> bool:
    try:
        return _git(root, "rev-parse", "--is-shallow-repository", reason="") == "true"
    except CannotBuild:
        return False


def install(python: str, sources: Path, site: Path, what: str) -> None:
    """Build a program from its sources into a folder that there is not yet.

    Raises:
        CannotBuild: pip refuses it; `what` it is goes into the message.
    """
    partial = site.with_name(f"{site.name}.{os.getpid()}")
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotBuild(f"{what} cannot be kept in {partial.parent} ({error.strerror})") from error
    done = subprocess.run([python, "-m", "pip", *PIP, "--target", str(partial), str(sources)], capture_output=True, text=True)
    if done.returncode:
        shutil.rmtree(partial, ignore_errors=True)
        raise CannotBuild(f"{what} cannot be built: {_reason(done.stderr)}")
    partial.replace(site)


def _tag(python: str) -> str:
    """Of an interpreter, its environment, and the compiler that a build there takes."""
    try:
        done = subprocess.run([python, "-c", ENVIRONMENT], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotBuild(f"{python} is no Python that runs") from error
    name, _, rest = done.stdout.partition("\n")
    return f"{name}-{hashlib.sha256(rest.encode()).hexdigest()[:8]}"


def _git(root: Path, *arguments: str, reason: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True)
    except FileNotFoundError as error:
        raise CannotBuild("git is not installed") from error
    if done.returncode:
        said = _last_line(done.stderr)
        raise CannotBuild(" ".join(filter(None, [reason, f"({said})" if said else ""])) or "git failed")
    return done.stdout.strip("\n")


def _reason(said: str) -> str:
    """Of what pip printed the line that tells why: not what it says of itself, nor the frame that it draws around the rest."""
    lines = (line.strip(FRAME) for line in said.splitlines())
    return essence("\n".join(line for line in lines if not line.startswith(ITSELF)))


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
