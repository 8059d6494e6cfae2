"""Run the tests of the fused core on a build with sanitizers (`make sanitize`): python tests/engines/sanitize.py <folder it is installed in>."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import pytest


def main(installed: Path) -> int:
    """Exit status of pytest; 2 where the sanitizers are not at work, so that no silence is taken for a pass."""
    # An editable installation would bring the ordinary build.
    sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in type(finder).__module__]
    sys.path.insert(0, str(installed))
    # The distributions repeat by chance what the other tests do, and every pair is among every protocol.
    chosen = "(native or host or cuda) and not distributed and not pair"
    suites = [
        "tests/engines/test_native.py",
        "tests/engines/test_cuda.py",
        "tests/engines/test_several_outputs.py",
        "tests/engines/test_checkpoints.py",
        "tests/engines/test_exact.py",
        "tests/engines/test_conformance.py",
        "tests/engines/test_shapes.py",
        "tests/engines/test_distributions.py",
        "tests/engines/test_ends.py",
    ]
    # A sanitizer ends the process after writing to the standard error stream, which pytest must not hold back.
    status = pytest.main(["--import-mode=append", "--capture=sys", "-q", "-k", chosen, *suites, *sys.argv[2:]])
    used = Path(getattr(sys.modules.get("bench.engines._native"), "__file__", "nothing"))
    if not used.is_relative_to(installed) or not hasattr(ctypes.CDLL(None), "__asan_init") or not fenced():
        print(f"no sanitizers were at work: {used} was tested", file=sys.stderr)
        return 2
    return status


def fenced() -> bool:
    """Whether there are fences between the arrays of a cell that is half trained."""
    from bench import Cell
    from bench.engines.cuda.engine import CudaEngine
    from bench.engines.packs import Pack
    from tests.engines.host_device import HostDevice, HostMemory

    first_fence = ctypes.CDLL(None)["__asan_region_is_poisoned"]
    first_fence.argtypes, first_fence.restype = (ctypes.c_void_p, ctypes.c_size_t), ctypes.c_void_p
    pieces: list[tuple[HostMemory, int]] = []
    seen = []

    class Watched(HostDevice):
        def memory(self, n_bytes: int) -> HostMemory:
            pieces.append((super().memory(n_bytes), n_bytes))
            return pieces[-1][0]

        def wait(self) -> None:
            super().wait()
            seen.append(any(first_fence(piece.address, n_bytes) for piece, n_bytes in pieces))

    for _ in CudaEngine([Watched(epochs=(3,))]).train(Pack((Cell(max_epochs=9, tau=1e-30),), 1)):
        pass
    # They are down again when the cell has ended.
    return any(seen) and not seen[-1]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
