"""Each column type in bodies, answers, filters and cursors: what `docs/reference/types.md` says."""

import json
from typing import Any
from uuid import UUID

import pytest
from httpx import AsyncClient

from tests.http.conftest import KINDS, walked

# column, what is sent, what is answered, and the next greater value.
TYPES: list[tuple[str, Any, Any, Any]] = [
    ("small", -32768, -32768, 32767),
    ("medium", 2147483646, 2147483646, 2147483647),
    ("large", 9223372036854775806, 9223372036854775806, 9223372036854775807),
    ("number", 0.1, 0.1, 1e300),
    ("exact", "1.5", "1.500", "100000000.000"),
    ("exact", 0.0004, "0.000", "0.001"),
    ("flag", False, False, True),
    ("label", "É\U0001f600", "É\U0001f600", "é"),
    ("code", "a,b", "a,b", "a-b"),
    ("mood", "calm sea", "calm sea", "wild sea"),
    ("word", "calm", "calm", "wild"),
    ("day", "0001-01-01", "0001-01-01", "9999-12-31"),
    ("clock", "00:00:00.01", "00:00:00.010000", "23:59:59"),
    ("moment", "2026-01-31T13:00:00+01:00", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00.500000Z"),
    ("local", "2026-01-31T12:00:00", "2026-01-31T12:00:00", "2026-01-31T12:00:01"),
    ("span", 90.5, 90.5, 86400.0),
    ("raw", "-_8=", "-_8=", "__8="),
    ("token", UUID(int=7).hex, str(UUID(int=7)), str(UUID(int=8))),
]  # fmt: skip
IDS = [f"{column}-{number}" for number, (column, *_) in enumerate(TYPES)]


def in_url(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@pytest.mark.parametrize(("column", "sent", "answered", "_"), TYPES, ids=IDS)
async def test_a_value_is_answered_in_its_format(kinds: AsyncClient, column: str, sent: Any, answered: Any, _: Any) -> None:
    created = await kinds.post(KINDS, json={column: sent})
    assert created.status_code == 201, created.text
    read = await kinds.get(created.headers["location"])
    batched = await kinds.post(f"{KINDS}:batch", json={"data": [{column: None if column == "token" else sent}]})
    assert created.json()[column] == answered
    assert read.json() == created.json()
    assert batched.json()["data"][0][column] == (None if column == "token" else answered)


@pytest.mark.parametrize(("column", "sent", "answered", "greater"), TYPES, ids=IDS)
async def test_a_value_can_be_asked_for(kinds: AsyncClient, column: str, sent: Any, answered: Any, greater: Any) -> None:
    rows = [{column: sent}, {column: greater}, {}]
    first, second, _ = (await kinds.post(f"{KINDS}:batch", json={"data": rows})).json()["data"]
    equal = (await kinds.get(KINDS, params={column: in_url(answered), "sort": "id"})).json()
    assert [row["id"] for row in equal["data"]] == [first["id"]]
    after = await kinds.get(KINDS, params={f"{column}__gt": in_url(answered), "sort": column})
    assert [row["id"] for row in after.json()["data"]] == [second["id"]]
    null = (await kinds.get(KINDS, params={column: "null", "sort": "id"})).json()
    assert len(null["data"]) == 1


@pytest.mark.parametrize(("column", "sent", "answered", "greater"), TYPES, ids=IDS)
async def test_a_value_passes_through_a_cursor(kinds: AsyncClient, column: str, sent: Any, answered: Any, greater: Any) -> None:
    await kinds.post(f"{KINDS}:batch", json={"data": [{column: greater}, {column: sent}]})
    floor = in_url(answered)
    rows = await walked(kinds, KINDS, limit=1, sort=column, **{f"{column}__gte": floor})
    assert [row[column] for row in rows] == [answered, greater]


async def test_a_walk_passes_nan_and_infinity(kinds: AsyncClient, database: Any) -> None:
    from sqlalchemy import text

    async with database.writing() as unit:
        values = "(0), ('NaN'), ('Infinity'), ('-Infinity'), ('NaN'), (NULL)"
        await unit.session.execute(text(f"INSERT INTO test_kinds (number) VALUES {values}"))
    rows = await walked(kinds, KINDS, limit=1, sort="number")
    assert [row["number"] for row in rows] == [None, None, 0.0, None, None, None]
    assert len({row["id"] for row in rows}) == 6


@pytest.mark.parametrize(
    ("column", "least"), [("moment", "0001-01-01T00:00:00Z"), ("local", "0001-01-01T00:00:00"), ("day", "0001-01-01")]
)
async def test_a_walk_passes_the_ends_of_time(kinds: AsyncClient, database: Any, column: str, least: str) -> None:
    from sqlalchemy import text

    async with database.writing() as unit:
        values = "('infinity'), ('2026-01-31'), ('-infinity'), ('infinity'), (NULL), ('-infinity')"
        await unit.session.execute(text(f"INSERT INTO test_kinds ({column}) VALUES {values}"))
    for sort in (column, f"-{column}"):
        rows = await walked(kinds, KINDS, limit=1, sort=sort, **{f"{column}__gte": least})
        assert len({row["id"] for row in rows}) == len(rows) == 5


async def test_null_is_null_where_the_column_has_a_default(kinds: AsyncClient) -> None:
    sent: list[dict[str, Any]] = [{"greeting": None}, {}, {"greeting": "hi"}, {"greeting": None}]
    single = [(await kinds.post(KINDS, json=body)).json()["greeting"] for body in sent]
    batch = (await kinds.post(f"{KINDS}:batch", json={"data": sent})).json()["data"]
    assert single == [row["greeting"] for row in batch] == [None, "hello", "hi", None]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"exact": "12.5005"}, []),
        ({"exact__lte": "12.5005"}, ["12.500"]),
        ({"exact__gt": "12.5009"}, ["12.501"]),
        ({"exact__gte": "12.5", "exact__lt": "99999999999"}, ["12.500", "12.501"]),
    ],
)
async def test_what_is_asked_for_is_not_rounded(kinds: AsyncClient, asked: dict[str, str], found: list[str]) -> None:
    """Not even to what the column could hold."""
    await kinds.post(f"{KINDS}:batch", json={"data": [{"exact": "12.5"}, {"exact": "12.501"}]})
    for more in ({}, {"count": "capped"}):
        answer = await kinds.get(KINDS, params={**asked, "sort": "id" if "exact" in asked else "exact", **more})
        assert answer.status_code == 200, answer.text
        assert [row["exact"] for row in answer.json()["data"]] == found


