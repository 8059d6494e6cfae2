"""The tables of a run -> its maps as layers: what each cell says at each threshold, and beside the first setting."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from bench.protocol import theory
from bench.protocol.cells import LADDER
from bench.report.atlas import Sheet, sheets
from bench.report.map_cells import Marks, axis_name, epoch_ends, note, spell_tick
from bench.report.palette import delay_step, epoch_step
from bench.report.words import ALL_CELLS, TIMES, capitalized, is_protocol, percent, settings_in_words, under
from bench.statistics.beside import beside
from bench.statistics.capacity import what_is_known
from bench.statistics.confirmation import MAJORITY
from bench.statistics.dimensions import samples_at_ceiling
from bench.statistics.survival import CURVE_FIELDS
from bench.statistics.tables import Tables
from bench.statistics.thresholds import at_threshold

# The threshold of maps that show what the cells themselves aimed at, and what marks a layer beside the first setting.
OWN, BESIDE = "own", "-"

# Of more cells of maps than these the page has those at the cells' own thresholds alone: it would be heavy.
MOST_SPOTS = 8000

# How a cell is drawn that most seeds did not memorize.
HATCHED = "h"


class Spot(NamedTuple):
    """A cell of a map: its shade (a class of the style sheet), what it says in short, in full, and which group it is."""

    shade: str
    note: str
    told: str
    group: int


class Layer(NamedTuple):
    """What one map says at one threshold; `key` is the threshold, and BESIDE behind it for what the first setting is beside.

    `spots` are by the values of panel, row and column.
    """

    key: str
    title: str
    spots: dict[tuple[Any, Any, Any], Spot]


@dataclasses.dataclass(frozen=True, slots=True)
class Map:
    """A view of a run: its sheet, what it is called, its layers, first OWN, and its marks by panel and column."""

    sheet: Sheet
    words: str
    layers: tuple[Layer, ...]
    marks: Mapping[tuple[Any, Any], Marks]


def marks(sheet: Sheet, tables: Tables) -> dict[tuple[Any, Any], Marks]:
    """What stands over the columns of a sheet whose rows are sample counts: capacities and lines of theory."""
    if sheet.rows != "n_samples" or tables.capacity.empty:
        return {}
    fields = [name for name in CURVE_FIELDS if name != "learning_rate" or sheet.rates == "as asked"]
    own = tables.capacity[tables.capacity["rates"] == sheet.rates]
    own = own.merge(sheet.groups[fields].drop_duplicates(), on=fields, how="inner")
    exists = (
        tables.theory[tables.theory["kind"] == "exists"]
        .groupby(theory.NETWORK, dropna=False)["n_samples"]
        .max()
        .rename("exists")
    )
    own = own.merge(exists, left_on=theory.NETWORK, right_index=True, how="left")
    return {
        (row[sheet.panels], row[sheet.columns]): Marks(
            row["n50"], row["n50_low"], row["n50_high"], row["exists"], what_is_known(row)
        )
        for row in own.to_dict("records")
    }


def colour_ends(tables: Tables) -> tuple[float, float]:
    """The ends of the one colour scale of all layers."""
    return epoch_ends(pd.concat([tables.groups, *_switched(tables).values()]))


def maps(tables: Tables) -> list[Map]:
    """The maps of a run in the order of its settings; of each the layers at its cells' own threshold and at each rung above."""
    groups = tables.groups.assign(group=range(len(tables.groups)))
    own = list(sheets(groups))
    n_own = sum(len(sheet.groups) for sheet in own)
    at = {OWN: own}
    for rung, switched in _switched(tables).items():
        if n_own * (len(at) + 1) <= MOST_SPOTS:
            at[rung] = list(sheets(switched))
    n_first = len(own[0].groups) if own else 0
    compared = (2 * n_own - n_first) * len(at) <= MOST_SPOTS
    ends, words, bound = colour_ends(tables), settings_in_words(tables.groups), _bound(tables)
    made = []
    for sheet in own:
        layers = []
        for key, of_key in at.items():
            named = {one.name: one for one in of_key}
            if sheet.name not in named:
                continue
            first = next((one for one in of_key if _family(one) == _family(sheet)), None)
            layers.append(_layer(named[sheet.name], key, ends, words, bound))
            alone = is_protocol(sheet.view) or first is None or first.name == sheet.name
            if compared and first is not None and not alone:
                layers.append(_beside(named[sheet.name], first, key, words))
        made.append(Map(sheet, words.get(sheet.view, sheet.view), tuple(layers), marks(sheet, tables)))
    return made


def _switched(tables: Tables) -> dict[str, pd.DataFrame]:
    """The groups at each rung of the ladder above their own threshold, the smallest first."""
    groups = tables.groups.assign(group=range(len(tables.groups)))
    rungs = sorted(set(tables.thresholds["threshold"]) & set(LADDER)) if len(tables.thresholds) else []
    at = {f"{rung:g}": at_threshold(groups, tables.thresholds, rung) for rung in rungs}
    return {rung: switched for rung, switched in at.items() if len(switched)}


def _family(sheet: Sheet) -> tuple[str, str, str, str]:
    """What sheets have in common that show the same networks under different settings."""
    return sheet.rows, sheet.columns, sheet.panels, sheet.rates if sheet.name.startswith("map_") else sheet.name


