"""Everything meets in one application: it starts with a database or without, and refuses one that would give wrong answers."""

import asyncio

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from sqlalchemy import text
from structlog.testing import capture_logs

from service.app import create_app
from service.db import Database
from service.db.bound import Bound
from service.errors import SetupError
from service.schema import models
from service.settings import Settings, load
from tests.factories.authors import AuthorFactory
from tests.factories.books import BookFactory
from tests.fixtures.application import client_of


def test_every_table_has_its_routes(app: FastAPI) -> None:
    paths = app.openapi()["paths"]
    for model in models():
        assert {f"/v1/{model.__tablename__}", f"/v1/{model.__tablename__}:contract"} <= paths.keys()


def test_without_secrets_nothing_starts(database: Bound) -> None:
    with pytest.raises(SetupError, match="SHELFMARK_SECRETS"):
        create_app(load(_env_file=None), database)


async def test_it_starts_without_a_word_over_a_sound_database(app: FastAPI) -> None:
    with capture_logs() as logs:
        async with app.router.lifespan_context(app):
            pass
    assert [line for line in logs if line["log_level"] != "info"] == []


async def test_it_starts_while_the_database_is_away(settings: Settings) -> None:
    away = settings.model_copy(
        update=load(_env_file=None, database_url="postgresql://u@127.0.0.1:1/x").model_dump(include={"database_url"})
    )
    app = create_app(away)
    with capture_logs() as logs:
        async with app.router.lifespan_context(app), client_of(app) as client:
            assert (await client.get("/livez")).status_code == 200
            assert (await client.get("/readyz")).status_code == 503
    assert "the database can't be reached yet" in {line["event"] for line in logs}


async def test_a_database_that_was_given_stays_open(app: FastAPI, database: Bound) -> None:
    async with app.router.lifespan_context(app):
        pass
    async with database.reading() as session:
        assert await session.scalar(text("SELECT 1")) == 1


async def test_a_database_of_its_own_is_closed(settings: Settings) -> None:
    app = create_app(settings)
    own: Database = app.state.service.database
    async with app.router.lifespan_context(app), client_of(app) as client:
        assert (await client.get("/v1/books")).status_code == 200
        assert own.reads.pool.checkedin() >= 1
    assert own.reads.pool.checkedin() == 0


async def test_no_connection_is_held_after_an_answer(committing_client: AsyncClient, committed: Database) -> None:
    book = await BookFactory.create()
    calls = [
        ("GET", f"/v1/books/{book.id}", None),
        ("GET", "/v1/books?include=author&count=capped", None),
        ("GET", "/v1/books/0", None),
        ("GET", "/v1/books?limit=0", None),
        ("POST", "/v1/authors", {"name": "a"}),
        ("POST", "/v1/authors", {"name": "A"}),
        ("POST", "/v1/authors:batch", {"data": [{"name": "b"}, {"name": "B"}]}),
        ("PATCH", f"/v1/books/{book.id}", {"title": "New"}),
        ("DELETE", f"/v1/authors/{book.author_id}", None),
        ("DELETE", f"/v1/books/{book.id}", None),
    ]
    for method, path, body in calls:
        await committing_client.request(method, path, json=body)
        assert [leases.pool.checkedout() for leases in committed.pools()] == [0, 0, 0], f"{method} {path}"


async def test_a_request_that_is_given_up_gives_its_connection_back(committing_client: AsyncClient, committed: Database) -> None:
    author = await AuthorFactory.create()
    rival = Database(committed.reads.engine, committed.writes.engine)  # one whose unit of work the request isn't in
    async with rival.writing() as unit:
        await unit.session.execute(text("SELECT 1 FROM authors FOR UPDATE"))
        waiting = asyncio.ensure_future(_elsewhere(committing_client, author.id))
        async with asyncio.timeout(5):
            while committed.writes.pool.checkedout() < 2:  # noqa: ASYNC110
                await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        await committed.writes.quiet()
        assert committed.writes.pool.checkedout() == 1
    assert (await committing_client.get(f"/v1/authors/{author.id}")).json()["name"] == author.name


async def _elsewhere(client: AsyncClient, key: int) -> None:
    await client.patch(f"/v1/authors/{key}", json={"name": "changed"})