@pytest.mark.parametrize("document", [{}, {"a": [1, 10**40, 0.5, None, True, "é"]}, None])
async def test_json_comes_back_as_it_was(kinds: AsyncClient, document: Any) -> None:
    created = await kinds.post(KINDS, json={"document": document, "clock": "00:00:00.01"})
    assert (await kinds.get(created.headers["location"])).json()["document"] == document
    assert created.json()["document"] == document


async def test_null_in_json_is_null_in_the_database(kinds: AsyncClient, database: Any) -> None:
    from sqlalchemy import text

    created = await kinds.post(KINDS, json={"document": {"a": 1}})
    await kinds.patch(created.headers["location"], json={"document": None})
    async with database.reading() as session:
        assert await session.scalar(text("SELECT count(*) FROM test_kinds WHERE document IS NULL")) == 1


async def test_an_array_comes_back_as_it_was(kinds: AsyncClient) -> None:
    assert (await kinds.post(KINDS, json={"tags": ["a", "b,c"]})).json()["tags"] == ["a", "b,c"]


async def test_several_uuids_are_looked_up(kinds: AsyncClient) -> None:
    tokens = ["00000000-0000-0000-0000-000000000007", "00000000-0000-0000-0000-000000000008"]
    await kinds.post(f"{KINDS}:batch", json={"data": [{"token": token} for token in tokens]})
    rows = (await kinds.get(KINDS, params={"token__in": ",".join(reversed(tokens))})).json()["data"]
    assert [row["token"] for row in rows] == tokens


async def test_a_longer_text_than_the_column_finds_nothing(kinds: AsyncClient) -> None:
    await kinds.post(KINDS, json={"code": "12345"})
    assert (await kinds.get(KINDS, params={"code": "123456", "sort": "id"})).json()["data"] == []


async def test_a_partial_index_serves_what_implies_it(kinds: AsyncClient) -> None:
    await kinds.post(f"{KINDS}:batch", json={"data": [{"word": "wild"}, {"word": "calm", "label": "a"}, {"word": "wild"}]})
    wild = (await kinds.get(KINDS, params={"word": "wild", "limit": 1})).json()
    assert len(await walked(kinds, KINDS, word="wild", limit=1)) == 2
    assert wild["next"]
    calm = (await kinds.get(KINDS, params={"word": "calm", "label": "a"})).json()
    assert [row["label"] for row in calm["data"]] == ["a"]


@pytest.mark.parametrize(
    "parameters", [{"word": "wild"}, {"exact__gte": "1.5", "sort": "exact"}, {"raw__gte": "AA==", "sort": "raw"}]
)
@pytest.mark.parametrize("count", ["estimated", "capped"])
async def test_each_type_can_be_counted(kinds: AsyncClient, parameters: dict[str, str], count: str) -> None:
    answer = await kinds.get(KINDS, params={**parameters, "count": count})
    assert answer.json()["count"]["value"] >= 0
