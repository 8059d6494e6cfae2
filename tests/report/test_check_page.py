"""The page of a check: base and head beside each other, in the numbers of its tables, at the width of a desk and of a phone."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.text import Text

from bench.gates.benchmarks import benchmarks
from bench.gates.capacity import TESTS
from bench.gates.check import Check, Finding, Verdict
from bench.gates.counts import INSTRUCTIONS, Count
from bench.gates.counts import judged as judged_counts
from bench.gates.folder import begun, keep
from bench.gates.speed import findings, judged, log_ratios
from bench.protocol.columns import columns_of
from bench.report import check_figures
from bench.report.check_page import ADVICE, MEANING, SLOWER, UNDECIDED, advice, build_check, command, in_order, sentences
from bench.report.style import SMALLEST_FONT
from tests.conftest import ROOT
from tests.gates.test_speed import simulated
from tests.perf.gated import GATED
from tests.report.chrome import INSTALL, find

FACTS = {
    "commit": "a" * 40,
    "dirty": False,
    "python": "3.12.1",
    "packages": {"torch": "2.13.0"},
    "engine": "all",
    "device": "cpu",
}
RUN = {"started_at": "2026-11-26T10:00:00+00:00", "wall_time_s": 61.2}


def settings_table() -> pd.DataFrame:
    """Three settings: one that moved and memorizes less, one that agrees, one whose loss is a number on one side only."""
    rows = [
        ("dropout=0.1", 6, 0.2, 1e-3, 6, True, 4, 1, 2.5),
        ("usual", 6, 1e-6, 1e-3, 0, False, 5, 5, 1.0),
        ("dtype=float64", 6, np.inf, 1e-8, 6, True, 0, 0, np.nan),
    ]
    table = pd.DataFrame(rows, columns=[*list(columns_of("check_settings"))[:8], "median_epoch_ratio"])
    for side in ("base", "head"):
        table[f"fraction_{side}"] = table[f"n_memorized_{side}"] / 6
        table[f"fraction_low_{side}"] = (table[f"fraction_{side}"] - 0.2).clip(lower=0)
        table[f"fraction_high_{side}"] = (table[f"fraction_{side}"] + 0.2).clip(upper=1)
    return table[list(columns_of("check_settings"))]


@pytest.fixture
def counts():
    """A count that grew, one that is none, and one that cannot be had."""
    base = {
        "instructions": Count("instructions / FLOP", 0.31),
        "waits": Count("waits", 0),
        "packs": Count("packs", missing="has none"),
    }
    head = {"instructions": Count("instructions / FLOP", 0.47), "waits": Count("waits", 0), "packs": Count("packs", 7)}
    return judged_counts(base, head)


@pytest.fixture
def speed(tmp_path, counts):
    """A check that found a group slower, on a head with changes."""
    times = simulated(np.random.default_rng(1), 10, slower=1.5, noise=0.004, busy=0.0)
    times = times.assign(group=times["group"].replace({f"group {k}": name for k, name in enumerate(GATED)}))
    groups = judged(log_ratios(times))
    head = "the working tree, commit bbbbbbbbbbbb with changes"
    check = Check("speed", "commit aaaaaaaaaaaa", head, findings(groups))
    run = {**RUN, "base": FACTS, "head": {**FACTS, "commit": "b" * 40, "dirty": True, "python": "3.13.0"}}
    run["config"] = {"base": None, "base_python": None, "run_dir": "mine", "margin": 0.05, "limit_s": 60}
    with begun(tmp_path / "speed", "speed", "main"):
        tables = {"check_groups": groups, "check_benchmarks": benchmarks(times), "check_counts": counts, "check_times": times}
        keep(tmp_path / "speed", check, tables, run, times)
    return tmp_path / "speed"


@pytest.fixture
def capacity(tmp_path):
    said = "the losses of 2 of 3 settings differ in the first 20 epochs: dropout=0.1; dtype=float64"
    found = [Finding("training", Verdict.PASSED, "18 cells"), Finding("first epochs", Verdict.FAILED, said)]
    run = {**RUN, "base": {"engine": "native on cpu avx2"}, "head": FACTS, "config": {"base": "reference", "engine": "torch"}}
    with begun(tmp_path / "capacity", "capacity", "reference"):
        check = Check("capacity", "reference", "commit aaaaaaaaaaaa", found)
        keep(tmp_path / "capacity", check, {"check_settings": settings_table()}, run)
    return tmp_path / "capacity"


def page(folder) -> str:
    return (folder / "report.html").read_text()


def test_the_page_of_a_slower_head_names_the_group_and_stands_alone(speed):
    text = page(speed)
    assert '<span class="verdict failed">✗ failed</span></h1>' in text
    found = json.loads((speed / "check.json").read_text())["findings"]
    (slower,) = [one for one in found if one["verdict"] == "failed"]
    assert slower["test"] == "kernel, narrow"
    assert f"<li>kernel, narrow: {slower['said'].replace(chr(39), '&#39;')}.</li>" in text
    assert f"<li>{SLOWER}</li>" in text
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", text)
    assert text.count('src="data:image/png;base64,') == 1
    for link in re.findall(r'href="((?:tables|figures)/[^"]+)"', text):
        assert (speed / link).exists(), link


def test_base_and_head_stand_beside_each_other_with_what_ran_them(speed):
    text = page(speed)
    assert '<th scope="row">Commit</th><td>aaaaaaaaaa</td><td>bbbbbbbbbb with changes</td>' in text
    assert "<td>Python 3.12.1, torch 2.13.0</td><td>Python 3.13.0, torch 2.13.0</td>" in text
    assert "The head has changes that no commit holds." in text
    assert "The base has changes" not in text
    assert "<pre>memcap check speed run_dir=mine margin=0.05 limit_s=60 base=aaaaaaaaaaaa</pre>" in text
    table = pd.read_csv(speed / "tables" / "check_benchmarks.csv")
    assert len(table) == 16
    for _, row in table.iterrows():
        assert f"<td>{row['benchmark']}</td>" in text and f"<td>{row['time_head_s']:.4g}</td>" in text


def test_counts_stand_beside_the_times_where_there_are_any(speed, capacity):
    text = page(speed)
    assert '<h2 id="counts">Counts, base beside head</h2>' in text
    assert "<td>instructions</td>" in text and "<td>0.47</td>" in text and ">nan<" not in text
    assert "Counts, base beside head" not in page(capacity)


def test_the_page_of_a_head_that_learns_otherwise_names_the_settings_and_what_to_look_at(capacity):
    text = page(capacity)
    assert f"<li>{ADVICE['first epochs']}</li>" in text
    rows = re.findall(r"<tr>\s*<td>(dropout=0.1|usual|dtype=float64)</td>", text)
    assert rows == ["dtype=float64", "dropout=0.1", "usual"]
    assert "inf" in text and "nan" not in re.sub(r'base64,[^"]*', "", text).lower()
    assert "<td>native on cpu avx2</td>" in text
    for word in ("None", "NaN", "&lt;NA&gt;", "True<", "False<"):
        assert word not in re.sub(r'base64,[^"]*', "", text), word


def test_the_page_is_made_again_from_its_folder(capacity, memcap):
    before = page(capacity)
    (capacity / "report.html").unlink()
    assert memcap("report", str(capacity)) == (0, f"memcap: report in {capacity / 'report.html'}\n", "")
    assert page(capacity) == before
    assert build_check(capacity) == capacity / "report.html"


def test_what_to_do_depends_on_what_was_found():
    def found(*verdicts):
        tests = [{"test": f"group {k}", "verdict": verdict, "said": "so"} for k, verdict in enumerate(verdicts)]
        outcome = str(Check("speed", "", "", [Finding(t["test"], Verdict(t["verdict"]), "") for t in tests]).outcome)
        return {"check": "speed", "outcome": outcome, "findings": tests}

    assert advice(found("passed", "skipped"))[0].startswith("Nothing is to be done.")
    assert advice(found("passed", "undecided")) == [UNDECIDED]
    assert advice(found("failed", "failed", "undecided")) == [SLOWER, UNDECIDED]
    assert sentences(found("failed", "passed", "skipped")) == ["group 0: so.", "Of 3 tests: 1 passed, 1 failed, 1 skipped."]


def test_the_command_repeats_the_base_that_was_chosen_then():
    run = {"config": {"base": None, "base_python": "old env/bin/python", "margin": 0.05}, "base": {"commit": "c" * 40}}
    assert command("speed", run) == "memcap check speed 'base_python=old env/bin/python' margin=0.05"
    assert command("speed", {**run, "config": {"base": "v1"}}) == "memcap check speed base=v1"
    assert command("capacity", {"config": {"head": None, "base": "old"}}) == "memcap check capacity base=old"


def test_every_test_and_every_group_of_the_suite_is_explained():
    marked = re.findall(r'mark\.benchmark\(group="(.+)"\)', (ROOT / "tests" / "perf" / "gated.py").read_text())
    assert len(marked) >= 4
    counts = re.findall(r'(?:one\(|yield )"([^",]+)', (ROOT / "tests" / "perf" / "counted.py").read_text())
    assert len(counts) >= 6
    assert {*GATED, *marked, *TESTS, *counts, INSTRUCTIONS, "training", "first epochs", "bytes"} == set(MEANING)
    assert {*TESTS, "training", "first epochs", "bytes"} == set(ADVICE)


def test_the_figure_of_ratios_draws_the_numbers_of_its_table(speed):
    groups = pd.read_csv(speed / "tables" / "check_groups.csv")
    groups.loc[2, ["ratio_low", "ratio_high"]] = np.nan
    groups.loc[3, ["ratio_low", "ratio_high", "known"]] = [0.5, 2.0, False]
    figure = check_figures.ratios(groups, margin=0.05)
    (ax,) = figure.axes
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [float(dot.get_xdata()[0]) for dot in dots] == list(groups["ratio"])
    assert [to_hex(dot.get_color()) for dot in dots[:2]] == [check_figures.SLOWER_COLOUR, check_figures.KNOWN_COLOUR]
    assert to_hex(dots[3].get_color()) == check_figures.UNKNOWN_COLOUR
    bars = [list(map(float, line.get_xdata())) for line in ax.lines if len(line.get_xdata()) == 2 and line.get_ydata()[0] >= 1]
    assert bars == groups.loc[[1, 3, 4, 5, 6, 7], ["ratio_low", "ratio_high"]].to_numpy().tolist()
    legible(figure)


def test_the_figure_of_settings_draws_the_numbers_of_its_table():
    table = in_order(settings_table())
    figure = check_figures.settings(table)
    apart, share = figure.axes
    assert [label.get_text() for label in apart.get_yticklabels()] == ["dtype=float64", "dropout=0.1", "usual"]
    marks = [line for line in apart.lines if line.get_marker() in "o<>"]
    assert [line.get_marker() for line in marks] == [">", "o", "o"]
    assert [float(line.get_xdata()[0]) for line in marks[1:]] == [0.2, 1e-6]
    shares = {name: [float(line.get_xdata()[0]) for line in share.lines if line.get_marker() == name] for name in "so"}
    assert shares == {"s": list(table["fraction_base"]), "o": list(table["fraction_head"])}
    legible(figure)


def test_no_two_names_of_settings_overlap():
    long = "optimizer=adamw, dtype=float64, decoupled_weight_decay, weight_decay=0.1, init=uniform, init_scale=0.5"
    figure = check_figures.settings(settings_table().assign(setting=[long, long, "usual"]))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [label.get_window_extent(canvas.get_renderer()) for label in figure.axes[0].get_yticklabels()]
    assert figure.axes[0].get_yticklabels()[0].get_text().count("\n") >= 1
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
    legible(figure)


def legible(figure) -> None:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = [text for text in figure.findobj(Text) if text.get_text().strip()]
    assert min(text.get_fontsize() for text in texts) >= SMALLEST_FONT
    box, (width, height) = figure.get_tightbbox(canvas.get_renderer()), figure.get_size_inches()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, [text.get_text() for text in texts]


@pytest.mark.skipif(find() is None, reason=INSTALL)
@pytest.mark.parametrize("width", [1280, 390])
def test_the_pages_fit_a_desk_and_a_phone(speed, capacity, width):
    from selenium.webdriver.common.by import By

    from tests.report.test_browser import started

    with started() as browser:
        metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        for folder in (speed, capacity):
            browser.get((folder / "report.html").as_uri())
            assert browser.get_log("browser") == []
            assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
            image = browser.find_element(By.TAG_NAME, "img")
            # Its text keeps its size, and what does not fit is scrolled.
            assert browser.execute_script("return arguments[0].offsetWidth == arguments[0].width", image)
            headings = "return [...document.querySelectorAll('section')].map(s => document.getElementById(s.getAttribute('aria-labelledby')).tagName)"
            assert set(browser.execute_script(headings)) == {"H2"}
