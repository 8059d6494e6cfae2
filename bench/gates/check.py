"""What a check found: one row for each thing that was tested, and the whole as text, Markdown, JSON and JUnit XML."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from bench.report.lines import screen, wrapped
from bench.store.atomic import write_atomically


class Verdict(StrEnum):
    """How a test ended, and a check of several.

    `undecided`: what was measured does not tell. `skipped`: the test could not be held here, for the reason that is given.
    """

    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"
    SKIPPED = "skipped"


# As a reader of a pull request sees them.
MARKS = {Verdict.PASSED: "🟢", Verdict.FAILED: "🔴", Verdict.UNDECIDED: "🟡", Verdict.SKIPPED: "⚪"}

# As JUnit calls a case that did not pass, and what the count of them ends in.
JUNIT = {Verdict.FAILED: ("failure", "s"), Verdict.UNDECIDED: ("error", "s"), Verdict.SKIPPED: ("skipped", "")}


class Finding(NamedTuple):
    """A thing that was tested, how that ended, and what there is to say of it in a sentence."""

    test: str
    verdict: Verdict
    said: str


class Check(NamedTuple):
    """All findings of a check of a head against a base."""

    name: str
    base: str
    head: str
    findings: Sequence[Finding]
    no_skips: bool = False

    @property
    def outcome(self) -> Verdict:
        """Failed where a test did, or was skipped under `no_skips`; undecided where one is, or none was held; else passed."""
        verdicts = [finding.verdict for finding in self.findings]
        if Verdict.FAILED in verdicts or (self.no_skips and Verdict.SKIPPED in verdicts):
            return Verdict.FAILED
        return Verdict.UNDECIDED if Verdict.UNDECIDED in verdicts or Verdict.PASSED not in verdicts else Verdict.PASSED

    @property
    def passed(self) -> bool:
        """Whether something was tested, and all of it passed."""
        return self.outcome is Verdict.PASSED

    def text(self) -> str:
        """For a terminal, in lines that fit it."""
        shown = screen()
        test, verdict = (max(len(finding[k]) for finding in self.findings) for k in (0, 1))
        under = " " * (test + verdict + 4)
        lines = [
            wrapped(finding.said, shown, f"{finding.test:<{test}}  {finding.verdict:<{verdict}}  ", under)
            for finding in self.findings
        ]
        return "\n".join([wrapped(f"{self.name}: {self.head} against {self.base}", shown), "", *lines])

    def markdown(self) -> str:
        """For the summary of a job, or a comment."""
        rows = [f"| {MARKS[verdict]} {verdict} | {test} | {_cell(said)} |" for test, verdict, said in self.findings]
        head = [f"### {MARKS[self.outcome]} {self.name}: {self.outcome}", "", f"{self.head} against {self.base}", ""]
        return "\n".join([*head, "| | test | found |", "| --- | --- | --- |", *rows, ""])

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        findings = [{"test": test, "verdict": str(verdict), "said": said} for test, verdict, said in self.findings]
        outcome = {"outcome": str(self.outcome), "passed": self.passed}
        return {"check": self.name, "base": self.base, "head": self.head, **outcome, "findings": findings}

    def junit(self) -> str:
        """For what reads the results of tests: a case for each finding."""
        count = {verdict: sum(finding.verdict is verdict for finding in self.findings) for verdict in Verdict}
        numbers = {"tests": len(self.findings), **{f"{tag}{end}": count[verdict] for verdict, (tag, end) in JUNIT.items()}}
        suite = ElementTree.Element("testsuite", {"name": self.name, **{name: str(value) for name, value in numbers.items()}})
        for test, verdict, said in self.findings:
            case = ElementTree.SubElement(suite, "testcase", {"classname": f"memcap.{self.name}", "name": test})
            if verdict is Verdict.PASSED:
                ElementTree.SubElement(case, "system-out").text = said
            else:
                ElementTree.SubElement(case, JUNIT[verdict][0], {"message": said})
        return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)

    def write(self, folder: Path) -> None:
        """Leave check.md, check.json and check.xml in a folder."""
        made = {
            "check.md": self.markdown(),
            "check.json": json.dumps(self.as_json(), indent=2) + "\n",
            "check.xml": self.junit(),
        }
        for name, text in made.items():
            write_atomically(folder / name, lambda partial, text=text: partial.write_text(text, encoding="utf-8"))


def _cell(text: str) -> str:
    """A text as a cell of a Markdown table."""
    return html.escape(text, quote=False).replace("|", "\\|")
