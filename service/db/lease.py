"""A lease: one connection of a SQLAlchemy pool through its gate, for the driver directly or for a session.

Whoever has a lease is answered at once when it goes wrong. What is left to do, a statement that the server still works on, a
transaction that is still open, is mended behind their back; the permit comes back once the connection is idle, or closed.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg
from sqlalchemy import Connection, PoolProxiedConnection, QueuePool, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.util import greenlet_spawn

from service.db.deadline import until
from service.db.faults import connecting, unsettled
from service.db.gate import Gate, Permit

MEND_SECONDS = 1.0
CANCELS = 3
IDLE = "SELECT 1"


class Leases:
    """The connections of one pool, behind a gate with as many permits.

    Args:
        engine: whose pool: of a fixed size.
        patience_seconds: as for the `Gate`.
        queue_most: as for the `Gate`.
        transactions: whether its sessions write in transactions.

    Attributes:
        gate: who may have one.
        mended: how many connections were brought back after a statement that nobody waited for any more.
        closed: how many were closed instead.
    """

    def __init__(self, engine: AsyncEngine, *, patience_seconds: float, queue_most: int, transactions: bool = False) -> None:
        self.engine = engine
        self.pool = cast("QueuePool", engine.pool)
        self.gate = Gate(self.pool.size(), patience_seconds=patience_seconds, queue_most=queue_most)
        self.mended = self.closed = 0
        self._transactions = transactions
        self._under_way: set[asyncio.Task[Any]] = set()
        event.listen(engine.sync_engine, "handle_error", _keep_cancelled)

    def lease(self) -> "Lease":
        """A connection of the driver: `async with leases.lease() as driver`, an asyncpg connection.

        Raises:
            Problem: none can be had in time, or the database is away.
        """
        return Lease(self)

    @asynccontextmanager
    async def session(self, **options: Any) -> AsyncIterator[AsyncSession]:
        """A session over one connection.

        Args:
            options: as `AsyncSession` takes them.

        Raises:
            Problem: none can be had in time, or the database is away.
        """
        permit, fairy = await self.take()
        connection = AsyncConnection(self.engine, Connection(self.engine.sync_engine, connection=fairy))
        session = AsyncSession(connection, expire_on_commit=False, **options)
        try:
            yield session
        except BaseException as error:
            if unsettled(error):
                self._leave(permit, fairy)
            else:
                await self._close(session, connection, permit, fairy)
            raise
        await self._close(session, connection, permit, fairy)

    async def take(self) -> tuple[Permit, PoolProxiedConnection]:
        """A permit and its connection.

        Raises:
            Problem: none can be had in time, or the database is away.
        """
        permit = await self.gate.take(until())
        return permit, self.warm() or await self.made(permit)

    async def made(self, permit: Permit) -> PoolProxiedConnection:
        """A connection that is made, or made anew, for whoever has a permit, who has it no more where that fails.

        It is made to its end also where nobody waits for it any more: the next one will be glad of it.

        Raises:
            Problem: the database is away.
        """
        making = asyncio.get_running_loop().create_task(self._make())
        self._under_way.add(making)
        making.add_done_callback(self._under_way.discard)
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            permit.hand_over()
            making.add_done_callback(lambda _: _unused(making, permit))
            raise
        except BaseException:
            permit.give_back()
            raise

    def put_back(self, permit: Permit, fairy: PoolProxiedConnection, error: BaseException | None) -> None:
        """End a lease of the driver, by what it ended with."""
        if error is not None and unsettled(error):
            self._leave(permit, fairy)
            return
        if _driver(fairy).is_closed():
            fairy.invalidate()
        else:
            fairy.close()
        permit.give_back()

    async def quiet(self) -> None:
        """Wait until nothing is being made or mended any more."""
        while self._under_way:
            await asyncio.wait(set(self._under_way))

    def warm(self) -> PoolProxiedConnection | None:
        """A live connection without waiting for anything, where the pool has one that needn't be made anew."""
        if not self.pool.checkedin():
            return None
        try:
            fairy = self.pool.connect()
        except MissingGreenlet:  # SQLAlchemy has put it back
            return None
        if not _driver(fairy).is_closed():
            return fairy
        fairy.invalidate()  # it died while nobody used it
        return None

    async def _make(self) -> PoolProxiedConnection:
        with connecting():
            fairy = await greenlet_spawn(self.pool.connect)
            while _driver(fairy).is_closed():  # at most as many rounds as connections
                fairy.invalidate()
                fairy = await greenlet_spawn(self.pool.connect)
        return fairy

    async def _close(
        self, session: AsyncSession, connection: AsyncConnection, permit: Permit, fairy: PoolProxiedConnection
    ) -> None:
        """Put back a session's connection; its transaction, if one is open, is rolled back."""
        try:
            await session.close()
            await connection.close()
        except BaseException:
            self._leave(permit, fairy)
            raise
        permit.give_back()

    def _leave(self, permit: Permit, fairy: PoolProxiedConnection) -> None:
        """Leave a connection on which something may still run to be mended, without anybody waiting for it."""
        permit.hand_over()
        task = asyncio.get_running_loop().create_task(self._mend(permit, fairy))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _mend(self, permit: Permit, fairy: PoolProxiedConnection) -> None:
        """Wait until the server has stopped working on a connection, then put it back; or close it.

        One whose transaction was broken off is closed: neither the driver nor SQLAlchemy knows for sure how far it got.
        """
        try:
            if fairy.is_valid:
                async with asyncio.timeout(MEND_SECONDS):
                    await _settled(_driver(fairy))
        except (Exception, asyncio.CancelledError) as error:
            self._discard(fairy, error)
            if not isinstance(error, Exception):
                raise
        else:
            if self._transactions or not fairy.is_valid or _driver(fairy).is_closed():
                self._discard(fairy, None)
            else:
                fairy.close()
                self.mended += 1
        finally:
            permit.give_back()

    def _discard(self, fairy: PoolProxiedConnection, error: BaseException | None) -> None:
        self.closed += 1
        if fairy.is_valid:
            fairy.invalidate(error)


class Lease:
    """A connection of the driver, for as long as the block lasts."""

    __slots__ = ("_fairy", "_of", "_permit")

    def __init__(self, of: Leases) -> None:
        self._of = of

    async def __aenter__(self) -> Any:
        self._permit, self._fairy = await self._of.take()
        return self._fairy.driver_connection

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._of.put_back(self._permit, self._fairy, error)


async def _settled(driver: Any) -> None:
    """Wait until nothing runs on a connection; the driver has asked the server to stop it."""
    for _ in range(CANCELS):
        try:
            await driver.execute(IDLE)
            break
        except asyncpg.QueryCanceledError:  # the request to stop came late, and hit this one: that's what it is for
            continue
        except asyncpg.InFailedSQLTransactionError:
            break
    if driver.is_in_transaction():
        await driver.execute("ROLLBACK")


def _unused(making: "asyncio.Task[PoolProxiedConnection]", permit: Permit) -> None:
    """Put back a connection that was made for somebody who has left."""
    if not making.cancelled() and not making.exception():
        making.result().close()
    permit.give_back()


def _driver(fairy: PoolProxiedConnection) -> Any:
    return fairy.driver_connection


def _keep_cancelled(context: ExceptionContext) -> None:
    """Let SQLAlchemy keep the connection of a statement that was broken off: it would close it, and the caller wait."""
    error = context.original_exception
    if isinstance(error, TimeoutError) or not isinstance(error, Exception):
        context.is_disconnect = False
