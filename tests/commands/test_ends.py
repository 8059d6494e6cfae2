"""How commands end: what the system refuses is one line, what had finished is kept, and the same command goes on."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from bench.engines.native_engine import NativeEngine
from bench.engines.torch_engine import TorchEngine
from bench.machine.child import environment
from bench.store import provenance
from bench.store.parts import Store

SMALL = ("grid.depth=[1]", "grid.width=[4]", "grid.n_samples=[4,8]", "grid.seed=[0]", "grid.regularization=[none]", "tau=0.5")
RUN = ("grid=smoke", "run_dir=mine", "max_epochs=20", *SMALL)
KEPT = "finished cells are kept, and the same command goes on from there"


@pytest.mark.parametrize("code", [errno.ENOSPC, pytest.param(errno.EROFS, marks=pytest.mark.exhaustive)])
def test_what_the_system_refuses_to_write_is_one_line_wherever_it_does(code, memcap, monkeypatch, tmp_path):
    """From the plan to the page, each time from one file on; then there is space, and the same command comes to its end."""
    refused: list[str] = []
    fsync = os.fsync

    def refuse(descriptor):
        name = os.readlink(f"/proc/self/fd/{descriptor}").rpartition("/")[2]
        if any(name.startswith(f".{start}") for start in refused):
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    everything = ("plan", "part", "provenance", "cells", "map", "report")
    for number, first in enumerate(everything):
        refused[:] = everything[number:]
        status, _, err = memcap(*RUN)
        lines = [line for line in err.splitlines() if line.startswith("memcap: ")]
        assert (status, len(lines)) == (74, 1), (first, err)
        assert lines[0].startswith("memcap: mine") and lines[0].endswith(f": {os.strerror(code)}; {KEPT}"), lines
        assert "Traceback" not in err
    refused.clear()
    assert memcap(*RUN)[0] == 0
    # Trained once, when parts could be written.
    assert [run["cells_trained"] for run in provenance.read(tmp_path / "mine")][-1] == 0
    assert not list(tmp_path.rglob("*.partial"))
    assert (tmp_path / "mine" / "report.html").exists()


def test_a_name_that_no_file_can_have_is_one_line(memcap):
    status, out, err = memcap("grid=smoke", f"run_dir={'x' * 300}")
    assert (status, out) == (2, "")
    assert err.endswith(": cannot be written to (File name too long); name a folder that you can write to\n") and len(err) < 200


def test_tables_that_is_a_file_is_one_line(memcap, tmp_path):
    assert memcap(*RUN)[0] == 0
    shutil.rmtree(tmp_path / "mine" / "tables")
    (tmp_path / "mine" / "tables").touch()
    status, _, err = memcap(*RUN)
    assert (status, err.splitlines()[-1]) == (74, f"memcap: mine/tables: File exists; {KEPT}")


def test_a_working_directory_that_is_gone_is_one_line(memcap, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    assert memcap(*RUN) == (74, "", f"memcap: the working directory: No such file or directory; {KEPT}\n")


def test_an_output_that_takes_nothing_is_one_line():
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "bench", "columns"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment())
    assert (done.returncode, done.stderr) == (74, f"memcap: No space left on device; {KEPT}\n")


def test_failed_cells_are_told_with_their_reasons_and_status_1(memcap, monkeypatch, tmp_path):
    def breaks(self, pack, **options):
        raise RuntimeError("out of\nreach")

    with monkeypatch.context() as broken:
        broken.setattr(TorchEngine, "train", breaks)
        broken.setattr(NativeEngine, "train", breaks)
        status, _, err = memcap(*RUN)
    told = "memcap: 2 of 2 cells failed, 2 by RuntimeError: out of reach; the same command tries them again"
    assert (status, err.splitlines()[-1]) == (1, told)
    assert memcap(*RUN)[0] == 0
    assert set(Store(tmp_path / "mine").read_cells()["status"]) <= {"memorized", "censored"}


def test_many_reasons_of_failures_are_told_by_their_counts():
    from bench.report.failures import failures

    reasons = ["a"] * 3 + ["b"] * 2 + ["c", "d", "e"]
    cells = pd.DataFrame({"status": ["failed"] * len(reasons) + ["memorized"], "reason": [*reasons, None]})
    rest = "2 by others, which are in tables/cells.csv; the same command tries them again"
    assert failures(cells) == f"8 of 9 cells failed, 3 by a, 2 by b, 1 by c, {rest}"
    assert failures(cells.tail(1)) == ""
