"""Where packs run. An executor takes packs and yields reports; closing it stops the work."""

from bench.runs.executors.local import run_local

__all__ = ["EXECUTORS", "run_local"]

EXECUTORS = {"local": run_local}
