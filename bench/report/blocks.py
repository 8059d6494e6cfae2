"""What every page is made of: a layout, figures in the file itself, tables whose headers tell what they are, what ran where."""

from __future__ import annotations

import base64
import hashlib
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

from bench.protocol.columns import TABLES, UNITS_IN_WORDS, columns_of

# CSS defines 96 pixels to the inch.
CSS_DPI = 96


# Stands in a page until its scripts and styles are known.
POLICY = "memcap-content-security-policy"


def render(template: str, **values: Any) -> str:
    """A page: a template of this folder, which says what stands in layout.html, with these values.

    Its Content-Security-Policy allows the page's own scripts and styles by their hashes, images within the page, and nothing
    else: what a run folder smuggled into a text would not run.
    """
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    text = environment.get_template(template).render(**values, policy=POLICY)
    hashes = {
        kind: " ".join(_hashed(block) for block in re.findall(rf"<{kind}>(.*?)</{kind}>", text, re.DOTALL)) or "'none'"
        for kind in ("script", "style")
    }
    allowed = f"script-src {hashes['script']}; style-src {hashes['style']}"
    return text.replace(POLICY, f"default-src 'none'; img-src data:; {allowed}; base-uri 'none'; form-action 'none'", 1)


def inlined(name: str) -> str:
    """A file of this folder as a page holds it in a script or style element."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _hashed(block: str) -> str:
    """How a Content-Security-Policy names an inline script or style (CSP level 3, section 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()}'"


def image(path: Path) -> dict[str, str | int]:
    """A PNG file as base64, and the size in CSS pixels at which its text has the size it was drawn for."""
    # A page without figures needs no library that draws them, which takes a while to import.
    from bench.report.style import PNG_DPI

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
        about = "; ".join(tooltip(*_of(name, column)) for column in renamed.get(header, (header,)))
        return f'<th scope="col" title="{html.escape(about)}">'

    # An inline style is what a strict Content-Security-Policy forbids; the page's own says how rows are aligned.
    return re.sub("<th>", titled, out.getvalue().replace(' style="text-align: right;"', ""))


def _of(table: str, column: str) -> tuple[str, str]:
    """A column as `table.column`, where it is one of another table."""
    other, _, own = column.rpartition(".")
    return (other, own) if other in TABLES else (table, column)


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
