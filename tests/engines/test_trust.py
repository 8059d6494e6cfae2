"""The CUDA engine is used where it is right, and nowhere else."""

from __future__ import annotations

import dataclasses
import json
import re
import sys

import pytest

import bench
from bench.engines import choice as engines
from bench.engines.choice import EngineSpec, native_is_built
from bench.engines.cuda.tiles import KERNELS
from bench.engines.cuda.trust import disagreement, distrusted, trial_cells, tried
from bench.engines.torch_engine import TorchEngine
from bench.protocol.grid import GridError
from bench.runs import training
from bench.runs.executors import local
from tests.engines.training import NOT_BUILT

if not native_is_built():
    pytest.skip(NOT_BUILT, allow_module_level=True)

from bench.engines.cuda.engine import CudaEngine
from bench.engines.cuda.fits import Fits
from tests.engines.host_device import HostDevice


def test_the_trial_is_passed_and_takes_every_kernel_that_cells_take():
    assert disagreement(CudaEngine([HostDevice()]), TorchEngine("cpu"), trial_cells()) is None
    fits = Fits(HostDevice())
    taken = {fit.kernel for cell in trial_cells() if (fit := fits.fit(cell))}
    assert taken == {kernel for kernel in KERNELS if not kernel.tensor_cores or kernel.dtype == "tf32"}
    fits = Fits(HostDevice(), tensor_cores=True)
    taken |= {fit.kernel for cell in trial_cells() if (fit := fits.fit(cell))}
    assert taken == set(KERNELS)


class Wrong(TorchEngine):
    """Trains with another weight decay than it was asked for."""

    def train(self, pack, *, n_predictions=0, jacobian_rank=False):
        asked = {dataclasses.replace(cell, weight_decay=cell.weight_decay + 1e-4): cell for cell in pack.cells}
        for report in super().train(pack._replace(cells=tuple(asked)), n_predictions=n_predictions):
            yield report._replace(outcomes=[dataclasses.replace(o, cell=asked[o.cell]) for o in report.outcomes])


def test_an_engine_that_is_a_little_wrong_is_found_out():
    cells = [cell for cell in trial_cells() if cell.dtype == "float64" and not cell.batch_size]
    reason = disagreement(Wrong("cpu"), TorchEngine("cpu"), cells)
    assert reason is not None
    assert re.match(r"^.*dtype=float64.* at epoch \d comes to [\d.]+, where torch comes to [\d.]+$", reason)


class Imprecise(TorchEngine):
    """Trains every cell in another dtype than it was asked for."""

    def __init__(self, dtype):
        super().__init__("cpu")
        self.dtype = dtype

    def train(self, pack, *, n_predictions=0, jacobian_rank=False):
        asked = {dataclasses.replace(cell, dtype=self.dtype): cell for cell in pack.cells}
        for report in super().train(pack._replace(cells=tuple(asked)), n_predictions=n_predictions):
            yield report._replace(outcomes=[dataclasses.replace(o, cell=asked[o.cell]) for o in report.outcomes])


@pytest.mark.parametrize(
    ("asked", "taken", "said"),
    [
        ("float32", "tf32", r"at epoch \d+ comes to [\d.]+, where torch comes to [\d.]+$"),
        ("tf32", "float32", r"^cells of dtype=tf32 part from those of torch by \S+ in the median in 3 epochs$"),
    ],
)
def test_an_engine_that_takes_other_factors_than_it_was_asked_for_is_found_out(asked, taken, said):
    cells = [cell for cell in trial_cells() if cell.dtype == asked]
    reason = disagreement(Imprecise(taken), TorchEngine("cpu"), cells)
    assert reason is not None
    assert re.search(said, reason)


def test_a_pass_is_kept_for_this_device_and_these_versions_and_a_failure_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    checks: list[str] = []

    def check(answer):
        checks.append("checked")
        return answer

    assert distrusted("a chip", "1", lambda: check("it errs")) == "it errs"
    assert distrusted("a chip", "1", lambda: check(None)) is None
    assert distrusted("a chip", "1", lambda: check("never asked")) is None
    assert len(checks) == 2
    assert distrusted("a chip", "2", lambda: check("it errs")) == "it errs"
    assert distrusted("another chip", "1", lambda: check("it errs")) == "it errs"
    (kept,) = tmp_path.glob("memcap/trusted-*.json")
    assert json.loads(kept.read_text()) == {"device": "a chip", "versions": "1"}
    kept.write_text("{")
    assert distrusted("a chip", "1", lambda: check(None)) is None
    assert len(checks) == 5


@pytest.mark.parametrize(
    ("program", "timeout_s", "reason"),
    [
        ("print('right')", 60, None),
        ("print('it errs'); raise SystemExit(1)", 60, "it errs"),
        ("raise OSError('no driver')", 60, "OSError: no driver"),
        ("import os; os.abort()", 60, "the trial ended with status -6: nothing was said"),
        ("import time; time.sleep(60)", 0.5, "the trial did not end in 0.5 s"),
    ],
)
def test_a_trial_is_held_in_a_process_of_its_own_and_a_crash_or_silence_is_a_failure(program, timeout_s, reason):
    assert tried([sys.executable, "-c", program], timeout_s=timeout_s) == reason


