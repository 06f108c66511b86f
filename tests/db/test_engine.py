"""Connections as the service makes them: with limits, in UTC, and those for reads unable to write."""

import pytest
from pydantic import SecretStr
from sqlalchemy import make_url, text

from service.db import Database
from service.db.engine import POOLED, writing_engine
from service.settings import Settings


async def shown(database: Database, kind: str, setting: str) -> str:
    """A setting of a connection, as PostgreSQL shows it."""
    async with getattr(database, kind)() as block:
        return str(await getattr(block, "session", block).scalar(text(f"SELECT setting FROM pg_settings WHERE name = '{setting}'")))


@pytest.mark.parametrize("kind", ["reading", "writing"])
async def test_a_connection_has_its_limits(committed: Database, settings: Settings, kind: str) -> None:
    statement = settings.read_timeout_ms if kind == "reading" else settings.write_timeout_ms
    assert await shown(committed, kind, "statement_timeout") == str(statement)
    assert await shown(committed, kind, "lock_timeout") == str(settings.lock_timeout_ms)
    assert await shown(committed, kind, "idle_in_transaction_session_timeout") == str(settings.idle_in_transaction_timeout_ms)


@pytest.mark.parametrize(("kind", "read_only"), [("reading", "on"), ("writing", "off")])
async def test_only_writes_can_write(committed: Database, kind: str, read_only: str) -> None:
    assert await shown(committed, kind, "transaction_read_only") == read_only


async def test_reads_are_never_parallel(committed: Database) -> None:
    assert await shown(committed, "reading", "max_parallel_workers_per_gather") == "0"


@pytest.mark.parametrize("means", ["enable_seqscan", "enable_sort", "enable_incremental_sort"])
async def test_reads_neither_scan_nor_sort_where_they_can_do_without(committed: Database, means: str) -> None:
    assert await shown(committed, "reading", means) == "off"
    assert await shown(committed, "writing", means) == "on"


@pytest.mark.parametrize(("setting", "value"), [("TimeZone", "UTC"), ("application_name", "shelfmark")])
async def test_a_connection_says_who_it_is(committed: Database, setting: str, value: str) -> None:
    assert await shown(committed, "reading", setting) == value


@pytest.mark.parametrize("kind", ["reading", "writing"])
async def test_a_transaction_has_its_limit_where_postgresql_has_one(committed: Database, settings: Settings, kind: str) -> None:
    known = int(await shown(committed, kind, "server_version_num")) >= 170_000
    found = await shown(committed, kind, "transaction_timeout") if known else "None"
    assert found == (str(settings.transaction_timeout_ms) if known else "None")


async def test_the_connection_aside_gives_up_sooner(committed: Database) -> None:
    assert await shown(committed, "aside", "statement_timeout") == "1000"


async def test_behind_a_pooler_nothing_is_said_at_connecting(database_url: str, settings: Settings) -> None:
    pooled = Database.connect(database_url, settings.model_copy(update={"pooler": True}))
    try:
        for kind in ("reading", "writing"):
            assert await shown(pooled, kind, "enable_sort") == "on"
            assert await shown(pooled, kind, "application_name") == ""
        async with pooled.reading() as session:
            assert await session.scalar(text("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''")) == 0
    finally:
        await pooled.close()
    assert POOLED["prepared_statement_name_func"]() == ""


async def test_who_reads_may_have_another_url(database_url: str, empty_database: str, settings: Settings) -> None:
    database = Database.connect(database_url, settings.model_copy(update={"database_url_read": SecretStr(empty_database)}))
    async with database.reading() as session:
        assert await session.scalar(text("SELECT current_database()")) == make_url(empty_database).database
    async with database.aside() as session:
        assert await session.scalar(text("SELECT current_database()")) == make_url(empty_database).database
    async with database.writing() as unit:
        assert await unit.session.scalar(text("SELECT current_database()")) == make_url(database_url).database
    await database.close()


async def test_a_pools_size_is_its_share_of_the_budget(database_url: str, settings: Settings) -> None:
    engine = writing_engine(database_url, settings.model_copy(update={"connection_budget": 27, "web_concurrency": 1}))
    assert engine.pool.size() == 4  # type: ignore[attr-defined]
    await engine.dispose()
