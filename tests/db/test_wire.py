"""One format for each type: what is written in an answer can be asked for in a URL, and a cursor gives back the same value."""

import datetime
import decimal
import enum
import json
import math
import uuid
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import types
from sqlalchemy.dialects import postgresql

from service.db.wire import clock, render, wire


class Size(enum.Enum):
    """An enum whose values are not its names."""

    BIG = "as big"
    SMALL = "as small"


MOMENTS = st.datetimes(datetime.datetime(1, 1, 2), datetime.datetime(9999, 12, 30))  # noqa: DTZ001  # also the naive ones
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
VALUES: list[tuple[types.TypeEngine[Any], st.SearchStrategy[Any]]] = [
    (types.SmallInteger(), st.integers(-(2**15), 2**15 - 1)),
    (types.Integer(), st.integers(-(2**31), 2**31 - 1)),
    (types.BigInteger(), st.integers(-(2**63), 2**63 - 1)),
    (types.Double(), st.floats(allow_nan=False, allow_infinity=False)),
    (types.Numeric(), st.decimals(allow_nan=False, allow_infinity=False, places=3)),
    (types.Numeric(), st.builds(decimal.Decimal, st.sampled_from(["1E+5", "1E-7", "0E-10", "-0", "12.50"]))),
    (types.Boolean(), st.booleans()),
    (types.Text(), TEXTS),
    (types.Enum(Size), st.sampled_from(Size)),
    (types.Enum("a", "b"), st.sampled_from("ab")),
    (types.Date(), st.dates()),
    (types.Time(), st.times()),
    (types.DateTime(timezone=True), MOMENTS.map(lambda moment: moment.replace(tzinfo=datetime.UTC))),
    (types.DateTime(), MOMENTS),
    (types.Interval(), st.timedeltas(datetime.timedelta(days=-9999), datetime.timedelta(days=9999))),
    (postgresql.INTERVAL(), st.timedeltas(datetime.timedelta(days=-9999), datetime.timedelta(days=9999))),
    (types.LargeBinary(), st.binary()),
    (types.Uuid(), st.uuids()),
]


def in_url(value: Any) -> str:
    """A JSON value as a client copies it from an answer into a URL."""
    return value if isinstance(value, str) else json.dumps(value)


@given(st.sampled_from(VALUES).flatmap(lambda pair: st.tuples(st.just(pair[0]), pair[1])))
def test_what_is_answered_can_be_asked_for_and_kept_in_a_cursor(drawn: tuple[types.TypeEngine[Any], Any]) -> None:
    of, value = drawn
    form = wire(of)
    assert form
    written = form.dump(value)
    assert form.parse(in_url(written)) == value
    assert form.load(json.loads(json.dumps(written))) == value
    if not isinstance(value, datetime.time):
        assert orjson.loads(render(value)) == written


@pytest.mark.parametrize(
    ("value", "json_text"),
    [
        (datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC), '"2026-01-31T12:00:00Z"'),
        (datetime.datetime(2026, 1, 31, 12, 0, 0, 120000, tzinfo=datetime.UTC), '"2026-01-31T12:00:00.120000Z"'),
        (datetime.datetime(2026, 1, 31, 12), '"2026-01-31T12:00:00"'),  # noqa: DTZ001
        (datetime.date(2026, 1, 31), '"2026-01-31"'),
        (datetime.timedelta(minutes=1, milliseconds=500), "60.5"),
        (decimal.Decimal("1E+3"), '"1000"'),
        (decimal.Decimal("12.50"), '"12.50"'),
        (decimal.Decimal("NaN"), "null"),
        (math.nan, "null"),
        (-math.inf, "null"),
        (b"\xfb\xff", '"-_8="'),
        (uuid.UUID(int=7), '"00000000-0000-0000-0000-000000000007"'),
        (Size.BIG, '"as big"'),
        ("\U0001f600é\x1f", '"\U0001f600é\\u001f"'),
        (2**63 - 1, "9223372036854775807"),
        ([10**30, decimal.Decimal("1.5"), math.nan, None, True, "é"], '[1000000000000000000000000000000,"1.5",null,null,true,"é"]'),
    ],
)
def test_the_format(value: Any, json_text: str) -> None:
    assert render(value).decode() == json_text


@pytest.mark.parametrize(
    ("value", "text"),
    [(datetime.time(12, 30), "12:30:00"), (datetime.time(0, 0, 0, 10000), "00:00:00.010000")],
)
def test_a_time_of_day_keeps_its_zeros(value: datetime.time, text: str) -> None:
    assert clock(value) == text


@pytest.mark.parametrize(
    ("of", "value"),
    [
        (types.Double(), math.inf),
        (types.Double(), -math.inf),
        (types.Numeric(), decimal.Decimal("-Infinity")),
        (types.Numeric(), decimal.Decimal("1E+999")),
    ],
)
def test_a_cursor_keeps_what_json_has_no_number_for(of: types.TypeEngine[Any], value: Any) -> None:
    form = wire(of)
    assert form
    assert form.load(json.loads(json.dumps(form.dump(value)))) == value


def test_a_cursor_keeps_that_a_number_is_none() -> None:
    form = wire(types.Double())
    assert form
    assert math.isnan(form.load(form.dump(math.nan)))


@pytest.mark.parametrize(
    ("of", "text"),
    [
        (types.Integer(), " 1"),
        (types.Integer(), "+1"),
        (types.Integer(), "1_0"),
        (types.Integer(), "٣"),
        (types.SmallInteger(), "32768"),
        (types.Double(), "Infinity"),
        (types.Double(), "1e999"),
        (types.Numeric(), "1e999999999"),
        (types.Boolean(), "1"),
        (types.Date(), "0"),
        (types.DateTime(timezone=True), "0"),
        (types.DateTime(timezone=True), "2026-02-30T00:00:00Z"),
        (types.DateTime(), "2026-01-31T12:00:00Z"),
        (types.Time(), "24:00:00"),
        (types.Interval(), "1e300"),
        (types.LargeBinary(), "é"),
        (types.Uuid(), "x"),
        (types.Enum(Size), "BIG"),
        (types.Enum("a", "b"), "c"),
        (types.Text(), "a\0"),
        (types.Text(), "\ud800"),
    ],
)
def test_what_is_no_value_is_refused_with_what_was_expected(of: types.TypeEngine[Any], text: str) -> None:
    form = wire(of)
    assert form
    with pytest.raises(ValueError, match=r"expected|can't hold"):
        form.parse(text)


@pytest.mark.parametrize("of", [postgresql.JSONB(), types.ARRAY(types.Text())])
def test_some_types_have_no_place_in_a_url(of: types.TypeEngine[Any]) -> None:
    assert wire(of) is None


def test_a_thing_without_a_format_is_a_mistake() -> None:
    with pytest.raises(TypeError):
        render(object())
