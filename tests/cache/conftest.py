"""A service that keeps answers, over real commits and a real Redis."""

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from service.app import create_app
from service.cache import epoch
from service.cache.caching import Cache
from service.db import Database
from service.settings import Settings
from tests.fixtures.application import client_of
from tests.waiting import PATIENCE_SECONDS, until


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a busy machine take its time, where it counts what is forgotten, and not when."""
    monkeypatch.setattr(epoch, "OVERDUE_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(epoch, "LIFE_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(epoch, "LOOK_SECONDS", PATIENCE_SECONDS)


@pytest.fixture
async def app(settings: Settings, committed: Database) -> AsyncIterator[FastAPI]:
    """A service that keeps answers."""
    made = create_app(settings.model_copy(update={"cache": True, "cache_timeout_ms": 1000}), committed)
    async with made.router.lifespan_context(made):
        found: Cache = made.state.service.cache
        await until(lambda: found.epoch.names and found.pipe.open)
        names = found.epoch.names
        assert names

        async def begun() -> bool:
            return bool(await found.pipe.fetch([names.epoch]) not in (None, [None]))

        await found.pipe.ask((b"DEL", names.epoch, names.layouts))  # those of the test before may live for longer
        await until(begun)
        yield made


@pytest.fixture
def cache(app: FastAPI) -> Cache:
    """Its cache."""
    found: Cache = app.state.service.cache
    return found


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[AsyncClient]:
    """Calls it."""
    async with client_of(app) as made:
        yield made
