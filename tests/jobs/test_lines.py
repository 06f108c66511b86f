"""Rows as lines: CSV that readers read back, NULL and an empty text apart, nothing that a spreadsheet would calculate."""

import csv
import datetime
import decimal
import enum
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.jobs.lines import Formulas, cells_of, csv_line, json_line

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


class Weather(enum.Enum):
    """An enum whose value needs quotation marks."""

    ODD = 'so-so, "mixed"'


@given(st.lists(st.none() | TEXT, min_size=1, max_size=5))
def test_a_reader_reads_what_was_written(cells: list[str | None]) -> None:
    (read,) = csv.reader(io.StringIO(csv_line(cells, "keep"), newline=""))
    assert read == [cell or "" for cell in cells]


@given(st.lists(TEXT, min_size=1, max_size=5))
def test_no_cell_begins_a_formula(cells: list[str]) -> None:
    (read,) = csv.reader(io.StringIO(csv_line(cells, "quote"), newline=""))
    for cell, found in zip(cells, read, strict=True):
        assert found.removeprefix("'") == cell or found == cell
        assert found[:1] not in {"=", "+", "@", "\t", "\r"}
        assert found[:1] != "-" or float(found) < 0 or float(found) == 0


@pytest.mark.parametrize(
    ("cells", "formulas", "line"),
    [
        (["a", None, "", "b"], "quote", 'a,,"",b\n'),
        ([None], "quote", '""\n'),
        ([""], "quote", '""\n'),
        ([None, None], "quote", ",\n"),
        (['say "it", now'], "quote", '"say ""it"", now"\n'),
        (["two\nlines", "two\r\nlines"], "quote", '"two\nlines","two\r\nlines"\n'),
        ([" spaced "], "quote", " spaced \n"),
        (["=1+1", "+1", "-1+1", "@x", "\tx", "\rx"], "quote", "'=1+1,'+1,'-1+1,'@x,'\tx,\"'\rx\"\n"),
        (["=1+1", "@x"], "keep", "=1+1,@x\n"),
        (["-1", "-1.50", "-1e-7", "-", "--1", "-1e", "- 1"], "quote", "-1,-1.50,-1e-7,'-,'--1,'-1e,'- 1\n"),
        (["-\u0661"], "quote", "'-\u0661\n"),
        (['=HYPERLINK("x")'], "quote", '"\'=HYPERLINK(""x"")"\n'),
    ],
)
def test_a_line(cells: list[str | None], formulas: Formulas, line: str) -> None:
    assert csv_line(cells, formulas) == line


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, None),
        ("", ""),
        ("null", "null"),
        ('say "it"', 'say "it"'),
        (7, "7"),
        (10**30, "1" + 30 * "0"),
        (True, "true"),
        (0.1, "0.1"),
        (float("nan"), None),
        (decimal.Decimal("12.50"), "12.50"),
        (decimal.Decimal("NaN"), None),
        (datetime.date(1, 2, 3), "0001-02-03"),
        (datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC), "2026-01-31T12:00:00Z"),
        (datetime.timedelta(seconds=90.5), "90.5"),
        (b"\xfb\xff", "-_8="),
        (Weather.ODD, 'so-so, "mixed"'),
        ({"a": [1, None, "é"]}, '{"a":[1,null,"é"]}'),
        (["a", "b"], '["a","b"]'),
    ],
)
def test_a_value_as_a_cell(value: Any, cell: str | None) -> None:
    assert cells_of({"it": value}, ()) == [cell]


def test_a_text_of_json_is_told_from_text() -> None:
    assert cells_of({"it": "1", "that": "1", "none": None}, {"it", "none"}) == ['"1"', "1", None]


def test_a_line_of_json() -> None:
    assert json_line({"id": 1, "title": "two\nlines"}) == '{"id":1,"title":"two\\nlines"}\n'
