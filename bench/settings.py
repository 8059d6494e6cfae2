"""How a table names what varies in it: the axes of the maps, and the settings that set one map apart from another."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from bench.cells import STRENGTHS
from bench.survival import GROUP_FIELDS

# The axes of the maps; every other field that varies makes a setting.
MAP_AXES = ("depth", "width", "n_samples")

# Groups that make a map: two rows of two.
LEAST_MAP = 4


def varying(table: pd.DataFrame, *, among: tuple[str, ...] = GROUP_FIELDS) -> list[str]:
    """The fields that take more than one value, in the order of `among`."""
    return [name for name in among if len(table[name].drop_duplicates()) > 1]


def label_settings(groups: pd.DataFrame) -> pd.Series:
    """For each row the name of its setting: the fields beside MAP_AXES that vary, with their values.

    Strengths are named only where they vary under one name of a regularization. A table without settings has one, "all cells".
    A grid of variants around its first group (none a product of another) is named by what each changes: then the axes
    of the maps
    count too.
    """
    if is_variants(groups):
        first = groups.iloc[0]
        names = varying(groups)
        strengths = [name for name in names if name in STRENGTHS]
        changes = []
        for _, row in groups.iterrows():
            changed = [name for name in names if not _same(row[name], first[name])]
            if set(changed) & set(strengths):
                changed.remove("regularization")
            changes.append(", ".join(_spell(name, row[name]) for name in changed))
        return pd.Series([change or "as asked" for change in changes], index=groups.index)
    names = [name for name in varying(groups) if name not in MAP_AXES]
    swept = [name for name in STRENGTHS if groups.groupby("regularization")[name].nunique(dropna=False).max() > 1]
    names = [name for name in names if name not in STRENGTHS or name in swept]
    if not names:
        return pd.Series("all cells", index=groups.index)
    own = [[name for name in names if name not in STRENGTHS or _is_on(row[name])] for _, row in groups[names].iterrows()]
    labels = [
        ", ".join(_spell(name, row[name]) for name in listed) for listed, (_, row) in zip(own, groups.iterrows(), strict=True)
    ]
    return pd.Series(labels, index=groups.index)


def is_variants(groups: pd.DataFrame) -> bool:
    """Whether the groups vary the first one rather than make a product.

    So it is where they are fewer than half of the product of their values, and no setting has a map to draw.
    """
    names = [name for name in varying(groups) if name not in STRENGTHS]
    product = math.prod(len(groups[name].drop_duplicates()) for name in names)
    others = [name for name in varying(groups) if name not in MAP_AXES]
    if len(names) < 3 or not others or 2 * len(groups) >= product:
        return False
    return int(groups.groupby(others, dropna=False).size().max()) < LEAST_MAP


def _spell(name: str, value: Any) -> str:
    if name == "regularization":
        return "no regularization" if value == "none" else str(value)
    if pd.isna(value):
        return f"{name}=null"
    if isinstance(value, float):
        return f"{name}={value:g}"
    return f"{name}={str(value).lower() if isinstance(value, bool) else value}"


def _same(a: Any, b: Any) -> bool:
    return bool(pd.isna(a) and pd.isna(b)) or bool(not pd.isna(a) and not pd.isna(b) and a == b)


def _is_on(strength: Any) -> bool:
    return bool(not pd.isna(strength) and strength != 0)
