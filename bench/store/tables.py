"""Tables as CSV files in a folder, with a page that says what their columns are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from bench.protocol.columns import TABLES, readme
from bench.store.atomic import write_atomically

# Of so many rows or more, columns of few different values are written as categories, in a third less time.
MANY_ROWS, FEW_VALUES = 10_000, 1000

# What a spreadsheet takes for the beginning of a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_tables(folder: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    """Replace the tables of a folder by these, each a CSV file of its name, and write README.md beside them.

    Args:
        folder: is made if it is not there.
        tables: by name; each name and column stands in `bench.protocol.columns`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.csv"):
        if stale.stem not in tables:
            stale.unlink()
    for name, table in tables.items():
        safe = table.assign(**{str(name): own.map(_no_formula) for name, own in table.items() if _has_formulas(own)})
        quick = safe.apply(_as_category) if len(safe) >= MANY_ROWS else safe
        write_atomically(
            folder / f"{name}.csv",
            lambda partial, table=quick: table.to_csv(partial, index=False, na_rep="", chunksize=MANY_ROWS),
        )
    text = readme({name: [str(column) for column in tables[name]] for name in TABLES if name in tables})
    write_atomically(folder / "README.md", lambda partial: partial.write_text(text, encoding="utf-8"))


def _has_formulas(column: pd.Series) -> bool:
    """Looked for among the different values, which are few in tables of many rows."""
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return False
    return any(_no_formula(value) is not value for value in column.unique())


def _as_category(column: pd.Series) -> pd.Series:
    """The column, each value of which is then spelled once, if these are few and equal ones are spelled alike."""
    kind = column.dtype
    if kind == np.float64:
        alike = len(np.unique(np.signbit(column[column == 0]))) < 2  # 0.0 and -0.0 are equal.
    else:
        alike = isinstance(kind, pd.StringDtype) or pd.api.types.is_integer_dtype(kind) or pd.api.types.is_bool_dtype(kind)
    return column.astype("category") if alike and column.nunique() <= FEW_VALUES else column


def _no_formula(value: object) -> object:
    """The value; a text that a spreadsheet would take for a formula has an apostrophe before it.

    >>> _no_formula("=HYPERLINK(1)"), _no_formula("he_normal"), _no_formula(-1.5)
    ("'=HYPERLINK(1)", 'he_normal', -1.5)
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
