"""The page of a diagnosis of somebody's own network: what it says, what its drawings show, whose folder it takes, and what it runs."""

from __future__ import annotations

import html
import json
import math
import re
import sys

import numpy as np
import pandas as pd
import pytest

import bench
from bench.modules.causes import Finding, Held
from bench.modules.diagnosis import ModuleDiagnosis
from bench.modules.folder import keep
from bench.modules.verdict import Verdict
from bench.report import curve_panels, row_marks
from bench.report.module_page import in_order
from bench.statistics.evidence import Cause, Lever
from bench.statistics.survival import wilson_interval
from tests.report.chrome import INSTALL, find

HOSTILE = "</script><img src=x onerror=alert(1)>"


def row(change, levers, hits, fresh=0, fresh_hits=0, beside=0, left=0.5):
    low, high = wilson_interval(hits, 3)
    fresh_low, fresh_high = wilson_interval(fresh_hits, fresh)
    return {
        "change": change,
        "levers": levers,
        "n_seeds": 3,
        "n_memorized": hits,
        "fraction_low": low,
        "fraction_high": high,
        "n_fresh": fresh,
        "n_fresh_memorized": fresh_hits,
        "fresh_low": fresh_low,
        "fresh_high": fresh_high,
        "n_fresh_asked": beside,
        "median_epoch_to_tau": 40.0 if hits > 1 else math.inf,
        "median_best_tau": left,
        "median_last_tau": math.inf if change == "Adam(lr=10)" else left,
        "n_diverged": 0,
        "n_cut": int(change == "max_epochs=500"),
        "together": True,
    }


@pytest.fixture
def found():
    """A diagnosis as `bench.diagnose` returns it, with what strangers may call their layers."""
    changes = [
        row("as asked", "", 0, fresh=5, left=0.9),
        row("Adam(lr=10)", "learning rate", 0, left=2.0),
        row("max_epochs=500", "budget", 1),
        row("Adam(lr=0.01)", "learning rate", 3, fresh=5, fresh_hits=5, left=0.0091),
        *[row(f"Adam(lr={k})", "learning rate", 0) for k in range(20, 40)],
    ]
    epochs = np.arange(0, 101, 10)
    curves = [
        pd.DataFrame({"change": own["change"], "seed": seed, "epoch": epochs, "loss": 0.5, "tau": own["median_best_tau"]})
        for own in changes
        for seed in range(3)
    ]
    curves[4].loc[5:, "tau"] = math.nan
    signal = {
        "name": ["0", HOSTILE],
        "kind": "Linear",
        "second_moment": [0.4, 0.1],
        "across": [0.3, 0.0],
        "gradient": [1e-4, math.nan],
        "dead": [0.0, 1.0],
    }
    asked = {
        "loss": "mse",
        "optimizer": "Adam(lr=1e-05)",
        "batch_size": None,
        "shuffle": True,
        "max_epochs": 100,
        "tau": 0.01,
        "mode": "train",
        "measured": "eval",
        "seeds": [0, 1, 2],
        "inputs": "float32 of shape (8, 2)",
        "targets": "float32 of shape (8, 1)",
        "n_samples": 8,
        "n_params": 1234,
        "n_trained": 1200,
        "n_outputs": 8,
        "jacobian_rank": 7,
        "engine": "seeds and changes together",
    }
    said = ("Held back by the learning rate: 1e-05 is too low.", "The smallest change confirmed.", f"Beside {HOSTILE}.")
    return ModuleDiagnosis(
        verdict=Verdict(Lever.LEARNING_RATE, (), "Adam(lr=0.01)", ("optimizer = torch.optim.Adam(lr=0.01)",), said),
        findings=(
            Finding(Held.SHAPES, "the loss broadcasts", 8.0, sure=True, code="y = y.reshape(-1, 1)"),
            Finding(Held.SCALE, "off", 3.0, code="x = x / 2"),
            Finding(None, "=1+1", math.nan, code="never shown"),
        ),
        evidence=pd.DataFrame(changes),
        curves=pd.concat(curves, ignore_index=True),
        signal=pd.DataFrame(signal),
        network={"name": f"make{HOSTILE}", "arguments": {"width": 8}, "shapes": {}, "hash": "0123456789abcdef"},
        asked=asked,
        ran={"engine": "torch", "device": "cpu", "threads": 2},
        took={"started_at": "2026-01-02T03:04:05+00:00", "wall_time_s": 12.3},
    )


