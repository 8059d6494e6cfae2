"""Names and numbers as a reader says them: settings in words, intervals, minus signs."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from bench.protocol.cells import NO_TAU, SECOND_ORDER, STRENGTHS
from bench.statistics.settings import setting_fields, strengths_on

# What a table without settings calls its one, and how it is said.
ALL_CELLS, ALL_NETWORKS = "all cells", "all networks"
UNREGULARIZED = "no regularization"

# Settings that differ in more fields than these are protocols of their own: their names are for tables, they compare with none.
MOST_FIELDS = 4

# What fields are called whose names are no words.
FIELDS_IN_WORDS = {
    "n_samples": "samples",
    "d_in": "inputs",
    "n_classes": "classes",
    "n_outputs": "outputs",
    "n_val": "validation samples",
    "lr_schedule": "schedule",
}

# What tells how somebody's own networks train.
TRAINED = ("optimizer", "learning_rate", "batch_size")

MINUS, TIMES = "\u2212", "\u00d7"


def settings_in_words(groups: pd.DataFrame) -> dict[str, str]:
    """What each setting of a run is called in words, strengths with their values; two that would be called alike keep theirs.

    Args:
        groups: of a product of lists or of a search, with their `setting`.
    """
    others, solved = setting_fields(groups)
    first = groups.drop_duplicates("setting")
    said = {
        str(row["setting"]): _in_words(row, solved if row["optimizer"] == SECOND_ORDER else others)
        for _, row in first.iterrows()
    }
    alike = [words for words in said.values() if list(said.values()).count(words) > 1]
    return {setting: setting if words in alike else words for setting, words in said.items()}


def worded(table: pd.DataFrame, groups: pd.DataFrame) -> pd.DataFrame:
    """A table of a run with its settings in words."""
    if table.empty:
        return table
    words = settings_in_words(groups) | {ALL_CELLS: ALL_NETWORKS}
    columns = [name for name in ("setting", "over") if name in table]
    return table.assign(**{name: table[name].map(lambda one: words.get(str(one), str(one))) for name in columns})


def _in_words(row: pd.Series, names: list[str]) -> str:
    if row["setting"] == ALL_CELLS:
        return ALL_NETWORKS
    parts = []
    if "regularization" in names or set(names) & set(STRENGTHS):
        acting = [say(name, row[name]) for name in strengths_on(row)]
        named = str(row["regularization"]).replace("_", " ")
        parts += acting or [UNREGULARIZED if named == "none" else named]
    # What labels are told by does not use tau.
    left_out = ("regularization", *STRENGTHS, *(["tau"] if row["criterion"] == "recall" else []))
    return ", ".join([*parts, *(say(name, row[name]) for name in names if name not in left_out)])


def field(name: str) -> str:
    """What a field is called in words.

    >>> field("n_samples"), field("learning_rate")
    ('samples', 'learning rate')
    """
    return FIELDS_IN_WORDS.get(name, name).replace("_", " ")


def say(name: str, value: Any) -> str:
    """A field and its value in words.

    >>> say("weight_decay", 0.001), say("shuffle", True), say("batch_size", None)
    ('weight decay 0.001', 'shuffle on', 'no batch size')
    """
    words = field(name)
    if name == "tau" and value == NO_TAU:
        return "to the end of the budget"
    if pd.isna(value):
        return f"no {words}"
    if isinstance(value, bool):
        return f"{words} {'on' if value else 'off'}"
    return f"{words} {value:g}" if isinstance(value, float) else f"{words} {str(value).replace('_', ' ')}"


def unspelled(setting: str) -> str:
    """A setting as a table spells it, in words.

    >>> unspelled("weight_decay=0.001, optimizer=adamw")
    'weight decay 0.001, optimizer adamw'
    """
    return setting.replace("_", " ").replace("=", " ")


def is_protocol(setting: str) -> bool:
    """Whether a setting differs from others in too many fields to be told by them.

    >>> is_protocol("dropout=0.1"), is_protocol("d_in=8, loss=mse, optimizer=adam, tau=0.1, dtype=float64")
    (False, True)
    """
    return setting.count(",") >= MOST_FIELDS


def under(words: str) -> str:
    """Where something holds that holds for networks of a setting.

    >>> under("no regularization"), under("dropout 0.1"), under("all networks")
    (' without regularization', ' with dropout 0.1', '')
    """
    if words == ALL_NETWORKS:
        return ""
    rest = words.removeprefix(UNREGULARIZED)
    return f" without regularization{rest}" if rest != words else f" with {words}"


def goal(table: pd.DataFrame) -> str:
    """What the cells of a table train to, with `criterion` and `tau`.

    >>> goal(pd.DataFrame({"criterion": ["tau", "tau"], "tau": [0.01, 0.1]}))
    'to tau 0.01 to 0.1'
    >>> goal(pd.DataFrame({"criterion": ["recall", "tau"], "tau": [0.01, 0.1]}))
    'to every label, or to tau 0.1'
    """
    by_recall = table["criterion"] == "recall"
    taus = [f"to tau {span(table.loc[~by_recall, 'tau'])}"] if not by_recall.all() else []
    return ", or ".join(["to every label"] * bool(by_recall.any()) + taus)


def interval(low: str, high: str) -> str:
    """A 95 % interval as sentences write it.

    >>> interval("89", "95")
    '(95 %: 89 to 95)'
    """
    return f"(95 %: {low} to {high})"


def percent(low: float, high: float) -> str:
    """The same of a share.

    >>> percent(0.89, 0.954)
    '(95 %: 89 to 95 %)'
    """
    return interval(f"{100 * low:.0f}", f"{100 * high:.0f} %")


def trained_how(table: pd.DataFrame) -> pd.Series:
    """Of each row what its training differs in from others, of optimizer, rate and samples of a step; the rate where none does.

    >>> own = pd.DataFrame({"optimizer": "adam", "learning_rate": 0.1, "batch_size": [None, 8]})
    >>> trained_how(own).tolist()
    ['all samples a step', '8 samples a step']
    """
    varied = [name for name in TRAINED if len(table[name].unique()) > 1]
    said = {
        "optimizer": str,
        "learning_rate": lambda value: f"learning rate {value:g}",
        "batch_size": lambda value: "all samples a step" if pd.isna(value) else f"{value:.0f} samples a step",
    }
    parts = [table[name].astype(object).map(said[name]) for name in varied or ["learning_rate"]]
    return pd.Series([", ".join(own) for own in zip(*parts, strict=True)], table.index, dtype=object)


def signed(text: str) -> str:
    """The text with minus signs in front of its negative numbers, where a hyphen stood.

    >>> signed("-0.76 to -0.50, init_scale=-1, 1e-06, U(-2, 2), 2-3").replace(MINUS, "~")
    '~0.76 to ~0.50, init_scale=-1, 1e-06, U(~2, 2), 2-3'
    """
    return re.sub(r"(?<![\w.=\-])-(?=\d)", MINUS, text)


def formula(text: str) -> str:
    """A formula with the signs of print.

    >>> formula("P - depth*width").replace(MINUS, "~").replace(TIMES, "x")
    'P ~ depth x width'
    """
    return text.replace(" - ", f" {MINUS} ").replace("*", f" {TIMES} ")


def unbroken(text: str) -> str:
    """The text with its percent signs bound to their numbers, for a page that breaks lines."""
    return text.replace(" %", "\u00a0%")


def capitalized(text: str) -> str:
    """The text with its first letter large."""
    return text[:1].upper() + text[1:]


def span(values: pd.Series) -> str:
    """One value, or the least and the most.

    >>> span(pd.Series([0.1, 0.1])), span(pd.Series([1000, 5000]))
    ('0.1', '1000 to 5000')
    """
    low, high = values.min(), values.max()
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
