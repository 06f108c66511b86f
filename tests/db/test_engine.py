"""Connections as the service makes them: with limits, in UTC, and those for reads unable to write."""

import pytest
from sqlalchemy import text

from service.db import Database
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
