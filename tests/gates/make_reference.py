"""Train the reference of `memcap check capacity` anew (`make reference`)."""

from __future__ import annotations

import sys

from bench.commands.check_capacity import GRID, reference_dir
from bench.commands.line import compose
from bench.gates.learned import write
from bench.gates.train import by_reference_build


def main() -> int:
    """Write the tables; exit status 2 where this machine cannot train the reference's build."""
    (chosen,) = compose("config", [f"grid={GRID}"])
    made = by_reference_build(chosen.cells, threads=2)
    if isinstance(made, str):
        print(f"make_reference: {made}", file=sys.stderr)
        return 2
    write(reference_dir(), made)
    print(f"{len(made.cells)} cells, by {made.engine}, in {reference_dir()}; git diff says what changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
