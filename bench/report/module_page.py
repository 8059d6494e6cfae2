"""The folder of a diagnosis of somebody's own network -> its page. It reads tables and JSON, and runs nothing they name."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench.report import curve_panels, row_marks
from bench.report.blocks import inlined, render, tooltip, where
from bench.store import provenance
from bench.store.atomic import write_atomically

# What is known of a diagnosis beside its tables, and what makes a folder one of a diagnosis.
FOUND = "diagnosis.json"

# Rows of the ladder that stand on the page at once.
MOST_ROWS = 16

# Changes whose learning curves are drawn, that as asked among them.
MOST_DRAWN = 6

# Columns of its tables that are words, of which an empty one is no missing number.
TEXTS = ("about", "found", "code", "change", "levers", "name", "kind")

# What the verdict calls a network that needs no change, and what it is called where nothing is known.
MEMORIZABLE, UNDECIDED = "memorizable as it is", "undecided"


def in_order(evidence: pd.DataFrame, change: str | None = None) -> pd.DataFrame:
    """The rows by what they tell: as asked, the change that was confirmed, and then what did best."""
    asked, rest = evidence.iloc[:1], evidence.iloc[1:]
    keys = ["chosen", "n_fresh", "n_memorized", "median_best_tau"]
    rest = rest.assign(chosen=rest["change"] == change).sort_values(keys, ascending=[False, False, False, True], kind="stable")
    return pd.concat([asked, rest.drop(columns="chosen")])


def build_module(folder: Path) -> Path:
    """Write report.html of a diagnosis that was kept in a folder; returns the page's path.

    Raises:
        FileNotFoundError: none was kept there.
    """
    found = json.loads((folder / FOUND).read_text(encoding="utf-8"))
    looks, evidence, signal, curves = (_read(folder, name) for name in ("looks", "evidence", "signal", "curves"))
    verdict, asked = found["verdict"], found["asked"]
    run: Mapping[str, Any] = next(reversed(provenance.read(folder)), {})
    ordered = in_order(evidence, verdict["change"]) if len(evidence) else evidence
    rows = [_row(row, verdict["change"]) for row in ordered.to_dict("records")]
    drawn = curve_panels.panels(curves, float(asked["tau"]))
    counts = {row["change"]: f"{row['change']}: {row['seeds']} seeds memorized" for row in rows}
    text = render(
        "module.html",
        name=found["network"]["name"],
        title="Does this network memorize its batch?",
        **_outcome(verdict),
        subtitle=_subtitle(found),
        sentences=verdict["sentences"],
        code=verdict["code"],
        tau=f"{asked['tau']:g}",
        rows=rows[:MOST_ROWS],
        more=rows[MOST_ROWS:],
        panels=[{"title": counts.get(change, change), "drawing": drawing} for change, drawing in drawn.items()],
        looks=looks.to_dict("records"),
        **_signal(signal),
        facts=_facts(found, run),
        command=_command(run),
        style=inlined("told.css"),
        tooltip=tooltip,
    )
    write_atomically(folder / "report.html", lambda partial: partial.write_text(text, encoding="utf-8"))
    return folder / "report.html"


def _read(folder: Path, name: str) -> pd.DataFrame:
    """A table; a text that was kept from being a formula is as it was."""
    table = pd.read_csv(folder / "tables" / f"module_{name}.csv", dtype=dict.fromkeys(TEXTS, str))
    return table.assign(**{text: table[text].fillna("").str.removeprefix("'") for text in TEXTS if text in table})


def _outcome(verdict: Mapping[str, Any]) -> dict[str, str]:
    outcome = {MEMORIZABLE: "passed", UNDECIDED: "undecided"}.get(verdict["cause"], "failed")
    return {"cause": verdict["cause"], "outcome": outcome, "mark": {"passed": "✓", "undecided": "?", "failed": "✗"}[outcome]}


def _subtitle(found: Mapping[str, Any]) -> str:
    network, asked = found["network"], found["asked"]
    arguments = ", ".join(f"{name}={value}" for name, value in network["arguments"].items())
    called = f"{network['name']}({arguments})" if arguments else network["name"]
    size = "all at once" if asked["batch_size"] is None else f"{asked['batch_size']} at a time"
    return (
        f"{called}, {asked['n_params']:,} parameters, on {asked['n_samples']:,} samples ({size});"
        f" {asked['loss']}, {asked['optimizer']}, up to {asked['max_epochs']:,} epochs."
    )


def _row(row: Mapping[Any, Any], chosen: str | None) -> dict[str, Any]:
    cut = f", {row['n_cut']} out of time" if row["n_cut"] else ""
    hits, seeds, fresh = row["n_memorized"], row["n_seeds"], row["n_fresh"]
    beside = row["n_fresh_asked"] if row["levers"] else None
    return {
        "change": row["change"],
        "chosen": row["change"] == chosen,
        "seeds": f"{hits} of {seeds}{cut}",
        "share": row_marks.share(hits, seeds, row["fraction_low"], row["fraction_high"]),
        "fresh": f"{row['n_fresh_memorized']} of {fresh}" if fresh else "",
        "fresh_share": row_marks.share(row["n_fresh_memorized"], fresh, row["fresh_low"], row["fresh_high"], beside),
        "epoch": _epoch(row["median_epoch_to_tau"]),
        "best": _number(row["median_best_tau"]),
        "last": _number(row["median_last_tau"]),
        "levers": row["levers"],
    }


def _epoch(value: float) -> str:
    return "" if math.isnan(value) else "never" if math.isinf(value) else f"{value:,.0f}"


def _number(value: float) -> str:
    return "" if math.isnan(value) else "diverged" if math.isinf(value) else f"{value:.3g}"


def _signal(signal: pd.DataFrame) -> dict[str, Any]:
    """Rows of the layers, and what their scales are."""
    if signal.empty:
        return {"signal": [], "scales": ""}
    ends = {name: row_marks.ends(signal[name]) for name in ("across", "gradient")}
    rows = [
        {
            "name": row["name"],
            "kind": row["kind"],
            **{name: _number(row[name]) for name in ("across", "gradient", "second_moment")},
            **{f"{name}_mark": row_marks.level(row[name], *ends[name]) for name in ends},
            "dead": f"{row['dead']:.0%}" if row["dead"] else "",
        }
        for row in signal.to_dict("records")
    ]
    scales = ", ".join(
        f"{name} on a log scale from {low:g} to {high:g}"
        for name, (low, high) in zip(("variance", "gradient"), ends.values(), strict=True)
    )
    return {"signal": rows, "scales": scales}


def _facts(found: Mapping[str, Any], run: Mapping[str, Any]) -> list[tuple[str, str]]:
    network, asked = found["network"], found["asked"]
    rank = "was not taken" if asked["jacobian_rank"] is None else f"{asked['jacobian_rank']:,}"
    facts = {
        "Network": f"{network['name']}, {asked['n_params']:,} parameters, {asked['n_trained']:,} of them trained",
        "What it can fit at first order": f"{asked['n_outputs']:,} outputs are asked for; the Jacobian's rank {rank}",
        "Arguments": ", ".join(f"{name}={value}" for name, value in network["arguments"].items()),
        "Hash of what it is": network["hash"],
        "Data": f"inputs {asked['inputs']}; targets {asked['targets']}",
        "Loss": asked["loss"],
        "Training": (
            f"{asked['optimizer']}, {'the whole batch' if asked['batch_size'] is None else asked['batch_size']} a step,"
            f" {asked['max_epochs']:,} epochs, in {asked['mode']} mode"
        ),
        "Measured": f"in {asked['measured']} mode, to tau {asked['tau']:g}",
        "Seeds": ", ".join(map(str, asked["seeds"])),
        "Stacked": asked["engine"],
    }
    if run:
        facts |= {"Device": str(run.get("device") or ""), **{name.capitalize(): text for name, text in where(run).items()}}
        started = str(run.get("started_at") or "").replace("T", " ").replace("+00:00", " UTC")
        facts["When"] = f"{started}, {run['wall_time_s']:.0f} s" if run.get("wall_time_s") is not None else started
    return [(name, text) for name, text in facts.items() if text]


def _command(run: Mapping[str, Any]) -> str:
    config = run.get("config") or {}
    words = words_of(config)
    return shlex.join(["memcap", "diagnose", *words]) if words else ""


def words_of(config: Mapping[str, Any]) -> list[str]:
    """The settings of a command as Hydra takes them on a command line; what is not set is left out."""
    return [f"{name}={_spelled(value)}" for name, value in config.items() if value not in (None, {})]


def _spelled(value: Any) -> str:
    """As Hydra takes it on a command line."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{name}: {_spelled(own)}" for name, own in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ",".join(map(_spelled, value)) + "]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
