"""A nudge for whoever hands on what was committed: there is something to do, don't wait for the next sweep.

It is sent by NOTIFY, by itself and after the commit: inside a user's transaction NOTIFY would make commits wait for each other. It
takes a connection that writes, since reads may go to a standby, where there is no NOTIFY. Nudges are put together, one each 10 ms
at the most. One that gets lost costs a moment: a sweep finds everything.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from service.background import beside

if TYPE_CHECKING:
    from service.db.session import Database

CHANNEL = "shelfmark"
APART_SECONDS = 0.01
NOTIFY = f"SELECT pg_notify('{CHANNEL}', '')"
log = structlog.get_logger(__name__)


class Nudge:
    """Call it to wake who hands things on. Where nobody sends nudges, as in a command, it does nothing.

    Attributes:
        sent: how many were sent.
    """

    def __init__(self) -> None:
        self.sent = 0
        self._asked = asyncio.Event()

    def __call__(self) -> None:
        """Have a nudge sent, with all others that are wanted until then."""
        self._asked.set()

    @asynccontextmanager
    async def kept(self, database: "Database") -> AsyncIterator[None]:
        """Send nudges for as long as the block lasts."""
        async with beside(self._send(database), "nudges"):
            yield

    async def _send(self, database: "Database") -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                await database.write(NOTIFY, ())
                self.sent += 1
            except Exception as error:  # noqa: BLE001  # whoever hands things on looks again by itself
                log.debug("a nudge is lost", reason=str(error))
            await asyncio.sleep(APART_SECONDS)
