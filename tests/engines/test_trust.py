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
from bench.engines.cuda.trust import MEDIAN_TOLERANCES, Finding, compared, findings, forget, trial_cells, tried
from bench.engines.cuda.ways import WAYS, Way
from bench.engines.torch_engine import TorchEngine
from bench.machine import cuda_core
from bench.machine.gpus import Gpus
from bench.protocol.grid import GridError
from bench.runs.executors import here, local
from tests.engines.training import NOT_BUILT

if not native_is_built():
    pytest.skip(NOT_BUILT, allow_module_level=True)

from bench.engines.cuda.engine import CudaEngine
from tests.engines.host_device import HostDevice


@pytest.mark.parametrize("way", WAYS)
def test_the_trial_is_passed_and_takes_every_kernel_of_its_way(way):
    engine = CudaEngine([HostDevice()], products="3xtf32" if way == "3xtf32" else "fma")
    finding = compared(engine, TorchEngine("cpu"), trial_cells(way), way)
    assert finding.reason is None
    assert finding.median is not None and 0 < finding.median < MEDIAN_TOLERANCES[way]
    taken = {fit.kernel for cell in trial_cells(way) if (fit := engine._fits[0].fit(cell))}
    assert taken == {kernel for kernel in KERNELS if kernel.way == way}


class Wrong(TorchEngine):
    """Trains with another weight decay than it was asked for."""

    def train(self, pack, *, n_predictions=0, jacobian_rank=False):
        asked = {dataclasses.replace(cell, weight_decay=cell.weight_decay + 1e-4): cell for cell in pack.cells}
        for report in super().train(pack._replace(cells=tuple(asked)), n_predictions=n_predictions):
            yield report._replace(outcomes=[o._replace(cell=asked[o.cell]) for o in report.outcomes])


def test_an_engine_that_is_a_little_wrong_is_found_out():
    cells = [cell for cell in trial_cells("float64") if not cell.batch_size]
    finding = compared(Wrong("cpu"), TorchEngine("cpu"), cells, "float64")
    assert finding.reason is not None
    assert re.match(r"^.*dtype=float64.* at epoch \d comes to [\d.]+, where torch comes to [\d.]+$", finding.reason)
    assert finding.median is not None and finding.median > 0


class Imprecise(TorchEngine):
    """Trains every cell in another dtype than it was asked for."""

    def __init__(self, dtype):
        super().__init__("cpu")
        self.dtype = dtype

    def train(self, pack, *, n_predictions=0, jacobian_rank=False):
        asked = {dataclasses.replace(cell, dtype=self.dtype): cell for cell in pack.cells}
        for report in super().train(pack._replace(cells=tuple(asked)), n_predictions=n_predictions):
            yield report._replace(outcomes=[o._replace(cell=asked[o.cell]) for o in report.outcomes])


@pytest.mark.parametrize(
    ("asked", "taken", "said"),
    [
        ("float32", "tf32", r"at epoch \d+ comes to [\d.]+, where torch comes to [\d.]+$"),
        ("tf32", "float32", r"^cells part from those of torch by \S+ in the median in 3 epochs$"),
    ],
)
def test_an_engine_that_takes_other_factors_than_it_was_asked_for_is_found_out(asked, taken, said):
    finding = compared(Imprecise(taken), TorchEngine("cpu"), trial_cells(asked), asked)
    assert finding.reason is not None
    assert re.search(said, finding.reason)


RIGHT, WRONG = Finding(None, 1e-7), Finding("it errs", 1e-3)


