"""The causes of three real questions are found; try_cases.py tries them all."""

from __future__ import annotations

import pytest

import bench
from tests.modules.cases import CASES

# The others take from ten seconds to a minute each, and more on a busy machine.
SHORT = (3, 12, 17)


@pytest.mark.parametrize("number", SHORT)
def test_the_cause_of_a_real_question_is_found(number):
    case = CASES[number]()
    # Where arithmetic has told it before training.
    budget_s = {"budget_s": 6.0} if number == 12 else {}
    found = bench.diagnose(case.make, case.batch, **case.settings, **budget_s)
    assert found.verdict.cause in case.causes, str(found)
    for words in case.words:
        assert words in str(found).replace("\n", " ").replace("  ", " ")
