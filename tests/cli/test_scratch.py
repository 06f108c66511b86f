"""A scratch database: there while it is needed, and gone afterwards, whatever happened."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import make_url, text

from service import migrations
from service.cli.scratch import PREFIX, scratch
from service.errors import SetupError
from service.migrations.running import new_engine
from tests.fixtures.databases import administering
from tests.fixtures.servers import Servers

LOCALE = "SELECT encoding, datcollate, datctype, datlocprovider FROM pg_database WHERE datname = current_database()"


def asked(url: str, query: str) -> list[Any]:
    """What a query finds."""

    async def ask() -> list[Any]:
        engine = new_engine(url)
        try:
            async with engine.connect() as connection:
                return list(await connection.execute(text(query)))
        finally:
            await engine.dispose()

    return asyncio.run(ask())


def standing(url: str) -> set[str]:
    """The scratch databases of a server."""
    return {name for (name,) in asked(url, f"SELECT datname FROM pg_database WHERE datname LIKE '{PREFIX}%'")}


def test_it_is_beside_the_other_and_dropped_at_the_end(database_url: str) -> None:
    with scratch(database_url) as beside:
        name = str(make_url(beside).database)
        assert name in standing(database_url)
        assert asked(beside, LOCALE) == asked(database_url, LOCALE)
        assert asked(beside, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == [(0,)]
        migrations.upgrade(beside)
        assert migrations.current(beside) == migrations.head()
    assert name not in standing(database_url)


def test_it_is_dropped_when_what_was_tried_fails(database_url: str) -> None:
    made: list[str] = []

    def interrupted() -> None:
        with scratch(database_url) as beside:
            made.append(str(make_url(beside).database))
            assert made[0] in standing(database_url)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert made[0] not in standing(database_url)


async def test_it_is_dropped_while_somebody_is_connected(database_url: str) -> None:
    manager = scratch(database_url)
    beside = await asyncio.to_thread(manager.__enter__)
    engine = new_engine(beside)
    connection = await engine.connect()
    await connection.execute(text("SELECT 1"))
    await asyncio.to_thread(manager.__exit__, None, None, None)
    assert make_url(beside).database not in await asyncio.to_thread(standing, database_url)
    await connection.invalidate()
    await connection.close()
    await engine.dispose()


@pytest.fixture
async def poor(servers: Servers, database_url: str) -> AsyncIterator[str]:
    """The URL of a role that may not create databases."""
    name = f"poor_{uuid4().hex[:8]}"
    async with administering(servers) as admin:
        await admin.execute(text(f"CREATE ROLE {name} LOGIN PASSWORD 'test'"))
    yield make_url(database_url).set(username=name, password="test").render_as_string(hide_password=False)
    async with administering(servers) as admin:
        await admin.execute(text(f"DROP ROLE {name}"))


def test_a_role_without_the_right_is_told_what_it_lacks(poor: str) -> None:
    name = make_url(poor).username
    with pytest.raises(SetupError, match=f"The role {name} may not create databases.*ALTER ROLE {name} CREATEDB"), scratch(poor):
        pass


def test_a_server_that_is_away_is_said_to_be() -> None:
    with pytest.raises(SetupError, match="can't be reached"), scratch("postgresql+asyncpg://nobody@127.0.0.1:1/none"):
        pass
