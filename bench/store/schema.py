"""What a part holds: its columns, the versions they are of, a row from an outcome, and cells from rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa

from bench.protocol.cells import DEFAULTS, FIELDS, LADDER, PROTOCOL_VERSION, Cell, Outcome, field_types
from bench.protocol.networks import functional_dim, n_out, n_params

SCHEMA_VERSION = 2
# The schemas whose folders this program goes on with: they lack nothing but fields of `LATER`, then at their defaults, and
# columns of LATER_COLUMNS, then absent.
GOES_ON = (SCHEMA_VERSION,)
VERSION_KEY, PROTOCOL_KEY = b"memcap_schema", b"memcap_protocol"

_ARROW = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string()}

RUNG_COLUMNS = tuple(f"epoch_to_{rung:g}" for rung in LADDER)


def _field_schema() -> list[pa.Field]:
    return [pa.field(name, next(_ARROW[kind] for kind in field_types()[name] if kind in _ARROW)) for name in FIELDS]


# Columns of counts that may be absent: pandas' nullable integers, where plain ones would turn into floats.
NULLABLE_FIELDS = tuple(name for name in FIELDS if field_types()[name] == (int, type(None)))
RECALLS = ("recalled", "epoch_to_recall", "epoch_to_recall_99")
OF_BITS = ("calibrated_bits", "calibrated_bits_per_param", "unstored_fraction")

# Columns of cells that were added when there were folders already.
LATER_COLUMNS = (*RECALLS, *OF_BITS)

EPOCHS = ("epoch_to_tau", "steps_to_tau", *RUNG_COLUMNS, "epochs_run")
INTEGERS = (*EPOCHS, "best_val_epoch", "jacobian_rank", *RECALLS)

SCHEMAS = {
    "cells": pa.schema(
        [
            pa.field("cell_id", pa.string()),
            *_field_schema(),
            pa.field("n_params", pa.int64()),
            pa.field("functional_dim", pa.int64()),
            pa.field("target_variance", pa.float64()),
            pa.field("status", pa.string()),
            pa.field("reason", pa.string()),
            *[pa.field(name, pa.int64()) for name in EPOCHS],
            *[pa.field(name, pa.float64()) for name in ("final_tau", "best_tau", "final_val_mse", "best_val_mse")],
            pa.field("best_val_epoch", pa.int64()),
            *[pa.field(name, pa.float64()) for name in ("memorized_bits", "bits_per_param")],
            pa.field("jacobian_rank", pa.int64()),
            pa.field("train_time_s", pa.float64()),
            pa.field("engine", pa.string()),
            pa.field("device", pa.string()),
            *[pa.field(name, pa.int64()) for name in RECALLS],
            *[pa.field(name, pa.float64()) for name in OF_BITS],
        ]
    ),
    "curves": pa.schema([("cell_id", pa.string()), ("epoch", pa.int64()), ("tau", pa.float64()), ("val_mse", pa.float64())]),
    "predictions": pa.schema(
        [("cell_id", pa.string()), ("sample", pa.int64()), ("target", pa.float64()), ("prediction", pa.float64())]
    ),
    "plan": pa.schema([pa.field("cell_id", pa.string()), *_field_schema()]),
}


class Origin(NamedTuple):
    """The versions under which a plan was written."""

    schema: str
    protocol: str

    def __str__(self) -> str:
        return f"schema {self.schema} and protocol {self.protocol}"

    def belongs(self, other: Origin) -> bool:
        """Whether results of both may stand beside each other: one protocol, and schemas that are the same or go on."""
        goes_on = {self.schema, other.schema} <= set(map(str, GOES_ON))
        return self.protocol == other.protocol and (self.schema == other.schema or goes_on)


# What this program writes.
OWN = Origin(str(SCHEMA_VERSION), str(PROTOCOL_VERSION))


def cells_of(table: pd.DataFrame) -> list[Cell]:
    """The cells that the rows of a table describe."""

    def value(name: str, entry: Any) -> Any:
        kind = next(kind for kind in field_types()[name] if kind in _ARROW)
        return None if pd.isna(entry) else kind(entry)

    return [
        Cell(**{name: value(name, entry) for name, entry in zip(FIELDS, row, strict=True)})
        for row in zip(*(table[name] for name in FIELDS), strict=True)
    ]


def completed(table: pa.Table, kind: str) -> pa.Table:
    """A table of another schema as one of this program's: fields that it lacks are at their defaults, other columns absent."""
    if "cell_id" not in table.column_names:
        raise pa.ArrowInvalid("it has no cell_id")
    columns = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else pa.array([DEFAULTS.get(field.name)] * len(table), field.type)
        for field in SCHEMAS[kind]
    ]
    return pa.table(columns, schema=SCHEMAS[kind]).replace_schema_metadata(table.schema.metadata)


