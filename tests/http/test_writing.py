"""A plain write is one statement; one with more to do is a unit of work. Both answer alike."""

import asyncio
from typing import Any

import pytest
from httpx import AsyncClient
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.app import create_app
from service.db import Database
from service.db.bound import Bound
from service.db.unit import Unit
from service.migrations.running import new_engine
from service.settings import Settings
from tests.factories.authors import AuthorFactory
from tests.fixtures.application import client_of
from tests.fixtures.keys import bearer, granted
from tests.fixtures.statements import Queries
from tests.http.conftest import refused
from tests.waiting import until


async def nothing(_: Unit) -> None:
    """A hook."""


async def write(client: AsyncClient) -> list[tuple[int, Any]]:
    """Create, change and delete an author, as clients do; what came back, but for the key."""
    made = await client.post("/v1/authors", json={"name": 'Zoë \\ "Q"'})
    row = made.json()
    key = row.pop("id")
    assert made.headers["location"] == f"/v1/authors/{key}"
    changed = await client.patch(f"/v1/authors/{key}", json={"name": "Ada"})
    found = (await client.get(f"/v1/authors/{key}")).json()
    gone = await client.delete(f"/v1/authors/{key}")
    again = await client.delete(f"/v1/authors/{key}")
    lost = await client.patch(f"/v1/authors/{key}", json={"name": "Bo"})
    rows = [{name: value for name, value in one.items() if not name.endswith(("_at", "id"))} for one in (row, found)]
    return [
        (made.status_code, rows),
        (changed.status_code, changed.content),
        *((one.status_code, None) for one in (gone, again, lost)),
    ]


async def test_both_ways_answer_alike(client: AsyncClient, database: Bound, queries: Queries) -> None:
    alone = await write(client)
    database.after_commit.append(nothing)
    assert await write(client) == alone
    assert [status for status, _ in alone] == [201, 204, 204, 404, 404]


async def test_one_statement_each(client: AsyncClient, database: Bound, queries: Queries) -> None:
    author = await AuthorFactory.create()
    database.outbox.register("a test")
    for method, url, body in (
        ("POST", "/v1/authors", {"name": "Ada"}),
        ("PATCH", f"/v1/authors/{author.id}", {"name": "Bo"}),
        ("DELETE", f"/v1/authors/{author.id}", None),
    ):
        queries.clear()
        assert (await client.request(method, url, json=body)).status_code < 300
        assert len(queries) == 1


@pytest.mark.parametrize("body", [{"name": None}, {"name": "x" * 3_000_000}, {}, {"name": 1}])
async def test_what_is_refused_is_refused_alike(body: Any, client: AsyncClient, database: Bound) -> None:
    alone = await client.post("/v1/authors", json=body)
    database.after_commit.append(nothing)
    unit = await client.post("/v1/authors", json=body)
    assert 400 <= alone.status_code < 500
    assert {**alone.json(), "instance": ""} == {**unit.json(), "instance": ""}


async def test_a_conflict_and_a_reference_that_is_missing(client: AsyncClient, database: Bound) -> None:
    author = await AuthorFactory.create()
    book = {"title": "A", "author_id": author.id, "isbn13": "9780306406157"}
    assert (await client.post("/v1/books", json=book)).status_code == 201
    refused(await client.post("/v1/books", json=book), 409, "conflict")
    refused(await client.post("/v1/books", json={"title": "A", "author_id": -1}), 422, "value-refused")
    refused(await client.delete(f"/v1/authors/{author.id}"), 409, "conflict")


async def test_a_confined_key_changes_its_rows_only(client: AsyncClient, database: Bound) -> None:
    token = await granted(database, "members:write", "members:read", within={"member_id": "7"})
    for method, url in (("PATCH", "/v1/members/8"), ("DELETE", "/v1/members/8")):
        answer = await client.request(method, url, json={"name": "A"} if method == "PATCH" else None, headers=bearer(token))
        assert answer.status_code in {403, 404}


COLLIDING = """
CREATE SEQUENCE tries;
CREATE FUNCTION collide() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF nextval('tries') <= TG_ARGV[0]::int THEN RAISE 'another was faster' USING ERRCODE = '40P01'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER collides BEFORE INSERT ON authors FOR EACH ROW EXECUTE FUNCTION collide({times})
"""


@pytest.mark.parametrize(("times", "status"), [(1, 201), (2, 503)])
async def test_one_that_the_database_ended_for_anothers_sake_is_done_once_more(
    times: int, status: int, own_database: str, settings: Settings
) -> None:
    database, engine = Database.connect(own_database, settings), new_engine(own_database)
    async with engine.begin() as connection:
        for statement in COLLIDING.format(times=times).split(";\n" + "CREATE"):
            await connection.exec_driver_sql(statement if statement.strip().startswith("CREATE") else "CREATE" + statement)
    async with client_of(create_app(settings, database)) as client:
        assert (await client.post("/v1/authors", json={"name": "Ada"})).status_code == status
    assert database.again["writes"] == 1
    await database.close()
    await engine.dispose()


async def test_a_lost_connection_leaves_it_unknown(committing_client: AsyncClient, engine: AsyncEngine) -> None:
    """Nobody can say whether the statement was done: the client is told to look, and it isn't done twice."""
    key = (await committing_client.post("/v1/authors", json={"name": "Ada"})).json()["id"]
    async with engine.connect() as connection:
        await connection.execute(text("SELECT id FROM authors WHERE id = :id FOR UPDATE"), {"id": key})
        waiting = asyncio.create_task(committing_client.patch(f"/v1/authors/{key}", json={"name": "Bo"}))
        async with engine.connect() as outside:
            await outside.execution_options(isolation_level="AUTOCOMMIT")  # within a transaction, who waits is read once
            await until(lambda: outside.scalar(text(WAITS)))
            await outside.execute(text(KILL))
        problem = refused(await waiting, 503, "unavailable")
        await connection.rollback()
    assert problem["outcome"] == "unknown"


WAITS = """SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'UPDATE authors%'"""
KILL = WAITS.replace("count(*)", "count(pg_terminate_backend(pid))")
