"""What a terminal shows fits it: words are never torn, no table is wider, colour is where somebody sees it."""

from __future__ import annotations

import itertools
import re

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bench
from bench.gates.check import Check, Finding, Verdict
from bench.report import lines, terminal
from bench.report.lines import WHOLE, Block, Screen, block_text, wrapped
from bench.statistics.tables import make
from bench.store.parts import Store
from tests.report.synthetic import a_thousand, write_run
from tests.terminal import lines as seen
from tests.terminal import on_terminal

# A row of the table of a grid: the setting where it begins, depth and width.
ROW = re.compile(r"(\S.*)?\s{2,}\d+\s+\d+ ")

WORDS = st.text("abcdefgh0123456789%=.,()", min_size=1, max_size=14)


@given(st.lists(WORDS, min_size=1, max_size=40), st.integers(18, 120))
def test_lines_are_no_wider_than_the_screen_and_hold_every_word(words, width):
    text = wrapped(" ".join(words), Screen(width, False), "* ", "  ")
    assert max(map(len, text.splitlines())) <= max(width, 2 + max(len(own) + 2 for own in words))
    assert text.split()[1:] == words if words[0] != "*" else True


def test_a_number_is_never_parted_from_its_per_cent_sign():
    text = "the share that memorizes is 95 % of all the cells that there are"
    for width in range(20, 70):
        assert not [line for line in wrapped(text, Screen(width, False)).splitlines() if line.startswith("%")]


def test_without_a_terminal_a_sentence_is_one_line_and_a_table_whole():
    sentence = "word " * 60 + "end"
    assert wrapped(sentence, WHOLE, "* ") == f"* {sentence}"
    table = pd.DataFrame({"name": ["n" * 50] * 3, "more": ["m" * 200] * 3})
    assert block_text(Block("title " * 40, table, ["name"], ["more"], "f.csv"), WHOLE).splitlines()[-1].endswith("m" * 200)


TABLES = st.lists(st.tuples(st.lists(WORDS, max_size=6).map(" ".join), WORDS, WORDS, WORDS), min_size=1, max_size=30)


@given(TABLES, st.sampled_from([80, 120]))
def test_a_table_is_no_wider_than_the_screen_and_keeps_what_is_not_spare(rows, width):
    table = pd.DataFrame(rows, columns=["about", "a", "b", "c"])
    text = block_text(Block("title", table, ["about"], ["c", "b"], "tables/x.csv"), Screen(width, False), lines.MOST_ROWS)
    assert max(map(len, text.splitlines())) <= width
    body = text.split("\n\n")[1]
    assert "a" in body.splitlines()[0].split()
    assert (f"{lines.MOST_ROWS} of {len(rows)} rows" in text) == (len(rows) > lines.MOST_ROWS)


def test_a_narrow_screen_wraps_words_first_then_leaves_out_what_is_spare_and_says_so():
    table = pd.DataFrame({"about": ["one two three four five six"], "much": ["x" * 20], "spare": ["y" * 20]})
    block = Block("", table, ["about"], ["spare"], "tables/x.csv")
    wide, wrapped_, narrow = (block_text(block, Screen(width, False)) for width in (80, 62, 40))
    assert wide.splitlines()[1].startswith("one two three four five six ")
    assert "y" * 20 in wrapped_ and wrapped_.splitlines()[2].strip() in ("five six", "six", "four five six")
    assert "y" not in narrow.splitlines()[1] and "2 of 3 columns; --table shows more, tables/x.csv all" in " ".join(
        narrow.split()
    )