def test_ways_that_pass_are_kept_for_this_device_and_these_versions_and_those_that_fail_are_tried_again(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    checks: list[str] = []

    def found(name: str, versions: str, wrong: tuple[str, ...]) -> dict:
        checks.clear()

        def check(way):
            checks.append(way)
            return WRONG if way in wrong else RIGHT

        return findings(name, versions, check)

    assert found("a chip", "1", wrong=("tf32",)) == {way: WRONG if way == "tf32" else RIGHT for way in WAYS}
    assert sorted(checks) == sorted(WAYS)
    # What passed is not asked again; what failed is, and one way does not take another with it.
    assert found("a chip", "1", wrong=WAYS) == {way: WRONG if way == "tf32" else RIGHT for way in WAYS}
    assert checks == ["tf32"]
    assert found("a chip", "1", wrong=()) == dict.fromkeys(WAYS, RIGHT)
    assert found("a chip", "1", wrong=WAYS) == dict.fromkeys(WAYS, RIGHT)
    assert checks == []
    assert found("another chip", "1", wrong=WAYS) == dict.fromkeys(WAYS, WRONG)
    assert found("a chip", "2", wrong=WAYS) == dict.fromkeys(WAYS, WRONG)
    assert found("a chip", "2", wrong=()) == dict.fromkeys(WAYS, RIGHT)
    kept = tmp_path / "memcap" / "trusted-a-chip.json"
    assert json.loads(kept.read_text()) == {"device": "a chip", "versions": "2", "medians": dict.fromkeys(WAYS, 1e-7)}
    for damaged in ("{", "[]", '{"device": "a chip", "versions": "2"}'):
        kept.write_text(damaged)
        assert found("a chip", "2", wrong=WAYS) == dict.fromkeys(WAYS, WRONG)
    forget("a chip")
    assert not kept.exists()


FAULT = (
    "Traceback (most recent call last):",
    "torch.AcceleratorError: CUDA error: an illegal memory access was encountered",
    "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.",
)


@pytest.mark.parametrize(
    ("program", "timeout_s", "finding"),
    [
        ("""print('loading'); print('{"reason": null, "median": 1e-07}')""", 60, RIGHT),
        ("""print('{"reason": "it errs", "median": 0.001}'); raise SystemExit(1)""", 60, WRONG),
        ("raise OSError('no driver')", 60, Finding("OSError: no driver")),
        (f"raise SystemExit('\\n'.join({FAULT}))", 60, Finding(FAULT[1])),
        ("import os; os.abort()", 60, Finding("the trial ended with status -6: nothing was said")),
        ("print('3')", 60, Finding("the trial ended with status 0: 3")),
        (
            """import os; print('{"reason": null, "median": 1e-07}', flush=True); os.abort()""",
            60,
            Finding('the trial ended with status -6: {"reason": null, "median": 1e-07}'),
        ),
        ("import time; print('compiling', flush=True); time.sleep(60)", 0.5, Finding("the trial did not end in 0.5 s")),
    ],
)
def test_a_trial_is_held_in_a_process_of_its_own_and_a_crash_or_silence_is_a_failure(
    program, timeout_s, finding, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert tried([sys.executable, "-c", program], "a chip-tf32", timeout_s) == finding
    # What a finding leaves out can be read in full.
    kept = tmp_path / "memcap" / "trial-a-chip-tf32.txt"
    assert kept.exists() == (finding not in (RIGHT, WRONG))
    if finding.reason == FAULT[1]:
        assert kept.read_text().splitlines() == list(FAULT)


@pytest.fixture
def on_gpus(monkeypatch, tmp_path_factory):
    """A machine whose GPUs are `device`, where the ways of `against` are wrong."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))

    def pretend(against: dict[Way, str], device: HostDevice | None = None) -> None:
        monkeypatch.setattr(engines.gpus, "find", lambda only=None: Gpus(2, (0, 1), {}))
        monkeypatch.setattr(engines, "_against_cuda", lambda name: against)
        make = engines.make_engine

        def made(spec, threads=1):
            return CudaEngine([device], distrusted=spec.distrusted) if spec.name == "cuda" else make(spec, threads)

        for module in (here, local):
            monkeypatch.setattr(module, "make_engine", made)
        monkeypatch.setattr(here, "for_the_rest", lambda spec: EngineSpec("torch", "cpu"))

    return pretend


def test_auto_takes_the_cuda_engine_where_it_is_trusted_and_else_says_why_not(on_gpus):
    on_gpus({})
    assert engines.resolve("auto", "auto") == EngineSpec("cuda", "cuda")
    assert engines.resolve("auto", "cuda:1") == EngineSpec("cuda", "cuda:1")
    assert engines.resolve("torch", "auto") == EngineSpec("torch", "cuda:0")
    on_gpus(dict.fromkeys(WAYS, "it errs"))
    notice = "the CUDA engine cannot be used: it errs; the torch engine trains, slower"
    assert engines.resolve("auto", "auto") == EngineSpec("torch", "cuda:0", notice)
    with pytest.raises(GridError, match=r"^engine=cuda: cannot be used: it errs; use engine=torch$"):
        engines.resolve("cuda", "auto")


@pytest.mark.parametrize("engine", ["auto", "cuda"])
def test_one_way_that_is_wrong_takes_no_other_with_it(engine, on_gpus):
    on_gpus({"tf32": "on a chip it errs"})
    notice = "the CUDA engine gets tf32 wrong, on a chip it errs; the torch engine trains cells of that dtype"
    assert engines.resolve(engine, "auto") == EngineSpec("cuda", "cuda", notice, distrusted=("tf32",))
    on_gpus({"3xtf32": "on a chip it errs"})
    notice = "the CUDA engine gets 3xtf32 wrong, on a chip it errs; float32 is multiplied without tensor cores"
    assert engines.resolve(engine, "auto") == EngineSpec("cuda", "cuda", notice, distrusted=("3xtf32",))


def test_cells_whose_way_is_wrong_go_to_torch(tmp_path, on_gpus, capsys):
    on_gpus({"float64": "it errs"}, HostDevice())
    table = bench.run(bench.expand(dtype=["float32", "float64"], width=8, n_samples=20, max_epochs=5), run_dir=tmp_path)
    assert table[["dtype", "engine"]].to_numpy().tolist() == [["float32", "cuda"], ["float64", "torch"]]
    said = "memcap: 1 cells are too large for engine=cuda, or of a dtype that it gets wrong here; engine=torch trains them"
    assert said in capsys.readouterr().out


def test_what_goes_wrong_while_finding_out_is_a_reason_and_no_end(monkeypatch):
    def broken(name):
        raise OSError("no driver\nhere")

    pytest.importorskip("cuda.core", reason="cuda-core is not installed (NVIDIA has none for macOS)", exc_type=ImportError)
    from bench.engines.cuda import verdicts

    monkeypatch.setattr(verdicts, "verdicts", broken)
    assert engines._against_cuda("cuda") == dict.fromkeys(WAYS, "OSError: no driver here")
    monkeypatch.setattr(engines, "why_no_cuda_core", lambda: "it is not installed")
    assert engines._against_cuda("cuda") == dict.fromkeys(WAYS, "it is not installed")


@pytest.fixture
def no_cuda_loaded(monkeypatch):
    """As in a process that has not loaded cuda-core yet; what it loads does not stay."""

    def loaded() -> list[str]:
        return [name for name in sys.modules if name == "cuda" or name.startswith("cuda.")]

    for name in loaded():
        monkeypatch.delitem(sys.modules, name)
    yield
    for name in loaded():
        del sys.modules[name]


OLDER = "raise ImportError('cuda-bindings 13.0.3 is older\\nthan 13.2')"


@pytest.mark.parametrize(
    ("core", "said"),
    [
        (None, "cuda-core is not installed (pip install 'memcap[cuda]')"),
        ("__version__ = '0.5.1'", "cuda-core 0.5.1 is too old, 0.6 is the least (pip install --upgrade 'memcap[cuda]')"),
        (
            OLDER,
            "cuda-core cannot be imported: ImportError: cuda-bindings 13.0.3 is older than 13.2 (pip install --upgrade 'memcap[cuda]')",
        ),
        ("__version__ = '0.6.0'", None),
        ("__version__ = '1.4rc1'", None),
    ],
    ids=["missing", "too old", "refused", "least", "later"],
)
@pytest.mark.usefixtures("no_cuda_loaded")
def test_a_cuda_core_that_cannot_serve_is_a_line(core, said, tmp_path, monkeypatch):
    for name, text in {"": "", "bindings": "", "core": core}.items():
        if text is not None:
            (tmp_path / "cuda" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "cuda" / name / "__init__.py").write_text(text)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert cuda_core.why_no_cuda_core() == said


@pytest.mark.parametrize(
    ("engine", "device", "message"),
    [
        ("cuda", "cpu", r"^device=cpu: does not work with engine=cuda; use device=cuda, or engine=torch$"),
        ("native", "cuda:0", r"^device=cuda:0: is not on this machine: .*$"),
        ("cuda", "auto", r"^engine=cuda: needs an NVIDIA GPU, and PyTorch sees none; use engine=auto$"),
    ],
)
def test_an_engine_on_the_wrong_device_is_refused(engine, device, message, monkeypatch):
    monkeypatch.setattr(engines.gpus, "find", lambda only=None: Gpus(0, (), {}))
    with pytest.raises(GridError, match=message):
        engines.resolve(engine, device)


def test_cells_that_the_cuda_engine_does_not_support_go_to_torch(tmp_path, on_gpus, capsys):
    on_gpus({}, HostDevice(scratch_bytes=20_000))
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
    on_gpus({}, BreakingDevice(epochs=(10,)))
    assert findings("host", "v1", lambda way: RIGHT) == dict.fromkeys(WAYS, RIGHT)
    assert findings("host", "v1", lambda way: WRONG) == dict.fromkeys(WAYS, RIGHT)
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
    assert findings("host", "v1", lambda way: WRONG) == dict.fromkeys(WAYS, WRONG)


def test_a_search_goes_on_with_torch_when_the_gpu_breaks(tmp_path, on_gpus):
    on_gpus({}, BreakingDevice(epochs=(10,)))
    search = bench.Search(most_cells=8)
    table = bench.run(bench.expand(width=4, d_in=2, depth=1, max_epochs=50), run_dir=tmp_path, search=search, threads=1)
    assert set(table["engine"]) <= {"cuda", "torch"}
    assert "torch" in set(table["engine"])
    assert not (table["status"] == "failed").any()


def test_a_gpu_that_breaks_before_it_trains_is_tried_again_too(tmp_path, on_gpus, monkeypatch):
    def broken(_, n_bytes):
        raise RuntimeError("no device")

    on_gpus({}, HostDevice())
    monkeypatch.setattr(HostDevice, "memory", broken)
    assert findings("host", "v1", lambda way: RIGHT) == dict.fromkeys(WAYS, RIGHT)
    table = bench.run(bench.expand(width=8, n_samples=20, max_epochs=5), run_dir=tmp_path, threads=1)
    assert table["engine"].tolist() == ["torch"]
    assert findings("host", "v1", lambda way: WRONG) == dict.fromkeys(WAYS, WRONG)
