"""Tables -> the blocks that a terminal shows, and how their entries are spelled."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pandas as pd

from bench.peers.registry import SHAPE
from bench.protocol.cells import DEFAULTS
from bench.report.lines import Block
from bench.statistics.capacity import spell as spell_capacity
from bench.statistics.capacity import what_is_known
from bench.statistics.confirmation import MAJORITY
from bench.statistics.evidence import past_tau
from bench.statistics.settings import same, spell, varying
from bench.statistics.survival import GROUP_FIELDS
from bench.statistics.verdict import verdict

# More sample counts than these are no columns.
MOST_COLUMNS = 16

# Named also where they have their default values.
ALWAYS_NAMED = ("n_samples", "d_in", "depth", "width", "learning_rate", "tau", "max_epochs")

SIGNAL_TITLE = (
    "before training, first seed: the mean square of each layer's pre-activations, their variance across inputs (0: blind to"
    " the input), and the share of dead units, which answer the same to all inputs"
)

PROPORTIONS = ("n50_per_param", "n50_per_dim", "bits_per_param")

LAYER_COLUMNS = ["layer", "second_moment", "variance_across_inputs", "dead_units"]


def capacity_block(groups: pd.DataFrame) -> Block:
    """Median epochs and seeds that memorized, a row for each network and setting, sample counts across."""
    entries = groups.assign(entry=[_entry(row) for _, row in groups.iterrows()])
    index = list(dict.fromkeys(["setting", *varying(groups, among=("depth", "width"))]))
    table = entries.pivot_table(
        index=index, columns="n_samples", values="entry", aggfunc="first", sort=False, fill_value=""
    ).sort_index(axis=1)
    counts = [f"n={count}" for count in table]
    shown = table.set_axis(counts, axis=1).reset_index().astype(str)
    shown["setting"] = shown["setting"].where(shown["setting"] != shown["setting"].shift(), "")
    title = (
        "by n_samples, the median epoch at which tau was reached; 3/5: so many seeds reached it, where not all did; -: none did"
    )
    return Block(title, shown, ["setting"], _spread(counts), "tables/groups.csv")


def _spread(names: list[str]) -> list[str]:
    """The names in an order to leave them out in, so that those that stay lie evenly, the outermost to the last.

    >>> _spread(["a", "b", "c", "d", "e"])
    ['d', 'b', 'c']
    """
    kept, left = [0, len(names) - 1], []
    while len(kept) < len(names):
        first, last = max(pairwise(kept), key=lambda ends: ends[1] - ends[0])
        left.append((first + last) // 2)
        kept = sorted({*kept, left[-1]})
    return [names[place] for place in reversed(left)]


def frontier_block(capacity: pd.DataFrame) -> Block | None:
    """One line for each network that was searched: its N50, and what it took to find; None where none has a curve."""
    if capacity.empty:
        return None
    title = (
        "N50: the sample count that half of the seeds memorize, with its 95 % interval; *: near the edge of the counts tried,"
        " and perhaps beyond"
    )
    notes = {
        "sharpness": "sharpness: how steeply the share of seeds that memorize falls at N50; step: all at once",
        "stuck": "stuck: seeds that memorize at no count; N50 has no value where they are more than a fifth",
    }
    spare = ["n_cells", "sharpness", "stuck", "n50_per_param", "bits_per_param", "n_params", "functional_dim"]
    shown = capacity_columns(capacity).astype(str)
    return Block(title, shown, ["setting", "rates"], spare, "tables/capacity.csv", notes)


def capacity_columns(capacity: pd.DataFrame) -> pd.DataFrame:
    """Capacities as a reader wants them: what varies, the size of the network, N50 in words, and in proportion."""
    known = ["setting", *(["rates"] if (capacity["rates"] != "as asked").any() else []), "depth", "width"]
    numbers = {name: ["" if pd.isna(value) else f"{value:.2f}" for value in capacity[name]] for name in PROPORTIONS}
    steep = [_slope(value) for value in capacity["sharpness"]]
    return capacity[[*known, "n_params", "functional_dim"]].assign(
        **{"N50 (95 %)": [_marked(row) for _, row in capacity.iterrows()]},
        **numbers,
        sharpness=pd.Series(steep, index=capacity.index).where(capacity["n50"].notna(), ""),
        stuck=[f"{share:.0%}" if share else "" for share in capacity["stuck"]],
        n_cells=capacity["n_cells"],
    )


def _marked(capacity: pd.Series) -> str:
    """N50 in words, with a mark where it is near the edge of the counts tried."""
    near = what_is_known(capacity) == "value" and capacity["at_edge"]
    return f"{spell_capacity(capacity)}{' *' * bool(near)}"


def _slope(value: float) -> str:
    return "step" if value == math.inf else f"{value:.{0 if value >= 10 else 1}f}"


def evidence_block(evidence: pd.DataFrame) -> Block:
    """One line for each variant: what it pulls and changes, seeds that memorized, when, what is left, and what it cost."""
    shown = pd.DataFrame(
        {
            "change": evidence["setting"],
            "lever": evidence["levers"],
            "memorized": [f"{k}/{n}" for k, n in zip(evidence["n_memorized"], evidence["n_seeds"], strict=True)],
            "fresh": [f"{k}/{n}" if n else "" for k, n in zip(evidence["n_fresh_memorized"], evidence["n_fresh"], strict=True)],
            "epoch": [spell_epochs(value) for value in evidence["median_epoch_to_tau"]],
            "tau left": [spell_tau(row) for _, row in evidence.iterrows()],
            "cost": ["-" if math.isnan(value) else f"{value:.2g}" for value in evidence["cost"]],
        }
    )
    if len(past_tau(evidence)[1]):
        shown.insert(6, "lost", [f"{k}/{n}" for k, n in zip(evidence["n_lost"], evidence["n_reached"], strict=True)])
    cost = "training FLOPs over those of the asked budget"
    left = "the loss over that of the best constant prediction"
    title = f"medians over seeds; fresh: seeds that chose no change; tau left: {left}; cost: {cost}"
    return Block(title, shown, ["change", "lever"], ["cost", "epoch", "lever"], "tables/evidence.csv")


def worth_showing(evidence: pd.DataFrame) -> pd.DataFrame:
    """The rows of a diagnosis in the order of what they tell: as asked, the remedy, what else memorizes, the cheapest first,
    and then what came closest.
    """
    share = (evidence["n_memorized"] / evidence["n_seeds"]).fillna(0)
    works = share >= MAJORITY
    order = pd.DataFrame(
        {
            "asked": np.arange(len(evidence)) > 0,
            "remedy": evidence["setting"] != verdict(evidence).change,
            "fails": ~works,
            "share": -share.where(works, 0),
            "cost": evidence["cost"].where(works, 0).fillna(math.inf),
            "left": evidence["median_final_tau"].fillna(math.inf),
        }
    )
    return evidence.loc[order.sort_values(list(map(str, order)), kind="stable").index]


def compared_shape(table: pd.DataFrame) -> str:
    """One line for a shape that has been compared: every peer's speed, or why it has none."""
    sides = [
        f"{row['peer']} {row['gflops']:.3g}" if pd.isna(row["error"]) else f"{row['peer']}: {row['error']}"
        for _, row in table.iterrows()
    ]
    return f"{spelled_shape(table.iloc[0])}: GFLOP/s of {', '.join(sides)}"