def memorized_bits(cell: Cell, final_tau: float | None) -> float | None:
    """Bits that a fit down to `final_tau` proves stored: n_samples * 0.5 * log2(1 / tau), the Gaussian rate-distortion bound.

    Of several outputs it is that of each, as if all had the same tau, which takes the fewest bits. Only for normal targets and
    a finite tau; 0 where the fit is worse than predicting the mean.
    """
    if cell.target != "normal" or final_tau is None or not math.isfinite(final_tau):
        return None
    if final_tau == 0:
        return math.inf
    return cell.n_samples * n_out(cell) * max(0.0, 0.5 * math.log2(1 / final_tau))


def whole_bits(cell: Cell) -> float:
    """What there is to store of a cell's labels: n_samples * log2(n_classes)."""
    return cell.n_samples * math.log2(n_out(cell))


# Columns that are fields of an outcome.
_MEASURED = [name for name in Outcome._fields if name in SCHEMAS["cells"].names]
_fields_of, _measures_of = attrgetter(*FIELDS), attrgetter(*_MEASURED)


def columns_of(outcomes: Sequence[Outcome], ids: Sequence[str]) -> dict[str, Sequence[object]]:
    """The rows of outcomes as columns: a million of them are nothing unusual. `ids` are those of their cells."""
    cells = [outcome.cell for outcome in outcomes]
    params = list(map(n_params, cells))
    bits = [
        outcome.label_bits if cell.has_labels else memorized_bits(cell, outcome.final_tau)
        for cell, outcome in zip(cells, outcomes, strict=True)
    ]
    calibrated = [outcome.calibrated_bits for outcome in outcomes]
    return {
        "cell_id": ids,
        **_named(FIELDS, map(_fields_of, cells)),
        **_named(_MEASURED, map(_measures_of, outcomes)),
        "status": [outcome.status.value for outcome in outcomes],
        "n_params": params,
        "functional_dim": list(map(functional_dim, cells)),
        "steps_to_tau": [
            None if outcome.epoch_to_tau is None else outcome.epoch_to_tau * outcome.cell.steps_per_epoch
            for outcome in outcomes
        ],
        **_named(RUNG_COLUMNS, (outcome.rung_epochs for outcome in outcomes)),
        "memorized_bits": bits,
        "bits_per_param": _ratios(bits, params),
        "calibrated_bits_per_param": _ratios(calibrated, params),
        "unstored_fraction": [
            None if own is None or not cell.has_labels else 1 - own / whole_bits(cell)
            for cell, own in zip(cells, bits, strict=True)
        ],
    }


def _ratios(numbers: Sequence[float | None], by: Sequence[int]) -> list[float | None]:
    return [None if own is None else own / count for own, count in zip(numbers, by, strict=True)]


def _named(names: Sequence[str], rows: Iterable[Sequence[object]]) -> dict[str, Sequence[object]]:
    """Rows as columns with these names."""
    return dict(zip(names, zip(*rows, strict=True), strict=True))