def test_sample_counts_that_stay_lie_evenly_and_the_outermost_stay_longest():
    counts = [f"n={2**k}" for k in range(9)]
    order = terminal._spread(counts)
    assert set(counts) - set(order) == {counts[0], counts[-1]}
    kept = [counts.index(name) for name in counts if name not in order[:4]]
    assert max(b - a for a, b in itertools.pairwise(kept)) <= 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of 48 groups in twelve columns and rows of each setting."""
    return write_run(tmp_path_factory.mktemp("terminal") / "mine", a_thousand())


@pytest.mark.parametrize("columns", [80, 120])
def test_a_report_fits_the_terminal_with_its_findings_first_then_the_path_then_at_most_fifteen_rows(columns, folder):
    status, out, _ = on_terminal(columns, "report", "mine", folder=folder.parent)
    assert status == 0
    shown = seen(out)
    assert max(map(len, shown)) <= columns
    findings, path, table = (
        next(k for k, line in enumerate(shown) if line.startswith(start)) for start in ("* ", "memcap: report in", "setting ")
    )
    assert findings < path < table
    rows = [line for line in shown[table + 1 :] if ROW.match(line)]
    assert len(rows) == lines.MOST_ROWS and "15 of 16 rows" in out
    sentences = (folder / "findings.md").read_text()
    told = " ".join(" ".join(shown[findings:path]).split())
    first = sentences.splitlines()[0].removeprefix("- ")
    assert " ".join(first.split()) in told


def test_the_report_shows_its_work_on_a_terminal(folder):
    _, out, _ = on_terminal(80, "report", "mine", "--redraw", folder=folder.parent)
    shown = seen(out)
    assert [line for line in shown if re.search(r"%\|.*\| table \w+", line)]
    assert [line for line in shown if re.search(r"%\|.*\| figure \d+ of \d+; \d+ s left", line)]


def test_all_rows_and_columns_are_shown_where_they_are_asked_for(memcap, folder):
    out = memcap("report", str(folder), "--table").out
    assert "--table shows more" not in out
    assert len([line for line in out.splitlines() if ROW.match(line)]) == 16


def test_colours_are_for_terminals_and_for_those_who_want_them(memcap, folder):
    assert "\x1b" not in memcap("report", str(folder)).out
    assert "\x1b[1m* " in on_terminal(80, "report", "mine", folder=folder.parent).out
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        assert "\x1b[1m" not in on_terminal(80, "report", "mine", folder=folder.parent, **{name: value}).out


@pytest.mark.parametrize("columns", [80, 120])
def test_training_and_diagnoses_fit_the_terminal(columns, tmp_path):
    settings = ("depth=1", "width=8", "n_samples=12", "learning_rate=0.0001", "max_epochs=200")
    status, out, _ = on_terminal(columns, "diagnose", *settings, folder=tmp_path)
    assert status == 0
    assert max(map(len, seen(out))) <= columns
    assert re.search(r"100%\|.*\| 3/3 cells; \d censored", out)
    assert out.index("* As asked, no") < out.index("report in") < out.index("tau left  cost")


def test_a_diagnosis_shows_the_remedy_then_the_best_failures(tmp_path):
    bench.diagnose(bench.Cell(depth=2, width=8, n_samples=48, learning_rate=1e-4), run_dir=tmp_path, seeds=range(3))
    evidence = make(Store(tmp_path)).evidence
    shown = terminal.worth_showing(evidence).head(lines.MOST_ROWS)
    assert shown["setting"].iloc[0] == "as asked"
    share = (shown["n_memorized"] / shown["n_seeds"]).to_numpy()
    works = share[1:] >= 0.5
    assert works[0] and not works[-1]
    assert list(works) == sorted(works, reverse=True)
    failed = shown["median_final_tau"].to_numpy()[1:][~works]
    assert list(failed) == sorted(failed)
    assert set(evidence["setting"]) == set(terminal.worth_showing(evidence)["setting"])


@pytest.mark.parametrize("columns", [80, 120])
def test_what_columns_mean_fits_the_terminal(columns, tmp_path):
    for arguments in ((), ("capacity", "groups", "log_rank"), ("setting",)):
        status, out, _ = on_terminal(columns, "columns", *arguments, folder=tmp_path)
        assert status == 0 and columns - 30 < max(map(len, seen(out))) <= columns


def test_what_a_check_found_fits_the_terminal(monkeypatch):
    found = [
        Finding("epochs to tau", Verdict.PASSED, "a long sentence about what was measured. " * 6),
        Finding("N50", Verdict.FAILED, "b"),
    ]
    check = Check("capacity", "the reference " * 8, "this checkout", found)
    whole = check.text().splitlines()
    assert len(whole) == 4
    monkeypatch.setattr("bench.gates.check.screen", lambda: Screen(80, False))
    fitted = check.text().splitlines()
    assert max(map(len, fitted)) <= 80
    assert " ".join(" ".join(fitted).split()) == " ".join(" ".join(whole).split())
