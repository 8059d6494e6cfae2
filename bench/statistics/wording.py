"""Evidence -> the sentences of a verdict. Nothing is decided here; every number in them stands in the table."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from bench.protocol.cells import SECOND_ORDER, Cell
from bench.protocol.networks import HOMOGENEOUS, width_for
from bench.statistics.confirmation import MAJORITY
from bench.statistics.dimensions import samples_at_ceiling
from bench.statistics.evidence import (
    MOST_EQUATIONS,
    OWN_FIELDS,
    Cause,
    Lever,
    beyond_dimension,
    counts_of,
    draw_decides,
    equations,
    halving,
    levers_of,
    network_of,
    same_network,
    share_of,
)
from bench.statistics.settings import same, spell
from bench.statistics.survival import wilson_interval

# More alternatives than these are in the table, not in the sentence.
MOST_NAMED = 4

# What no variant changes.
UNTESTED = "Not tested: the scale of inputs and targets, the output activation."

# What torch.nn.Linear and torch.optim do where nothing is said (torch 2.9), and what AdamW does beside.
TORCH = {
    "init": "torch_default",
    "init_scale": 1.0,
    "learning_rate": 0.001,
    "momentum": 0.0,
    "beta1": 0.9,
    "beta2": 0.999,
    "eps": 1e-8,
    "amsgrad": False,
    "weight_decay": 0.0,
}
CLASSES = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}
ADAMW_DECAY = 0.01


def memorizable_as_it_is(asked: pd.Series) -> str:
    """How often the asked cell memorizes, and when."""
    epoch = f"by epoch {asked['median_epoch_to_tau']:.0f} in the median"
    return f"Memorizable as it is: {count(asked)} memorized ({interval(asked)}), {epoch}."


def held_back(cause: str, others: Sequence[Lever]) -> str:
    """What held the cell back."""
    together = f", together with {_list([named(lever) for lever in others])}" if others else ""
    return f"Held back by {named(cause)}{together}."


def optimizer_limited(best: pd.Series, asked: pd.Series, evidence: pd.DataFrame) -> str:
    """That the network holds its samples by optimizer=lm, which alone is confirmed."""
    hits, trials = (best["n_fresh_asked"], best["n_fresh"]) if best["n_fresh"] else (asked["n_memorized"], asked["n_seeds"])
    others = sum(row["optimizer"] != best["optimizer"] for row in same_network(evidence)) - 1
    return (
        f"Optimizer-limited: the network can hold its {asked['n_samples']} samples, and its training does not get there. By"
        f" Levenberg and Marquardt's method it does: {best['setting']} ({_outcome(best)}; as asked {hits} of {trials}); of"
        f" {others} other changes of its training none is confirmed."
    )


def nor_by_second_order(row: pd.Series | None, asked: pd.Series) -> list[str]:
    """What optimizer=lm makes of the asked network where it is not confirmed to memorize it; or that this is too large."""
    if row is None:
        count_of = equations(network_of(asked))
        if asked["optimizer"] == SECOND_ORDER or count_of <= MOST_EQUATIONS:
            return []
        most = f"more than the {MOST_EQUATIONS} that are solved in a diagnosis"
        return [f"Not tried by Levenberg and Marquardt's method: {count_of} equations in each iteration are {most}."]
    hits, trials = counts_of(row)
    by, seeds = "by Levenberg and Marquardt's method", f"{hits} of {trials} {'fresh ' * (row['n_fresh'] > 0)}seeds"
    if not row["n_memorized"]:
        return [f"Nor is it memorized {by}: {seeds}, and {left(row)} is left ({row['setting']})."]
    return [f"Whether it is memorized {by} is not confirmed: {seeds} ({row['setting']})."]


def smallest_change(best: pd.Series, asked: pd.Series, evidence: pd.DataFrame, *, fewer: bool) -> str:
    """The change that decides, beside the cell as asked; `fewer`: it is one of fewer samples."""
    what = "Of fewer samples it memorizes, confirmed" if fewer else "The smallest change confirmed"
    hits, trials = (best["n_fresh_asked"], best["n_fresh"]) if best["n_fresh"] else (asked["n_memorized"], asked["n_seeds"])
    tried = int((evidence["n_seeds"].iloc[1:] > 0).sum())
    return f"{what}, of {tried} tried: {best['setting']} ({_outcome(best)}; as asked {hits} of {trials})."


def listed(words: str, rows: Sequence[pd.Series]) -> list[str]:
    """The first of these rows with what came of them; nothing without any."""
    if not rows:
        return []
    first = "; ".join(f"{row['setting']} ({_outcome(row)})" for row in rows[:MOST_NAMED])
    return [f"{words}: {first}{f'; and {len(rows) - MOST_NAMED} more' if len(rows) > MOST_NAMED else ''}."]


def not_shown(lever: Lever, without: pd.Series | None) -> str:
    """That a lever of a remedy may be needless; `without` is the row that takes it away."""
    seen = "which was not tried" if without is None else "{} of {} do".format(*counts_of(without))
    return f"Whether {named(lever)} is needed for it is not shown: without that, {seen}."


def nothing_works(evidence: pd.DataFrame) -> str:
    """What was tried, at most how many seeds memorized, and what was left at least; never against the table."""
    asked, tried = evidence.iloc[0], evidence.iloc[1:]
    tried = tried[(tried["n_seeds"] > 0) & ~tried["levers"].str.contains(Lever.TASK)]
    if tried.empty:
        return f"no change was tried; as asked {left(asked)} is left"
    shares = tried["n_memorized"] / tried["n_seeds"]
    if shares.max() > 0:
        best = tried.iloc[int(shares.to_numpy().argmax())]
        return f"of {len(tried)} changes none is confirmed; the most, {best['setting']}, has {count(best)}"
    text = f"none of {len(tried)} changes memorizes"
    alike = tried[(tried["n_samples"] >= asked["n_samples"]) & tried["median_final_tau"].notna()]
    alike = alike.sort_values(["n_diverged", "median_final_tau"], kind="stable")
    if alike.empty:
        return text
    closest = alike.iloc[0]
    return f"{text}; as asked {left(asked)} is left, and by the closest, {closest['setting']}, {left(closest)}"


def may_work(asked: pd.Series, best: pd.Series) -> str:
    """That the best change is not confirmed."""
    more = "" if best["n_fresh"] else "; give more seeds, grid.seed=[0,1,2,3,4,5,6,7,8,9], from Python seeds=range(10)"
    return (
        f"{count(asked)} memorize as asked ({interval(asked)}), and of the changes at most {count(best)}"
        f" ({best['setting']}), which is not confirmed{more}"
    )


def halved(evidence: pd.DataFrame) -> str:
    """What epochs alone do to what is left, where fresh seeds confirm that they halve it; else nothing."""
    row = halving(evidence)
    if row is None:
        return ""
    hits, trials = int(row["n_fresh_halved"]), int(row["n_fresh"])
    return (
        f"{row['setting']} leaves {left(row)}, where as asked {left(evidence.iloc[0])} is left: at most half, in {hits} of"
        f" {trials} fresh seeds ({_percent(hits, trials)})."
    )


def budget_beside(asked: pd.Series, evidence: pd.DataFrame) -> list[str]:
    """What is known of the budget where the capacity is too small anyway."""
    if confirmed := halved(evidence):
        return [f"Training had not ended either: {confirmed}"]
    longer = [row for row in same_network(evidence) if row["levers"] == Lever.BUDGET]
    if not longer:
        return []
    last = max(longer, key=lambda row: row["max_epochs"])
    return [f"As for the budget, {last['setting']} leaves {left(last)}, where as asked {left(asked)} is left."]


def what_it_takes(asked: pd.Series, evidence: pd.DataFrame, remedies: Sequence[pd.Series]) -> list[str]:
    """For the asked n_samples: the dimensions, the budget, and where the frontier of this network was seen."""
    sentences = [*dimensions(asked), *budget_beside(asked, evidence)]
    if remedies[0]["n_samples"] == asked["n_samples"]:
        return sentences
    reached = max((row["n_samples"] for row in remedies if Lever.NETWORK not in levers_of(row)), default=0)
    own = evidence[~evidence["levers"].str.contains(f"{Lever.NETWORK}|{Lever.TASK}")]
    beyond = own.loc[(own["n_samples"] > reached) & (own["n_samples"] <= asked["n_samples"]), "n_samples"].min()
    if asked["depth"] and reached:
        dimensions_for = samples_at_ceiling(asked)
        sentences.append(
            f"This network memorized {reached} samples and not {beyond}: its frontier lies between, at"
            f" {reached / dimensions_for:.2g} to {beyond / dimensions_for:.2g} of its functional dimension."
        )
    networks = evidence[(evidence["n_samples"] == asked["n_samples"]) & evidence["levers"].str.contains(Lever.NETWORK)]
    networks = networks[(networks["n_seeds"] > 0) & ~networks["levers"].str.contains(Lever.TASK)]
    if len(networks):
        best = networks.iloc[int((networks["n_memorized"] / networks["n_seeds"]).to_numpy().argmax())]
        most = f"at most {count(best)}: {best['setting']}" if best["n_memorized"] else "no seed of any"
        sentences.append(
            f"Of {len(networks)} trainings of other networks none is confirmed to memorize all {asked['n_samples']} ({most})."
        )
    return sentences


def dimensions(asked: pd.Series) -> list[str]:
    """What the count of dimensions says against the asked samples, where these are beyond it."""
    if not beyond_dimension(asked):
        return []
    if asked["depth"] == 0:
        return [
            f"A linear model fits any {asked['d_in'] + 1} samples (d_in + 1); of {asked['n_samples']} it leaves"
            f" {100 * (1 - (asked['d_in'] + 1) / asked['n_samples']):.3g} % of the variance on average."
        ]
    source = "Grigsby et al. 2022, arXiv 2209.04036" if asked["activation"] in HOMOGENEOUS else "Sard 1942"
    text = (
        f"n_samples{' times n_outputs' if asked['n_outputs'] > 1 else ''} is"
        f" {asked['n_samples'] / samples_at_ceiling(asked):.3g} times the functional dimension"
        f" ({asked['functional_dim']}): no exact fit of generic continuous targets exists"
        f" ({'linear algebra' if asked['trainable'] == 'readout' else source})"
    )
    fields = ("n_outputs", "d_in", "depth", "width", "activation", "trainable")
    width = width_for(Cell(**{name: _plain(asked[name]) for name in fields}), float(asked["n_samples"]))
    return [f"{text}; at depth {asked['depth']} no width below {width} has as many."] if width else [f"{text}."]


def _plain(value):
    """A number of a table as Python's own."""
    return value.item() if hasattr(value, "item") else value


