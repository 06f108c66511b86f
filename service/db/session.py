"""The one handle through which everything reaches the database: `reading()` and `writing()`.

A read takes a connection for as long as its block lasts, and no longer. A write is a unit of work: one transaction, committed when
its block ends, before any answer is sent. Inside `writing()` every call of the same task rides that transaction.

A block can't be run twice. What may be, is handed over as a whole: `read()` asks again where the connection was lost, `attempt()`
does a write again where the database ended its transaction before it could commit.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from functools import wraps
from time import perf_counter
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from service.db.catalogue import Catalogue
from service.db.deadline import stand_firm
from service.db.drops import Caches
from service.db.engine import aside_engine, reading_engine, writing_engine
from service.db.faults import FAULTS, UNKNOWN, as_problems, collided, gone, is_told, problem
from service.db.keeping import Check, Keeper
from service.db.lease import Leases
from service.db.measuring import Measures
from service.db.outbox import Outbox
from service.db.slow import SlowQuestions
from service.db.unit import CURRENT, Attempt, Hook, Unit
from service.errors import Problem, Unavailable
from service.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")
Took = Callable[[float, Sequence[Any]], None]
PATIENCE_SECONDS, QUEUE_MOST, OLDEST_SECONDS = 0.5, 1000, 1800.0
ASIDE_PATIENCE_SECONDS = 5.0
"""More than anybody has who asks there: they give up by themselves."""


class Database:
    """Reads and units of work over two engines, and a connection aside for the service's own questions.

    Attributes:
        reads: the connections that read, behind their gate.
        writes: those that write.
        again: how many reads were asked twice, and how many writes.
        outbox: who wants to be told of writes.
        caches: who must forget what was written; nobody, unless an application keeps something.
        measures: what the questions took, by path.
        slow: those that took too long; nobody's, unless an application sets how long that is.
        catalogue: what the database has of the indexes that are needed; one that needs none, unless an application watches.
    """

    def __init__(
        self,
        reads: AsyncEngine,
        writes: AsyncEngine,
        aside: AsyncEngine | None = None,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        queue_most: int = QUEUE_MOST,
        oldest_seconds: float = OLDEST_SECONDS,
    ) -> None:
        waiting: dict[str, Any] = {"patience_seconds": patience_seconds, "queue_most": queue_most}
        self.catalogue = Catalogue()
        self.reads, self.writes = Leases(reads, **waiting), Leases(writes, **waiting, transactions=True)
        self._aside = Leases(aside, **waiting | {"patience_seconds": ASIDE_PATIENCE_SECONDS}) if aside else None
        self._unit: ContextVar[Unit | None] = ContextVar("unit", default=None)
        self._attempt: ContextVar[Attempt | None] = ContextVar("attempt", default=None)
        self.before_commit: list[Hook] = []
        self.after_commit: list[Hook] = []
        self.again = {"reads": 0, "writes": 0}
        self.outbox = Outbox()
        self.caches: Caches | None = None
        self.measures, self.slow = Measures(), SlowQuestions()
        self._oldest = oldest_seconds
        self._keeper: Keeper | None = None

    @classmethod
    def connect(cls, url: str, settings: Settings) -> Self:
        """The database behind a URL. No connection is made yet."""
        to_read = settings.database_url_read.get_secret_value() if settings.database_url_read else url
        return cls(
            reading_engine(to_read, settings),
            writing_engine(url, settings),
            aside_engine(to_read, settings),
            patience_seconds=settings.pool_wait_seconds,
            queue_most=settings.queue_most,
            oldest_seconds=settings.connection_age_seconds,
        )

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

    async def read(self, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """The answer of a read, asked once more where the connection was lost meanwhile.

        Args:
            work: is given the session; it must do no harm when it is run twice.

        Raises:
            Problem: the database is away, busy or slow.
        """
        try:
            async with self.reading() as session:
                return await work(session)
        except Unavailable as problem:
            if self._riding() or not gone(problem.__cause__):
                raise
        self.again["reads"] += 1
        async with self.reading() as session:
            return await work(session)

    async def fetch(
        self, sql: str, arguments: Callable[[], Sequence[Any]], ready: Callable[[], None], took: Took | None = None
    ) -> list[Any]:
        """The rows of a statement that only reads, as the driver gives them; asked once more where the connection was lost.

        Args:
            sql: with `$1` for the first value.
            arguments: gives the driver's values, when the connection is there.
            ready: is called when the connection is there, which may take a while, and may still refuse.
            took: is told how many seconds the statement was in the database, also where it failed, and its values.

        Raises:
            Problem: the database is away, busy or slow.
        """
        try:
            return await self._fetched(sql, arguments, ready, took)
        except Unavailable as problem:
            if not gone(problem.__cause__):
                raise
        self.again["reads"] += 1
        return await self._fetched(sql, arguments, ready, took)

    @property
    def plain(self) -> bool:
        """Whether a write may be one statement: no unit of work is open around it, and no hooks have to run."""
        return self._riding() is None and not self.before_commit and not self.after_commit

    async def write(self, sql: str, arguments: Sequence[Any]) -> list[Any]:
        """The rows of one statement that writes, and is a transaction by itself; done once more where it collided with another.

        Args:
            sql: with `$1` for the first value.
            arguments: the driver's values.

        Raises:
            Problem: the database is away, busy or slow, or refuses a value; or nobody knows whether it was done.
        """
        try:
            return await self._written(sql, arguments)
        except Problem as refused:
            if not collided(refused.__cause__):
                raise
        self.again["writes"] += 1
        return await self._written(sql, arguments)

    async def _written(self, sql: str, arguments: Sequence[Any]) -> list[Any]:
        async with self._writing() as driver:
            stand_firm()
            try:
                found: list[Any] = await driver.fetch(sql, *arguments)
            except FAULTS as error:
                known = problem(error)
                if known is None and is_told(error):
                    raise
                raise (known if known and is_told(error) else Unavailable(UNKNOWN, outcome="unknown")) from error
            return found

    def _writing(self) -> AbstractAsyncContextManager[Any]:
        """The driver's connection, for one statement that writes."""
        return self.writes.lease()

    async def _fetched(
        self, sql: str, arguments: Callable[[], Sequence[Any]], ready: Callable[[], None], took: Took | None
    ) -> list[Any]:
        try:
            async with self.lease() as driver:
                ready()
                given, began = arguments(), perf_counter()
                try:
                    found: list[Any] = await driver.fetch(sql, *given)
                finally:
                    if took:
                        took(perf_counter() - began, given)
                return found
        except FAULTS as error:
            known = problem(error)
            if known is None:
                raise
            raise known from error

    def lease(self) -> AbstractAsyncContextManager[Any]:
        """A connection of the driver, for reads: `async with database.lease() as driver`. It rides no unit of work.

        Raises:
            Problem: none can be had in time, or the database is away.
            RuntimeError: inside `writing()`, whose rows it wouldn't see.
        """
        if self._riding():
            raise RuntimeError("A lease sees nothing of the unit of work that it is taken in. Read by the unit's session.")
        return self.reads.lease()

    @asynccontextmanager
    async def aside(self) -> AsyncIterator[AsyncSession]:
        """A session for what the service itself asks, health above all: it never waits behind traffic.

        Raises:
            Problem: the database is away, or slow.
        """
        if self._aside is None:
            async with self.reading() as session:
                yield session
            return
        with as_problems():
            async with self._aside.session(autoflush=False) as session:
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
                unit = Unit(session, self.outbox, self.caches)
                token, known = self._unit.set(unit), CURRENT.set(unit)
                try:
                    yield unit
                    await unit.commit(self.before_commit, self._attempt.get())
                finally:
                    unit.end()
                    self._unit.reset(token)
                    CURRENT.reset(known)
            await unit.tell(self.after_commit)

    async def attempt(self, work: Callable[[], Awaitable[T]]) -> T:
        """The outcome of a write, done once more where the database ended it for the sake of another, or the connection was lost.

        Only what can't have been committed is done again. Inside a unit of work it is done once, as a part of that.

        Args:
            work: whole units of work, and nothing outside of the database.

        Raises:
            Problem: what the second attempt ended with, or the first where there is no second.
        """
        if self._riding():
            return await work()
        attempt = Attempt()
        token = self._attempt.set(attempt)
        try:
            return await work()
        except Problem as problem:
            if attempt.committing or not (collided(problem.__cause__) or gone(problem.__cause__)):
                raise
        finally:
            self._attempt.reset(token)
        self.again["writes"] += 1
        return await work()

    @asynccontextmanager
    async def kept(self, check: Check) -> AsyncIterator[None]:
        """Look after the connections for as long as the block lasts: see `keeping.py`."""
        self._keeper = Keeper(self.pools(), self._oldest, check)
        async with self._keeper.running():
            yield

    @property
    def cold(self) -> str | None:
        """Why not every connection has been made yet; None once they all were, or where nobody looks after them."""
        return self._keeper.cold if self._keeper else None

    async def close(self) -> None:
        """Close every connection."""
        for leases in self.pools():
            await leases.quiet()
            await leases.engine.dispose()

    def pools(self) -> list[Leases]:
        """The connections for reads, for writes, and the one aside."""
        return [self.reads, self.writes, *([self._aside] if self._aside else [])]

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
        async with self.reads.session(autoflush=False) as session:
            yield session

    @asynccontextmanager
    async def _writer(self) -> AsyncIterator[AsyncSession]:
        async with self.writes.session() as session:
            yield session


class Holder(Protocol):
    """Whatever has a database."""

    database: Database


H = TypeVar("H", bound=Holder)


def once_more(act: Callable[Concatenate[H, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[H, P], Coroutine[Any, Any, T]]:
    """Have a method run as an attempt of its object's database: see `Database.attempt`."""

    @wraps(act)
    async def attempted(holder: H, /, *given: P.args, **named: P.kwargs) -> T:
        return await holder.database.attempt(lambda: act(holder, *given, **named))

    return attempted
