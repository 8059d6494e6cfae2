"""All that a GPU has to show, in one command (`make gpu-evidence`): python tests/engines/gpu_evidence.py [seconds of soak].

Eight minutes; the soak of ten is `make gpu-evidence ARGS=600`.

Leaves what each step printed, with its time and exit status, in results/<device>/evidence.txt, and tables, figures and provenance
beside it. Goes on after a step that fails; the exit status is 1 if any did.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
SPEED = "shapes=speed", "shapes.width=[16,32,64,128]", "shapes.depth=[1,2,4,8]", "shapes.n_samples=[256,1024,4096]"

# Eight minutes in all with a soak of half a minute.
BUDGET_S = 450


def main(soak_s: float) -> int:
    if not torch.cuda.is_available():
        print("gpu_evidence: no NVIDIA GPU here", file=sys.stderr)
        return 2
    folder = ROOT / "results" / torch.cuda.get_device_name(0).replace(" ", "-").lower()
    folder.mkdir(parents=True, exist_ok=True)
    python = [sys.executable, "-m"]
    sanitizer = shutil.which("compute-sanitizer")
    steps = {
        "conformance, packing, trust": [*python, "pytest", "-q", "-m", "gpu", "tests"],
        "the default grid": [*python, "bench", "engine=cuda", "fresh=true", f"run_dir={folder / 'default'}"],
        "speed": [
            *python, "bench", "compare", *SPEED, "peers=[cuda,cuda_3xtf32,torch]", "networks=4096", "rounds=3", "flops=1e13",
            f"run_dir={folder / 'speed'}",
        ],
        "comparison": [*python, "bench", "compare", "networks=2048", "rounds=3", "flops=1e12", f"run_dir={folder / 'compare'}"],
        **{
            f"compute-sanitizer {tool}": [
                *(sanitizer or "compute-sanitizer", "--tool", tool, "--error-exitcode", "3"),
                *(*python, "tests.engines.gpu_evidence", "--every-kernel"),
            ]
            for tool in ("memcheck", "racecheck", "synccheck")
        },
        "soak": [*python, "tests.engines.gpu_evidence", "--soak", str(soak_s)],
    }  # fmt: skip
    started = time.monotonic()
    lines, failed = [f"{torch.cuda.get_device_name(0)}, torch {torch.__version__}"], 0
    for name, command in steps.items():
        began = time.monotonic()
        left_s = max(1.0, BUDGET_S + soak_s - (began - started))
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=left_s)
            status, printed = str(done.returncode), done.stdout + done.stderr
        except (subprocess.TimeoutExpired, FileNotFoundError) as error:
            status, printed = type(error).__name__, str(error)
        failed += status != "0"
        lines.append(
            f"\n== {name}: status {status}, {time.monotonic() - began:.0f} s\n$ {' '.join(command)}\n{printed[-6000:]}"
        )
        print(lines[-1], flush=True)
        (folder / "evidence.txt").write_text("\n".join(lines))
    return int(failed > 0)


def every_kernel() -> None:
    """Train a few small cells with each kernel, those of float32 by multiply-adds and on tensor cores."""
    from bench.engines.cuda.engine import CudaEngine
    from bench.engines.cuda.gpu import gpus
    from bench.engines.cuda.trust import trial_cells
    from tests.engines.training import train

    for tensor_cores in (False, True):
        train(trial_cells(), engine=CudaEngine(gpus("cuda:0"), tensor_cores=tensor_cores))


def soak(seconds: float) -> None:
    """Train the same mixed cells again and again; every byte must come out as the first time."""
    from bench.engines.choice import EngineSpec, make_engine
    from tests.engines.test_packing import mixed_cells
    from tests.engines.training import train, untimed

    cells = mixed_cells(2000, seed=3)
    engine = make_engine(EngineSpec("cuda", "cuda:0"))
    first, rounds = None, 0
    end = time.monotonic() + seconds
    while first is None or time.monotonic() < end:
        order = random.Random(rounds).sample(cells, len(cells))
        results = {cell: untimed(outcome) for cell, outcome in train(order, engine=engine).items()}
        first = first or results
        if results != first:
            raise SystemExit(f"round {rounds} differs from the first")
        rounds += 1
    print(f"{rounds} rounds of {len(cells)} cells, all the same to the byte")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--soak"]:
        soak(float(sys.argv[2]))
    elif sys.argv[1:] == ["--every-kernel"]:
        every_kernel()
    else:
        sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 30.0))
