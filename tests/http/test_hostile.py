"""Requests that no honest client sends: hidden columns, members that aren't theirs to write, values that would be SQL elsewhere."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from httpx import AsyncClient
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from sqlalchemy import text

from service import schema
from service.app import PREFIX
from service.contract.question import FOLDED
from service.db import surface
from service.db.bound import Bound
from service.http.serve import Routes
from tests.factories import ModelFactory
from tests.factories.authors import AuthorFactory
from tests.factories.books import BookFactory
from tests.factories.members import MemberFactory
from tests.fixtures.statements import Queries
from tests.http.conftest import refused

EFFORT = effort(max_examples=50, deadline=None, database=None, suppress_health_check=list(HealthCheck))
NO_COLUMN = "unheard_of"
OPERATORS = ("", "__gt", "__gte", "__lt", "__lte", "__in", "__startswith", "__iexact", "__istartswith", "__icontains", "__has")
NASTY = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            "'; DROP TABLE books; --",
            "' OR ''='",
            "\\'; SELECT pg_sleep(60); --",
            "$1",
            ":name",
            "%(name)s",
            "%",
            "_",
            "%%%",
            "\\",
            "'" * 20,
            '"',
            "/*",
            "{{7*7}}",
            "${jndi:ldap://x}",
            "<script>alert(1)</script>",
            "../../etc/passwd",
            "\u202e",
            "\ufeff",
            "ﷺ" * 10,
            "İ",
            "ß",
            "null",
            "NaN",
            "1e999",
            "9" * 30,
            "-0",
            "0x10",
        ]
    ),
)
ROUTERS = {str(router.table.of.contract.table): router for router in schema.routers()}
each_table = pytest.mark.parametrize("name", ROUTERS)
each_written = pytest.mark.parametrize("name", [name for name, router in ROUTERS.items() if router.writable])
MADE: dict[str, type[ModelFactory[Any]]] = {"authors": AuthorFactory, "books": BookFactory, "members": MemberFactory}


def hidden(router: Routes) -> list[str]:
    """Columns that a table's clients know nothing of."""
    whole = surface(router.table.repository.model)
    return [name for name in whole.expressions if name not in router.table.of.expressions and not name.endswith(FOLDED)]


def written(router: Routes) -> set[str]:
    """The members that clients may write."""
    (route,) = [one for one in router.routes if isinstance(one, APIRoute) and one.name.endswith("_create")]
    assert route.body_field
    return set(route.body_field.field_info.annotation.model_fields)  # type: ignore[union-attr]


@each_table
async def test_a_hidden_column_is_as_unknown_as_one_that_isnt_there(client: AsyncClient, queries: Queries, name: str) -> None:
    """In filters, orders, fields and relations; by the same words."""
    at = PREFIX + ROUTERS[name].prefix
    assert "version" in hidden(ROUTERS[name])
    for column in hidden(ROUTERS[name]):
        asked = [
            *({column + operator: "1"} for operator in OPERATORS),
            *({parameter: sign + column} for parameter in ("sort", "fields", "include") for sign in ("", "-")),
            {"sort": f"{column},id"},
            {"sort": column + FOLDED},
            {"fields": f"id,{column}"},
        ]
        for parameters in asked:
            unknown = {key.replace(column, NO_COLUMN): value.replace(column, NO_COLUMN) for key, value in parameters.items()}
            told = [await client.get(at, params=one) for one in (parameters, unknown)]
            assert [answer.status_code for answer in told] == [422, 422], parameters
            said = [answer.json() | {"instance": ""} for answer in told]
            assert str(said[0]).replace(column, NO_COLUMN) == str(said[1])
    assert not queries.sent


@each_table
async def test_a_hidden_column_is_named_nowhere(client: AsyncClient, name: str) -> None:
    """Neither in what a table tells of itself nor in what it refuses."""
    router = ROUTERS[name]
    at = PREFIX + router.prefix
    paths = (await client.get("/openapi.json")).json()["paths"]
    told = [str(item) for path, item in paths.items() if path.startswith(at)]
    told.append((await client.get(f"{at}:contract")).text)
    asked = ["", "?sort=id", "?sort=-id", "?id__in=1,2&limit=1", *(f"?{one}=1" for one in router.table.of.expressions)]
    told += [(await client.get(at + one)).text for one in asked]
    for column in hidden(router):
        assert [one for one in told if f'"{column}"' in one or f"'{column}'" in one or f"{column}=" in one] == [], column


@each_written
async def test_what_isnt_a_clients_to_write_is_refused_wherever_it_stands(client: AsyncClient, queries: Queries, name: str) -> None:
    """Each column of the table that the write shape doesn't have: in a new row, in a batch, in a change."""
    router = ROUTERS[name]
    at = PREFIX + router.prefix
    whole = {column for column in surface(router.table.repository.model).expressions if not column.endswith(FOLDED)}
    assert {"id", "version", "created_at", "updated_at"} <= whole - written(router)
    for column in whole - written(router):
        for method, path, body, member in (
            ("POST", at, {column: 1}, column),
            ("POST", f"{at}:batch", {"data": [{column: 1}]}, f"data.0.{column}"),
            ("PATCH", f"{at}/1", {column: 1}, column),
        ):
            problem = refused(await client.request(method, path, json=body), 422, "invalid-body")
            assert member in [error["member"] for error in problem["errors"]], f"{method} {path}"
    assert not queries.sent


