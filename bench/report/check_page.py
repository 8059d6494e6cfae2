"""The folder of a check -> its page: base and head beside each other, for somebody who never saw the project."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from bench.report import check_figures
from bench.report.blocks import image, inlined, render, table_html, where
from bench.report.drawing import draw
from bench.report.pictures import Picture
from bench.store import provenance
from bench.store.atomic import write_atomically

# What a check leaves of its findings, and what makes a folder one of a check.
FOUND = "check.json"

# The table that is too long for a page.
EVERY_TIME = "check_times"

# A row of a figure for each setting, of which there may be many; the table has all.
MOST_ROWS = 40

ASKED = {"speed": "Is the head as fast as the base?", "capacity": "Does the head learn what the base learned?"}

# How a verdict is marked beside its word.
MARKS = {"passed": "✓", "failed": "✗", "undecided": "?", "skipped": "-"}

# What each test asks, in words of somebody who does not know this program: those of a training, then groups of benchmarks.
MEANING = {
    "training": "Did every network train to its end on both sides?",
    "first epochs": "Are the losses the same, to rounding, in the first 20 epochs? Data, initial weights and random draws are.",
    "epochs to tau": "Does one side need more epochs to memorize?",
    "share that memorizes": "Does one side memorize more of its networks?",
    "N50": "Does one side hold more samples? N50 is the count of samples that half of the networks memorize.",
    "bytes": "Does the same compiled core give the same result to the last bit?",
    "default grid": "Training of a part of the default grid, which has its mix of networks, by the compiled core.",
    "kernel, narrow": "Training of narrow networks by the compiled core.",
    "kernel, middling": "Training of networks of middling width by the compiled core.",
    "kernel, wide": "Training of wide networks by the compiled core.",
    "draws": "Training that draws random numbers: dropout, input noise, shuffled batches.",
    "torch engine": "Training by PyTorch.",
    "planning and store": "Making the list of networks, packing them, writing results to the disk, and reading them.",
    "tables and report": "Making tables, figures and the page of a run.",
    "instructions of the native kernel": "What the processor does for each useful operation of training.",
    "Python calls for each cell": "What Python does beside the training itself.",
    "bytes held for each cell": "Memory that Python takes.",
    "packs of the default grid": "How many batches of networks PyTorch trains one after the other.",
    "activations with padding over those without": "Work on numbers that nobody needs.",
    "kernels launched for each slice": "How often a GPU is given something to do.",
    "waits of the host for each slice": "How often the program waits for a GPU.",
}

# What to do, by check and test; and where several tests failed only the first such advice of each kind is of use.
ADVICE = {
    "training": "Networks failed: the column reason of that side's tables says why.",
    "first epochs": "The arithmetic of the named settings changed: look at what the head changed in their update, loss, data or"
    " initial weights. Where all settings moved, it is something that all share.",
    "epochs to tau": "Where the first epochs agree and this fails, something acts late: schedules, long sums, precision.",
    "share that memorizes": "Fewer or more networks memorize than chance explains: the table of settings shows which.",
    "N50": "The capacity changed: the table of settings shows which networks hold fewer or more samples.",
    "bytes": "The compiled core rounds otherwise. Where that is meant (another order of sums, another compiler), make reference"
    " renews the reference, and its diff shows what moved.",
}
SLOWER = (
    "Run the check again: a real slowdown is found again. Then profile the benchmarks of the groups that are named"
    " (they stand in the table below, with their times on both sides). Where the slowdown is the price of something that is"
    " wanted, say so in the change, or raise the margin."
)
UNDECIDED = "Nothing is known to be wrong, but too little is known. Run it again on a quieter machine, or for longer (limit_s)."
PASSED = {
    "speed": "Nothing is to be done. A slowdown that is smaller than the margin, or of what no benchmark runs, would not show.",
    "capacity": "Nothing is to be done. Of checks in which nothing but rounding differs, one in a thousand fails.",
}


def _asks(test: str) -> str:
    """What a test asks, in words; a count is named by what it counts, and then of what."""
    return MEANING.get(test) or MEANING.get(test.partition(", ")[0], "")


def build_check(folder: Path) -> Path:
    """Draw the figures of a check into its folder, write its report.html, and return that page's path.

    Raises:
        FileNotFoundError: no check was written there.
    """
    found = json.loads((folder / FOUND).read_text(encoding="utf-8"))
    paths = sorted((folder / "tables").glob("check_*.csv"))
    tables = {path.stem: pd.read_csv(path) for path in paths if path.stem != EVERY_TIME}
    run: Mapping[str, Any] = next(reversed(provenance.read(folder)), {})
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    made = draw(_drawings(tables, run.get("config", {})), figures)
    pictures = [one for one in made if isinstance(one, Picture)]
    left_out = [one for one in made if isinstance(one, str)]
    text = render(
        "check.html",
        name=folder.name,
        title=ASKED[found["check"]],
        found=found,
        findings=[{**one, "mark": MARKS[one["verdict"]], "asks": _asks(one["test"])} for one in found["findings"]],
        mark=MARKS[found["outcome"]],
        sentences=[*sentences(found), *left_out],
        advice=advice(found),
        pictures=pictures,
        images={picture.name: image(figures / f"{picture.name}.png") for picture in pictures},
        tables={name: _shown(name, table) for name, table in tables.items()},
        facts=_facts(found, run),
        dirty=[side for side in ("base", "head") if (run.get(side) or {}).get("dirty")],
        run=run,
        command=command(found["check"], run),
        style=inlined("told.css"),
    )
    write_atomically(folder / "report.html", lambda partial: partial.write_text(text, encoding="utf-8"))
    return folder / "report.html"


def sentences(found: Mapping[str, Any]) -> list[str]:
    """What was found, in a sentence for each test that did not pass; one for the others."""
    by = {verdict: [one for one in found["findings"] if one["verdict"] == verdict] for verdict in MARKS}
    told = [f"{one['test']}: {one['said']}." for one in by["failed"]]
    counts = [f"{len(by[verdict])} {verdict}" for verdict in ("passed", "failed", "undecided", "skipped") if by[verdict]]
    return [*told, f"Of {len(found['findings'])} tests: {', '.join(counts)}."]


def advice(found: Mapping[str, Any]) -> list[str]:
    """What it means and what to do."""
    if found["outcome"] == "passed":
        return [PASSED[found["check"]]]
    failed = [one["test"] for one in found["findings"] if one["verdict"] == "failed"]
    told = [ADVICE.get(test, SLOWER) for test in failed]
    if any(one["verdict"] == "undecided" for one in found["findings"]):
        told.append(UNDECIDED)
    return list(dict.fromkeys(told))


def command(check: str, run: Mapping[str, Any]) -> str:
    """What makes the same check again: its settings, and the commit that the base was."""
    given = {name: value for name, value in (run.get("config") or {}).items() if value is not None}
    if check == "speed" and "base" not in given and "base_python" not in given:
        given["base"] = str((run.get("base") or {}).get("commit") or "")[:12]
    words = [f"{name}={value}" for name, value in given.items() if value != ""]
    return shlex.join(["memcap", "check", check, *words])


def _drawings(tables: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> Sequence[partial[Picture]]:
    made = []
    if "check_groups" in tables:
        made.append(partial(_ratios, tables["check_groups"], config["margin"]))
    if "check_settings" in tables:
        made.append(partial(_settings, tables["check_settings"]))
    return made


def _ratios(groups: pd.DataFrame, margin: float) -> Picture:
    caption = (
        "The head's time over the base's, for each group of benchmarks: 1 is as fast, 1.1 takes a tenth longer. Bars: intervals"
        f" that hold for all groups at once, 99 times in 100. The yellow band is the margin, {margin:.0%}. Red: the whole bar"
        " lies beyond the margin. Grey: the bar is too wide to tell."
    )
    alt = "Times of the head over those of the base: " + "; ".join(
        f"{row['group']} {check_figures.spell_ratio(row)}" for _, row in groups.iterrows()
    )
    return Picture("check_groups", caption, alt, "check_groups", check_figures.ratios(groups, margin=margin), "times")


def _settings(table: pd.DataFrame) -> Picture:
    shown = in_order(table).head(MOST_ROWS)
    rest = f" The {len(shown)} of {len(table)} settings that differ most." if len(shown) < len(table) else ""
    caption = (
        "Left: the largest relative difference between the losses of base and head in the first 20 epochs, and as an upright"
        " line what rounding explains; red settings moved. Right: the share of each setting's networks that memorize, in the"
        f" base (grey squares) and in the head (circles), with 95 % intervals.{rest}"
    )
    moved = list(table.loc[table["moved"], "setting"])
    memorized = (f"{table[f'n_memorized_{side}'].sum()} cells memorize in the {side}" for side in ("base", "head"))
    alt = f"{len(moved)} of {len(table)} settings moved{': ' if moved else ''}{'; '.join(moved)}. {', '.join(memorized)}."
    return Picture("check_settings", caption, alt, "check_settings", check_figures.settings(shown), "settings")


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Settings that moved first, then by how near they come to their tolerance."""
    near = table["largest_difference"] / table["tolerance"]
    return table.assign(near=near).sort_values(["moved", "near"], ascending=False, kind="stable").drop(columns="near")


