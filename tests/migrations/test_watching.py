"""A migration seen from beside: what is built, who is in the way; and that nobody fails because of who looks."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.migrations.running import new_engine
from service.migrations.sessions import process
from service.migrations.watching import Watch
from tests.fixtures.processes import until
from tests.migrations.standalone import Bystander

TABLE = "CREATE TABLE books AS SELECT 1 AS year"
KILL = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND query LIKE '%pg_blocking_pids(l.pid)%' AND pid <> pg_backend_pid()
"""


@pytest.fixture
async def engine(empty_database: str) -> AsyncIterator[AsyncEngine]:
    """Connections as migrations have them."""
    made = new_engine(empty_database)
    yield made
    await made.dispose()


@asynccontextmanager
async def watched(engine: AsyncEngine, watch: Watch) -> AsyncIterator[AsyncConnection]:
    """A connection that is looked at."""
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        watch.begin(await connection.run_sync(process))
        yield connection
    await watch.end()


async def test_who_is_in_the_way_is_seen_and_forgotten(engine: AsyncEngine, other: Bystander) -> None:
    other.does(TABLE)
    watch = Watch(engine)
    async with watched(engine, watch) as connection:
        other.does("BEGIN")
        other.does("LOCK TABLE books IN SHARE MODE")
        waiting = asyncio.create_task(run(connection, "INSERT INTO books VALUES (2)"))
        await asyncio.to_thread(until, lambda: bool(watch.blocked))
        told = watch.blocked
        other.does("COMMIT")
        await waiting
    assert told.startswith(f"RowExclusiveLock on books, held by process {other.process} of PostgreSQL (bystander")
    watch.forget()
    assert watch.blocked == ""


async def test_a_build_is_told_in_the_log(engine: AsyncEngine, other: Bystander, caplog: pytest.LogCaptureFixture) -> None:
    other.does(TABLE)
    other.does("BEGIN")
    other.does("INSERT INTO books VALUES (2)")
    with caplog.at_level(logging.INFO, "service.migrations.progress"):
        async with watched(engine, Watch(engine)) as connection:
            building = asyncio.create_task(run(connection, "CREATE INDEX CONCURRENTLY ix ON books (year)"))
            await asyncio.to_thread(until, lambda: bool(caplog.messages))
            other.does("COMMIT")
            await building
    assert caplog.messages[0] == (
        f"building ix of books: waiting for writers before build, 0 of 1 transactions (0%), now for process {other.process}"
    )


async def test_whatever_goes_wrong_with_the_watching_goes_no_further(engine: AsyncEngine, other: Bystander) -> None:
    nowhere = new_engine("postgresql+asyncpg://nobody@127.0.0.1:1/nowhere")
    async with watched(engine, Watch(nowhere)) as connection:
        assert await connection.scalar(text("SELECT 1")) == 1
    async with watched(engine, Watch(engine)) as connection:
        await asyncio.to_thread(until, lambda: bool(other.does(KILL)))
        assert await connection.scalar(text("SELECT 1")) == 1


async def test_where_nobody_can_look_nothing_is_looked_at() -> None:
    watch = Watch()
    watch.begin(1)
    await watch.end()
    assert watch.blocked == ""


async def run(connection: AsyncConnection, statement: str) -> None:
    """Run a statement to its end."""
    await connection.execute(text(statement))
