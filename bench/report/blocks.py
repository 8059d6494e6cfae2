"""What every page is made of: a layout, figures in the file itself, tables whose headers tell what they are, what ran where."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jinja2
import pandas as pd

from bench.protocol.columns import UNITS_IN_WORDS, columns_of
from bench.report.style import PNG_DPI

# CSS defines 96 pixels to the inch.
CSS_DPI = 96


def render(template: str, **values: Any) -> str:
    """A page: a template of this folder, which says what stands in layout.html, with these values."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(template).render(**values)


def image(path: Path) -> dict[str, str | int]:
    """A PNG file as base64, and the size in CSS pixels at which its text has the size it was drawn for."""
    data = path.read_bytes()
    # The header of a PNG file holds width and height in pixels at bytes 16 and 20, big-endian (PNG specification, IHDR).
    width, height = (round(int.from_bytes(data[at : at + 4], "big") * CSS_DPI / PNG_DPI) for at in (16, 20))
    return {"data": base64.b64encode(data).decode(), "width": width, "height": height}


def as_json(value: Any) -> str:
    r"""JSON to stand in a script of a page, which begins and ends at what strangers' names may hold: no "<" is left.

    >>> print(as_json(["<!--<script>"]))
    ["\u003c!--\u003cscript>"]
    """
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def table_html(
    table: pd.DataFrame, table_id: str, name: str, renamed: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> str:
    """A table as HTML. Each header has the scope of a column, and a tooltip with what it is in the table called `name`.

    `renamed`: the headers that are called otherwise there, with the columns that they stand for.
    """
    out = io.StringIO()
    # Absent integers would be spelled <NA>, whatever stands for absent floats.
    shown = table.astype({name: object for name in table if table[name].isna().any()})
    shown = shown.where(shown.notna(), "")
    shown.to_html(out, index=False, border=0, float_format=lambda value: f"{value:.3g}", na_rep="", table_id=table_id)
    headers = map(str, table)

    def titled(_: re.Match[str]) -> str:
        header = next(headers)
        about = "; ".join(tooltip(name, column) for column in renamed.get(header, (header,)))
        return f'<th scope="col" title="{html.escape(about)}">'

    return re.sub("<th>", titled, out.getvalue())


def tooltip(table: str, column: str) -> str:
    """What a column of a table is, and its unit."""
    known = columns_of(table)[column]
    return known.meaning if known.unit in UNITS_IN_WORDS else f"{known.meaning} [{known.unit}]"


def where(run: Mapping[str, Any]) -> dict[str, str]:
    """Machine, versions and commit of an entry of provenance.json; what is not known is empty."""
    commit, packages = run.get("commit"), run.get("packages", {})
    changed = " with changes" if run.get("dirty") else ""
    cpu = run.get("cpu", {})
    features = ", ".join(cpu.get("features", []))
    return {
        "machine": ", ".join(filter(None, [cpu.get("model"), run.get("system"), features])),
        "versions": ", ".join([f"Python {run.get('python') or ''}", *(f"{k} {v}" for k, v in packages.items() if v)]),
        "commit": f"{commit[:10]}{changed}" if commit else "",
    }
