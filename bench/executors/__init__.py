"""Where packs run. An executor takes packs and yields reports; closing it stops the work."""

from bench.executors.local import available_cores, run_local

__all__ = ["EXECUTORS", "available_cores", "run_local"]

EXECUTORS = {"local": run_local}
