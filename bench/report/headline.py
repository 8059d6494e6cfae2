"""How many networks memorized, by the samples they were given for what they can hold: the first sentence of a grid."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from bench.protocol.cells import Status
from bench.protocol.theory import NETWORK
from bench.report.words import ALL_NETWORKS, is_protocol, percent, settings_in_words, under
from bench.report.worth import Finding, Worth, as_findings
from bench.statistics.bands import ENDS
from bench.statistics.rates import at_default_rate
from bench.statistics.tables import Tables
from bench.store.parts import PENDING

# How cells end that do not memorize, in words.
ENDINGS = {
    Status.CENSORED: "spent their epochs first",
    Status.EARLY_STOPPED: "stopped early",
    Status.DIVERGED: "diverged",
    Status.FAILED: "failed",
    PENDING: "not trained yet",
}


def ceiling_name(tables: Tables) -> str:
    """What the functional dimension is called: it bounds exact fits where theory says so for every network of the run."""
    if tables.theory.empty:
        return "functional dimension"
    bounded = tables.theory["kind"].eq("ceiling").groupby([tables.theory[name] for name in NETWORK], dropna=False).any()
    return "ceiling" if bounded.all() else "functional dimension"


def banded(tables: Tables) -> list[Finding]:
    """How many memorized of the first setting's cells, by how many samples they were given for what their network can hold."""
    if tables.bands.empty:
        return []
    # Of swept rates the default tells; the lowest comes first, and may hinder most.
    default = at_default_rate(tables.groups)["setting"]
    chosen = next(iter(default), tables.bands["setting"].iloc[0])
    ceiling, first = ceiling_name(tables), settings_in_words(tables.groups).get(str(chosen), str(chosen))
    shown = tables.bands[tables.bands["setting"] == chosen]
    together = tables.n_runs > 1 and len(set(tables.bands["setting"])) > 1
    if is_protocol(str(chosen)) or together:
        first, shown = ALL_NETWORKS, _over_settings(tables.bands)
    own = {row["per_dim_low"]: row for row in shown.to_dict("records")}
    low, middle, above = (own.get(end) for end in ENDS[:-1])
    sentences = []
    over = f" over all settings of {tables.n_runs} runs" if together else ""
    if low:
        text = f"Given at most half as many samples as their {ceiling}, networks{under(first)} memorized in {_share(low)}{over}"
        text += f"; between half and all of it in {_share(middle, '')}" if middle else ""
        sentences.append(f"{text}.")
    elif middle:
        given = f"Given more than half as many samples as their {ceiling} and at most as many"
        sentences.append(f"{given}, networks{under(first)} memorized in {_share(middle)}{over}.")
    if above:
        everywhere = tables.bands[tables.bands["per_dim_low"] == ENDS[-2]]
        text = f"Above the {ceiling}{'' if sentences else under(first)} {_share(above)} memorized{'' if sentences else over}"
        if len(everywhere) > 1 and first != ALL_NETWORKS:
            text += f"; over all settings {everywhere['n_memorized'].sum():,} of {everywhere['n_cells'].sum():,}"
        sentences.append(f"{text}.")
    return as_findings(Worth.ANSWER, sentences)


def _over_settings(bands: pd.DataFrame) -> pd.DataFrame:
    """The counts of each band over all settings; protocols of their own are no sample of one thing that has an interval."""
    counts = bands.groupby("per_dim_low", as_index=False)[["n_cells", "n_memorized"]].sum()
    return counts.assign(fraction_low=math.nan, fraction_high=math.nan)


def _share(band: Mapping[Any, Any], noun: str = " trainings") -> str:
    """How many of a band's cells memorized, with the interval; where all agree, that is of few seeds and says little."""
    counts = f"{band['n_memorized']:,} of {band['n_cells']:,}{noun}"
    agree = band["n_memorized"] in (0, band["n_cells"]) or math.isnan(band["fraction_low"])
    return counts if agree else f"{counts} {percent(band['fraction_low'], band['fraction_high'])}"


def counted(cells: pd.DataFrame) -> str:
    counts = cells["status"].value_counts()
    memorized = int(counts.get(Status.MEMORIZED, 0))
    answer = (
        f"{memorized:,} of {len(cells):,} trainings"
        if 0 < memorized < len(cells)
        else f"{'All' if memorized else 'None'} of {len(cells):,} trainings"
    )
    others = [f"{int(counts[s]):,} {ENDINGS[s]}" for s in (*Status, PENDING) if s in counts and s != Status.MEMORIZED]
    return f"{answer} memorized targets that are pure noise{' (' + ', '.join(others) + ')' if others else ''}."
