"""The sample count at which a network's dimensions are used up, of rows of tables: its ceiling, where theory has one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, overload

import pandas as pd


@overload
def samples_at_ceiling(table: pd.DataFrame) -> pd.Series: ...
@overload
def samples_at_ceiling(table: Mapping[Any, Any] | pd.Series) -> float: ...
def samples_at_ceiling(table):
    """`functional_dim` over `n_outputs`: as many equations as a sample has targets. As of `bench.protocol.networks` for a cell.

    Of labels, whose `n_outputs` is 1, it is the functional dimension, which bounds no recall. A table without `n_outputs` is
    of one output, or its dimensions are over them already.

    Args:
        table: a table with `functional_dim`, or a row of one.

    Returns:
        A sample count for each row, or that of the row.

    >>> samples_at_ceiling({"functional_dim": 179, "n_outputs": 2}), samples_at_ceiling({"functional_dim": 145})
    (89.5, 145.0)
    """
    return table["functional_dim"] / table.get("n_outputs", 1)
