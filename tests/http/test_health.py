"""`/livez` asks nothing of anybody; `/readyz` says what is missing."""

import socket
import time
from dataclasses import replace

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from redis.asyncio import Redis
from sqlalchemy import text

from service.app import create_app
from service.db import Database
from service.db.bound import Bound
from service.settings import Settings
from tests.fixtures.application import client_of
from tests.fixtures.statements import Queries


async def test_livez_asks_the_database_nothing(client: AsyncClient, queries: Queries) -> None:
    answer = await client.get("/livez")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})
    assert not queries.sent


async def test_ready(client: AsyncClient) -> None:
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "problems": [], "degraded": []})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("ALTER TABLE books RENAME TO volumes", "table books"),
        ("ALTER TABLE books RENAME COLUMN language TO tongue", "column books.language"),
        ("ALTER TABLE books DROP COLUMN language", "column books.language"),
    ],
)
async def test_a_lost_table_or_column_is_named(client: AsyncClient, database: Bound, change: str, named: str) -> None:
    async with database.writing() as unit:
        await unit.session.execute(text(change))
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "unready")
    assert answer.json()["problems"] == [f"{named} is missing: run `shelfmark migrate`"]


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "unix:///nowhere/redis.sock"])
async def test_redis_away_is_no_reason_to_stop(app: FastAPI, client: AsyncClient, url: str) -> None:
    redis = Redis.from_url(url)
    app.state.service = replace(app.state.service, redis=redis)
    answer = await client.get("/readyz")
    await redis.aclose()
    assert (answer.status_code, answer.json()["degraded"]) == (200, ["Redis can't be reached"])


async def test_no_redis_is_told(app: FastAPI, client: AsyncClient) -> None:
    app.state.service = replace(app.state.service, redis=None)
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["degraded"]) == (200, ["no Redis is set: REDIS_URL"])


async def test_a_database_away_is_told_at_once(settings: Settings) -> None:
    database = Database.connect("postgresql+asyncpg://u@127.0.0.1:1/x", settings)
    async with client_of(create_app(settings, database)) as client:
        answer = await client.get("/readyz")
    await database.close()
    assert answer.status_code == 503
    assert "can't be reached" in answer.json()["problems"][0]


async def test_a_database_that_never_answers_is_told_within_a_second(settings: Settings) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        database = Database.connect(f"postgresql+asyncpg://u@127.0.0.1:{mute.getsockname()[1]}/x", settings)
        began = time.monotonic()
        async with client_of(create_app(settings, database)) as client:
            answer = await client.get("/readyz")
        await database.close()
    assert answer.status_code == 503
    assert answer.json()["problems"] == ["the database didn't answer within 1 s"]
    assert time.monotonic() - began < 1.9