@pytest.fixture
def on_gpus(monkeypatch, tmp_path_factory):
    """A machine whose GPUs are `device`, an engine there that says `reason`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))

    def pretend(reason: str | None, device: HostDevice | None = None) -> None:
        monkeypatch.setattr(engines, "_resolve_device", lambda name: "cuda" if name == "auto" else name)
        monkeypatch.setattr(engines, "_why_not_cuda", lambda name: reason)
        make = engines.make_engine

        def made(spec, threads=1):
            return CudaEngine([device]) if spec.name == "cuda" else make(spec, threads)

        for module in (training, local):
            monkeypatch.setattr(module, "make_engine", made)
        monkeypatch.setattr(training, "for_the_rest", lambda spec: EngineSpec("torch", "cpu"))

    return pretend


def test_auto_takes_the_cuda_engine_where_it_is_trusted_and_else_says_why_not(on_gpus):
    on_gpus(None)
    assert engines.resolve("auto", "auto") == EngineSpec("cuda", "cuda")
    assert engines.resolve("auto", "cuda:1") == EngineSpec("cuda", "cuda:1")
    assert engines.resolve("torch", "auto") == EngineSpec("torch", "cuda:0")
    on_gpus("it errs")
    notice = "the CUDA engine cannot be used: it errs; the torch engine trains, slower"
    assert engines.resolve("auto", "auto") == EngineSpec("torch", "cuda:0", notice)
    with pytest.raises(GridError, match=r"^engine=cuda: cannot be used: it errs; use engine=torch$"):
        engines.resolve("cuda", "auto")


def test_what_goes_wrong_while_finding_out_is_a_reason_and_no_end(monkeypatch):
    def broken(name):
        raise OSError("no driver\nhere")

    pytest.importorskip("cuda.core", reason="cuda-core is not installed (NVIDIA has none for macOS)")
    from bench.engines.cuda import gpu

    monkeypatch.setattr(gpu, "why_not", broken)
    assert engines._why_not_cuda("cuda") == "OSError: no driver here"
    monkeypatch.setattr(engines, "cuda_is_installed", lambda: False)
    assert engines._why_not_cuda("cuda") == "cuda-core is not installed (pip install 'memcap[cuda]')"


@pytest.mark.parametrize(
    ("engine", "device", "message"),
    [
        ("cuda", "cpu", r"^device=cpu: does not work with engine=cuda; use device=cuda, or engine=torch$"),
        ("native", "cuda:0", r"^device=cuda:0: is not on this machine: .*$"),
        ("cuda", "auto", r"^engine=cuda: needs an NVIDIA GPU, and PyTorch sees none; use engine=auto$"),
    ],
)
def test_an_engine_on_the_wrong_device_is_refused(engine, device, message, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(GridError, match=message):
        engines.resolve(engine, device)


def test_cells_that_the_cuda_engine_does_not_support_go_to_torch(tmp_path, on_gpus, capsys):
    on_gpus(None, HostDevice(scratch_bytes=20_000))
    table = bench.run(bench.expand(width=[8, 200], n_samples=20, max_epochs=5), run_dir=tmp_path)
    assert table[["width", "engine"]].to_numpy().tolist() == [[8, "cuda"], [200, "torch"]]
    assert "memcap: 1 cells are too large for engine=cuda; engine=torch trains them" in capsys.readouterr().out
    (entry,) = json.loads((tmp_path / "provenance.json").read_text())["runs"]
    assert entry["cells_left_to_torch"] == 1


class BreakingDevice(HostDevice):
    """Works for two slices of time, and raises from then on as a GPU does after a fault."""

    slices = 0

    def start(self, *asked):
        self.slices += 1
        if self.slices > 2:
            raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS:\nan illegal access")
        super().start(*asked)


def test_when_a_gpu_breaks_torch_trains_what_it_had_not_ended_and_the_trial_is_held_again(tmp_path, on_gpus, capsys):
    on_gpus(None, BreakingDevice(epochs=(10,)))
    assert distrusted("host", "v1", lambda: None) is None
    assert distrusted("host", "v1", lambda: "never asked") is None
    cells = bench.expand(width=8, n_samples=20, tau=1e-6, max_epochs=[5, 400, 401])
    table = bench.run(cells, run_dir=tmp_path, threads=1)
    assert table[["max_epochs", "engine", "status"]].to_numpy().tolist() == [
        [5, "cuda", "censored"],
        [400, "torch", "censored"],
        [401, "torch", "censored"],
    ]
    said = "the CUDA engine failed (RuntimeError: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal access); engine=torch trains the rest, 2 cells"
    assert said in capsys.readouterr().out
    (entry,) = json.loads((tmp_path / "provenance.json").read_text())["runs"]
    assert entry["cells_left_to_torch"] == 2
    assert distrusted("host", "v1", lambda: "it errs") == "it errs"


def test_a_search_goes_on_with_torch_when_the_gpu_breaks(tmp_path, on_gpus):
    on_gpus(None, BreakingDevice(epochs=(10,)))
    search = bench.Search(most_cells=8)
    table = bench.run(bench.expand(width=4, d_in=2, depth=1, max_epochs=50), run_dir=tmp_path, search=search, threads=1)
    assert set(table["engine"]) <= {"cuda", "torch"}
    assert "torch" in set(table["engine"])
    assert not (table["status"] == "failed").any()


def test_a_gpu_that_breaks_before_it_trains_is_tried_again_too(tmp_path, on_gpus, monkeypatch):
    def broken(_, n_bytes):
        raise RuntimeError("no device")

    on_gpus(None, HostDevice())
    monkeypatch.setattr(HostDevice, "memory", broken)
    assert distrusted("host", "v1", lambda: None) is None
    table = bench.run(bench.expand(width=8, n_samples=20, max_epochs=5), run_dir=tmp_path, threads=1)
    assert table["engine"].tolist() == ["torch"]
    assert distrusted("host", "v1", lambda: "it errs") == "it errs"
