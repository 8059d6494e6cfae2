"""What a check leaves: text, Markdown, JSON and JUnit XML that say the same, and a green check that checked something."""

from __future__ import annotations

import json
from xml.etree import ElementTree

from bench.gates.check import Check, Finding, Verdict

FINDINGS = [
    Finding("training", Verdict.PASSED, "9 cells"),
    Finding("first epochs", Verdict.FAILED, "the losses of <dropout> differ | by much"),
    Finding("bytes", Verdict.SKIPPED, "no such processor"),
]
CHECK = Check("capacity", "reference", "torch on cpu", FINDINGS)


def test_what_fails_fails_the_check_and_what_checks_nothing_does_not_pass():
    assert not CHECK.passed
    assert CHECK._replace(findings=FINDINGS[::2]).passed
    assert not CHECK._replace(findings=FINDINGS[::2], no_skips=True).passed
    assert not CHECK._replace(findings=FINDINGS[2:]).passed
    assert not CHECK._replace(findings=[]).passed
    assert [CHECK._replace(findings=own).outcome for own in (FINDINGS, FINDINGS[::2], FINDINGS[2:], [])] == [
        Verdict.FAILED,
        Verdict.PASSED,
        Verdict.UNDECIDED,
        Verdict.UNDECIDED,
    ]


def test_what_is_undecided_is_an_error_and_no_pass():
    check = CHECK._replace(findings=[FINDINGS[0], Finding("store", Verdict.UNDECIDED, "too noisy")])
    assert (check.outcome, check.passed, check.as_json()["outcome"]) == (Verdict.UNDECIDED, False, "undecided")
    assert check.markdown().startswith("### 🟡 capacity: undecided\n")
    suite = ElementTree.fromstring(check.junit())
    assert suite.attrib == {"name": "capacity", "tests": "2", "failures": "0", "errors": "1", "skipped": "0"}
    assert [child.tag for child in suite[1]] == ["error"]


def test_every_form_says_the_same(tmp_path):
    CHECK.write(tmp_path)
    kept = json.loads((tmp_path / "check.json").read_text())
    assert (kept["check"], kept["base"], kept["head"], kept["passed"]) == ("capacity", "reference", "torch on cpu", False)
    assert [(one["test"], one["verdict"], one["said"]) for one in kept["findings"]] == [
        tuple(map(str, one)) for one in FINDINGS
    ]
    suite = ElementTree.parse(tmp_path / "check.xml").getroot()
    assert suite.attrib == {"name": "capacity", "tests": "3", "failures": "1", "errors": "0", "skipped": "1"}
    assert [case.attrib["name"] for case in suite] == [finding.test for finding in FINDINGS]
    assert [[child.tag for child in case] for case in suite] == [["system-out"], ["failure"], ["skipped"]]
    assert suite[1][0].attrib["message"] == FINDINGS[1].said
    page = (tmp_path / "check.md").read_text()
    # What would end a cell of the table is written so that it does not.
    assert "| 🔴 failed | first epochs | the losses of &lt;dropout&gt; differ \\| by much |" in page
    assert page.startswith("### 🔴 capacity: failed\n\ntorch on cpu against reference\n")
    assert "first epochs  failed   the losses of" in CHECK.text()