def test_the_page_begins_with_the_verdict_and_the_code_and_stands_alone(found, tmp_path):
    path = found.save(tmp_path / "mine")
    text = path.read_text()
    assert path == tmp_path / "mine" / "report.html"
    assert '<span class="verdict failed">✗ learning rate</span></h1>' in text
    assert text.index("1e-05 is too low") < text.index("torch.optim.Adam(lr=0.01)") < text.index("What each change does")
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", text)
    assert "img-src data:; script-src 'none'; style-src 'sha256-" in text and ' style="' not in text
    for link in re.findall(r'href="((?:tables/|diagnosis)[^"]+)"', text):
        assert (tmp_path / "mine" / link).exists(), link
    shown = html.unescape(re.sub(r"<(style|svg).*?</\1>", "", text, flags=re.DOTALL))
    for word in (">nan<", ">NaN<", ">None<", ">inf<", ">True<", "never shown"):
        assert word not in shown, word
    assert "✗ shapes that the loss broadcasts" in shown and "! the scale of the data" in shown and ">=1+1<" in shown
    assert "the Jacobian's rank 7" in shown and "1,234 parameters, 1,200 of them trained" in shown


def test_what_strangers_call_their_network_and_layers_is_text(found, tmp_path):
    text = found.save(tmp_path / "mine").read_text()
    assert "<img" not in text and "<script" not in text and text.count(html.escape(HOSTILE)) >= 4


def test_the_rows_are_those_of_the_table_the_confirmed_change_second(found, tmp_path):
    text = found.save(tmp_path / "mine").read_text()
    rows = re.findall(r'<tr(?: class="(chosen)")?><td>([^<]+)</td><td>(\d of \d[^<]*)</td>', text)
    assert rows[:3] == [
        ("", "as asked", "0 of 3"),
        ("chosen", "Adam(lr=0.01)", "3 of 3"),
        ("", "max_epochs=500", "1 of 3, 1 out of time"),
    ]
    assert [own for _, own, _ in rows] == list(in_order(found.evidence, "Adam(lr=0.01)")["change"])
    assert "8 more changes that were tried" in text
    assert "<td>diverged</td>" in text and "<td>0.0091</td>" in text and "<td>40</td>" in text
    # Curves of the first six alone stand in the table, since they are drawn.
    drawn = pd.read_csv(tmp_path / "mine" / "tables" / "module_curves.csv")["change"].unique().tolist()
    assert drawn == [own for _, own, _ in rows][:6] == re.findall(r"<figcaption>(.+?): \d of 3", text)


def test_a_dot_and_its_bar_stand_where_the_share_and_its_interval_are():
    drawn = row_marks.share(1, 4, 0.25, 0.75, beside=4)
    width, edge = row_marks.WIDE, row_marks.EDGE
    at = {share: f"{edge + share * (width - 2 * edge):.1f}" for share in (0.25, 0.75, 1.0)}
    assert f'<circle class="dot" cx="{at[0.25]}"' in drawn and f'<circle class="ring" cx="{at[1.0]}"' in drawn
    assert f'd="M{at[0.25]} 8H{at[0.75]}"' in drawn
    assert (
        row_marks.share(0, 0, math.nan, math.nan) == ""
        and row_marks.level(0.0, 0.1, 1) == row_marks.level(math.nan, 0.1, 1) == ""
    )
    assert 'cx="60.0"' in row_marks.level(1.0, 0.1, 10.0)