def spelled_shape(row: pd.Series) -> str:
    """The shape of a row of a comparison; without dropout none is named."""
    return ", ".join(f"{name} {row[name]}" for name in SHAPE if name != "dropout" or row[name])


def comparison_block(summary: pd.DataFrame) -> Block:
    """One line for each peer: its share of the peak, how many times slower it is than ours, memory, and energy if known."""
    columns = {
        "library": summary["label"],
        "shapes": summary["n_shapes"].astype(str),
        "GFLOP/s": [_spell_range(row, "gflops", "{:.3g}") for _, row in summary.iterrows()],
        "of the peak": [_spell_range(row, "of_peak", "{:.1%}") for _, row in summary.iterrows()],
        "times slower": [_spell_range(row, "slower", "{:.3g}") for _, row in summary.iterrows()],
        "most MB": ["-" if math.isnan(value) else f"{value:.0f}" for value in summary["peak_memory_mb"]],
    }
    if summary["joules_per_tflop"].notna().any():
        columns["J/TFLOP"] = [_spell_range(row, "joules_per_tflop", "{:.3g}") for _, row in summary.iterrows()]
    peak = f"{summary['peak_gflops'].iloc[0]:.0f} GFLOP/s ({summary['peak'].iloc[0]})"
    title = f"geometric means over shapes, least and largest in brackets; GFLOP/s count useful work; the peak is {peak}"
    spare = ["most MB", "J/TFLOP", "shapes", "GFLOP/s"]
    return Block(title, pd.DataFrame(columns), ["library"], spare, "tables/summary.csv")


def _spell_range(row: pd.Series, name: str, form: str) -> str:
    if math.isnan(row[name]):
        return "-"
    return " ".join([form.format(row[name]), f"({form.format(row[f'{name}_low'])} to {form.format(row[f'{name}_high'])})"])


def asked_cell(group: pd.Series) -> str:
    """The cell that variants vary: its sizes, and every other field that is not at its default."""
    named = [name for name in GROUP_FIELDS if name in ALWAYS_NAMED or not same(group[name], DEFAULTS[name])]
    fields = " ".join(spell(name, group[name]) for name in named if name != "regularization")
    return f"asked: {fields} ({group['n_params']} parameters, functional dimension {group['functional_dim']})"


def signal_blocks(signal: pd.DataFrame) -> list[Block]:
    """What reaches the layers of each untrained network; the last layer is the output."""
    blocks = []
    for setting, own in signal.groupby("setting", sort=False) if len(signal) else []:
        numbers = {name: ["-" if pd.isna(value) else f"{value:.2g}" for value in own[name]] for name in LAYER_COLUMNS[1:]}
        table = pd.DataFrame({"layer": own["layer"].astype(int).astype(str), **numbers})
        title = str(setting) if blocks else f"{SIGNAL_TITLE}\n{setting}"
        blocks.append(Block(title, table, file="tables/signal_propagation.csv"))
    return blocks


def spell_epochs(value: float) -> str:
    """A median epoch; "never" where it is infinite, "" where nothing was measured."""
    return "" if math.isnan(value) else "never" if math.isinf(value) else f"{value:.0f}"


def spell_tau(row: pd.Series) -> str:
    """The final tau of a group; "diverged" where no seed stayed finite, "-" where none has a result."""
    if row["n_seeds"] == 0:
        return "-"
    return f"{row['median_final_tau']:.3g}" if math.isfinite(row["median_final_tau"]) else "diverged"


def _entry(group: pd.Series) -> str:
    if group["n_seeds"] == 0:
        return "failed" if group["n_failed"] else "pending"
    if group["n_memorized"] == 0:
        return "-"
    median, share = spell_epochs(group["median_epoch_to_tau"]), f"{group['n_memorized']}/{group['n_seeds']}"
    return " ".join([*([] if median == "never" else [median]), *([share] if group["n_memorized"] < group["n_seeds"] else [])])
