"""The command line: Hydra composes a grid, the run trains it, the report shows it."""

from __future__ import annotations

import difflib
import os
import sys

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench.config import EXECUTION, config_dir, register_schema, settings
from bench.grid import AXES, GridError

EXIT_BAD_CONFIG = 2
EXIT_INTERRUPTED = 130


def main() -> None:
    """Entry point of `memcap` and `python -m bench`; ends with status 0, 2 (a wrong config) or 130 (Ctrl-C)."""
    # Hydra then raises what it would else print at length; a wrong config becomes one line below.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    register_schema()
    try:
        hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="config")(_job)()
    except (GridError, HydraException, OmegaConfBaseException) as error:
        print(f"memcap: {one_line(error)}", file=sys.stderr)
        sys.exit(EXIT_BAD_CONFIG)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _job(config: DictConfig) -> None:
    chosen = settings(config)
    from bench import report
    from bench.runs import run

    print(f"memcap: {len(chosen.cells)} cells, results in {chosen.run_dir}")
    try:
        run(
            chosen.cells,
            run_dir=chosen.run_dir,
            device=chosen.device,
            engine=chosen.engine,
            executor=chosen.executor,
            threads=chosen.threads,
            n_predictions=chosen.n_predictions,
            fresh=chosen.fresh,
            progress=True,
            config=dict(chosen.resolved),
        )
    except KeyboardInterrupt:
        print("\nmemcap: stopped; what had finished is kept, and the same command goes on from there", file=sys.stderr)
        raise
    report.write_config(chosen.run_dir, OmegaConf.to_yaml(config, resolve=True))
    report.build(chosen.run_dir)


def one_line(error: Exception) -> str:
    """The message of a configuration error on one line, with the setting's name and the nearest known one where there is none such."""
    cause: BaseException | None = error
    while cause and not isinstance(cause, OmegaConfBaseException):
        cause = cause.__cause__
    key = getattr(cause, "full_key", None) or getattr(cause, "key", None)
    text = " ".join(str(error).split())
    if key and "not in" in text:
        known = [*EXECUTION, *AXES, "engine", "executor", "grid", *(f"grid.{axis}" for axis in (*AXES, "variants"))]
        close = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)[0]
        return f"{key}: is not a setting; did you mean {close}?"
    return text


if __name__ == "__main__":
    main()
