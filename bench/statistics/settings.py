"""How a table names what varies in it: the axes of the maps, and the settings that set one map apart from another."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bench.protocol.cells import SECOND_ORDER, STRENGTHS
from bench.statistics.survival import GROUP_FIELDS

# The axes of the maps; every other field that varies makes a setting.
MAP_AXES = ("depth", "width", "n_samples")

# What tells how a network is trained, and not which, on what. Of optimizer=lm the rate and what goes with it are placeholders,
# and its precision and iterations go with it: cells of other optimizers are not told apart from its own by these.
OF_TRAINING = (
    *("optimizer", "amsgrad", "learning_rate", "lr_schedule", "momentum", "beta1", "beta2", "eps", "batch_size", "shuffle"),
    *("dtype", "max_epochs"),
)

# The setting of the cell that variants vary.
AS_ASKED = "as asked"


def varying(table: pd.DataFrame, *, among: tuple[str, ...] = GROUP_FIELDS) -> list[str]:
    """The fields that take more than one value, in the order of `among`."""
    return [name for name in among if len(table[name].drop_duplicates()) > 1]


def swept_fields(groups: pd.DataFrame) -> list[str]:
    """The fields that vary, the axes of the maps first, without strengths that the name of a regularization stands for."""
    by_name = groups.groupby("regularization")
    names = [name for name in varying(groups) if name not in STRENGTHS or by_name[name].nunique(dropna=False).max() > 1]
    return [*(name for name in MAP_AXES if name in names), *(name for name in names if name not in MAP_AXES)]


def setting_fields(groups: pd.DataFrame) -> tuple[list[str], list[str]]:
    """The fields that name the settings of a table: of its rows by gradients, and of those of optimizer=lm.

    They are the fields beside MAP_AXES that vary. Beside rows of lm, others are named as they are without these, and by
    their optimizer where nothing else is left; those of lm by that, by what the networks and tasks differ in, and by what of
    their own training varies.
    """
    names = [name for name in swept_fields(groups) if name not in MAP_AXES]
    solved = groups["optimizer"] == SECOND_ORDER
    if solved.all() or not solved.any():
        return names, names
    tasks = [name for name in names if name not in OF_TRAINING]
    others, own = (
        [name for name in names if name in tasks or (name in OF_TRAINING and name in varying(groups[side]))]
        for side in (~solved, solved)
    )
    return others or ["optimizer"], [name for name in names if name in (*own, "optimizer")]


def label_settings(groups: pd.DataFrame, *, variants: bool = False) -> pd.Series:
    """For each row the name of its setting: its `setting_fields` with their values.

    Strengths are named only where they vary under one name of a regularization. A table without settings has one, "all cells".
    `variants` of the first row are named by what each changes in it: then the axes of the maps count too.
    """
    if variants:
        return pd.Series([_change(row, groups.iloc[0]) for _, row in groups.iterrows()], index=groups.index)
    others, solved = setting_fields(groups)
    if not others:
        return pd.Series("all cells", index=groups.index)
    names = [solved if optimizer == SECOND_ORDER else others for optimizer in groups["optimizer"]]
    labels = [_label(row, own) for own, (_, row) in zip(names, groups.iterrows(), strict=True)]
    return pd.Series(labels, index=groups.index, dtype=object)


def strengths_on(row: pd.Series) -> list[str]:
    """The strengths that act in a row."""
    return [name for name in STRENGTHS if acts(row[name])]


def regularized(cells: pd.DataFrame) -> pd.Series:
    """For each row whether any strength acts in it."""
    strengths = cells[list(STRENGTHS)]
    return (strengths.notna() & strengths.ne(0).fillna(False)).any(axis=1)


def acts(strength: Any) -> bool:
    """Whether a strength of this value does anything: it is neither absent nor 0."""
    return bool(not pd.isna(strength) and strength != 0)


def _label(row: pd.Series, names: list[str]) -> str:
    """The row's values of these fields; strengths only where they act, where they stand for a regularization of their name."""
    shown = [name for name in names if name not in STRENGTHS or name in strengths_on(row)]
    # What labels are told by does not use it.
    if "tau" in shown and row["criterion"] == "recall":
        shown.remove("tau")
    if "regularization" in shown and row["regularization"] in shown:
        shown.remove("regularization")
    return ", ".join(spell(name, row[name]) for name in shown)


def changed_fields(row: pd.Series, first: pd.Series) -> list[str]:
    """The fields of a cell, but for its seeds, in which two rows differ."""
    names = list(GROUP_FIELDS)
    return [
        name for name, own, other in zip(names, row[names].tolist(), first[names].tolist(), strict=True) if not same(own, other)
    ]


def _change(row: pd.Series, first: pd.Series) -> str:
    """What a variant changes, as a user would ask for it; a name of strengths only where it is all that differs."""
    changed = changed_fields(row, first)
    if set(changed) & set(STRENGTHS) and "regularization" in changed:
        changed.remove("regularization")
    if "optimizer" in changed and row["optimizer"] == SECOND_ORDER:
        # What it has none of, and what goes with it.
        changed = [name for name in changed if name not in OF_TRAINING or name == "optimizer"]
    return ", ".join(spell(name, row[name]) for name in changed) or AS_ASKED


def spell(name: str, value: Any) -> str:
    """A field and its value as a user asks for them; a regularization by its name alone."""
    if name == "regularization":
        return "no regularization" if value == "none" else str(value)
    if pd.isna(value):
        return f"{name}=null"
    if isinstance(value, float):
        return f"{name}={value:g}"
    return f"{name}={str(value).lower() if isinstance(value, bool) else value}"


def same(a: Any, b: Any) -> bool:
    """Whether two values of a field are one; absent equals absent."""
    return bool(pd.isna(a) and pd.isna(b)) or bool(not pd.isna(a) and not pd.isna(b) and a == b)
