"""A database bound to one connection and its outer transaction, for tests: commits stay inside, all is undone at the end.

Routes, repositories and assertions see the same uncommitted world. Four rules make that safe: the transaction has begun for sure
before anything is written; one task at a time has the connection; each block has a savepoint of its own; and the database's clock
is `clock_timestamp()`, since `now()` stands still.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, AsyncTransaction

from service.db.gate import Gate
from service.db.session import Database

WAIT_SECONDS = 30.0
READERS = 1000


class Bound(Database):
    """A `Database` whose reads and units of work all ride one open transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        super().__init__(connection.engine, connection.engine)
        self._connection = connection
        self._lock = asyncio.Lock()
        self._owner: asyncio.Task[object] | None = None
        self._alone = Gate(READERS, patience_seconds=WAIT_SECONDS, queue_most=READERS)

    async def close(self) -> None:
        """Leave the connection to the fixture that made it."""

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[AsyncSession]:
        permit = await self._alone.take()  # a read inside a read is as much of a mistake here as it is elsewhere
        try:
            async with self._held(), self._savepoint() as session:
                session.autoflush = False
                yield session
        finally:
            permit.give_back()

    def lease(self) -> AbstractAsyncContextManager[Any]:
        """The driver's connection, inside a savepoint."""
        return self._leased()

    def _writing(self) -> AbstractAsyncContextManager[Any]:
        return self._leased()

    @asynccontextmanager
    async def _leased(self) -> AsyncIterator[Any]:
        permit = await self._alone.take()
        try:
            async with self._held(), self._connection.begin_nested():
                yield (await self._connection.get_raw_connection()).driver_connection
        finally:
            permit.give_back()

    @asynccontextmanager
    async def _writer(self) -> AsyncIterator[AsyncSession]:
        async with self._held(), self._savepoint() as session:
            yield session

    @asynccontextmanager
    async def _savepoint(self) -> AsyncIterator[AsyncSession]:
        async with AsyncSession(self._connection, expire_on_commit=False, join_transaction_mode="create_savepoint") as session:
            await session.connection()
            yield session

    @asynccontextmanager
    async def _held(self) -> AsyncIterator[None]:
        """The connection to this task alone, however deep its blocks are nested."""
        task = asyncio.current_task()
        if self._owner is task:
            yield
            return
        async with asyncio.timeout(WAIT_SECONDS):
            await self._lock.acquire()
        self._owner = task
        try:
            yield
        finally:
            self._owner = None
            self._lock.release()


@asynccontextmanager
async def rolled_back(engine: AsyncEngine) -> AsyncIterator[Bound]:
    """A database whose changes are all undone when the block ends.

    Raises:
        RuntimeError: the transaction hasn't begun: a write would be committed for real.
    """
    async with engine.connect() as connection:
        transaction = await connection.begin()
        await connection.execute(text("SELECT 1"))  # SQLAlchemy begins lazily
        driver = (await connection.get_raw_connection()).driver_connection
        if driver is None or not driver.is_in_transaction():
            raise RuntimeError("the outer transaction hasn't begun")
        try:
            yield Bound(connection)
        finally:
            await _undone(connection, transaction)


async def _undone(connection: AsyncConnection, transaction: AsyncTransaction) -> None:
    """Roll back. A connection that can't, since a statement was broken off on it, is closed: the next test needs another."""
    try:
        await transaction.rollback()
    except BaseException:
        await connection.invalidate()
        raise