def past_the_threshold(asked: pd.Series, past: pd.DataFrame, *, lost: bool) -> list[str]:
    """What becomes of what was memorized when training goes on, and which calmer trainings keep it; `lost`: it surely is."""
    own = [row for _, row in past.iterrows() if row["levers"] == Lever.TASK and row["n_reached"]]
    if not own:
        return []
    (row,) = own
    reached, gone = int(row["n_reached"]), int(row["n_lost"])
    medians = f"in the median tau is {row['median_best_tau']:.2g} at its lowest and {_ended(row)} at the end"
    seeds = f"{gone} of the {reached} seeds that reach tau {asked['tau']:g} end above it ({_percent(gone, reached)})"
    head = "Memorized and then lost" if lost else "Trained on past tau"
    text = f"{head}, over {row['max_epochs']} epochs: {seeds}; {medians}."
    if not gone:
        return [text]
    calmer = [other for _, other in past.iterrows() if other["levers"] != Lever.TASK and other["n_reached"]]
    keeping = [other for other in calmer if not other["n_lost"]]
    kept = "; ".join(f"{_calmer(asked, other)} ({other['n_reached']} of {other['n_seeds']} seeds)" for other in keeping)
    if keeping:
        return [text, f"Kept to the end by (the same seeds, unconfirmed): {kept}."]
    return [text, f"None of {len(calmer)} calmer trainings keeps it."] if calmer else [text]


