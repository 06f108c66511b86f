"""What PostgreSQL writes is what Python writes: the same bytes, or for floats and JSON the same values, for every type."""

import datetime
import decimal
import enum
import math
import uuid
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from sqlalchemy import ARRAY, bindparam, cast, literal, select, types
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from service.db.rendering import rendered, row
from service.db.wire import clock, render

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
ENDS = [datetime.datetime.min, datetime.datetime.max]  # noqa: DTZ901  # zones come later, or not at all
MOMENTS = st.datetimes() | st.sampled_from(ENDS)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
EXACT: list[tuple[types.TypeEngine[Any], st.SearchStrategy[Any]]] = [
    (types.SmallInteger(), st.integers(-(2**15), 2**15 - 1)),
    (types.Integer(), st.integers(-(2**31), 2**31 - 1)),
    (types.BigInteger(), st.integers(-(2**63), 2**63 - 1)),
    (types.Numeric(), st.decimals(allow_infinity=False, places=3) | st.decimals(-1, 1)),
    (types.Numeric(12, 2), st.decimals(-(10**9), 10**9, places=2)),
    (types.Boolean(), st.booleans()),
    (types.Text(), TEXTS),
    (types.String(), TEXTS),
    (types.Date(), st.dates() | st.sampled_from([datetime.date.min, datetime.date.max])),
    (types.Time(), st.times()),
    (types.DateTime(timezone=True), st.datetimes().map(lambda moment: moment.replace(tzinfo=datetime.UTC))),
    (types.DateTime(), MOMENTS),
    (types.LargeBinary(), st.binary(max_size=200)),
    (types.Uuid(), st.uuids()),
    (ARRAY(types.Integer()), st.lists(st.none() | st.integers(-(2**31), 2**31 - 1))),
    (ARRAY(types.Text()), st.lists(st.none() | TEXTS)),
    (ARRAY(types.Boolean()), st.lists(st.booleans())),
    (ARRAY(types.Uuid()), st.lists(st.uuids(), max_size=3)),
    (ARRAY(types.Text()), st.integers(1, 3).flatmap(lambda n: st.lists(st.lists(TEXTS, min_size=n, max_size=n), min_size=1))),
]
EQUAL: list[tuple[types.TypeEngine[Any], st.SearchStrategy[Any]]] = [
    (types.Double(), st.floats()),
    (types.REAL(), st.floats(width=32)),
    (types.Interval(), st.timedeltas(datetime.timedelta(days=-99999), datetime.timedelta(days=99999))),
    (postgresql.INTERVAL(), st.timedeltas(datetime.timedelta(days=-99999), datetime.timedelta(days=99999))),
    (postgresql.JSONB(), JSONS),
]


class Size(enum.Enum):
    """An enum whose values are not its names."""

    BIG = "as big"


class Same(enum.Enum):
    """An enum whose values are its names."""

    big = "big"


def drawn(of: list[tuple[types.TypeEngine[Any], st.SearchStrategy[Any]]]) -> st.SearchStrategy[tuple[Any, list[Any]]]:
    """A type, and values of it."""
    return st.sampled_from(of).flatmap(
        lambda pair: st.tuples(st.just(pair[0]), st.lists(st.none() | pair[1], min_size=1, max_size=20))
    )


async def both(engine: AsyncEngine, kind: types.TypeEngine[Any], values: list[Any]) -> list[tuple[bytes, bytes]]:
    """Each value as Python writes it, and as PostgreSQL does."""
    found = []
    async with engine.connect() as connection:
        for value in values:
            held = select(cast(bindparam("value", value, type_=kind), kind).label("value")).subquery()
            written = row({"a": held.c.value, "b": literal(1)}, {"a"} if value is None else ())
            assert written is not None
            there, text = (await connection.execute(select(held.c.value, written))).one()
            shown = clock(there) if isinstance(there, datetime.time) else there
            found.append((render({"a": shown, "b": 1}), text.encode()))
    return found


@given(drawn(EXACT))
@effort(max_examples=150, deadline=None)
async def test_the_same_bytes(engine: AsyncEngine, pair: tuple[types.TypeEngine[Any], list[Any]]) -> None:
    for ours, theirs in await both(engine, *pair):
        assert ours == theirs


@given(drawn(EQUAL))
@effort(max_examples=80, deadline=None)
async def test_the_same_values(engine: AsyncEngine, pair: tuple[types.TypeEngine[Any], list[Any]]) -> None:
    for ours, theirs in await both(engine, *pair):
        assert orjson.loads(ours) == orjson.loads(theirs)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (types.Enum("a", "b", name="test_ab", native_enum=False), "a"),
        (types.Enum(Same, native_enum=False), Same.big),
        (types.Numeric(), decimal.Decimal("Infinity")),
        (types.Numeric(), decimal.Decimal("1E-30")),
        (types.Double(), math.nan),
        (types.Uuid(as_uuid=False), str(uuid.UUID(int=7))),
        (types.Text(), '\x7f \x1f/"\\\u2028 é \U0001f600'),
        (types.LargeBinary(), bytes(range(256)) * 2),
    ],
)
async def test_single_values(engine: AsyncEngine, kind: types.TypeEngine[Any], value: Any) -> None:
    for ours, theirs in await both(engine, kind, [value, None]):
        assert ours == theirs


async def test_the_ends_of_time_have_their_zone(engine: AsyncEngine) -> None:
    """The driver says neither infinity nor a zone where PostgreSQL has infinity."""
    for end in ENDS:
        ((_, theirs),) = await both(engine, types.DateTime(timezone=True), [end.replace(tzinfo=datetime.UTC)])
        assert orjson.loads(theirs)["a"] == end.isoformat() + "Z"


@pytest.mark.parametrize(
    "kind",
    [
        types.Enum(Size),
        types.Time(timezone=True),
        types.Numeric(asdecimal=False),
        types.JSON(),
        ARRAY(types.Numeric()),
        ARRAY(types.DateTime()),
        postgresql.INET(),
    ],
)
def test_what_has_no_renderer(kind: types.TypeEngine[Any]) -> None:
    column = bindparam("value", type_=kind)
    assert rendered(column) is None
    assert row({"id": literal(1), "value": column}, ()) is None


def test_a_row_of_nothing() -> None:
    assert row({}, ()) is None
