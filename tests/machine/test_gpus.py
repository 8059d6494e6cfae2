"""A GPU that cannot be used costs a line, and training goes on where it can."""

from __future__ import annotations

import warnings

import pytest
import torch

import bench
from bench.engines.choice import EngineSpec, resolve
from bench.machine import gpus
from bench.machine.gpus import LEAST_FREE_BYTES, Gpus, find

OLD_DRIVER = (
    "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040).\nPlease update your GPU driver."
)
NO_IMAGE = "CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors might be reported later"


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine whose PyTorch sees GPUs with so many free bytes each, or with an error; `plugged` are the vendors of its devices."""

    def pretend(*devices: int | Exception, plugged: tuple[str, ...] = ("0x10de",), warns: str = "", built: str | None = "13.0"):
        def is_available():
            if warns:
                warnings.warn(warns, stacklevel=2)
            return bool(devices)

        def mem_get_info(index):
            free = devices[index]
            if isinstance(free, Exception):
                raise free
            return free, 80 << 30

        monkeypatch.setattr(torch.cuda, "is_available", is_available)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(devices))
        monkeypatch.setattr(torch.cuda, "mem_get_info", mem_get_info)
        monkeypatch.setattr(torch.version, "cuda", built)
        # The numbers are added here.
        made = torch.ones
        monkeypatch.setattr(torch, "ones", lambda *size, device=None, **others: made(*size, **others))
        for number, vendor in enumerate(plugged):
            (tmp_path / str(number)).mkdir()
            (tmp_path / str(number) / "vendor").write_text(f"{vendor}\n")
            (tmp_path / str(number) / "class").write_text("0x030200\n")
        monkeypatch.setattr(gpus, "PCI", tmp_path)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    return pretend


def test_gpus_that_can_be_used_are_counted_and_get_their_queues(machine, monkeypatch):
    monkeypatch.setenv("CUDA_DEVICE_MAX_CONNECTIONS", "1")
    monkeypatch.delenv("CUDA_DEVICE_MAX_CONNECTIONS")
    machine(LEAST_FREE_BYTES, 80 << 30)
    assert find() == Gpus(2, (0, 1), {})
    assert gpus.os.environ["CUDA_DEVICE_MAX_CONNECTIONS"] == "32"


@pytest.mark.parametrize(
    ("device", "trouble"),
    [
        (100 << 20, "it has 100 MiB of memory free, of 2048 that a run needs"),
        (RuntimeError(NO_IMAGE), "CUDA error: no kernel image is available for execution on the device"),
        (RuntimeError(""), "RuntimeError"),
    ],
    ids=["full", "too old", "silent"],
)
def test_a_gpu_that_cannot_be_used_is_left_idle_with_a_line(machine, device, trouble):
    machine(device)
    assert find() == Gpus(1, (), {0: trouble})
    spec = resolve("torch", "auto")
    assert spec == EngineSpec("torch", "cpu", f"cuda:0 cannot be used: {trouble}; training on the CPU")
    for asked in ("cuda", "cuda:0"):
        with pytest.raises(bench.GridError) as raised:
            resolve("torch", asked)
        assert str(raised.value) == f"device={asked}: cannot be used: {trouble}; use device=auto or device=cpu"
    with pytest.raises(bench.GridError) as raised:
        resolve("cuda", "auto")
    assert str(raised.value) == f"engine=cuda: needs an NVIDIA GPU, and cuda:0 cannot be used: {trouble}; use engine=auto"


def test_one_gpu_that_is_named_is_asked_alone(machine):
    machine(80 << 30, RuntimeError("it was asked"), 80 << 30)
    assert find(only=2) == Gpus(3, (2,), {})
    assert resolve("torch", "cuda:2") == EngineSpec("torch", "cuda:2")
    said = (
        "cuda:1 cannot be used: it was asked; one of the 2 others is taken, name another by device=cuda:2; training on cuda:0"
    )
    assert resolve("torch", "auto") == EngineSpec("torch", "cuda:0", said)


def test_beside_a_full_gpu_auto_takes_one_that_is_free(machine):
    machine(0, 80 << 30)
    full = "it has 0 MiB of memory free, of 2048 that a run needs"
    assert find() == Gpus(2, (1,), {0: full})
    said = f"cuda:0 cannot be used: {full}; training on cuda:1"
    assert resolve("torch", "auto") == EngineSpec("torch", "cuda:1", said)
    assert resolve("torch", "cuda:1") == EngineSpec("torch", "cuda:1")


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"warns": OLD_DRIVER}, "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040)"),
        ({}, "its driver is not installed or does not answer (see nvidia-smi)"),
        ({"built": None}, f"PyTorch {torch.__version__} is built without CUDA"),
    ],
    ids=["old driver", "no driver", "no CUDA"],
)
def test_a_gpu_without_a_working_driver_is_a_line_and_the_cpu_trains(machine, how, why, tmp_path, capsys):
    machine(**how)
    said = f"the NVIDIA GPU here cannot be used: {why}; training on the CPU"
    assert resolve("torch", "auto") == EngineSpec("torch", "cpu", said)
    table = bench.run(bench.expand(width=4, n_samples=8, max_epochs=5), run_dir=tmp_path / "run", engine="torch")
    assert table["device"].str.startswith("cpu").all()
    assert f"memcap: {said}\n" in capsys.readouterr().out
    with pytest.raises(bench.GridError) as raised:
        resolve("torch", "cuda:0")
    rule = f"is not on this machine: PyTorch sees 0 CUDA devices ({why})"
    assert str(raised.value) == f"device=cuda:0: {rule}; use device=auto or device=cpu"


def test_where_no_gpu_is_or_it_was_hidden_nothing_is_said(machine, monkeypatch):
    machine(plugged=("0x8086",))
    assert find() == Gpus(0, (), {})
    assert resolve("torch", "auto") == EngineSpec("torch", "cpu")
    machine_with_one = gpus.PCI / "9"
    machine_with_one.mkdir()
    (machine_with_one / "vendor").write_text("0x10de")
    (machine_with_one / "class").write_text("0x030000")
    assert find().why_none is not None
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert find() == Gpus(0, (), {})
    monkeypatch.setattr(gpus, "PCI", gpus.PCI / "none")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert find() == Gpus(0, (), {})
