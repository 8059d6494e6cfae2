"""Train the same mixed cells again and again: every byte must come out as the first time: python -m tests.engines.gpu.soak SECONDS."""

from __future__ import annotations

import random
import sys
import time

from bench.engines.choice import EngineSpec, make_engine
from tests.engines.test_packing import mixed_cells
from tests.engines.training import train, untimed


def main(seconds: float) -> None:
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
    main(float(sys.argv[1]))
