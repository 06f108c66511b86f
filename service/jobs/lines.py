"""Rows as lines of a file: CSV with a header line, or NDJSON, in the wire format of `docs/reference/types.md`.

CSV as RFC 4180 has it, but for the line feed that ends a line, as PostgreSQL's COPY and import files have it. NULL is nothing at
all, an empty text is `""`. A cell that a spreadsheet would take for a formula gets an apostrophe before it, unless it is a number.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from service.db.wire import render
from service.jobs.opening import Format

Formulas = Literal["quote", "keep"]
"""What is done to cells that begin like a formula."""


@dataclass(frozen=True, slots=True)
class Style:
    """How a file is written.

    Attributes:
        format: what its lines are.
        formulas: what is done to cells that begin like a formula; NDJSON has none.
    """

    format: Format
    formulas: Formulas = "quote"


BEGINNINGS = frozenset("=+-@\t\r")
NUMBER = re.compile(r"-\d+(\.\d+)?([eE][-+]?\d+)?", re.ASCII).fullmatch
SPECIAL = re.compile(r'[",\r\n]').search
EMPTY = '""'


def csv_line(cells: Sequence[str | None], formulas: Formulas) -> str:
    """A line of CSV, with its end."""
    written = ",".join([_cell(cell, formulas) for cell in cells])
    return f"{written or EMPTY}\n"  # a blank line would be read as none


def json_line(row: Mapping[str, Any]) -> str:
    """A line of NDJSON, with its end."""
    return render(row).decode() + "\n"


def cells_of(row: Mapping[str, Any], structured: Collection[str]) -> list[str | None]:
    """A row as the texts of its cells.

    Args:
        row: member -> value, ready to be rendered.
        structured: the members that hold JSON, of which a text is JSON too.
    """
    return [_text(value, structured=name in structured) for name, value in row.items()]


def _text(value: Any, *, structured: bool) -> str | None:
    if value is None or (isinstance(value, str) and not structured):
        return value
    text = render(value).decode()
    if text == "null":
        return None
    return json.loads(text) if text.startswith('"') and not structured else text


def _cell(text: str | None, formulas: Formulas) -> str:
    if text is None:
        return ""
    if not text:
        return EMPTY
    if text[0] in BEGINNINGS and formulas == "quote" and not NUMBER(text):
        text = "'" + text
    return '"' + text.replace('"', '""') + '"' if SPECIAL(text) else text
