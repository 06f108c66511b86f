"""`/livez` asks nothing of anybody; `/readyz` says what is missing."""

import asyncio
import re
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
        ("DROP TABLE shelfmark_indexes", "table shelfmark_indexes"),
    ],
)
async def test_a_lost_table_or_column_is_named(client: AsyncClient, database: Bound, change: str, named: str) -> None:
    async with database.writing() as unit:
        await unit.session.execute(text(change))
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "unready")
    assert answer.json()["problems"] == [f"{named} is missing: run `shelfmark migrate`"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("UPDATE alembic_version SET version_num = '3228358c27d2'", "at revision 3228358c27d2, this code at .*: run `shelfmark"),
        ("DELETE FROM alembic_version", "at revision none, this code at .*: run `shelfmark migrate`"),
        ("UPDATE alembic_version SET version_num = 'ffff'", "at revision ffff, which this code doesn't know: newer code"),
    ],
)
async def test_another_revision_is_told_and_is_no_reason_to_stop(
    client: AsyncClient, database: Bound, change: str, told: str
) -> None:
    async with database.writing() as unit:
        await unit.session.execute(text(change))
    answer = await client.get("/readyz")
    assert answer.status_code == 200
    (said,) = answer.json()["degraded"]
    assert re.search(told, said)


async def test_a_revision_that_is_not_kept_is_not_told(client: AsyncClient, database: Bound) -> None:
    async with database.writing() as unit:
        await unit.session.execute(text("DROP TABLE alembic_version"))
    assert (await client.get("/readyz")).json() == {"status": "ready", "problems": [], "degraded": []}


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
    patient = settings.model_copy(update={"connect_timeout_seconds": 10.0})
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        database = Database.connect(f"postgresql+asyncpg://u@127.0.0.1:{mute.getsockname()[1]}/x", patient)
        began = time.monotonic()
        async with client_of(create_app(patient, database)) as client:
            answer = await client.get("/readyz")
        took = time.monotonic() - began
        await database.close()
    assert answer.status_code == 503
    assert answer.json()["problems"] == ["the database didn't answer within 1 s"]
    assert took < patient.connect_timeout_seconds


async def timed(client: AsyncClient, path: str) -> tuple[int, float]:
    """The status of an answer, and how many seconds it took."""
    began = time.monotonic()
    answer = await client.get(path)
    return answer.status_code, time.monotonic() - began


async def test_nobody_waits_for_a_connection_aside_that_hangs(settings: Settings) -> None:
    patient = settings.model_copy(update={"connect_timeout_seconds": 6.0})
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        database = Database.connect(f"postgresql+asyncpg://u@127.0.0.1:{mute.getsockname()[1]}/x", patient)
        async with client_of(create_app(patient, database)) as client:
            asked = [asyncio.create_task(timed(client, "/readyz")) for _ in range(5)]
            await asyncio.sleep(0.1)
            alive = await timed(client, "/livez")
            ready = [*(await asyncio.gather(*asked)), await timed(client, "/readyz")]
        await database.close()
    assert alive[0] == 200
    assert alive[1] < 1
    assert [status for status, _ in ready] == [503] * 6
    assert max(took for _, took in ready) < 5


async def test_cold_connections_are_told(
    app: FastAPI, client: AsyncClient, database: Bound, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(database), "cold", "still being made")
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["problems"]) == (503, ["still being made"])
