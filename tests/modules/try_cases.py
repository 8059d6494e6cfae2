"""The causes that a diagnosis names for the cases of cases.py, some of which take minutes: python -m tests.modules.try_cases [NUMBER ...]

Prints a table in Markdown. Exit status 1 where a cause is another.
"""

from __future__ import annotations

import sys

import bench
from tests.modules.cases import CASES


def main(numbers: list[int]) -> int:
    wrong = 0
    print("| case | cause | |\n| --- | --- | --- |", flush=True)
    for number in numbers or list(CASES):
        case = CASES[number]()
        cause = bench.diagnose(case.make, case.batch, **case.settings).verdict.cause
        wrong += cause not in case.causes
        print(f"| {number} | {cause} | {'as it is known' if cause in case.causes else '**another**'} |", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(list(map(int, sys.argv[1:]))))
