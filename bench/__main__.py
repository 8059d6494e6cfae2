"""The command line: Hydra composes a grid, the run trains it, the report shows it."""

from __future__ import annotations

from bench.command_line import compose, exit_statuses, train_and_report


def main() -> None:
    """Entry point of `memcap` and `python -m bench`; ends with status 0, 2 (a wrong config) or 130 (Ctrl-C)."""
    with exit_statuses():
        train_and_report(compose("config"))


if __name__ == "__main__":
    main()