def _calmer(asked: pd.Series, row: pd.Series) -> str:
    """What a training past tau changes beside the threshold."""
    return ", ".join(spell(name, row[name]) for name in OWN_FIELDS if name != "tau" and not same(row[name], asked[name]))


def _ended(row: pd.Series) -> str:
    return f"{row['median_final_tau']:.2g}" if math.isfinite(row["median_final_tau"]) else "not finite"


def luck(asked: pd.Series) -> list[str]:
    """How often the asked cell memorizes, where it surely does so now and then."""
    return [f"As asked, the draw decides: {count(asked)} memorized ({interval(asked)})."] if draw_decides(asked) else []


def diverging(asked: pd.Series, rows: Sequence[pd.Series]) -> list[str]:
    """That the asked rate diverges, and the largest lower one that was not seen to."""
    if not asked["n_diverged"]:
        return []
    lower = [row for row in rows if row["levers"] == Lever.LEARNING_RATE and row["learning_rate"] < asked["learning_rate"]]
    calm = max(
        (row for row in lower if row["n_seeds"] and not row["n_diverged"]), key=lambda r: r["learning_rate"], default=None
    )
    beside = "" if calm is None else f", none of {calm['n_seeds']} at {calm['setting']}"
    diverged = f"{asked['n_diverged']} of {asked['n_seeds']} seeds diverged"
    return [f"The learning rate {asked['learning_rate']:g} is too high: {diverged}{beside}."]


