"""The one handle through which everything reaches the database: `reading()` and `writing()`.

A read takes a connection for as long as its block lasts, and no longer. A write is a unit of work: one transaction, committed when
its block ends, before any answer is sent. Inside `writing()` every call of the same task rides that transaction.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Self

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from service.db.engine import reading_engine, writing_engine
from service.db.faults import as_problems
from service.settings import Settings

Hook = Callable[["Unit"], Awaitable[None]]
log = structlog.get_logger(__name__)


class Unit:
    """A unit of work: one transaction, and what belongs to it.

    Attributes:
        session: SQLAlchemy's session, for what repositories don't offer.
    """

    def __init__(self, session: AsyncSession) -> None:
        self.session = session
        self.task = asyncio.current_task()
        self.open = True
        self._before: list[Hook] = []
        self._after: list[Hook] = []

    def before_commit(self, hook: Hook) -> None:
        """Run something as the last part of the transaction; what it raises rolls everything back."""
        self._before.append(hook)

    def after_commit(self, hook: Hook) -> None:
        """Run something once the transaction stands. What it raises is logged: the write can't be taken back."""
        self._after.append(hook)

    async def finish(self, before: list[Hook], after: list[Hook]) -> None:
        """Commit, with the hooks of this unit and those given around it."""
        for hook in (*self._before, *before):
            await hook(self)
        await self.session.flush()
        await self.session.commit()
        self.open = False
        for hook in (*self._after, *after):
            try:
                await hook(self)
            except Exception:
                log.exception("a hook after commit failed", hook=getattr(hook, "__qualname__", str(hook)))


class Database:
    """Reads and units of work over two engines."""

    def __init__(self, reads: AsyncEngine, writes: AsyncEngine) -> None:
        self._reads, self._writes = reads, writes
        self._unit: ContextVar[Unit | None] = ContextVar("unit", default=None)
        self.before_commit: list[Hook] = []
        self.after_commit: list[Hook] = []

    @classmethod
    def connect(cls, url: str, settings: Settings) -> Self:
        """The database behind a URL. No connection is made yet."""
        return cls(reading_engine(url, settings), writing_engine(url, settings))

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """A session for reads: each statement sees what is committed when it starts.

        Raises:
            Problem: the database is away, busy or slow.
        """
        unit = self._riding()
        if unit:
            with as_problems():
                yield unit.session
            return
        with as_problems():
            async with self._reader() as session:
                yield session

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Unit]:
        """A unit of work, committed at the end of the block and rolled back if it raises. An inner one joins the outer.

        Raises:
            Problem: the database is away, busy or slow, or refuses a value.
        """
        unit = self._riding()
        if unit:
            with as_problems():
                yield unit
            return
        with as_problems():
            async with self._writer() as session:
                unit = Unit(session)
                token = self._unit.set(unit)
                try:
                    yield unit
                    await unit.finish(self.before_commit, self.after_commit)
                finally:
                    unit.open = False
                    self._unit.reset(token)

    async def close(self) -> None:
        """Close every connection."""
        await self._reads.dispose()
        await self._writes.dispose()

    def _riding(self) -> Unit | None:
        """The unit of work that this task is in."""
        unit = self._unit.get()
        if unit is None or not unit.open:
            return None
        if unit.task is not asyncio.current_task():
            raise RuntimeError(
                "A task that was started inside writing() uses the database while that transaction is open. One transaction is "
                "one connection, and that serves one task: await the work itself, or start the task after the block."
            )
        return unit

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[AsyncSession]:
        async with AsyncSession(self._reads, expire_on_commit=False, autoflush=False) as session:
            await _connected(session)
            yield session

    @asynccontextmanager
    async def _writer(self) -> AsyncIterator[AsyncSession]:
        async with AsyncSession(self._writes, expire_on_commit=False) as session:
            await _connected(session)
            yield session


async def _connected(session: AsyncSession) -> None:
    """Take the connection now: only here does an OSError speak of the database, and not of the caller's own files."""
    with as_problems(OSError):
        await session.connection()
