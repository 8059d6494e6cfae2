"""Has every Python process take `fake_device.py` for its GPU; imported when a process starts, by a sitecustomize.py that evidence.py writes."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType


class TorchThatSeesOne(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        # Optimizers ask whether a graph is captured where they see a GPU.
        module.__dict__.update(is_available=lambda: True, device_count=lambda: 1, is_current_stream_capturing=lambda: False)


class PeersOnTheCpu(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        for name in ("cuda", "cuda_3xtf32"):
            module.PEERS[name] = module.PEERS[name]._replace(devices=("cpu", "cuda"))


class NothingAhead(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        # What is compiled for GPUs no stand-in runs.
        module.__dict__.update(compile_ahead=lambda kernels, arch: None)


class OneThatCanBeUsed(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        module.__dict__.update(find=lambda only=None: module.__dict__["Gpus"](1, (0,), {}))


class TrustedAnyway(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        # It is used, though it is wrong; the trial itself has to find that out.
        module.__dict__.update(_against_cuda=lambda device: {})


CHANGED = {
    "torch.cuda": TorchThatSeesOne,
    "bench.machine.gpus": OneThatCanBeUsed,
    "bench.engines.choice": TrustedAnyway,
    "bench.peers.registry": PeersOnTheCpu,
    "bench.engines.cuda.compiler": NothingAhead,
}


class InPlace(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname: str, path=None, target=None):
        if fullname == "bench.engines.cuda.gpu":
            return importlib.util.spec_from_file_location(fullname, Path(__file__).with_name("fake_device.py"))
        if fullname not in CHANGED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and spec.origin:
            spec.loader = CHANGED[fullname](fullname, spec.origin)
        return spec


def install() -> None:
    sys.meta_path.insert(0, InPlace())
