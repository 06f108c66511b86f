"""A nudge reaches who hands things on, once for many, after the commit, and is no promise."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from sqlalchemy import text

from service.db import Database
from service.db.nudging import CHANNEL, Nudge
from service.settings import Settings
from tests.db.storms import KILL, watching
from tests.fixtures.databases import settings_of
from tests.waiting import until


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[list[str]]:
    """The nudges that arrive."""
    heard: list[str] = []
    driver = await asyncpg.connect(url.replace("+asyncpg", ""))
    await driver.add_listener(CHANNEL, lambda _connection, _process, _channel, payload: heard.append(payload))
    yield heard
    await driver.close()


async def test_many_are_put_together(committed: Database, database_url: str) -> None:
    nudge = committed.outbox.nudge
    async with listening(database_url) as heard, nudge.kept(committed):
        for _ in range(100):
            nudge()
        await until(lambda: heard)
        nudge()
        await until(lambda: len(heard) >= 2)
    assert nudge.sent == 2


async def test_a_unit_of_work_nudges_once_it_stands_and_only_if_it_tells_of_something(
    committed: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    nudges: list[None] = []
    monkeypatch.setattr(Nudge, "__call__", lambda _: nudges.append(None))
    async with committed.writing():
        pass
    with pytest.raises(ZeroDivisionError):
        await _broken_off(committed)
    assert nudges == []
    async with committed.writing() as unit:
        unit.told = True
        assert nudges == []
    assert nudges == [None]


async def test_reads_that_go_elsewhere_are_no_hindrance(settings: Settings, database_url: str) -> None:
    """A standby can't be told anything."""
    away = settings.model_validate({**settings.model_dump(), "database_url_read": "postgresql://127.0.0.1:1/nobody"})
    database = Database.connect(database_url, away)
    async with listening(database_url) as heard, database.outbox.nudge.kept(database):
        database.outbox.nudge()
        await until(lambda: heard)
    await database.close()


async def test_one_that_is_lost_is_not_the_last(own_database: str) -> None:
    database = Database.connect(own_database, settings_of(own_database))
    nudge = database.outbox.nudge

    def heard_again(heard: list[str], before: int) -> bool:
        nudge()
        return len(heard) > before

    async with listening(own_database) as heard, nudge.kept(database), watching(own_database) as spared:
        await until(lambda: heard_again(heard, 0))
        await spared.execute(KILL, {"some": 10})
        nudge()  # this one is lost
        before = len(heard)
        await until(lambda: heard_again(heard, before))
    await database.close()


async def _broken_off(database: Database) -> None:
    async with database.writing() as unit:
        unit.told = True
        await unit.session.execute(text("SELECT 1"))
        raise ZeroDivisionError