@given(data=st.data())
@EFFORT
@each_written
async def test_no_change_reaches_what_isnt_a_clients_to_write(
    client: AsyncClient, database: Bound, name: str, data: st.DataObject
) -> None:
    """Any members with any values: the key and the columns that are the database's own stay, but for the row's version."""
    router = ROUTERS[name]
    of = surface(router.table.repository.model)
    own = [column for column in of.expressions if not column.endswith(FOLDED)]
    names = st.sampled_from([*own, *(column.upper() for column in own), "__class__", "metadata", "_sa_instance_state", ""])
    values = st.one_of(st.none(), st.booleans(), st.integers(), NASTY, st.lists(st.integers(), max_size=2), st.just({}))
    body = data.draw(st.dictionaries(names, values, min_size=1, max_size=4))
    row = await MADE[name].create() if name in MADE else (await made_by_http(client))
    key = row if isinstance(row, int) else row.id
    kept = f"SELECT id, created_at, to_jsonb(t) - ARRAY{sorted({*written(router), 'version', 'updated_at'})} FROM {name} t"
    before = await rows(database, f"{kept} WHERE id = {key}")
    answer = await client.patch(f"{PREFIX}{router.prefix}/{key}", json=body)
    assert answer.status_code in {204, 400, 409, 422}, answer.text
    if not body.keys() <= written(router):
        assert answer.status_code == 422
    assert await rows(database, f"{kept} WHERE id = {key}") == before


async def made_by_http(client: AsyncClient) -> int:
    """A copy, of a book of its own."""
    book = await BookFactory.create()
    sent = {"book_id": book.id, "barcode": f"b{book.id}", "branch": "Main", "shelfmark": "A 1"}
    answer = await client.post("/v1/copies", json=sent)
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


async def rows(database: Bound, sql: str) -> list[Any]:
    """What a statement finds."""
    async with database.reading() as session:
        return [tuple(row) for row in (await session.execute(text(sql))).all()]


@given(value=NASTY.filter(lambda value: "\0" not in value and value.strip()))
@EFFORT
async def test_whatever_is_written_is_found_by_its_value_and_is_only_that(client: AsyncClient, value: str) -> None:
    """Text that would be SQL, a pattern or a template elsewhere: bound, compared as it is, and given back letter for letter."""
    sent = await client.post("/v1/authors", json={"name": value})
    assert sent.status_code in {201, 409, 422}, sent.text
    assume(sent.status_code == 201)  # else the table's own checks refuse it
    key = sent.json()["id"]
    assert sent.json()["name"] == value
    found = (await client.get("/v1/authors", params={"name__iexact": value})).json()
    assert [row["id"] for row in found["data"]] == [key]
    begun = (await client.get("/v1/authors", params={"name__istartswith": value})).json()
    assert key in [row["id"] for row in begun["data"]]
    assert (await client.delete(f"/v1/authors/{key}")).status_code == 204


def parameters() -> st.SearchStrategy[list[tuple[str, str]]]:
    """Parameters that any table could know, with values of any kind."""
    columns = sorted({column for router in ROUTERS.values() for column in surface(router.table.repository.model).expressions})
    filters = st.builds(str.__add__, st.sampled_from(columns), st.sampled_from(OPERATORS))
    others = st.sampled_from(["sort", "limit", "cursor", "count", "fields", "include", "", "x"])
    values = NASTY | st.integers().map(str) | st.sampled_from([*columns, *(f"-{column}" for column in columns)])
    return st.lists(st.tuples(filters | others, values), max_size=4)


@given(name=st.sampled_from(sorted(ROUTERS)), asked=parameters())
@effort(EFFORT, max_examples=300)
async def test_whatever_a_list_refuses_asks_the_database_nothing(
    app: FastAPI, client: AsyncClient, queries: Queries, name: str, asked: list[tuple[str, str]]
) -> None:
    queries.clear()
    answer = await client.get(f"{PREFIX}{ROUTERS[name].prefix}?{urlencode(asked, errors='surrogatepass')}")
    assert answer.status_code in {200, 400, 422}, answer.text
    too_many = answer.status_code == 422 and answer.json()["type"] == "/problems/too-many-matches"
    assert too_many or (answer.status_code == 200) == bool(queries.sent), f"{asked}: {answer.text}"


def imported() -> Iterator[str]:
    """What the service itself imports."""
    for path in (Path(__file__).parents[2] / "service").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (name.name for name in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module


def test_the_service_asks_no_other_server_for_anything() -> None:
    """It has no HTTP client at all: nobody can have it look behind the firewall."""
    clients = {"httpx", "requests", "aiohttp", "urllib3", "urllib.request", "http.client", "ftplib", "smtplib"}
    assert clients.isdisjoint(imported())