def other_tasks(tried: pd.DataFrame) -> list[str]:
    """What memorizes where the inputs, the targets or the threshold are others: no remedy, but telling."""
    rows = [row for _, row in tried.iterrows() if Lever.TASK in levers_of(row) and row["n_seeds"]]
    return listed("On another task it memorizes", [row for row in rows if share_of(row) >= MAJORITY])


def without_results(tried: pd.DataFrame) -> list[str]:
    """How many changes have cells that failed."""
    failed = int((tried["n_failed"] > 0).sum())
    return [f"{failed} changes have failed cells (the reasons are in cells.csv)."] if failed else []


def with_one_seed(asked: pd.Series, tried: pd.DataFrame) -> list[str]:
    """Of how many changes there was time for one seed alone."""
    alone = int(
        ((tried["n_seeds"] == 1) & (tried["n_memorized"] == 0) & (tried["n_failed"] == 0) & (tried["n_pending"] == 0)).sum()
    )
    if not alone or asked["n_seeds"] < 2:
        return []
    changes = f"{alone} change{'s' * (alone != 1)} that did not memorize with it"
    return [f"For want of time {changes} had the first seed alone (give more with budget_s)."]


def not_tried(left_out: Sequence[str]) -> list[str]:
    """What there was no time for."""
    if not left_out:
        return []
    more = f"; and {len(left_out) - MOST_NAMED} more" if len(left_out) > MOST_NAMED else ""
    return [f"Not tried for want of time (give more with budget_s): {'; '.join(left_out[:MOST_NAMED])}{more}."]


def unlike_torch(asked: pd.Series) -> list[str]:
    """The settings that whoever writes torch.nn.Linear and an optimizer of torch.optim does not get."""
    if asked["optimizer"] not in CLASSES:
        return []
    theirs = TORCH | ({"weight_decay": ADAMW_DECAY} if asked["optimizer"] == "adamw" else {})
    other = [f"{spell(name, asked[name])} ({_value(value)})" for name, value in theirs.items() if not same(asked[name], value)]
    by = f"torch.nn.Linear under torch.optim.{CLASSES[asked['optimizer']]}"
    return [f"Unlike {by} as they come: {', '.join(other)}."] if other else []


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def left(row: pd.Series) -> str:
    """What is left of the variance."""
    return f"{100 * row['median_final_tau']:.3g} %" if math.isfinite(row["median_final_tau"]) else "everything (diverged)"


def count(row: pd.Series) -> str:
    """Seeds that memorized."""
    return f"{row['n_memorized']} of {row['n_seeds']} seeds"


def interval(row: pd.Series) -> str:
    """Of their share."""
    return _percent(int(row["n_memorized"]), int(row["n_seeds"]))


def named(lever: str) -> str:
    """A lever or a cause within a sentence."""
    return lever if lever in (Cause.CAPACITY, Lever.REGULARIZATION) else f"the {lever}"


def _outcome(row: pd.Series) -> str:
    hits, trials = counts_of(row)
    fresh = "fresh " * (row["n_fresh"] > 0)
    return f"{hits} of {trials} {fresh}seeds, {_percent(hits, trials)}, median epoch {row['median_epoch_to_tau']:.0f}"


def _percent(hits: int, trials: int) -> str:
    low, high = wilson_interval(hits, trials)
    return f"95 %: {100 * low:.0f} to {100 * high:.0f} %"


def _list(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
