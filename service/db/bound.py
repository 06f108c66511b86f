"""A database bound to one connection and its outer transaction, for tests: commits stay inside, all is undone at the end.

Routes, repositories and assertions see the same uncommitted world. Four rules make that safe: the transaction has begun for sure
before anything is written; one task at a time has the connection; each block has a savepoint of its own; and the database's clock
is `clock_timestamp()`, since `now()` stands still.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from service.db.session import Database

WAIT_SECONDS = 30.0


class Bound(Database):
    """A `Database` whose reads and units of work all ride one open transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        super().__init__(connection.engine, connection.engine)
        self._connection = connection
        self._lock = asyncio.Lock()
        self._owner: asyncio.Task[object] | None = None

    async def close(self) -> None:
        """Leave the connection to the fixture that made it."""

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[AsyncSession]:
        async with self._held(), self._savepoint() as session:
            session.autoflush = False
            yield session

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
            await transaction.rollback()
