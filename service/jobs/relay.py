"""The relay: one loop that hands on what was committed, numbered and in order, and does what has to be done now and then.

Any number of them may run at once: each step is a short transaction that only one of them gets, and what one leaves behind the next
one finds. A nudge wakes it; a sweep every second is what can be relied upon. Whatever goes wrong with a server, it begins anew, for
ever. No transaction is open while a consumer is told.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, Protocol
from uuid import uuid4

import structlog
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from service.db import feed
from service.db.feed import Noted
from service.db.nudging import CHANNEL
from service.telemetry.counting import Family, Told

SWEEP_SECONDS = 1.0
APART_SECONDS = 0.02
"""Between two steps, however often it is nudged."""
TELL_SECONDS = feed.HOLD_SECONDS / 2
"""What a consumer may take for one batch: less than its position is held."""
PRUNE_SECONDS = 60.0
AGAIN_SECONDS = 0.5
CONNECTING: dict[str, Any] = {
    "timeout": 5,
    "command_timeout": 10,
    "server_settings": {
        "application_name": "shelfmark relay",
        "timezone": "UTC",
        "jit": "off",
        "statement_timeout": "8000",
        "lock_timeout": "2000",
        "idle_in_transaction_session_timeout": "5000",
    },
}
HANDED_ON = Family("shelfmark_outbox_handed_on_total", "counter", "Notes of the outbox that a consumer was told of.", ("consumer",))
FAILED = Family("shelfmark_relay_failures_total", "counter", "Steps of a relay that failed, and were begun anew.")
FAMILIES = (HANDED_ON, FAILED)
log = structlog.get_logger(__name__)


class Consumer(Protocol):
    """Who wants to be told of what was committed."""

    name: str

    async def told(self, notes: Sequence[Noted]) -> None:
        """Heed notes, in order. They may come twice; what is raised has them come again."""


class Chore(Protocol):
    """What is done at every step."""

    async def step(self, connection: AsyncConnection) -> bool:
        """Do what is due, in short transactions of its own; whether there is more to do at once."""


class Relay:
    """Hands the outbox on, and does chores.

    Args:
        url: of the database, without a pooler in between.
        consumers: who is told.
        chores: what else is done at each step.
    """

    def __init__(self, url: str, consumers: Sequence[Consumer] = (), chores: Sequence[Chore] = ()) -> None:
        self.holder = uuid4().hex
        self._consumers, self._chores = consumers, chores
        self._engine = create_async_engine(url, poolclass=NullPool, connect_args=CONNECTING, hide_parameters=True)
        self._woken = asyncio.Event()
        self._pruned = 0.0
        self._failed = 0
        self._handed_on: dict[str, int] = {}

    def wake(self) -> None:
        """Have it look now."""
        self._woken.set()

    async def run(self) -> None:
        """Go on for ever."""
        able = True
        while True:
            try:
                async with self._connected() as connection:
                    able = True
                    await self._go_on(connection)
            except Exception as error:  # noqa: BLE001  # whichever server it was, it comes back
                self._failed += 1
                if able:
                    log.warning("the relay begins anew", reason=_reason(error))
                able = False
            await asyncio.sleep(AGAIN_SECONDS * (0.5 + random.random()))  # noqa: S311  # no secret: two needn't come together

    async def step(self, connection: AsyncConnection) -> bool:
        """Number, tell, do chores; whether there is more to do at once."""
        async with connection.begin():
            more = await feed.number(connection) >= feed.AT_ONCE
        for consumer in self._consumers:
            more |= await self._tell(connection, consumer)
        for chore in self._chores:
            more |= await self._done(chore, connection)
        if monotonic() - self._pruned > PRUNE_SECONDS:
            self._pruned = monotonic()
            async with connection.begin():
                await feed.prune(connection)
        return more

    def told(self) -> Told:
        """What it has counted."""
        yield FAILED.name, (), [self._failed]
        for name, notes in self._handed_on.items():
            yield HANDED_ON.name, (name,), [notes]

    async def _go_on(self, connection: AsyncConnection) -> None:
        while True:
            self._woken.clear()
            if await self.step(connection):
                continue
            await asyncio.sleep(APART_SECONDS)
            try:
                async with asyncio.timeout(SWEEP_SECONDS):
                    await self._woken.wait()
            except TimeoutError:
                pass

    async def _tell(self, connection: AsyncConnection, consumer: Consumer) -> bool:
        """Tell a consumer of the next notes; whether there may be more."""
        async with connection.begin():
            position = await feed.hold(connection, consumer.name, self.holder)
            notes = [] if position is None else await feed.after(connection, position)
        if not notes:
            return False
        try:
            async with asyncio.timeout(TELL_SECONDS):
                await consumer.told(notes)
        except Exception as error:  # noqa: BLE001  # the others are told all the same, and this one again
            self._failed += 1
            log.warning("a consumer couldn't be told", consumer=consumer.name, reason=_reason(error))
            return False
        async with connection.begin():
            await feed.told(connection, consumer.name, self.holder, notes[-1].number)
        self._handed_on[consumer.name] = self._handed_on.get(consumer.name, 0) + len(notes)
        return len(notes) >= feed.AT_ONCE

    async def _done(self, chore: Chore, connection: AsyncConnection) -> bool:
        """Do a chore; whether there is more to do at once. One that fails holds the others up only where the connection is lost."""
        try:
            return await chore.step(connection)
        except Exception as error:
            if connection.closed or connection.invalidated:
                raise
            self._failed += 1
            log.warning("a chore failed, and comes again", chore=type(chore).__name__, reason=_reason(error))
            return False

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        """A connection that hears nudges. It is closed for good: what goes wrong with it isn't looked into."""
        connection = await self._engine.connect()
        try:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            await driver.add_listener(CHANNEL, self._heard)
            driver.add_termination_listener(self._heard)
            async with connection.begin():
                await feed.ensure(connection, [consumer.name for consumer in self._consumers])
            yield connection
        finally:
            await asyncio.shield(connection.invalidate())
            await connection.close()

    def _heard(self, *_: Any) -> None:
        self._woken.set()

    async def aclose(self) -> None:
        """Leave what it holds to others."""
        try:
            async with asyncio.timeout(1), self._engine.begin() as connection:
                await feed.let_go(connection, self.holder)
        except Exception as error:  # noqa: BLE001  # its holds end by themselves
            log.debug("a relay's holds couldn't be let go", reason=str(error))
        await self._engine.dispose()


def _reason(error: Exception) -> str:
    """What was said, in a line."""
    return str(error).partition("\n")[0] or type(error).__name__
