"""The causes of fifteen real questions are found."""

from __future__ import annotations

import pytest

import bench
from tests.modules.cases import CASES

# They take from ten seconds to a minute each.
LONG = (1, 2, 5, 6, 7, 9, 10, 11, 13, 14, 15, 16)


@pytest.mark.parametrize("number", [pytest.param(k, marks=[pytest.mark.exhaustive] * (k in LONG)) for k in CASES])
def test_the_cause_of_a_real_question_is_found(number):
    case = CASES[number]()
    # Where arithmetic has told it before training.
    budget_s = {"budget_s": 2.0} if number == 12 else {}
    found = bench.diagnose(case.make, case.batch, **case.settings, **budget_s)
    assert found.verdict.cause in case.causes, str(found)
    for words in case.words:
        assert words in str(found).replace("\n", " ").replace("  ", " ")
