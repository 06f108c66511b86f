"""Answers through the cache, over real commits and a real Redis."""

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from service.app import create_app
from service.cache.caching import Cache
from service.db import Database
from service.settings import Settings
from tests.fixtures.application import client_of
from tests.waiting import until


@pytest.fixture
async def app(settings: Settings, committed: Database) -> AsyncIterator[FastAPI]:
    """A service that keeps answers."""
    made = create_app(settings.model_copy(update={"cache": True}), committed)
    async with made.router.lifespan_context(made):
        cache: Cache = made.state.service.cache
        await until(lambda: cache.epoch.names is not None and cache.pipe.open)
        yield made


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[AsyncClient]:
    """Calls it."""
    async with client_of(app) as made:
        yield made


async def test_a_row_is_kept_until_it_is_written(client: AsyncClient) -> None:
    author = (await client.post("/v1/authors", json={"name": "Ursula"})).json()["id"]
    path = f"/v1/authors/{author}"
    await until(lambda: _is(client, path, "hit"))
    assert (await client.get(path)).json()["name"] == "Ursula"
    assert (await client.patch(path, json={"name": "Ursula K."})).status_code == 204
    first = await client.get(path)
    await until(lambda: _is(client, path, "hit"))
    assert first.headers["x-cache"] == "miss"
    assert first.content == (await client.get(path)).content
    assert first.json()["name"] == "Ursula K."


async def _is(client: AsyncClient, path: str, how: str) -> bool:
    return (await client.get(path)).headers["x-cache"] == how
