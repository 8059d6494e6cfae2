"""The list of executors, by the name that `executor=` gives."""

from bench.runs.executors.local import run_local

EXECUTORS = {"local": run_local}