def _shown(name: str, table: pd.DataFrame) -> str:
    """A table of a check for its page, in words where the file has true and false."""
    ordered = in_order(table) if name == "check_settings" else table
    words = {
        str(column): ordered[column].map({True: "yes", False: "no"}) for column in ordered if ordered[column].dtype == bool
    }
    exact = [str(column) for column in ordered if str(column).startswith(("time_", "ratio"))]
    digits = {column: ordered[column].map("{:.4g}".format, na_action="ignore") for column in exact}
    return table_html(ordered.assign(**words, **digits), name.replace("_", "-"), name)


def _facts(found: Mapping[str, Any], run: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What was run where: a topic, and what there is to say of base and head; topics of which nothing is known are left out."""
    sides = [{"what": found[side], **_side(run.get(side) or {})} for side in ("base", "head")]
    topics = {"what": "What", "engine": "Engines", "commit": "Commit", "versions": "Versions", "machine": "Machine"}
    return [
        (title, *(side.get(name, "") for side in sides)) for name, title in topics.items() if any(s.get(name) for s in sides)
    ]


def _side(facts: Mapping[str, Any]) -> dict[str, str]:
    if not facts:
        return {}
    told = where(facts)
    engine = " on ".join(filter(None, [facts.get("engine"), facts.get("device")]))
    threads = f", {facts['threads']} threads" if engine and facts.get("threads") else ""
    return {**told, "versions": told["versions"] if facts.get("python") else "", "engine": f"{engine}{threads}"}