def _bound(tables: Tables) -> str:
    """What the functional dimension is called beside a number."""
    losses = tables.groups["loss"]
    return "the ceiling" if losses.eq("mse").all() else "the functional dimension"


def _rows(sheet: Sheet, groups: pd.DataFrame) -> Iterator[tuple[tuple[Any, Any, Any], dict[Any, Any]]]:
    for group in groups.to_dict("records"):
        yield (group[sheet.panels], group[sheet.rows], group[sheet.columns]), group


def _layer(sheet: Sheet, key: str, ends: tuple[float, float], words: Mapping[str, str], bound: str) -> Layer:
    spots = {}
    reached = "memorized" if key == OWN else f"reached tau {key}"
    for slot, group in _rows(sheet, sheet.groups):
        median = group["median_epoch_to_tau"]
        shade = f"q{epoch_step(median, ends)}" if math.isfinite(median) else HATCHED
        spots[slot] = Spot(shade, note(group), _told(sheet, group, reached, bound), int(group["group"]))
    return Layer(key, _finding(sheet, key, words, bound), spots)


def _told(sheet: Sheet, group: Mapping[Any, Any], reached: str, bound: str) -> str:
    """All that a map knows of a group."""
    where = _where(sheet, group)
    if group["functional_dim"] > 0:
        where += f" ({group['n_samples'] / samples_at_ceiling(group):.2f} of {bound})"
    if group["n_seeds"] == 0:
        return f"{where}: {'failed' if group['n_failed'] else 'no result yet'}"
    ends = percent(group["fraction_low"], group["fraction_high"])
    seeds = f"{group['n_memorized']} of {group['n_seeds']} seeds {reached} {ends}"
    median = group["median_epoch_to_tau"]
    when = f"half by epoch {median:.0f}" if math.isfinite(median) else f"fewer than half within {group['max_epochs']} epochs"
    return f"{where}: {seeds}, {when}"


def _where(sheet: Sheet, group: Mapping[Any, Any]) -> str:
    """A group's place on its map; its sample count, if that is no axis."""
    axes = list(dict.fromkeys((sheet.panels, sheet.columns, sheet.rows)))
    parts = [f"{axis_name(name)} {spell_tick(group[name])}" for name in axes if name not in ("n_samples", "load")]
    return ", ".join([*parts, f"{group['n_samples']} samples"])


def finding(sheet: Sheet, tables: Tables) -> str:
    """What a map of the cells' own threshold shows, up to its ceiling and above."""
    return _finding(sheet, OWN, settings_in_words(tables.groups), _bound(tables))


def _finding(sheet: Sheet, key: str, words: Mapping[str, str], bound: str) -> str:
    groups = sheet.groups
    most = groups["fraction_memorized"] >= MAJORITY
    within = groups["n_samples"] <= samples_at_ceiling(groups)
    parts = []
    for side, name in ((within, "up to"), (~within, "above")):
        if side.any():
            counts = f"{int((most & side).sum())} of {int(side.sum())}"
            parts.append(f"in {counts} {'' if parts else 'combinations '}{name} {'it' if parts else bound}")
    reached = "memorize" if key == OWN else f"reach tau {key}"
    subject = "" if sheet.view == ALL_CELLS else f"{capitalized(words.get(sheet.view, sheet.view))}: "
    return capitalized(f"{subject}half of the seeds or more {reached} {', '.join(parts)}.")


def _beside(sheet: Sheet, first: Sheet, key: str, words: Mapping[str, str]) -> Layer:
    """The map beside that of the first setting: in how many times the epochs, or from how many seeds to how many."""
    both = beside(sheet.groups, first.groups, list(dict.fromkeys((sheet.panels, sheet.rows, sheet.columns))))
    other = words.get(first.view, first.view)
    spots = {}
    for slot, group in _rows(sheet, both):
        delay, seeds = group["delay"], (group["baseline_n_memorized"], group["n_memorized"])
        if not math.isnan(delay):
            shade, text = f"d{delay_step(delay)}", f"{TIMES}{delay:.2g}" if delay < 10 else f"{TIMES}{delay:.0f}"
        else:
            gained = math.isfinite(group["median_epoch_to_tau"])
            shade, text = "d0" if gained else HATCHED, "" if seeds == (0, 0) else f"{seeds[0]}\N{RIGHTWARDS ARROW}{seeds[1]}"
        epochs = [group[name] for name in ("median_epoch_to_tau", "baseline_median_epoch_to_tau")]
        spelled = [f"{epoch:.0f}" if math.isfinite(epoch) else "never" for epoch in epochs]
        counts = [f"{group[f'{of}n_memorized']} of {group[f'{of}n_seeds']} seeds" for of in ("", "baseline_")]
        told = f"{_where(sheet, group)}: {counts[0]}, half by epoch {spelled[0]};{under(other)} {counts[1]}, {spelled[1]}"
        spots[slot] = Spot(shade, text, told, int(group["group"]))
    slower = both["delay"].notna()
    title = f"{capitalized(words.get(sheet.view, sheet.view))} beside {other}: times the epochs where both memorize"
    if slower.any():
        least, middle, most = (both.loc[slower, "delay"].quantile(share) for share in (0.0, 0.5, 1.0))
        title += f", {middle:.2g} in the median of {int(slower.sum())} combinations ({least:.2g} to {most:.2g})"
    return Layer(f"{key}{BESIDE}", f"{title}.", spots)