def test_a_learning_curve_stands_on_its_scales_and_ends_where_it_is_no_number():
    curves = pd.DataFrame({"change": "as asked", "seed": 0, "epoch": [0, 9, 99, 999], "tau": [1.0, 0.1, math.nan, 1.0]})
    (drawing,) = curve_panels.panels(curves, 0.01).values()
    (line,) = re.findall(r'<path class="asked" d="M([^"]+)"', drawing)
    points = [tuple(map(float, point.split())) for point in line.split("L")]
    scale = curve_panels._Scale(curves, 0.01)
    assert points == [(round(float(scale.x(e)), 1), round(float(scale.y(t)), 1)) for e, t in ((0, 1.0), (9, 0.1))]
    # A third of the way to epoch 999 on the logarithm of the epoch plus one.
    wide = curve_panels.WIDE - curve_panels.LEFT - curve_panels.RIGHT
    assert points[0][0] == curve_panels.LEFT and points[1][0] == pytest.approx(curve_panels.LEFT + wide / 3, abs=0.1)
    # The last number of the axis has room.
    (last,) = re.findall(r'<text class="tick" x="([\d.]+)" y="\d+">100</text>', drawing)
    assert float(last) + 4 * 3.5 < curve_panels.WIDE
    (goal,) = re.findall(r'<path class="goal" d="M\d+ ([\d.]+)H', drawing)
    assert float(goal) > points[1][1] > points[0][1]


def test_the_page_is_made_again_without_running_what_the_folder_names(found, tmp_path, memcap):
    """What a run folder holds may be anybody's."""
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')\n")
    path = keep(tmp_path / "mine", found, {"model": "evil:make", "data": None, "model_args": {"a": [1, 2]}, "tau": 0.1})
    before = path.read_text()
    assert "<pre>memcap diagnose model=evil:make &#39;model_args={a: [1,2]}&#39; tau=0.1</pre>" in before
    path.unlink()
    assert memcap("report", "mine") == (0, "memcap: report in mine/report.html\n", "")
    assert path.read_text() == before and "evil" not in sys.modules


def test_the_index_of_runs_leads_to_it(found, tmp_path, memcap):
    found.save(tmp_path / "results" / "mine")
    assert memcap("report", "results").status == 0
    text = (tmp_path / "results" / "index.html").read_text()
    assert '<a href="mine/report.html">mine</a> <span class="verdict">learning rate</span>' in text
    assert "1e-05 is too low" in text


def test_a_diagnosis_replaces_the_one_before_it_and_nothing_of_others(found, tmp_path):
    folder = tmp_path / "mine"
    found.save(folder)
    (folder / "notes.txt").write_text("mine")
    found.save(folder)
    assert (folder / "notes.txt").read_text() == "mine"
    assert len(json.loads((folder / "provenance.json").read_text())["runs"]) == 1
    # Somebody stopped one as it was written.
    (folder / "diagnosis.json").unlink()
    assert found.save(folder).exists()
    for name, of in (("plan.parquet", "of a run"), ("tables", "but no diagnosis that they belong to")):
        other = tmp_path / name.partition(".")[0]
        (other / name).mkdir(parents=True)
        with pytest.raises(bench.GridError) as error:
            found.save(other)
        assert str(error.value) == f"run_dir={other}: holds {name}, {of}; name a new folder, or that of a diagnosis"
        assert (other / name).exists()


def test_a_network_that_needs_no_change_and_one_that_was_not_trained_have_pages(found, tmp_path):
    import dataclasses

    empty = {name: getattr(found, name).iloc[:0] for name in ("evidence", "curves", "signal")}
    for cause, mark in ((Cause.NOTHING, "passed"), (Cause.UNDECIDED, "undecided")):
        own = dataclasses.replace(found, verdict=Verdict(cause, (), None, (), ("So it is.",)), **empty, findings=())
        text = own.save(tmp_path / mark).read_text()
        assert f'<span class="verdict {mark}">' in text and "What each change does" not in text


@pytest.mark.skipif(find() is None, reason=INSTALL)
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_a_desk_and_a_phone(found, tmp_path, width):
    from tests.report.test_browser import started

    path = found.save(tmp_path / "mine")
    with started() as browser:
        metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get(path.as_uri())
        assert browser.get_log("browser") == []
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        headings = "return [...document.querySelectorAll('section')].map(s => document.getElementById(s.getAttribute('aria-labelledby')).tagName)"
        assert set(browser.execute_script(headings)) == {"H2"}
